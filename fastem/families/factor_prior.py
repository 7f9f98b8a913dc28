r"""A conjugate prior of factor analysers, which keeps the variances of the noise off 0: no Heywood cases.

Density
    mu_k | S_k ~ N(mu_P, S_k / kappa), S_k = L_k L_k^T + diag psi_k, as of Gaussians (`gaussian_prior`); each row of the
    loadings l_kj | psi_kj ~ N(0, psi_kj / tau I); and psi_kj ~ inverse gamma(nu / 2, lambda_j / 2).
M-step
    mu_P is a row more of each component, seen with the weight kappa, whose factors are not observed either: it adds
    kappa y y^T, and 1 to the weight of the factors' covariance given x. To the factors' square in the regression tau I
    is added, to the squares that are left lambda_j and tau |l_kj|^2, and the noise is over sum_w_k + e with
    e = nu + m + 3. Expanding the factors' covariance to R costs what tau takes off for larger loadings: R is the
    maximum of -(sum_w_k + 1) / 2 (log |R| + tr R^-1 M) - tau / 2 tr R G, where M is the covariance of the factors that
    were found, and G = sum_j l_kj l_kj^T / psi_kj. That is M^(1/2) f M^(1/2) with f (2 / (1 + sqrt(1 + 4 x))) of
    x = M^(1/2) G M^(1/2) tau / (sum_w_k + 1), since R + R G R tau / (sum_w_k + 1) = M. So no step lowers the objective.

Martin and McDonald (1975), Bayesian estimation in unrestricted factor analysis: a treatment for Heywood cases,
Psychometrika 40; Akaike (1987), Factor analysis and AIC, ibid. 52, of the prior of the loadings; Hirose, Kawano,
Konishi and Ichikawa (2011), Bayesian information criterion and selection of the number of factors in factor analysis
models, Journal of Data Science 9, of EM under priors of the noise; Fraley and Raftery (2007), of the default numbers.
"""

from typing import NamedTuple

import numpy as np

from fastem.families.base import Scale
from fastem.families.factor_moments import Beside, Core, FactorParams, FactorStatistics
from fastem.families.gaussian_prior import SHRINKAGE, unbiased

LEAST = 1e-200
"""Weight of a component below which its rows say nothing beside the prior: that over it is still a number."""


class FactorPrior(NamedTuple):
    """shrinkage kappa; mean mu_P (d,); dof nu; scale lambda (d,) or one number; loadings tau."""

    shrinkage: float
    mean: np.ndarray
    dof: float
    scale: np.ndarray
    loadings: float

    @classmethod
    def about(cls, mean: np.ndarray, scale: np.ndarray) -> "FactorPrior":
        """With the default of the other numbers: a noise variance is of one column, where d + 2 is 3."""
        return cls(SHRINKAGE, mean, 3.0, scale, SHRINKAGE)


def default_factor_prior(scale: Scale, weight: float, k: int) -> FactorPrior:
    """Of K components of data of that total weight: 0.01 rows, and the variance of each column over K^(2 / d)."""
    variances = scale.deviation**2 * unbiased(weight) / k ** (2.0 / len(scale.mean))
    return FactorPrior.about(scale.mean, variances)


def heavier(
    prior: FactorPrior, statistics: FactorStatistics, params: FactorParams, core: Core
) -> tuple[FactorStatistics, Beside]:
    """Statistics under `params` with the prior's row, and what else stands beside them."""
    sum_w, sum_y, sum_ee, sum_ge, sum_gg = statistics
    kappa, m = prior.shrinkage, params.loadings.shape[2]
    y = (prior.mean - params.means) / core.deviations
    g = np.einsum("kjf,kj->kf", core.u, y)
    e = y - np.einsum("kjf,kf->kj", core.u, g)
    whole = sum_w + kappa
    found = FactorStatistics(
        whole,
        sum_y + kappa * y,
        sum_ee + kappa * e**2,
        sum_ge + kappa * g[:, :, None] * e[:, None, :],
        sum_gg + kappa * g[:, :, None] * g[:, None, :],
    )
    over = 1.0 / np.maximum(whole, LEAST)[:, None]
    rows = sum_w[:, None]
    factors, noise = (rows + 1.0) * over, (rows + prior.dof + m + 3.0) * over
    return found, Beside(factors, noise, prior.loadings * over, prior.scale * over)


def log_density(prior: FactorPrior, params: FactorParams) -> float:
    """Logarithm of the prior density, but for a constant."""
    core, m = Core.of(params), params.loadings.shape[2]
    log_noise = np.log(params.noise_variances).sum()
    of_noise = (prior.dof + m + 3.0) * log_noise + (prior.scale / params.noise_variances).sum()
    of_loadings = prior.loadings * np.square(core.strengths).sum()
    apart = (params.means - prior.mean)[:, None]
    squares = sum(float(core.squares(k, y)[0]) for k, y in enumerate(apart))
    of_means = 2 * np.log(core.roots).sum() + prior.shrinkage * squares
    return -0.5 * float(of_noise + of_loadings + of_means)
