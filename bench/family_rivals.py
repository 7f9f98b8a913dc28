"""EM of the other families in NumPy and SciPy, as a careful user would write it: what fastem is timed against.

Each function runs a number of iterations from a start and returns the parameters and the log-likelihoods before each
M-step. Arrays over rows and components are made by matrix products where the density is linear; what needs a special
function of row and component is computed for one component at a time, which takes the least memory and time.

`families.py` times them, and StepMix, which is a program of its own.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
from scipy.linalg import solve_triangular, sqrtm
from scipy.optimize import brentq
from scipy.special import digamma, expit, gammaln, logsumexp, polygamma


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


def regression_em(
    X: np.ndarray,
    y: np.ndarray,
    weights: np.ndarray,
    coef: np.ndarray,
    intercept: np.ndarray,
    variances: np.ndarray | None = None,
    *,
    n_iter: int,
    kind: str,
) -> Run:
    """Mixtures of regressions: products for all components at once, and one weighted cross product a component."""
    design, beta, history = np.column_stack([np.ones(len(X)), X]), np.column_stack([intercept, coef]), []
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
        resp, log_likelihood = responsibilities(log_prob, weights)
        history.append(log_likelihood)
        sum_w, score = resp.sum(axis=0), (resp * residual).T @ design
        for k in range(len(beta)):
            u = resp[:, k] if v is None else resp[:, k] * v[:, k]
            beta[k] += np.linalg.solve((design.T * u) @ design, score[k])
        if kind == "linear":
            variances = (resp * (y[:, None] - design @ beta.T) ** 2).sum(axis=0) / sum_w
        weights = sum_w / len(X)
    return Run(weights, {"coef": beta[:, 1:], "intercept": beta[:, 0]}, history)


def student_t_em(
    X: np.ndarray, weights: np.ndarray, means: np.ndarray, scales: np.ndarray, df: np.ndarray, n_iter: int
) -> Run:
    """Student-t mixture with free degrees of freedom: one whitening and one cross product a component."""
    (k, d), history = means.shape, []
    means, scales, df = means.copy(), scales.copy(), df.copy()
    for _ in range(n_iter):
        q = np.empty((len(X), k))
        log_prob = np.empty((len(X), k))
        for c in range(k):
            factor = np.linalg.cholesky(scales[c])
            q[:, c] = np.square(solve_triangular(factor, (X - means[c]).T, lower=True)).sum(axis=0)
            constant = gammaln((df[c] + d) / 2) - gammaln(df[c] / 2) - 0.5 * d * np.log(df[c] * np.pi)
            log_prob[:, c] = constant - np.log(np.diag(factor)).sum() - (df[c] + d) / 2 * np.log1p(q[:, c] / df[c])
        resp, log_likelihood = responsibilities(log_prob, weights)
        history.append(log_likelihood)
        rows, u = resp.sum(axis=0), (df + d) / (df + q)
        weights = rows / len(X)
        for c in range(k):
            w = resp[:, c] * u[:, c]
            means[c] = w @ X / w.sum()
            y = X - means[c]
            scales[c] = (w[:, None] * y).T @ y / rows[c]
            shape = (df[c] + d) / 2
            gap = (w.sum() - resp[:, c] @ np.log(u[:, c])) / rows[c] - digamma(shape) + np.log(shape) - 1
            df[c] = brentq(lambda nu, gap=gap: np.log(nu / 2) - digamma(nu / 2) - gap, 1.0, 1e6)
    return Run(weights, {"means": means, "scales": scales, "df": df}, history)


def factor_em(
    X: np.ndarray,
    weights: np.ndarray,
    means: np.ndarray,
    loadings: np.ndarray,
    noise: np.ndarray,
    n_iter: int,
    expanded: bool = True,
) -> Run:
    """Mixture of factor analysers by Woodbury's identity; `expanded`, or as Ghahramani and Hinton (1996) have it."""
    (k, d, m), history = loadings.shape, []
    means, loadings, noise = means.copy(), loadings.copy(), noise.copy()
    for _ in range(n_iter):
        log_prob, factors, spreads = np.empty((len(X), k)), [], []
        for c in range(k):
            y, scaled = X - means[c], loadings[c] / noise[c][:, None]
            spreads.append(np.linalg.inv(np.eye(m) + loadings[c].T @ scaled))
            projected = y @ scaled
            factors.append(projected @ spreads[c])
            q = (y**2) @ (1 / noise[c]) - (projected * factors[c]).sum(axis=1)
            log_det = np.log(noise[c]).sum() - np.linalg.slogdet(spreads[c])[1]
            log_prob[:, c] = -0.5 * (q + log_det + d * np.log(2 * np.pi))
        resp, log_likelihood = responsibilities(log_prob, weights)
        history.append(log_likelihood)
        rows = resp.sum(axis=0)
        weights = rows / len(X)
        for c in range(k):
            r, y = resp[:, c], X - means[c]
            f = np.column_stack([factors[c], np.ones(len(X))])
            weighted = r[:, None] * f
            square, cross = weighted.T @ f / rows[c], y.T @ weighted / rows[c]
            square[:m, :m] += spreads[c]
            both = np.linalg.solve(square, cross.T).T
            noise[c] = r @ y**2 / rows[c] - (both * cross).sum(axis=1)
            centre = square[m, :m] if expanded else np.zeros(m)
            means[c] += both[:, m] + both[:, :m] @ centre
            root = sqrtm(square[:m, :m] - np.outer(centre, centre)) if expanded else np.eye(m)
            loadings[c] = both[:, :m] @ root
    return Run(weights, {"means": means, "loadings": loadings, "noise_variances": noise}, history)
