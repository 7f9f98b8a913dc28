"""Mixtures of regressions against NumPy as a good user would write it: the same start, the same log-likelihood.

python bench/family_rivals_regression.py [rows]
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable

import numpy as np
from scipy.special import expit, gammaln, logsumexp
from sklearn.exceptions import ConvergenceWarning

import fastem

P, K, ITERATIONS = 8, 8, 5


def rows(kind: str, n: int) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Features, responses and a start."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, P))
    coef, intercept = 0.5 * rng.standard_normal((K, P)), rng.standard_normal(K)
    line = (X @ coef.T + intercept)[np.arange(n), rng.integers(0, K, n)]
    y = {
        "linear": lambda: line + 0.3 * rng.standard_normal(n),
        "poisson": lambda: rng.poisson(np.exp(np.minimum(line, 6))).astype(float),
        "logistic": lambda: (rng.random(n) < expit(line)).astype(float),
    }[kind]()
    start = {"coef": coef + 0.1 * rng.standard_normal((K, P)), "intercept": intercept.copy()}
    if kind == "linear":
        start["variances"] = np.full(K, 0.2)
    return X, y, start


def numpy_em(kind: str, X: np.ndarray, y: np.ndarray, start: dict[str, np.ndarray], n_iter: int) -> float:
    """Log-likelihood before the last step; K-wide products, and one weighted cross product a component."""
    design = np.column_stack([np.ones(len(X)), X])
    beta = np.column_stack([start["intercept"], start["coef"]])
    variances, weights, total = start.get("variances"), np.full(K, 1 / K), 0.0
    base = -gammaln(y + 1)[:, None] if kind == "poisson" else 0.0
    for _ in range(n_iter):
        eta = design @ beta.T
        if kind == "linear":
            residual, v = y[:, None] - eta, None
            log_prob = -0.5 * (np.log(2 * np.pi * variances) + residual**2 / variances)
        elif kind == "poisson":
            v = np.exp(eta)
            residual, log_prob = y[:, None] - v, y[:, None] * eta - v + base
        else:
            mean = expit(eta)
            residual, v = y[:, None] - mean, mean * (1 - mean)
            log_prob = y[:, None] * eta - np.logaddexp(0.0, eta)
        joint = log_prob + np.log(weights)
        log_p = logsumexp(joint, axis=1, keepdims=True)
        resp, total = np.exp(joint - log_p), float(log_p.sum())
        sum_w, score = resp.sum(axis=0), (resp * residual).T @ design
        for k in range(K):
            u = resp[:, k] if v is None else resp[:, k] * v[:, k]
            beta[k] += np.linalg.solve((design.T * u) @ design, score[k])
        if kind == "linear":
            variances = (resp * (y[:, None] - design @ beta.T) ** 2).sum(axis=0) / sum_w
        weights = sum_w / len(X)
    return total


def best_of(run: Callable[[int], float], repeats: int = 3) -> tuple[float, float]:
    """Seconds an iteration (the difference of two runs, so that setting up does not count), and the log-likelihood."""
    seconds, found = [], 0.0
    for _ in range(repeats):
        begin = time.perf_counter()
        run(1)
        middle = time.perf_counter()
        found = run(1 + ITERATIONS)
        seconds.append((time.perf_counter() - middle - (middle - begin)) / ITERATIONS)
    return min(seconds), found


def main(n: int) -> None:
    """Print a line for each family."""
    warnings.simplefilter("ignore", ConvergenceWarning)
    print(f"{n} rows, {P} features, {K} components; milliseconds an iteration")
    for kind, make, options in (
        ("linear", fastem.LinearRegressionMixture, {"reg_covar": 0.0}),
        ("poisson", fastem.PoissonRegressionMixture, {}),
        ("logistic", fastem.LogisticRegressionMixture, {}),
    ):
        X, y, start = rows(kind, n)

        def ours(n_iter: int, make=make, options=options, X=X, y=y, start=start) -> float:
            model = make(K, params_init=start, tol=0.0, accelerate=None, max_iter=n_iter, **options).fit(X, y)
            return float(model.history_["log_likelihood"][-1])

        ours(1)
        (mine, a), (theirs, b) = best_of(ours), best_of(lambda i: numpy_em(kind, X, y, start, i))  # noqa: B023
        if abs(a / b - 1) > 1e-9:
            raise SystemExit(f"{kind}: log-likelihoods differ, {a!r} and {b!r}")
        print(f"{kind:9} fastem {1e3 * mine:7.2f}  NumPy {1e3 * theirs:8.1f}  ratio {theirs / mine:5.1f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200_000)
