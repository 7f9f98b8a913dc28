"""EM of the other families in NumPy and SciPy, as a careful user would write it: what fastem is timed against.

Each function runs a number of iterations from a start and returns the parameters and the log-likelihoods before each
M-step. Arrays over rows and components are made by matrix products where the density is linear; what needs a special
function of row and component is computed for one component at a time, which takes the least memory and time.

    python bench/family_rivals.py gamma negative_binomial

times them, and StepMix on 200k x 20 zeros and ones, against fastem from the same start, after checking that both reach
the same log-likelihood.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from scipy.special import digamma, gammaln, logsumexp, polygamma

import fastem


class Run(NamedTuple):
    """Weights, the family's parameters by name, and the log-likelihoods."""

    weights: np.ndarray
    params: dict[str, np.ndarray]
    log_likelihoods: list[float]


def responsibilities(log_prob: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, float]:
    """Of log p(x_i | k) (n, K), and the log-likelihood."""
    joint = log_prob + np.log(weights)
    norm = logsumexp(joint, axis=1, keepdims=True)
    return np.exp(joint - norm), float(norm.sum())


def linear_em(X: np.ndarray, weights: np.ndarray, start: np.ndarray, n_iter: int, kind: str) -> Run:
    """Families whose density is a matrix product: one of the E-step and one of the M-step, whatever the family."""
    theta, history = start, []
    factorials = gammaln(X + 1).sum(axis=1, keepdims=True) if kind in ("poisson", "multinomial") else 0.0
    if kind == "multinomial":
        factorials = factorials - gammaln(X.sum(axis=1, keepdims=True) + 1)
    for _ in range(n_iter):
        if kind == "bernoulli":
            log_prob = X @ (np.log(theta) - np.log1p(-theta)).T + np.log1p(-theta).sum(axis=1)
        elif kind == "exponential":
            log_prob = -X @ (1 / theta).T - np.log(theta).sum(axis=1)
        else:
            log_prob = X @ np.log(theta).T - factorials - (theta.sum(axis=1) if kind == "poisson" else 0.0)
        resp, log_likelihood = responsibilities(log_prob, weights)
        history.append(log_likelihood)
        rows = resp.sum(axis=0)
        weights, theta = rows / len(X), resp.T @ X / rows[:, None]
        theta = theta / theta.sum(axis=1, keepdims=True) if kind == "multinomial" else theta
    return Run(weights, {"theta": theta}, history)


def stepmix_em(X: np.ndarray, weights: np.ndarray, start: np.ndarray, n_iter: int, kind: str) -> Run:
    """StepMix, with our start in the place of its own; `kind` is its name of the family."""
    from stepmix.stepmix import StepMix

    class Started(StepMix):
        def _initialize_parameters(self, X, random_state):
            super()._initialize_parameters(X, random_state)
            self.weights_ = weights.copy()
            self._mm.parameters["pis"] = start.copy()

    options = {"abs_tol": 0.0, "rel_tol": 0.0, "progress_bar": 0, "verbose": 0, "random_state": 0}
    model = Started(len(weights), measurement=kind, max_iter=n_iter, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X)
    # It keeps the last log-likelihood alone, a row: that before its last M-step.
    return Run(model.weights_, {}, [np.nan] * (n_iter - 1) + [model.lower_bound_ * len(X)])


def gamma_em(X: np.ndarray, weights: np.ndarray, shapes: np.ndarray, scales: np.ndarray, n_iter: int) -> Run:
    """Gamma mixture: two matrix products an E-step, and a few Newton steps for the shapes."""
    log_X, history = np.log(X), []
    for _ in range(n_iter):
        log_prob = log_X @ (shapes - 1).T - X @ (1 / scales).T
        log_prob -= (shapes * np.log(scales) + gammaln(shapes)).sum(axis=1)
        resp, log_likelihood = responsibilities(log_prob, weights)
        history.append(log_likelihood)
        rows = resp.sum(axis=0)[:, None]
        means, mean_logs = resp.T @ X / rows, resp.T @ log_X / rows
        delta = np.log(means) - mean_logs
        for _ in range(6):  # Minka 2002
            score = np.log(shapes) - digamma(shapes) - delta
            shapes = 1 / (1 / shapes + score / (shapes**2 * (1 / shapes - polygamma(1, shapes))))
        weights, scales = rows[:, 0] / len(X), means / shapes
    return Run(weights, {"shapes": shapes, "scales": scales}, history)


