"""What every test gets: two threads, the same random numbers, no thread left, the tables of data."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

# Before numba is imported: a machine with one core must still be able to ask for n_jobs=2.
os.environ.setdefault("NUMBA_NUM_THREADS", str(max(2, os.cpu_count() or 1)))

import numpy as np  # noqa: E402
import pytest  # noqa: E402
from hypothesis import HealthCheck, settings  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

DATA = Path(__file__).parent / "data"
NOT_MEASURED = ("Species", "Class", "Status", "ID", "Diagnosis")

COMPILED_FIRST = (
    "missing gaussian_mixture near missing_products product bricks custom impute",
    "missing_student_t regression missing_families families factor_analyzer student_t amounts_and_counts",
)
"""Tests that compile most, by what they share: of two workers each begins with one line, and compiles it alone."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin both halves, of which each of two workers takes one, with what compiles most: the rest finds it cached."""
    line_of = {f"test_{name}": i for i, names in enumerate(COMPILED_FIRST) for name in names.split()}
    place = {stem: j for j, stem in enumerate(line_of)}
    lines: list[list[pytest.Item]] = [[], [], []]
    for item in items:
        lines[line_of.get(item.path.stem, 2)].append(item)
    one, other, rest = (sorted(line, key=lambda item: place.get(item.path.stem, 0)) for line in lines)
    half = max(0, len(items) // 2 - len(one))
    items[:] = one + rest[:half] + other + rest[half:]


# No deadline: the first example compiles. Derandomised: a red run can be run again.
settings.register_profile(
    "fastem", deadline=None, derandomize=True, max_examples=40, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("fastem")


@pytest.fixture
def rng() -> np.random.Generator:
    """Return a generator with a fixed seed."""
    return np.random.default_rng(20240607)


@pytest.fixture(autouse=True)
def reader_joined() -> Iterator[None]:
    """Check that no thread that reads ahead is left."""
    yield
    assert not [thread for thread in threading.enumerate() if thread.name == "fastem-reader"]


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the loops as Python: NumPy checks every index, and what is stored to vectors that end outside."""
    for engine in ("accumulate", "product"):
        monkeypatch.setattr(f"fastem.engine.{engine}.from_factory", as_python)


def as_python(factory: Callable, *bricks: Callable) -> Callable:
    """Return what the factory would compile."""
    return factory(*bricks).__wrapped__.py_func


@pytest.fixture(params=["compiled", "python"])
def either(request: pytest.FixtureRequest) -> None:
    """Run the loops as they are, and as Python."""
    if request.param == "python":
        request.getfixturevalue("uncompiled")


@pytest.fixture(scope="session")
def table() -> Callable[[str], NDArray[np.float64]]:
    """Return a loader of the continuous columns of a table in tests/data: table("iris")."""
    return load_table


def load_table(name: str) -> NDArray[np.float64]:
    """Read the columns of a CSV that hold measurements, as C-contiguous float64."""
    with open(DATA / f"{name}.csv", encoding="utf-8") as file:
        header = [column.strip('"\n') for column in file.readline().split(",")]
    measured = [j for j, column in enumerate(header) if column not in NOT_MEASURED]
    rows = np.loadtxt(DATA / f"{name}.csv", delimiter=",", skiprows=1, usecols=measured, quotechar='"')
    return np.ascontiguousarray(rows)
