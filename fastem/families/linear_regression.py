r"""Linear regression components.

Density
    log p(y | x, k) = -(log 2 pi s_k^2 + (y - eta_k)^2 / s_k^2) / 2, eta_k = level_k + coef_k . (x - centre_x).
Statistics
    Those of `regression` with v = 1 and z = y - eta: moments about the current line, so that fits with little noise
    keep their digits.
M-step
    level and coef by least squares; s_k^2 = (sum r z^2 after it) / sum_w_k + reg_covar, or one s^2 for all components.
    The ridge makes it the maximum of the expected log-likelihood less reg_covar / 2 sum_k sum_w_k / s_k^2.
Prior
    coef_kj | s_k^2 ~ N(0, s_k^2 / pull_j), level free, s^2 ~ inverse gamma(nu / 2, l / 2). The M-step is then that of
    sums with pull_j (x_j, y)(x_j, y)^T more for each feature, of rows about level_k with x_j = 1 and y = 0, and with l
    more squares; s_k^2 is over sum_w_k + e with e = p + nu + 2, and one s^2 over K p + nu + 2 more in all.

Quandt and Ramsey (1978), Estimating mixtures of normal distributions and switching regressions, JASA 73; Fraley and
Raftery (2007), Bayesian regularization for normal mixture estimation, Journal of Classification 24, of nu and l.
"""

from collections.abc import Collection
from typing import NamedTuple

import numpy as np

from fastem.families.base import Scale
from fastem.families.least_squares import EPS, RegressionStatistics, pulled
from fastem.families.regression import RegressionFamily, RegressionPrepared
from fastem.kernels import regression as kernels


class LinearRegressionParams(NamedTuple):
    """coef (K, p), levels (K,), and variances (K,) of y about the line."""

    coef: np.ndarray
    levels: np.ndarray
    variances: np.ndarray


class LinePrior(NamedTuple):
    """pull (p,), over s^2 the precisions of the coefficients about 0; dof nu and scale l of the variances."""

    pull: np.ndarray
    dof: float
    scale: float


