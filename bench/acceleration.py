"""E-steps to the optimum: plain EM beside SQUAREM and Anderson, from the same start.

Counted are all E-steps, also of extrapolations that were refused, until the log-likelihood is within 1e-6 nats (in
total) of the best that any of the three ends in; where one ends in another optimum, it is said.

    python bench/acceleration.py
"""

import argparse
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import family_rivals
import numpy as np
import report
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning

import fastem
from fastem.engine.accelerate import Acceleration
from fastem.engine.model import Mixture
from fastem.engine.monitor import ConvergenceMonitor

DATA = Path(__file__).parents[1] / "tests" / "data"
METHODS = None, "squarem", "anderson"
NEAR = 1e-6
TEXTBOOK = 4000
"""Iterations of EM in NumPy that are tried."""

COLUMNS = [
    ("problem", "problem", ""),
    ("textbook EM, E-steps", "textbook", ""),
    ("plain EM", "plain", ""),
    ("SQUAREM", "squarem", ""),
    ("Anderson", "anderson", ""),
    ("x fewer, SQUAREM", "x_squarem", ".1f"),
    ("x fewer, Anderson", "x_anderson", ".1f"),
    ("plain EM, s", "s_plain", ".3f"),
    ("SQUAREM, s", "s_squarem", ".3f"),
    ("Anderson, s", "s_anderson", ".3f"),
    ("ends elsewhere by, nats", "ends", ""),
]


class Problem(NamedTuple):
    """`make(**options)` gives the estimator at its start."""

    name: str
    make: Callable[..., Any]
    X: np.ndarray
    sample_weight: np.ndarray | None = None
    y: np.ndarray | None = None
    textbook: Callable[..., family_rivals.Run] | None = None
    """EM as the textbooks have it, where fastem's plain steps are longer."""


def table(name: str) -> np.ndarray:
    """A table of the tests."""
    return np.genfromtxt(DATA / f"{name}.csv", delimiter=",", skip_header=1)


def gaussians(separation: float, d: int = 2, k: int = 3, n: int = 3000, seed: int = 0) -> Problem:
    """Gaussians in a row, that many standard deviations apart, from a start drawn from the data."""
    rng = np.random.default_rng(seed)
    means = separation * np.arange(k)[:, None] * np.ones(d) / np.sqrt(d)
    X = rng.standard_normal((n, d)) + means[rng.integers(0, k, n)]
    first = X[rng.choice(n, k, replace=False)]

    def make(**options: Any) -> Any:
        start = {"weights_init": np.full(k, 1 / k), "means_init": first, "precisions_init": [np.eye(d)] * k}
        return fastem.GaussianMixture(k, reg_covar=0, **start, **options)

    return Problem(f"{k} Gaussians {separation:g} apart, d={d}, start {seed}", make, X)


def problems() -> list[Problem]:
    """What is slow, and what is not, for it must not suffer."""
    counts, days = table("deaths").T
    X = table("carcinoma") - 1
    deaths = {"weights_init": [0.3, 0.7], "params_init": [[1.0], [2.5]]}
    found = [
        *(gaussians(2.0, seed=seed) for seed in range(3)),
        gaussians(1.5, d=8),
        gaussians(8.0),
        gaussians(3.0, d=4, k=6),
        Problem("deaths, two Poissons", lambda **o: fastem.PoissonMixture(2, **deaths, **o), counts[:, None], days),
    ]
    for k in (2, 3, 4):
        p = np.random.default_rng(k).uniform(0.2, 0.8, (k, 7))
        found.append(
            Problem(f"carcinoma, {k} classes", lambda k=k, p=p, **o: fastem.BernoulliMixture(k, params_init=p, **o), X)
        )
    waits = np.diff(table("coal"))
    start = {"weights_init": [0.5, 0.5], "params_init": [[0.3], [1.0]]}
    found.append(
        Problem(
            "coal, two exponentials", lambda **o: fastem.ExponentialMixture(2, **start, **o), waits[waits > 0][:, None]
        )
    )
    same = {"init_params": "kmeans", "random_state": 0}
    pixels = load_digits().data + np.random.default_rng(0).uniform(-0.5, 0.5, (1797, 64))
    for k, m in ((1, 5), (3, 4)):
        name = f"digits, {k} factor analyser{'s' * (k > 1)} of {m} factors"
        textbook = partial(family_rivals.factor_em, expanded=False)
        make = partial(fastem.FactorAnalyzerMixture, k, n_factors=m, **same)
        found.append(Problem(name, make, pixels, textbook=textbook))
    rng = np.random.default_rng(3)
    tails = np.concatenate([rng.standard_t(5, (1500, 2)), rng.standard_t(12, (1500, 2)) + 2.5])
    found.append(Problem("two t 2.5 apart, free df", lambda **o: fastem.StudentTMixture(2, **same, **o), tails))
    x = rng.uniform(-1, 1, (2000, 1))
    y = np.where(rng.random(2000) < 0.5, 1.0, -0.5) * x[:, 0] + rng.standard_normal(2000)
    lines = {"params_init": {"coef": [[0.5], [-0.3]], "intercept": [0.1, -0.1], "variances": [1.0, 1.0]}}
    found.append(Problem("two lines in noise", lambda **o: fastem.LinearRegressionMixture(2, **lines, **o), x, y=y))
    digits = (load_digits().data > 8).astype(float)
    p = np.random.default_rng(0).uniform(0.3, 0.7, (10, 64))
    found.append(Problem("digits, 10 Bernoullis", lambda **o: fastem.BernoulliMixture(10, params_init=p, **o), digits))
    return found


