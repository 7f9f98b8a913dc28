r"""Regressions whose log-density is not quadratic in the linear predictor, which is the natural parameter of y.

Density
    log p(y | x, k) = y eta_k - b(eta_k) + h(y), with the mean m(eta) = b'(eta), and the variance V(m) = b''(eta).
Statistics
    Those of `regression` with v = V and v z = y - m.
M-step
    A Newton step, of the expected log-likelihood and the logarithm of the prior's density.
Prior
    Worth `rows` rows at the centre, of y = mean whatever the features are: level_k has the conjugate density, in
    proportion to exp(rows (mean level_k - b(level_k))), and coef_kj ~ N(0, 1 / pull_j) with pull_j = rows V(mean)
    var(x_j), the information that so many rows give. Without an intercept coef alone has one.

Diaconis and Ylvisaker (1979), Conjugate priors for exponential families, Annals of Statistics 7; Chen and Ibrahim
(2003), Conjugate priors for generalized linear models, Statistica Sinica 13, whose rows spread as the features do, of
which this has the second order in coef; Gelman, Jakulin, Pittau and Su (2008), A weakly informative default prior
distribution for logistic and other regression models, Annals of Applied Statistics 2, of scaled features.
"""

from typing import NamedTuple

import numpy as np

from fastem.families.base import Scale
from fastem.families.least_squares import EPS, RegressionStatistics, pulled
from fastem.families.regression import RegressionFamily, RegressionParams
from fastem.kernels.regression import LEAST

LONGEST = 2.0
"""Root mean square of what a Newton step may add to eta, in units of 1 / sqrt(information)."""


class RowsPrior(NamedTuple):
    """rows, the mean of y in them, and pull (p,), the precisions of the coefficients about 0."""

    rows: float
    mean: float
    pull: np.ndarray


class GeneralizedRegression(RegressionFamily):
    """What such families share."""

    def __init__(self, fit_intercept: bool = True, size: int | None = None, eps: float = EPS):
        super().__init__(fit_intercept, size, eps)
        self.prior: RowsPrior | None = None

    # What a family says.

    def cumulant(self, eta: np.ndarray, m: np.ndarray) -> np.ndarray:
        """b(eta) of a row of size m."""
        raise NotImplementedError

    def variance(self, mean: np.ndarray, m: np.ndarray) -> np.ndarray:
        """V, the Fisher information of eta in a row of size m and of that mean."""
        raise NotImplementedError

    def inside(self, mean: float, least: float) -> float:
        """The mean of y in a row of mean size, at least so far from where V is 0."""
        raise NotImplementedError

    # The prior.

    def prior_of(self, rows: float, mean: float, scale: Scale) -> RowsPrior:
        """Worth so many rows, for data that spread so."""
        information = rows * self.variance(np.array(mean), np.array(self.mean_size()))
        pull = information * np.diagonal(scale.covariance)[:-1]
        if self.size is not None:
            pull[self.size] = 0.0
        return RowsPrior(rows, mean, pull)

    def log_prior(self, params: RegressionParams) -> float:
        """Logarithm of the prior density, but for a constant."""
        if self.prior is None:
            return 0.0
        rows, mean, pull = self.prior
        of_coef = -0.5 * float((params.coef**2 @ pull).sum())
        if not self.fit_intercept:
            return of_coef
        terms = mean * params.levels - self.cumulant(params.levels, np.array(self.mean_size()))
        return of_coef + rows * float(terms.sum())

    def heavier(self, statistics: RegressionStatistics, params: RegressionParams) -> RegressionStatistics:
        """Sums under `params` with the derivatives of the prior's logarithm."""
        if self.prior is None:
            return statistics
        rows, mean, pull = self.prior
        statistics = statistics._replace(sum_xx=pulled(statistics.sum_xx, params.coef, pull))
        if not self.fit_intercept:
            return statistics
        size, sum_x = np.array(self.mean_size()), statistics.sum_x.copy()
        means = self.mean(params.levels, size)
        sum_x[:, -1] += rows * (mean - means)
        sum_v = statistics.sum_v + rows * np.maximum(self.variance(means, size), LEAST)
        return statistics._replace(sum_v=sum_v, sum_x=sum_x)

    def m_step(self, statistics: RegressionStatistics, params: RegressionParams) -> RegressionParams:
        """A Newton step, at most `LONGEST` long."""
        return self.held_m_step(statistics, params, frozenset())

    def held_m_step(
        self, statistics: RegressionStatistics, params: RegressionParams, fixed: frozenset[str]
    ) -> RegressionParams:
        """That step of what is not held."""
        with_prior = self.heavier(statistics, params)
        step = self.newton(with_prior, fixed)
        self.watch(statistics)
        length = np.sqrt(np.maximum(step.gain, 0.0) / np.maximum(with_prior.sum_v, np.finfo(float).tiny))
        share = LONGEST / np.maximum(length, LONGEST)
        after = params._replace(
            coef=params.coef + share[:, None] * step.coef, levels=params.levels + share * step.levels
        )
        return self.holding(after, params, fixed)
