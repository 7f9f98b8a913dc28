"""The naive truth: Gaussian mixtures by SciPy and loops over rows, slow and obviously right."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import digamma, expit, logsumexp
from scipy.stats import beta, gamma, invgamma, multivariate_normal, multivariate_t, norm

Array = NDArray[np.float64]
COVARIANCE_TYPES = ("full", "tied", "diag", "spherical")


class Parameters(NamedTuple):
    """A mixture: proportions (K,), means (K, d) and covariances in scikit-learn's shape for their type."""

    weights: Array
    means: Array
    covariances: Array


def matrices(parameters: Parameters, covariance_type: str) -> Array:
    """Return the K covariances as full matrices, (K, d, d)."""
    n_components, n_features = parameters.means.shape
    identity = np.eye(n_features)
    if covariance_type == "full":
        return np.asarray(parameters.covariances)
    if covariance_type == "tied":
        return np.stack([parameters.covariances] * n_components)
    if covariance_type == "diag":
        return np.stack([np.diag(variances) for variances in parameters.covariances])
    return np.stack([variance * identity for variance in parameters.covariances])


def precisions(parameters: Parameters, covariance_type: str) -> Array:
    """Return the inverses of the covariances, in scikit-learn's shape."""
    if covariance_type in ("full", "tied"):
        return np.linalg.inv(parameters.covariances)
    return 1 / parameters.covariances


def joint_log_prob(X: ArrayLike, parameters: Parameters, covariance_type: str) -> Array:
    """Return log(a_k) + log p(x_i | k), (n, K)."""
    X = np.asarray(X, dtype=np.float64)
    if np.isnan(X).any():
        return _joint_log_prob_of_what_is_there(X, parameters, covariance_type)
    columns = []
    for weight, mean, matrix in zip(
        parameters.weights, parameters.means, matrices(parameters, covariance_type), strict=True
    ):
        density = multivariate_normal(mean, matrix)
        columns.append(np.log(weight) + density.logpdf(X).reshape(len(X)))
    return np.stack(columns, axis=1)


def _joint_log_prob_of_what_is_there(X: Array, parameters: Parameters, covariance_type: str) -> Array:
    joint = np.tile(np.log(parameters.weights), (len(X), 1))
    for i, x in enumerate(X):
        there = ~np.isnan(x)
        for k, matrix in enumerate(matrices(parameters, covariance_type)):
            if there.any():
                density = multivariate_normal(parameters.means[k, there], matrix[np.ix_(there, there)])
                joint[i, k] += density.logpdf(x[there])
    return joint


def completed(x: Array, mean: Array, matrix: Array) -> tuple[Array, Array]:
    """Return a row with its holes at their conditional means, and their conditional covariance (d, d)."""
    missing = np.isnan(x)
    regression = matrix[np.ix_(missing, ~missing)] @ np.linalg.inv(matrix[np.ix_(~missing, ~missing)])
    row, within = x.copy(), np.zeros_like(matrix)
    row[missing] = mean[missing] + regression @ (x - mean)[~missing]
    within[np.ix_(missing, missing)] = (
        (matrix[np.ix_(missing, missing)]) - regression @ matrix[np.ix_(~missing, missing)]
    )
    return row, within


class TailedRow(NamedTuple):
    """What a t distribution says of a row: log p of what is there, E tau, E log tau, the row completed, and by what."""

    log_prob: float
    u: float
    mean_log: float
    row: Array
    within: Array


def tailed(x: Array, mean: Array, scale: Array, df: float) -> TailedRow:
    """Return what a t distribution of that scale matrix says of a row with holes; Liu and Rubin 1995."""
    there = ~np.isnan(x)
    block, y, observed = scale[np.ix_(there, there)], (x - mean)[there], int(there.sum())
    log_prob = float(multivariate_t(mean[there], block, df).logpdf(x[there])) if observed else 0.0
    distance = float(y @ np.linalg.solve(block, y))
    u = (df + observed) / (df + distance)
    mean_log = float(digamma((df + observed) / 2) - np.log((df + distance) / 2))
    return TailedRow(log_prob, u, mean_log, *completed(x, mean, scale))


def log_sum_exp(row: Array) -> float:
    """Return log(sum(exp(row))): SciPy's own takes nine tenths of the time if called by row."""
    return float(row.max() + np.log(np.sum(np.exp(row - row.max()))))


def score_samples(X: ArrayLike, parameters: Parameters, covariance_type: str) -> Array:
    """Return log p(x_i), (n,)."""
    return np.array([log_sum_exp(row) for row in joint_log_prob(X, parameters, covariance_type)])


def responsibilities(X: ArrayLike, parameters: Parameters, covariance_type: str) -> Array:
    """Return p(k | x_i), (n, K)."""
    rows = joint_log_prob(X, parameters, covariance_type)
    return np.array([np.exp(row - log_sum_exp(row)) for row in rows])


def log_likelihood(
    X: ArrayLike, parameters: Parameters, covariance_type: str, sample_weight: ArrayLike | None = None
) -> float:
    """Return sum_i w_i log p(x_i)."""
    log_prob = score_samples(X, parameters, covariance_type)
    return float(np.sum(_weights(sample_weight, len(log_prob)) * log_prob))


