"""Every row of the tables as a pytest-benchmark case, to watch that fastem does not become slower.

    python -m pytest bench --benchmark-only -k "fastem and full" --benchmark-autosave
    python -m pytest bench --benchmark-only -k fastem --benchmark-compare       against the last saved run

Each case is one whole fit of a few iterations; bench/compare.py makes the paired comparison of the tables.
FASTEM_BENCH_SCALE=0.01 makes the data a hundred times smaller.
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any

import pytest
from common import FULL, RESTRICTED, RESTRICTED_GOALS, Case, log_likelihood, rest
from rivals import Problem, make_problem

ITERATIONS = 5
SCALE = float(os.environ.get("FASTEM_BENCH_SCALE", "1"))

CASES = [Case(*size, data=data) for data in ("overlapping", "separated") for size in FULL]
CASES += [Case(*size, covariance_type=kind) for kind in RESTRICTED_GOALS for size in RESTRICTED]
CASES += [Case(*size, dtype="float32") for size in FULL if size[1] >= 16]


@lru_cache(maxsize=1)
def problem_of(case: Case) -> Problem:
    """Return the data of a case; the cases run in order, so one is kept."""
    rows = case.n if SCALE == 1 else max(20 * case.k * case.d, int(case.n * SCALE))
    return make_problem(case._replace(n=rows))


@pytest.mark.parametrize("name", ["fastem", "onedal", "sklearn"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_fit(case: Case, name: str, rivals: dict[str, Any], benchmark: Any) -> None:
    if name not in rivals or not rivals[name].supports(case):
        pytest.skip(f"{name} is not there, or knows no such covariances")
    problem = problem_of(case)
    rest()
    benchmark.group = case.name
    fit = benchmark.pedantic(rivals[name].fit, args=(problem, ITERATIONS), rounds=3, iterations=1, warmup_rounds=1)
    benchmark.extra_info |= {
        **case._asdict(),
        "n": len(problem.X),
        "n_iter": fit.n_iter,
        "log_likelihood": log_likelihood(problem.X, fit.parameters),
    }
    assert fit.n_iter == ITERATIONS
