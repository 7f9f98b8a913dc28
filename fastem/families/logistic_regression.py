r"""Logistic regression components: y successes of m trials.

Density
    log p(y | x, k) = y eta_k - m log(1 + exp(eta_k)) + log C(m, y); m is 1, or a column.
Statistics
    Those of `regression` with v = m p (1 - p) and v z = y - m p, p = 1 / (1 + exp(-eta)).
M-step
    A Newton step; for the prior see `generalized_regression`.

Follmann and Lambert (1989), Generalizing logistic regression by nonparametric mixing, JASA 84.
"""

import numpy as np
from scipy.special import expit, gammaln

from fastem.families.generalized_regression import GeneralizedRegression
from fastem.families.linear import WIDE
from fastem.families.regression import RegressionParams
from fastem.kernels import regression as kernels


class LogisticRegression(GeneralizedRegression):
    """The family of successes whose log-odds are linear in the features."""

    log_prob, accumulate = kernels.logistic_log_prob, kernels.logistic_accumulate

    def link(self, y: np.ndarray, m: np.ndarray) -> np.ndarray:
        """The log-odds, half a success and half a failure up."""
        return np.log((y + 0.5) / (m - y + 0.5))

    def mean(self, eta: np.ndarray, m: np.ndarray) -> np.ndarray:
        """The trials times the probability."""
        return m * expit(eta)

    def cumulant(self, eta: np.ndarray, m: np.ndarray) -> np.ndarray:
        """-m log(1 - p)."""
        return m * np.logaddexp(0.0, eta)

    def variance(self, mean: np.ndarray, m: np.ndarray) -> np.ndarray:
        """m p (1 - p)."""
        return mean * (1.0 - mean / m)

    def inside(self, mean: float, least: float) -> float:
        """Between 0 and the mean number of trials."""
        return min(max(mean, least), self.mean_size() - least)

    def information(self, params: RegressionParams) -> np.ndarray:
        """The most of as many trials: at the centre it may be next to nothing."""
        return np.full(len(params.levels), 0.25 * self.mean_size())

    def wide(self, params: RegressionParams) -> bool:
        """Where there are many trials, too."""
        return self.narrow or self.mean_size() * (1.0 + float(np.abs(params.levels).max())) > WIDE

    def base(self, X: np.ndarray) -> np.ndarray | None:
        """log C(m, y)."""
        if self.size is None:
            return None
        y, m = self.statistic(X[:, -1]), self.statistic(X[:, self.size])
        return gammaln(m + 1) - gammaln(y + 1) - gammaln(m - y + 1)

    def draw(self, mean: np.ndarray, m: np.ndarray, labels: np.ndarray, params, rng: np.random.Generator) -> np.ndarray:
        """y of rows with these means."""
        return rng.binomial(m.astype(np.int64), np.clip(mean / m, 0.0, 1.0)).astype(float)