def m_step(
    X: ArrayLike,
    resp: Array,
    covariance_type: str,
    sample_weight: ArrayLike | None = None,
    reg_covar: float = 0.0,
    before: Parameters | None = None,
) -> Parameters:
    """Return the parameters that maximise the expected complete-data log-likelihood, row by row.

    `before` are those under which the expectation is taken, where X has holes.
    """
    X = np.asarray(X, dtype=np.float64)
    row_weights = _weights(sample_weight, len(X))
    n_components, n_features = resp.shape[1], X.shape[1]
    sum_w = np.zeros(n_components)
    means = np.zeros((n_components, n_features))
    scatter = np.zeros((n_components, n_features, n_features))
    for k in range(n_components):
        rows, within = X, np.zeros((len(X), n_features, n_features))
        if before is not None:
            matrix = matrices(before, covariance_type)[k]
            rows, within = map(np.array, zip(*(completed(x, before.means[k], matrix) for x in X), strict=True))
        for x, w, r in zip(rows, row_weights, resp[:, k], strict=True):
            sum_w[k] += w * r
            means[k] += w * r * x
        means[k] /= sum_w[k]
        for x, c, w, r in zip(rows, within, row_weights, resp[:, k], strict=True):
            scatter[k] += w * r * (np.outer(x - means[k], x - means[k]) + c)
    covariances = _covariances(scatter, sum_w, covariance_type, reg_covar)
    return Parameters(sum_w / sum_w.sum(), means, covariances)


def em(
    X: ArrayLike,
    parameters: Parameters,
    covariance_type: str,
    n_iter: int,
    sample_weight: ArrayLike | None = None,
    reg_covar: float = 0.0,
) -> tuple[Parameters, list[float]]:
    """Return the parameters after n_iter iterations, and the log-likelihood each iteration started from."""
    history = []
    for _ in range(n_iter):
        history.append(log_likelihood(X, parameters, covariance_type, sample_weight))
        resp = responsibilities(X, parameters, covariance_type)
        before = parameters if np.isnan(np.asarray(X)).any() else None
        parameters = m_step(X, resp, covariance_type, sample_weight, reg_covar, before)
    return parameters, history


def n_parameters(n_components: int, n_features: int, covariance_type: str) -> int:
    """Count the free parameters: proportions that sum to 1, means, and what each covariance type adds."""
    symmetric = n_features * (n_features + 1) // 2
    covariances = {
        "full": n_components * symmetric,
        "tied": symmetric,
        "diag": n_components * n_features,
        "spherical": n_components,
    }
    return n_components - 1 + n_components * n_features + covariances[covariance_type]


def _covariances(scatter: Array, sum_w: Array, covariance_type: str, reg_covar: float) -> Array:
    n_features = scatter.shape[1]
    if covariance_type == "tied":
        return scatter.sum(axis=0) / sum_w.sum() + reg_covar * np.eye(n_features)
    full = np.stack([s / w for s, w in zip(scatter, sum_w, strict=True)])
    if covariance_type == "full":
        return full + reg_covar * np.eye(n_features)
    variances = np.stack([np.diag(matrix) for matrix in full]) + reg_covar
    return variances if covariance_type == "diag" else variances.mean(axis=1)


def _weights(sample_weight: ArrayLike | None, n_samples: int) -> Array:
    return np.ones(n_samples) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)


def factor_log_posterior(
    X: ArrayLike, sample_weight: ArrayLike | None, weights: Array, model: tuple[Array, Array, Array], prior: dict
) -> float:
    """Log-likelihood of factor analysers (means, loadings, noise variances), and SciPy's logarithm of their prior."""
    X = np.asarray(X, dtype=np.float64)
    joint, total = np.zeros((len(X), len(weights))), 0.0
    for k, (mean, loadings, noise) in enumerate(zip(*model, strict=True)):
        covariance = loadings @ loadings.T + np.diag(noise)
        joint[:, k] = np.log(weights[k]) + multivariate_normal(mean, covariance).logpdf(X)
        total += multivariate_normal(prior["mean"], covariance / prior["shrinkage"]).logpdf(mean)
        total += invgamma(prior["dof"] / 2, scale=np.asarray(prior["scale"]) / 2).logpdf(noise).sum()
        total += norm.logpdf(loadings, 0, np.sqrt(noise / prior["loadings"])[:, None]).sum()
    return float(total + _weights(sample_weight, len(X)) @ logsumexp(joint, axis=1))


def regression_log_prior(
    coef: Array, levels: Array, rows: float, mean: float, size: float, variances: Array, kind: str
) -> float:
    """Of counts or successes: a gamma or beta distribution of the mean at the centre, as one of its link; normals."""
    if kind == "poisson":
        information = mean
        middle = gamma(rows * mean, scale=1 / (rows * size)).logpdf(np.exp(levels)) + levels
    else:
        information, p = mean * (1 - mean / size), expit(levels)
        middle = beta(rows * mean, rows * (size - mean)).logpdf(p) + np.log(p * (1 - p))
    live = variances > 0
    return float(middle.sum() + norm.logpdf(coef[:, live], 0, (rows * information * variances[live]) ** -0.5).sum())
