"""Keeps one process of oneDAL for all benchmarks of a pytest run, and the data of one case at a time."""

from __future__ import annotations

from collections.abc import Iterator

import common
import pytest
from rivals import Estimator, OneDal, make_rivals


@pytest.fixture(scope="session")
def rivals() -> Iterator[dict[str, Estimator | OneDal]]:
    """Return the rivals by name; oneDAL only where its environment was made."""
    common.limit_threads()
    found = make_rivals(["sklearn", "onedal", "fastem"])
    yield {rival.name: rival for rival in found}
    for rival in found:
        rival.close()


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict) -> None:
    """Record which kernels BLAS chose, and the versions, beside pytest-benchmark's own facts."""
    machine_info["fastem"] = common.machine()