def trace(problem: Problem, method: str | None, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Log-likelihood and seconds of every E-step of a fit that does not stop by itself."""
    seen: list[tuple[float, float]] = []
    e_step = Mixture.e_step

    def watched(self: Any, *arguments: Any) -> Any:
        found = e_step(self, *arguments)
        seen.append((found.log_likelihood, time.perf_counter()))
        return found

    model = problem.make(tol=0, accelerate=method)
    fit(model.set_params(max_iter=2), problem)  # compile
    endless = {"_remaining": lambda self, still, noise: np.inf}
    with patch.object(Mixture, "e_step", watched), patch.multiple(ConvergenceMonitor, **endless):
        with patch.object(Acceleration, "watch", lambda self, gain, still: None):
            began = time.perf_counter()
            fit(model.set_params(max_iter=most), problem)
    log_likelihood, seconds = np.array(seen).T
    return log_likelihood, seconds - began


def fit(model: Any, problem: Problem) -> None:
    """Fit without warnings: that some do not converge is seen in the table."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(problem.X, problem.y, sample_weight=problem.sample_weight)


def in_textbook(problem: Problem, best: float) -> int | None:
    """E-steps of textbook EM from the start, the first of which is that of a fit of one iteration."""
    model = problem.make(tol=0, max_iter=1, accelerate=None)
    fit(model, problem)
    start = model.weights_, *(getattr(model, f"{name}_") for name in model.params_type._fields)
    seen = problem.textbook(problem.X, *start, n_iter=TEXTBOOK).log_likelihoods
    there = np.flatnonzero(np.array(seen) >= best - NEAR)
    return int(there[0]) + 2 if there.size else None


def compare(problem: Problem, most: int) -> dict[str, Any]:
    """One row of the table."""
    traces = {method or "plain": trace(problem, method, most) for method in METHODS}
    ends = {name: found[0].max() for name, found in traces.items()}
    row: dict[str, Any] = {"problem": problem.name}
    others = [f"{name} {end - ends['plain']:+.3g}" for name, end in ends.items() if abs(end - ends["plain"]) > 1e-3]
    best = {name: max(e for e in ends.values() if abs(e - end) <= 1e-3) for name, end in ends.items()}
    for name, (log_likelihood, seconds) in traces.items():
        there = np.flatnonzero(log_likelihood >= best[name] - NEAR)
        if there.size:
            row[name], row[f"s_{name}"] = int(there[0]) + 1, float(seconds[there[0]])
    row["textbook"] = row.get("plain") if problem.textbook is None else in_textbook(problem, best["plain"])
    for name in ("squarem", "anderson"):
        row[f"x_{name}"] = row["textbook"] / row[name] if row["textbook"] and name in row else None
    return row | {"ends": ", ".join(others) or "-"}


def main() -> None:
    """Measure, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", default="", help="problems whose name holds this")
    parser.add_argument("--most", type=int, default=20_000, help="iterations of a fit")
    parser.add_argument("--dry", action="store_true", help="write no results")
    options = parser.parse_args()
    done = []
    for problem in problems():
        if options.only in problem.name:
            done.append(compare(problem, options.most))
            print({k: f"{v:.3g}" if isinstance(v, float) else v for k, v in done[-1].items()}, flush=True)
    if not options.only and not options.dry:
        report.save("acceleration", COLUMNS, done)


if __name__ == "__main__":
    main()
