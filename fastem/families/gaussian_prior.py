r"""Conjugate priors of Gaussians, which keep the variances of small components off 0.

Density
    mu_k | S_k ~ N(mu_P, S_k / kappa). Full and tied: S ~ inverse Wishart(nu, L), whose density is in proportion to
    |S|^-((nu + d + 1) / 2) exp(-tr(L S^-1) / 2). Diag and spherical: each variance v ~ inverse gamma(nu / 2, l / 2).
M-step
    As if each component had kappa rows more at mu_P, and scatter L (or l), over a total weight of sum_w_k + e with
    e = nu + d + 2 (full), nu + 3 (diag), nu + d + 2 shared by d columns (spherical), nu + d + 1 + K in all (tied).

Fraley and Raftery (2007), Bayesian regularization for normal mixture estimation and model-based clustering, Journal of
Classification 24; the defaults are theirs and mclust's.
"""

from typing import Any, NamedTuple

import numpy as np

from fastem.families import covariance
from fastem.families.base import Scale
from fastem.families.gaussian_moments import GaussianStatistics

SHRINKAGE = 0.01
"""Rows that stand at the prior's mean."""


class GaussianPrior(NamedTuple):
    """shrinkage kappa; mean mu_P (d,); dof nu; scale L (d, d) of full and tied covariances, l of the others.

    Of diagonal ones l may be (d,), one a column.
    """

    shrinkage: float
    mean: np.ndarray
    dof: float
    scale: np.ndarray

    @classmethod
    def about(cls, mean: np.ndarray, scale: np.ndarray) -> "GaussianPrior":
        """With the default of the other numbers."""
        return cls(SHRINKAGE, mean, len(mean) + 2.0, scale)


def unbiased(weight: float) -> float:
    """What makes the variance of rows of that total weight that of those they come from; not much of a few."""
    return min(2.0, weight / (weight - 1.0)) if weight > 1 else 2.0


def default_prior(scale: Scale, weight: float, k: int, covariance_type: str, eps: float) -> GaussianPrior:
    """Of K components of data of that total weight: 0.01 rows at their mean, and their variance over K^(2 / d)."""
    d = len(scale.mean)
    matrix = covariance.clip(scale.covariance[None], scale.deviation, eps)[0] * unbiased(weight) / k ** (2.0 / d)
    if covariance_type in ("diag", "spherical"):
        matrix = np.array(np.trace(matrix) / d)
    return GaussianPrior.about(scale.mean, matrix)


def rows_like_the_data(scale: Scale, weight: float, k: int, covariance_type: str, eps: float) -> GaussianPrior:
    """The same, but with the scatter of d + 2 rows that spread as the data do, of diagonal ones in each column."""
    each = covariance_type == "diag"
    prior = default_prior(scale, weight, 1, "full" if each else covariance_type, eps)
    return prior._replace(scale=prior.dof * (np.diagonal(prior.scale) if each else prior.scale))


def heavier(prior: GaussianPrior, statistics: GaussianStatistics, params: Any, covariance_type: str) -> Any:
    """Statistics about the means of `params` with the rows and the scatter of the prior."""
    sum_w, sum_x, sum_xx = statistics
    kappa, y = prior.shrinkage, prior.mean - params.means
    if covariance_type in ("full", "tied"):
        scatter = kappa * y[:, :, None] * y[:, None, :]
        scatter = (scatter.sum(axis=0) if covariance_type == "tied" else scatter) + prior.scale
    else:
        scatter = kappa * y**2 + prior.scale / (y.shape[1] if covariance_type == "spherical" else 1)
    return GaussianStatistics(sum_w + kappa, sum_x + kappa * y, sum_xx + scatter)


def extra(prior: GaussianPrior, k: int, covariance_type: str) -> float:
    """The weight e over which a covariance of the M-step is taken beside the rows'; of spheres per column."""
    d = len(prior.mean)
    return {
        "full": prior.dof + d + 2,
        "tied": prior.dof + d + 1 + k,
        "diag": prior.dof + 3,
        "spherical": (prior.dof + d + 2) / d,
    }[covariance_type]


def log_density(prior: GaussianPrior, means: np.ndarray, factors: np.ndarray, covariance_type: str) -> float:
    """Logarithm of the prior density but for a constant, from factors U (K, d, d), S^-1 = U U^T."""
    k, d = means.shape
    log_det = 2 * np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(axis=1)  # of S^-1
    offsets = np.square(np.einsum("kji,kj->ki", factors, means - prior.mean)).sum()
    e = extra(prior, k, covariance_type)
    if covariance_type == "tied":
        log_det, factors = log_det[:1], factors[:1]
    if covariance_type in ("full", "tied"):
        spread = (factors * (prior.scale @ factors)).sum()
    else:
        spread = (prior.scale * np.square(factors).sum(axis=(0, 1))).sum()
        spread /= d if covariance_type == "spherical" else 1
    return 0.5 * float(e * log_det.sum() - spread - prior.shrinkage * offsets)
