"""Gaussian statistics moved, scored and inverted without the rows: what online algorithms ask beside the five verbs."""

from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np

from fastem.families import covariance
from fastem.kernels.special import LOG_TWO_PI

KEPT = 4 << 20
"""Bytes of covariances up to which their factors are kept."""


class GaussianStatistics(NamedTuple):
    """sum_w (K,), sum_x (K, d), sum_xx (K, d, d), (d, d) or (K, d)."""

    sum_w: np.ndarray
    sum_x: np.ndarray
    sum_xx: np.ndarray


class GaussianMoments:
    """The optional verbs of the Gaussian family."""

    covariance_type: str
    reg_covar: float
    prior: Any
    _known: tuple[tuple[np.ndarray, np.ndarray], ...] = ()
    """The last two arrays of covariances, and their factors."""

    def precisions_cholesky(self, params: Any) -> np.ndarray:
        """scikit-learn's `precisions_cholesky_`; kept, for an iteration asks up to five times for one array's."""
        for covariances, factors in self._known:
            if covariances is params.covariances:
                return factors
        factors = covariance.precisions_cholesky(params.covariances, self.covariance_type)
        if factors.nbytes <= KEPT:
            self._known = (*self._known[-1:], (params.covariances, factors))
        return factors

    def _kept_factors(self, params: Any) -> np.ndarray | None:
        """`precisions_cholesky` where it will be kept for the next who asks, and there is one."""
        if params.covariances.nbytes > KEPT:
            return None
        try:
            return self.precisions_cholesky(params)
        except ValueError:
            return None

    def _factors(self, params: Any) -> np.ndarray:
        """Upper triangles U (K, d, d) with S^-1 = U U^T."""
        factors = self.precisions_cholesky(params)
        return covariance.expand(factors, self.covariance_type, *params.means.shape)

    @property
    def separable(self) -> bool:
        """Whether several mixtures can be stepped as one, that is, no parameter is common to all components."""
        return self.covariance_type != "tied"

    def held_m_step(self, statistics: GaussianStatistics, params: Any, fixed: frozenset[str]) -> Any:
        """The M-step; where means are held, of statistics about means that stay."""
        statistics = statistics._replace(sum_x=self.held_sum_x(statistics, params, fixed))
        return self.holding(self.m_step(statistics, params), params, fixed)  # type: ignore[attr-defined]

    def held_sum_x(self, statistics: GaussianStatistics, params: Any, fixed: frozenset[str]) -> np.ndarray:
        """The sum_x by which no mean moves that is held."""
        if "means" not in fixed:
            return statistics.sum_x
        pull = 0.0 if self.prior is None else self.prior.shrinkage * (params.means - self.prior.mean)
        return np.zeros_like(statistics.sum_x) + pull

    def recentre(self, statistics: GaussianStatistics, old: Any, new: Any) -> GaussianStatistics:
        """Statistics about the means of `old` -> the same rows' statistics about the means of `new`.

        With y = x - old, d = new - old, w = sum_w and s = sum_x: sum (y - d)(y - d)^T = sum_xx - d (s - w d)^T - s d^T.
        """
        delta = new.means - old.means
        sum_w, sum_x, sum_xx = statistics
        moved = sum_x - sum_w[:, None] * delta
        if self.covariance_type == "tied":
            cross = delta.T @ moved + sum_x.T @ delta
            sum_xx = sum_xx - (cross + cross.T) / 2  # symmetric but for rounding
        elif self.covariance_type == "full":
            cross = delta[:, :, None] * moved[:, None, :] + sum_x[:, :, None] * delta[:, None, :]
            sum_xx = sum_xx - (cross + np.swapaxes(cross, 1, 2)) / 2
        else:
            sum_xx = sum_xx - delta * (moved + sum_x)
        return statistics._replace(sum_x=moved, sum_xx=sum_xx)

    def expected_log_prob(self, statistics: GaussianStatistics, params: Any) -> float:
        """sum_ik r_ik log p(x_i | k) from statistics about the means of `params`.

        One number for all components: tied statistics do not say which of them their sum_xx is due to.
        """
        k, d = params.means.shape
        factors = self.precisions_cholesky(params)
        if self.covariance_type in ("full", "tied"):
            log_det = np.log(np.diagonal(factors, axis1=-2, axis2=-1)).sum(axis=-1)
            squares = (factors * (statistics.sum_xx @ factors)).sum()
        else:
            factors = np.broadcast_to(factors.reshape(k, -1), (k, d))
            log_det = np.log(factors).sum(axis=1)
            squares = (factors**2 * statistics.sum_xx).sum()
        constant = log_det - 0.5 * d * LOG_TWO_PI
        return float((statistics.sum_w * constant).sum() - 0.5 * squares)

    def expected_statistics(self, params: Any, sum_w: np.ndarray) -> GaussianStatistics:
        """Statistics about the means of components of total weights `sum_w` (K,) that are distributed as `params` says.

        Their M-step gives `params` back: the ridge, which it adds, is left out.
        """
        k, d = params.means.shape
        matrices = covariance.expand(params.covariances, self.covariance_type, k, d) - self.reg_covar * np.eye(d)
        sum_xx = sum_w[:, None, None] * matrices
        if self.covariance_type == "tied":
            sum_xx = sum_xx.sum(axis=0)
        elif self.covariance_type != "full":
            sum_xx = np.array(np.diagonal(sum_xx, axis1=1, axis2=2))
        return GaussianStatistics(np.array(sum_w, float), np.zeros((k, d)), sum_xx)

    def n_held(self, params: Any, fixed: Collection[str]) -> int:
        """Those of the means, and of the covariances."""
        k, d = params.means.shape
        covariances = covariance.n_parameters(self.covariance_type, k, d)
        return k * d * ("means" in fixed) + covariances * ("covariances" in fixed)