def negative_binomial_em(X: np.ndarray, weights: np.ndarray, sizes: np.ndarray, means: np.ndarray, n_iter: int) -> Run:
    """Negative binomial mixture: lgamma of all rows by component, and Newton's method over the rows for the sizes."""
    factorials, history = gammaln(X + 1).sum(axis=1, keepdims=True), []
    for _ in range(n_iter):
        log_prob = X @ np.log(means / (sizes + means)).T - factorials
        log_prob += (sizes * np.log(sizes / (sizes + means)) - gammaln(sizes)).sum(axis=1)
        for k, size in enumerate(sizes):
            log_prob[:, k] += gammaln(X + size).sum(axis=1)
        resp, log_likelihood = responsibilities(log_prob, weights)
        history.append(log_likelihood)
        rows = resp.sum(axis=0)[:, None]
        weights, means = rows[:, 0] / len(X), resp.T @ X / rows
        sizes = np.stack([newton_sizes(X, *each) for each in zip(resp.T / rows, sizes, means, strict=True)])
    return Run(weights, {"sizes": sizes, "means": means}, history)


def newton_sizes(X: np.ndarray, resp: np.ndarray, size: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Sizes (d,) of one component at which the score of its weighted rows is 0, by Newton's method on log size."""
    for _ in range(20):
        score = resp @ digamma(X + size) - digamma(size) - np.log1p(mean / size)
        bend = resp @ polygamma(1, X + size) - polygamma(1, size) + mean / (size * (size + mean))
        step = score / (score + size * bend)
        size = size * np.exp(-np.clip(step, -1, 1))
        if np.abs(step).max() < 1e-6:
            break
    return size


def tabulated_negative_binomial_em(
    X: np.ndarray, weights: np.ndarray, sizes: np.ndarray, means: np.ndarray, n_iter: int
) -> Run:
    """The same by one who knows that counts repeat: densities are looked up, and Newton's method is over the levels."""
    (k, d), levels, history = sizes.shape, np.arange(X.max() + 1), []
    counts = X.astype(np.intp)
    for _ in range(n_iter):
        r, m = sizes[..., None], means[..., None]
        table = gammaln(levels + r) - gammaln(r) - gammaln(levels + 1)
        table += r * np.log(r / (r + m)) + levels * np.log(m / (r + m))
        log_prob = sum(table[:, j, :].T[counts[:, j]] for j in range(d))
        resp, log_likelihood = responsibilities(log_prob, weights)
        history.append(log_likelihood)
        rows = resp.sum(axis=0)
        weights, means = rows / len(X), resp.T @ X / rows[:, None]
        columns = [np.ascontiguousarray(column) for column in resp.T]
        sizes = sizes.copy()
        for c, j in np.ndindex(k, d):
            shares = np.bincount(counts[:, j], columns[c], len(levels)) / rows[c]
            sizes[c, j] = newton_sizes(levels[:, None], shares, sizes[c, [j]], means[c, [j]])[0]
    return Run(weights, {"sizes": sizes, "means": means}, history)


class Contest(NamedTuple):
    """A family's rows and start, and the two that run from it."""

    estimator: Any
    rival: Callable[..., Run]
    X: np.ndarray
    start: dict[str, np.ndarray]


def gamma_contest(n: int, d: int, k: int) -> Contest:
    """Rows of gamma components, begun near the truth."""
    rng = np.random.default_rng(0)
    shapes, scales = rng.uniform(1, 8, (k, d)), rng.uniform(0.5, 4, (k, d))
    labels = rng.integers(0, k, n)
    start = {"shapes": shapes * rng.uniform(0.7, 1.4, (k, d)), "scales": scales * rng.uniform(0.7, 1.4, (k, d))}
    return Contest(fastem.GammaMixture, gamma_em, rng.gamma(shapes[labels], scales[labels]), start)


def negative_binomial_contest(n: int, d: int, k: int, largest: float = 60.0) -> Contest:
    """Rows of negative binomial components with means up to `largest`, begun near the truth."""
    rng = np.random.default_rng(0)
    sizes, means = rng.uniform(1, 8, (k, d)), rng.uniform(largest / 60, largest, (k, d))
    labels = rng.integers(0, k, n)
    X = rng.poisson(rng.gamma(sizes[labels], (means / sizes)[labels])).astype(float)
    start = {"sizes": sizes * rng.uniform(0.7, 1.4, (k, d)), "means": means * rng.uniform(0.7, 1.4, (k, d))}
    return Contest(fastem.NegativeBinomialMixture, negative_binomial_em, X, start)


def linear_contest(n: int, d: int, k: int, kind: str) -> Contest:
    """Rows of one of the linear families, begun near the truth."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, k, n)
    blur = rng.uniform(0.8, 1.2, (k, d))
    rival = partial(linear_em, kind=kind)
    if kind == "bernoulli":
        p = rng.uniform(0.1, 0.8, (k, d))
        X = (rng.random((n, d)) < p[labels]).astype(float)
        return Contest(fastem.BernoulliMixture, rival, X, {"probabilities": p * blur})
    if kind == "multinomial":
        p = rng.dirichlet(np.full(d, 2.0), k)
        X = rng.multinomial(20, p[labels]).astype(float)
        start = p * blur
        return Contest(fastem.MultinomialMixture, rival, X, {"probabilities": start / start.sum(axis=1, keepdims=True)})
    means = rng.uniform(1.0, 9.0, (k, d))
    if kind == "poisson":
        return Contest(fastem.PoissonMixture, rival, rng.poisson(means[labels]).astype(float), {"rates": means * blur})
    return Contest(fastem.ExponentialMixture, rival, rng.exponential(means[labels]), {"means": means * blur})


def stepmix_contest(n: int, d: int, k: int, kind: str) -> Contest:
    """Zeros and ones, as such or as two categories each."""
    plain = linear_contest(n, d, k, "bernoulli")
    (p,) = plain.start.values()
    if kind == "binary":
        return plain._replace(rival=partial(stepmix_em, kind=kind))
    both = np.stack([1 - p, p], axis=2).reshape(k, 2 * d)
    start = {"probabilities": both}
    return Contest(fastem.CategoricalMixture, partial(stepmix_em, kind=kind), plain.X, start)


CONTESTS: dict[str, Callable[[int, int, int], Contest]] = {
    **{kind: partial(linear_contest, kind=kind) for kind in ("bernoulli", "poisson", "multinomial", "exponential")},
    "bernoulli_stepmix": partial(stepmix_contest, kind="binary"),
    "categorical_stepmix": partial(stepmix_contest, kind="categorical"),
    "gamma": gamma_contest,
    "negative_binomial": negative_binomial_contest,
    "negative_binomial_tables": lambda n, d, k: negative_binomial_contest(n, d, k)._replace(
        rival=tabulated_negative_binomial_em
    ),
    "negative_binomial_large": lambda n, d, k: negative_binomial_contest(n, d, k, 6000.0),
}


def seconds_an_iteration(contest: Contest, k: int, ours: int, theirs: int) -> tuple[float, float, float]:
    """Seconds of an iteration of fastem and of the rival, and how far their log-likelihoods are apart, relatively."""
    weights = np.full(k, 1 / k)

    def fit(n_iter: int) -> Any:
        model = contest.estimator(k, weights_init=weights, params_init=contest.start, tol=0.0, max_iter=n_iter)
        model.set_params(accelerate=None)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return model.fit(contest.X)

    fit(2)
    begin = time.perf_counter()
    few = fit(theirs)
    middle = time.perf_counter()
    fit(theirs + ours)
    end = time.perf_counter()
    per_iteration = ((end - middle) - (middle - begin)) / ours
    begin = time.perf_counter()
    run = contest.rival(contest.X, weights, *contest.start.values(), theirs)
    rival = (time.perf_counter() - begin) / theirs
    found = few.history_["log_likelihood"][:theirs]
    apart = float(np.nanmax(np.abs(np.asarray(run.log_likelihoods) / found - 1)))
    return per_iteration, rival, apart


def main() -> None:
    """Print a line for each family asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("families", nargs="*", help=", ".join(CONTESTS))
    for name, value in (("rows", 200_000), ("columns", 8), ("components", 8), ("ours", 40), ("theirs", 3)):
        parser.add_argument(f"--{name}", type=int, default=value)
    given = parser.parse_args()
    if unknown := set(given.families) - set(CONTESTS):
        parser.error(f"there is no {', '.join(sorted(unknown))}; give some of {', '.join(CONTESTS)}, or none for all")
    for name in given.families or CONTESTS:
        columns = 20 if name.endswith("stepmix") else given.columns
        contest = CONTESTS[name](given.rows, columns, given.components)
        ours, theirs, apart = seconds_an_iteration(contest, given.components, given.ours, given.theirs)
        print(f"{name}: fastem {ours * 1e3:.1f} ms, NumPy {theirs * 1e3:.0f} ms, ratio {theirs / ours:.1f}", end=", ")
        print(f"log-likelihoods agree to {apart:.1g}", flush=True)
        if apart > 1e-6:
            raise SystemExit(f"{name}: the log-likelihoods differ, so the times compare nothing")


if __name__ == "__main__":
    main()
