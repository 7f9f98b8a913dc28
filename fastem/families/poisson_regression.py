r"""Poisson regression components.

Density
    log p(y | x, k) = y eta_k + y log m - m exp(eta_k) - log y!, with m the exposure of the row: 1, or a column.
Statistics
    Those of `regression` with v = m exp(eta) and v z = y - m exp(eta).
M-step
    A Newton step; for the prior see `generalized_regression`.

Wang, Puterman, Cockburn and Le (1996), Mixed Poisson regression models with covariate dependent rates, Biometrics 52.
"""

import numpy as np
from scipy.special import xlogy

from fastem.families.generalized_regression import GeneralizedRegression
from fastem.families.linear import WIDE
from fastem.families.poisson import log_factorials
from fastem.families.regression import RegressionParams
from fastem.kernels import regression as kernels


class PoissonRegression(GeneralizedRegression):
    """The family of counts whose rate is log-linear in the features."""

    log_prob, accumulate = kernels.poisson_log_prob, kernels.poisson_accumulate

    def link(self, y: np.ndarray, m: np.ndarray) -> np.ndarray:
        """log of the rate, half a count up."""
        return np.log((y + 0.5) / m)

    def mean(self, eta: np.ndarray, m: np.ndarray) -> np.ndarray:
        """The exposure times the rate."""
        return m * np.exp(np.minimum(eta, kernels.HIGHEST))

    def cumulant(self, eta: np.ndarray, m: np.ndarray) -> np.ndarray:
        """The mean."""
        return self.mean(eta, m)

    def variance(self, mean: np.ndarray, m: np.ndarray) -> np.ndarray:
        """The mean."""
        return mean

    def inside(self, mean: float, least: float) -> float:
        """Above 0."""
        return max(mean, least)

    def information(self, params: RegressionParams) -> np.ndarray:
        """The mean at the centre, or 1 if that is more: elsewhere it may be much higher."""
        return np.maximum(self.mean(params.levels, np.array(self.mean_size())), 1.0)

    def wide(self, params: RegressionParams) -> bool:
        """Where means are large, too."""
        largest = max(float(self.information(params).max()), 0.0 if self.scale is None else self.scale.mean[-1])
        return self.narrow or largest * (1.0 + float(np.abs(params.levels).max())) > WIDE

    def base(self, X: np.ndarray) -> np.ndarray:
        """y log m - log y!."""
        y = self.statistic(X[:, -1])
        found = -log_factorials(y)
        return found if self.size is None else found + xlogy(y, self.statistic(X[:, self.size]))

    def draw(self, mean: np.ndarray, m: np.ndarray, labels: np.ndarray, params, rng: np.random.Generator) -> np.ndarray:
        """y of rows with these means."""
        return rng.poisson(mean).astype(float)
