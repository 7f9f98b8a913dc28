"""Seconds an iteration of full Gaussians where entries are missing: beside complete data, and beside NumPy by pattern.

The rival goes through the patterns of holes, as a good user of NumPy would: one batched Cholesky factor, solve and
matrix product a pattern for all components at once. Both must report the same log-likelihood, and the same means and
covariances after a step from the same start, before they are timed. Where every row has holes of its own the rival is
timed on fewer rows, and its seconds are those of as many times more.

python bench/missing.py
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import report
from common import THREADS, Case, Parameters, limit_threads, make_data, make_start, mixture, rest
from scipy.special import logsumexp

from fastem.engine.chunks import chunk
from fastem.engine.em import em_step
from fastem.engine.model import Mixture, MixtureParams
from fastem.families.gaussian import Gaussian, GaussianParams
from fastem.families.gaussian_missing import GaussianMissing

FEW = 4_000  # rows on which the rival is timed where every row is a pattern
GOALS = {  # times faster than NumPy at least, times the seconds of complete data at most
    "10 % at random": (20, None),
    "20 patterns": (None, 2.5),
    "each row its own": (None, 25),
}
COLUMNS: report.Columns = [
    ("N", "n", ",d"),
    ("d", "d", "d"),
    ("K", "k", "d"),
    ("holes", "holes", "s"),
    ("patterns", "patterns", ",d"),
    ("complete, s an iteration", "complete", ".4f"),
    ("with holes, s", "seconds", ".4f"),
    ("times complete", "slower", ".2f"),
    ("at most", "most", "g"),
    ("NumPy by pattern, s", "numpy", ".2f"),
    ("times faster", "faster", ".1f"),
    ("at least", "least", "g"),
]


def punched(X: np.ndarray, holes: str, rng: np.random.Generator) -> np.ndarray:
    """Return the rows with entries missing in one of the ways of `GOALS`."""
    n, d = X.shape
    if holes == "10 % at random":
        mask = rng.random((n, d)) < 0.1
    elif holes == "20 patterns":
        mask = (rng.random((20, d)) < 0.1)[rng.integers(20, size=n)]
    else:
        codes = rng.choice((1 << d) - 1, size=n, replace=False)  # never all of them
        mask = (codes[:, None] >> np.arange(d)) & 1 == 1
    return np.where(mask, np.nan, X)


def by_pattern(X: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return what is there, and the rows, of each pattern of holes; not timed."""
    patterns, which = np.unique(~np.isnan(X), axis=0, return_inverse=True)
    order = np.argsort(which.ravel(), kind="stable")
    groups = np.split(order, np.cumsum(np.bincount(which.ravel()))[:-1])
    return [(there, X[rows][:, there]) for there, rows in zip(patterns, groups, strict=True)]


def numpy_step(groups: list[tuple[np.ndarray, np.ndarray]], params: Parameters) -> tuple[float, Parameters]:
    """Return the log-likelihood and the parameters after one step."""
    k, d = params.means.shape
    log_likelihood, sum_w, sum_x, sum_xx = 0.0, np.zeros(k), np.zeros((k, d)), np.zeros((k, d, d))
    for there, rows in groups:
        o, m = np.flatnonzero(there), np.flatnonzero(~there)
        S = params.covariances[:, o[:, None], o]
        factor = np.linalg.cholesky(S)
        y = rows - params.means[:, None, o]  # (K, rows, o)
        z = np.linalg.solve(factor, np.swapaxes(y, 1, 2))
        log_det = np.log(np.diagonal(factor, axis1=1, axis2=2)).sum(axis=1)
        joint = np.log(params.weights)[:, None] - 0.5 * np.square(z).sum(axis=1) - log_det[:, None]
        joint -= 0.5 * len(o) * np.log(2 * np.pi)
        log_p = logsumexp(joint, axis=0)
        resp = np.exp(joint - log_p)
        log_likelihood += log_p.sum()
        cross = params.covariances[:, m[:, None], o]
        regression = np.swapaxes(np.linalg.solve(S, np.swapaxes(cross, 1, 2)), 1, 2)
        filled = np.empty((k, len(rows), d))
        filled[:, :, o], filled[:, :, m] = y, y @ np.swapaxes(regression, 1, 2)
        w = resp.sum(axis=1)
        weighted = resp[:, :, None] * filled
        sum_w += w
        sum_x += weighted.sum(axis=1)
        sum_xx += np.swapaxes(weighted, 1, 2) @ filled
        within = params.covariances[:, m[:, None], m] - regression @ np.swapaxes(cross, 1, 2)
        sum_xx[:, m[:, None], m] += w[:, None, None] * within
    delta = sum_x / sum_w[:, None]
    covariances = sum_xx / sum_w[:, None, None] - delta[:, :, None] * delta[:, None, :]
    return float(log_likelihood), Parameters(sum_w / sum_w.sum(), params.means + delta, covariances)


def check_agreement(ours: Mixture, X: np.ndarray, start: Parameters) -> None:
    """Raise where a step of ours is not the rival's."""
    log_likelihood, after = numpy_step(by_pattern(X), start)
    statistics, mine = em_step(ours, mixture_params(start), [chunk(X)])
    np.testing.assert_allclose(statistics.log_likelihood, log_likelihood, rtol=1e-11)
    np.testing.assert_allclose(mine.components.means, after.means, atol=1e-9)
    np.testing.assert_allclose(mine.components.covariances, after.covariances, atol=1e-9)


def mixture_params(start: Parameters) -> MixtureParams:
    """Return the start as fastem's parameters."""
    return MixtureParams(start.weights, GaussianParams(start.means, start.covariances))


def best_of(function: Callable[[], object], times: int) -> float:
    """Return the least seconds of several calls."""
    seconds = []
    for _ in range(times):
        rest()
        began = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def contest(n: int, d: int, k: int, holes: str, repeats: int) -> dict[str, object]:
    """Return one row of the table."""
    case = Case(n, d, k)
    truth = mixture(case)
    complete, start = make_data(case, truth), make_start(truth)
    X = punched(complete, holes, np.random.default_rng(3))
    plain, ours, params = (
        Mixture(Gaussian(reg_covar=0.0)),
        Mixture(GaussianMissing(reg_covar=0.0)),
        mixture_params(start),
    )
    check_agreement(ours, X[:FEW], start)
    whole, data = [chunk(complete)], [chunk(X)]
    em_step(plain, params, whole), em_step(ours, params, data)
    base = best_of(lambda: em_step(plain, params, whole), repeats)
    seconds = best_of(lambda: em_step(ours, params, data), repeats)
    groups = by_pattern(X[:FEW] if holes == "each row its own" else X)
    share = sum(len(rows) for _, rows in groups) / n
    rival = best_of(lambda: numpy_step(groups, start), 2 if share < 1 or len(groups) < 100 else 1) / share
    least, most = GOALS[holes]
    return {
        "n": n, "d": d, "k": k, "holes": holes, "patterns": len(np.unique(np.isnan(X), axis=0)), "complete": base,
        "seconds": seconds, "slower": seconds / base, "most": most, "numpy": rival, "faster": rival / seconds,
        "least": least,
    }  # fmt: skip


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--dry", action="store_true", help="print, and write no table")
    arguments = parser.parse_args()
    limit_threads(THREADS)
    rows = []
    for k in (1, 8):
        for holes in GOALS:
            rows.append(contest(arguments.rows, 20, k, holes, arguments.repeats))
            print(rows[-1], flush=True)
    if not arguments.dry:
        report.save("missing", COLUMNS, rows)


if __name__ == "__main__":
    main()