class LinearRegression(RegressionFamily):
    """The family of linear regressions; `share_variance` for one variance in all components."""

    between = {"variances": (0.0, np.inf)}

    halvings, start_rows = 0, 1
    log_prob, accumulate = kernels.linear_log_prob, kernels.linear_accumulate

    def __init__(self, fit_intercept=True, reg_covar=1e-6, share_variance=False, eps=EPS):
        super().__init__(fit_intercept, None, eps)
        self.reg_covar, self.share_variance = float(reg_covar), bool(share_variance)
        self.prior: LinePrior | None = None

    def centred_at(self, mean: np.ndarray) -> np.ndarray:
        """That of y too."""
        return np.array(mean, float) if self.fit_intercept else np.zeros(len(mean))

    def link(self, y: np.ndarray, m: np.ndarray) -> np.ndarray:
        """y, from its centre."""
        return y - (self.centre[-1] if self.centre.size else 0.0)

    def mean(self, eta: np.ndarray, m: np.ndarray) -> np.ndarray:
        """The predictor, and the centre of y."""
        return eta + (self.centre[-1] if self.centre.size else 0.0)

    def make(self, coef: np.ndarray, levels: np.ndarray, variances: np.ndarray) -> LinearRegressionParams:
        """With the ridge."""
        if self.share_variance:
            variances = np.full(len(levels), variances.mean())
        return LinearRegressionParams(coef, levels, variances + self.reg_covar)

    def from_responsibilities(self, X: np.ndarray, resp: np.ndarray, scale: Scale):
        """sum_w and Params from rows (n, d) and their weighted responsibilities (n, K)."""
        sum_w = resp.sum(axis=0)
        coef, levels, variances = self.least_squares(X, resp)
        if self.share_variance:
            variances = np.full(len(levels), sum_w @ variances / sum_w.sum())
        params = self.make(coef, levels, variances)
        if self.prior is not None:
            params = self.m_step(self.expected_statistics(params, sum_w), params)
        return sum_w, params

    def information(self, params: LinearRegressionParams) -> np.ndarray:
        """1 / s^2."""
        return 1.0 / params.variances

    def scales(self, params: LinearRegressionParams) -> np.ndarray:
        """1 / s and -log(2 pi s^2) / 2."""
        variances = params.variances
        if not (np.isfinite(variances) & (variances > 0)).all():
            raise ValueError(
                f"variances are as low as {variances.min():.3g}; positive ones are wanted. Start elsewhere"
            )
        return np.stack([1.0 / np.sqrt(variances), -0.5 * np.log(2 * np.pi * variances)])

    def unpad(self, statistics: RegressionStatistics, params, prepared: RegressionPrepared) -> RegressionStatistics:
        """sum_v is sum_w but for rounding: made the same."""
        found = super().unpad(statistics, params, prepared)
        return found._replace(sum_v=found.sum_w.copy())

    def m_step(self, statistics: RegressionStatistics, params: LinearRegressionParams) -> LinearRegressionParams:
        """Least squares, then the variances about the new lines."""
        return self.held_m_step(statistics, params, frozenset())

    def held_m_step(
        self, statistics: RegressionStatistics, params: LinearRegressionParams, fixed: frozenset[str]
    ) -> LinearRegressionParams:
        """Those of what is not held; the best lines are the same whatever the variances."""
        self.watch(statistics)
        statistics, rows = self.heavier(statistics, params), statistics.sum_w + self.prior_weight(params)
        step, sum_w = self.newton(statistics, fixed), np.maximum(rows, np.finfo(float).tiny)
        squares = np.maximum(statistics.sum_xx[:, -1, -1] - step.gain, 0.0)
        variances = squares.sum() / sum_w.sum() if self.share_variance else squares / sum_w
        after = LinearRegressionParams(
            params.coef + step.coef,
            params.levels + step.levels,
            np.zeros(len(sum_w)) + variances + self.reg_covar,
        )
        return self.holding(after, params, fixed)

    def prior_weight(self, params: LinearRegressionParams) -> float:
        """The weight of the prior in a variance, beside that of the rows; of one for all, a component's share of it."""
        if self.prior is None:
            return 0.0
        k, p = params.coef.shape
        return p + (self.prior.dof + 2.0) / (k if self.share_variance else 1)

    def prior_squares(self, params: LinearRegressionParams) -> np.ndarray:
        """What the prior adds to the squares of each component (K,)."""
        if self.prior is None:
            return np.zeros(len(params.levels))
        scale = self.prior.scale / (len(params.levels) if self.share_variance else 1)
        return params.coef**2 @ self.prior.pull + scale

    def heavier(self, statistics: RegressionStatistics, params: LinearRegressionParams) -> RegressionStatistics:
        """Sums about the lines of `params` with the prior's."""
        if self.prior is None:
            return statistics
        sum_xx = pulled(statistics.sum_xx, params.coef, self.prior.pull)
        sum_xx[:, -1, -1] += self.prior_squares(params)
        return statistics._replace(sum_xx=sum_xx)

    def log_prior(self, params: LinearRegressionParams) -> float:
        """Logarithm of the prior density, but for a constant."""
        if self.prior is None:
            return 0.0
        terms = self.prior_weight(params) * np.log(params.variances) + self.prior_squares(params) / params.variances
        return -0.5 * float(terms.sum())

    def penalty(self, params: LinearRegressionParams, sum_w: np.ndarray) -> float:
        """reg_covar / 2 sum_k sum_w_k / s_k^2, over the weight that the prior adds too."""
        if not self.reg_covar:
            return 0.0
        return 0.5 * self.reg_covar * float((sum_w + self.prior_weight(params)) @ (1.0 / params.variances))

    def rounding(self, params: LinearRegressionParams, weights: np.ndarray) -> float:
        """Nats a row that rounding of the residuals may hide or feign."""
        deviation = 1.0 if self.scale is None else self.scale.deviation[:-1]
        size = np.abs(params.levels) + (np.abs(params.coef) * deviation).sum(axis=1)
        return 8 * self.eps * float(weights @ (1.0 + size / np.sqrt(params.variances)))

    def recentre(self, statistics: RegressionStatistics, old, new) -> RegressionStatistics:
        """Moments of the residuals about `new` lines: z' = z - a - c . x."""
        sum_w, sum_v, sum_x, sum_xx = statistics
        a, c = new.levels - old.levels, new.coef - old.coef
        k, d = sum_x.shape
        change = np.zeros((k, d, d))
        change[:] = np.eye(d)
        change[:, -1, :-1] = -c
        shift = np.zeros((k, d))
        shift[:, -1] = -a
        first = np.einsum("kij,kj->ki", change, sum_x)
        second = change @ sum_xx @ np.swapaxes(change, 1, 2)
        cross = first[:, :, None] * shift[:, None, :]
        second = second + cross + np.swapaxes(cross, 1, 2) + sum_v[:, None, None] * shift[:, :, None] * shift[:, None]
        return RegressionStatistics(sum_w, sum_v, first + sum_v[:, None] * shift, second)

    def expected_log_prob(self, statistics: RegressionStatistics, params: LinearRegressionParams) -> float:
        """sum_ik r_ik log p(y_i | x_i, k)."""
        squares, variances = statistics.sum_xx[:, -1, -1], params.variances
        return float(-0.5 * (statistics.sum_w @ np.log(2 * np.pi * variances) + (squares / variances).sum()))

    def expected_statistics(self, params: LinearRegressionParams, sum_w: np.ndarray) -> RegressionStatistics:
        """Those of features that are spread as in the data, and of y as `params` says."""
        k, p = params.coef.shape
        sum_w = np.array(sum_w, float)
        mean, second = np.zeros(p + 1), np.zeros((k, p + 1, p + 1))
        second[:, :-1, :-1] = np.eye(p)
        if self.scale is not None:
            mean[:-1] = (self.scale.mean - self.centre)[:-1]
            second[:, :-1, :-1] = self.scale.covariance[:-1, :-1] + np.outer(mean[:-1], mean[:-1])
        second[:, -1, -1] = np.maximum(params.variances - self.reg_covar, 0.0)
        return RegressionStatistics(sum_w, sum_w.copy(), sum_w[:, None] * mean, sum_w[:, None, None] * second)

    def least_variance(self, deviation: float) -> float:
        """What rounding of the residuals leaves of no variance at all, for a standard deviation of y."""
        return (1e3 * self.eps * deviation) ** 2

    def singular(self, params: LinearRegressionParams) -> np.ndarray:
        """Mask (K,) of the components whose lines run through their rows."""
        least = np.finfo(float).tiny if self.scale is None else self.least_variance(self.scale.deviation[-1])
        return ~(params.variances >= least)

    def floored(self, params: LinearRegressionParams, mask: np.ndarray, scale: Scale) -> LinearRegressionParams:
        """At least the least variance."""
        least = max(self.least_variance(scale.deviation[-1]), np.finfo(float).tiny)
        mask = mask | self.share_variance
        variances = np.where(mask, np.maximum(np.nan_to_num(params.variances), least), params.variances)
        return params._replace(variances=variances)

    def spread_about(self, rows: np.ndarray, scale: Scale) -> LinearRegressionParams:
        """Flat components, whose variance is at least the least."""
        params = super().spread_about(rows, scale)
        return self.floored(params, np.ones(len(rows), bool), scale)

    def reseeded(self, params: LinearRegressionParams, k: int, row: np.ndarray, scale: Scale) -> LinearRegressionParams:
        """Component k flat, between `row` and the mean; a shared variance stays."""
        fresh = super().reseeded(params, k, row, scale)
        return fresh._replace(variances=params.variances) if self.share_variance else fresh

    def n_parameters(self, params: LinearRegressionParams) -> int:
        """Coefficients, levels and variances."""
        return self.n_held(params, ("coef", "intercept", "variances"))

    def n_held(self, params: LinearRegressionParams, fixed: Collection[str]) -> int:
        """Those, and the variances."""
        variances = 1 if self.share_variance else len(params.variances)
        return super().n_held(params, fixed) + variances * ("variances" in fixed)

    def draw(self, mean: np.ndarray, m: np.ndarray, labels: np.ndarray, params, rng: np.random.Generator) -> np.ndarray:
        """y of rows with these means, of the components `labels`."""
        return mean + np.sqrt(params.variances)[labels] * rng.standard_normal(len(mean))
