r"""Factor analysers: Gaussian components whose columns covary through a few factors alone.

Density
    x = mu_k + L_k f + e with f ~ N(0, I_m) and e ~ N(0, diag psi_k), so p(x | k) = N(x; mu_k, L_k L_k^T + diag psi_k).
    In units of the noise, y = (x - mu_k) / sqrt(psi_k), the loadings are U D V^T (singular values). With g = U^T y,
    e = y - U g and T^2 = 1 + D^2, the square distance is |e|^2 + |g / T|^2 and log |S_k| = sum log psi_k + 2 sum log T:
    sums of positive terms, so that no digits are lost where the noise is small beside the factors.
Statistics
    sum_w_k = sum r_ik, sum_y_k = sum r_ik y, sum_ee_k = sum r_ik e^2 by column, sum_ge_k = sum r_ik g e^T and
    sum_gg_k = sum r_ik g g^T, all under the current parameters.
M-step
    Given x, the factors V^T f have mean z D / T with z = g / T, and variance 1 / T^2. The regression of y on them, with
    an intercept, gives mean and loadings; what is left over the noise, and that not below `reg_covar`. All of it moves
    from the present parameters, at which E z z^T = I and E z e^T = 0 under the model. The factors found have a mean and
    a covariance of their own, at which the likelihood is as great as can be; the mean moves into that of the rows, and
    a root of the covariance into the loadings, so that they are N(0, I) again: the step of PX-EM, never shorter. For
    the prior see `factor_prior`.

Ghahramani and Hinton (1996), The EM algorithm for mixtures of factor analyzers, CRG-TR-96-1, University of Toronto.
McLachlan and Peel (2000), Finite mixture models, chapter 8.
Liu, Rubin and Wu (1998), Parameter expansion to accelerate EM: the PX-EM algorithm, Biometrika 85.
"""

from collections.abc import Callable, Collection
from typing import NamedTuple

import numpy as np

from fastem.families import covariance
from fastem.families.base import Plain, Scale
from fastem.families.factor_moments import (
    NOTHING,
    Core,
    FactorParams,
    FactorStatistics,
    principal,
    regression,
    variances,
)
from fastem.families.factor_prior import FactorPrior, heavier, log_density
from fastem.kernels.factors import factor_accumulate, factor_log_prob
from fastem.kernels.mixture import aligned
from fastem.kernels.simd import NATIVE_OF

FLOOR = 1e-10
"""Least noise of a component that collapsed, in units of the data's variances."""

ALIKE = 0.5
"""Divergence under which components have not parted yet, as for the Gaussian."""

RESOLVED = 64.0
"""Least deviation of the noise in units of the rounding of the factors' part, from which it is told by a difference."""


class Prepared(NamedTuple):
    """shift (d,); scales (K, d) 1 / sqrt(psi); offsets (K, d), which are (shift - mu) times them; directions (K m, d),
    which are U^T; shrink (K, m) is 1 / T^2; constant (1, K). Padded but for the first and the last."""

    shift: np.ndarray
    scales: np.ndarray
    offsets: np.ndarray
    directions: np.ndarray
    shrink: np.ndarray
    constant: np.ndarray


class FactorAnalyzer(Plain):
    """The family of factor analysers with `n_factors` factors and noise variances of at least `reg_covar`."""

    def __init__(self, n_factors: int = 1, reg_covar: float = 1e-6, eps: float = np.finfo(float).eps):
        self.n_factors, self.reg_covar, self.eps = int(n_factors), float(reg_covar), float(eps)
        self.between = {"noise_variances": (self.reg_covar, np.inf)}
        self.prior: FactorPrior | None = None

    def bricks(self, prepared: Prepared) -> tuple[Callable, Callable]:
        """The pair."""
        return factor_log_prob, factor_accumulate

    def prepare(self, params: FactorParams, dtype: np.dtype, weights: np.ndarray) -> Prepared:
        """Factor the loadings; `ValueError` where numbers are not finite, or noise is below its floor.

        The shift is the mean of the heaviest component, which a far outlier does not move.
        """
        (k, d), m = params.means.shape, params.loadings.shape[2]
        least = float(params.noise_variances.min())
        if not (np.isfinite(params.loadings).all() and np.isfinite(params.means).all() and least > 0):
            raise ValueError(
                f"parameters give no density: the least noise variance is {least:.3g}, and all must be above 0 and "
                "finite, as means and loadings must. Start elsewhere, or use a larger reg_covar"
            )
        if least < self.reg_covar:
            raise ValueError(
                f"noise variances are as low as {least:.3g}, and reg_covar, which they are not to fall below, is "
                f"{self.reg_covar:.3g}. Use a smaller reg_covar, or start elsewhere"
            )
        if m != self.n_factors:  # the room that tiles have for them
            raise ValueError(f"loadings have {m} factors, and n_factors is {self.n_factors}. Fit anew")
        core, padded = Core.of(params), _padded(d, dtype)
        shift = params.means[covariance.central(params.means, variances(params), weights)]
        rows = np.zeros((2, k, padded), dtype)
        rows[0, :, :d] = 1 / core.deviations
        rows[1, :, :d] = (shift - params.means) * rows[0, :, :d]
        directions, shrink = np.zeros((k, _up_to(4, m), padded), dtype), np.zeros((k, _up_to(4, m)), dtype)
        directions[:, :m, :d], shrink[:, :m] = np.swapaxes(core.u, 1, 2), core.roots**-2.0
        log_det = np.log(params.noise_variances).sum(axis=1) + 2 * np.log(core.roots).sum(axis=1)
        constant = (-0.5 * (log_det + d * np.log(2 * np.pi)))[None].astype(dtype)
        return Prepared(shift, rows[0], rows[1], directions.reshape(-1, padded), shrink, constant)

    def extra(self, dtype: np.dtype, d: int, k: int, lanes: int) -> np.ndarray:
        """Room for g (K m, B), which the E-step leaves to the sums."""
        return aligned(dtype, k * _up_to(4, self.n_factors), lanes)

    def zeros(self, params: FactorParams, slots: int, prepared: Prepared) -> FactorStatistics:
        """Statistics of zeros, padded for either dtype."""
        k, m, d = len(params.means), prepared.shrink.shape[1], _padded(params.means.shape[1], np.dtype(np.float32))
        sums = np.zeros((slots, k)), np.zeros((slots, k, d)), np.zeros((slots, k, d))
        return FactorStatistics(*sums, np.zeros((slots, k, m, d)), np.zeros((slots, k, m, m)))

    def unpad(self, statistics: FactorStatistics, params: FactorParams, prepared: Prepared) -> FactorStatistics:
        """Slots summed in their order, padding off."""
        d, m = params.loadings.shape[1:]
        sum_w, sum_y, sum_ee, sum_ge, sum_gg = (leaf.sum(axis=0) for leaf in statistics)
        upper = np.triu(sum_gg[:, :m, :m])
        sum_gg = upper + np.swapaxes(np.triu(upper, 1), 1, 2)
        return FactorStatistics(sum_w, sum_y[:, :d], sum_ee[:, :d], sum_ge[:, :m, :d], sum_gg)

    def m_step(self, statistics: FactorStatistics, params: FactorParams) -> FactorParams:
        """The maximum of the expected log-likelihood, and the prior's; a component without a row stays as it is."""
        return self.held_m_step(statistics, params, frozenset())

    def held_m_step(self, statistics: FactorStatistics, params: FactorParams, fixed: frozenset[str]) -> FactorParams:
        """The maximum over what is not held."""
        core, sums, beside = Core.of(params), statistics, NOTHING
        if self.prior is not None:
            sums, beside = heavier(self.prior, statistics, params, core)
        after = regression(sums, params, core, beside, self.reg_covar, fixed)
        least = np.maximum(self.reg_covar, (RESOLVED * self.eps) ** 2 * (after.loadings**2).sum(axis=2))
        after = after._replace(noise_variances=np.maximum(after.noise_variances, least))
        empty = statistics.sum_w <= 0
        for new, old in zip(after, params, strict=True):
            new[empty] = old[empty]
        return self.holding(after, params, fixed)

    def log_prior(self, params: FactorParams) -> float:
        """Logarithm of the prior density, but for a constant."""
        return 0.0 if self.prior is None else log_density(self.prior, params)

    def rounding(self, params: FactorParams, weights: np.ndarray) -> float:
        """Nats a row that rounding may hide or feign: of rows held with the precision eps and divided by the noise."""
        deviations = np.sqrt(variances(params))
        centre = covariance.central(params.means, deviations**2, weights)
        sizes = np.abs(params.means - params.means[centre]) + deviations
        errors = self.eps * np.linalg.norm(sizes / np.sqrt(params.noise_variances), axis=1)
        loose = (deviations**2 * Core.of(params).precisions()).sum(axis=1)
        d = params.means.shape[1]
        nats = np.sqrt(d) * errors + errors**2 + np.finfo(float).eps * loose
        return float(weights @ nats)

    def collapsed(self, params: FactorParams, statistics: FactorStatistics) -> np.ndarray:
        """Mask (K,) of the components that hold no row, or whose covariance is singular in spite of `reg_covar`."""
        sum_w = statistics.sum_w
        return (sum_w <= 10 * np.finfo(float).eps * sum_w.sum() / len(sum_w)) | self.singular(params)

    def singular(self, params: FactorParams) -> np.ndarray:
        """Mask (K,) of the components without a proper covariance.

        Columns without noise have a density as long as the factors tell them apart: m of them at most.
        """
        finite = np.all([np.isfinite(leaf).reshape(len(leaf), -1).all(axis=1) for leaf in params], axis=0)
        size, noise = variances(params), params.noise_variances
        bare = (noise <= 2 * (RESOLVED * self.eps) ** 2 * size).sum(axis=1) > params.loadings.shape[2]
        pinned = (size < covariance.pins("full", params.means, self.eps)).any(axis=1)
        return ~finite | (noise <= np.finfo(float).tiny).any(axis=1) | bare | pinned

    def alike(self, params: FactorParams, weights: np.ndarray) -> bool:
        """Whether no component diverges (Jeffreys) from the heaviest by more than `ALIKE` nats."""
        core, i, d = Core.of(params), int(np.argmax(weights)), params.means.shape[1]
        both = [self._squares(core, i, k, params) + self._squares(core, k, i, params) for k in range(len(weights))]
        return max(both) / 2 - d < ALIKE

    def _squares(self, core: Core, k: int, c: int, params: FactorParams) -> float:
        """Expected square distance, by S_k, of a row of component c from the mean of k: tr(S_k^-1 S_c) and the gap."""
        spread = np.vstack([params.loadings[c].T, params.means[c] - params.means[k]])
        return float(core.precisions()[k] @ params.noise_variances[c] + core.squares(k, spread).sum())

    def kept(self, params: FactorParams, mask: np.ndarray) -> FactorParams:
        """The components in the mask alone."""
        return FactorParams(*(leaf[mask] for leaf in params))

    def floored(self, params: FactorParams, mask: np.ndarray, scale: Scale) -> FactorParams:
        """The masked components with at least a small part of the data's variance as noise."""
        loadings, noise = params.loadings.copy(), params.noise_variances.copy()
        loadings[mask] = np.where(np.isfinite(loadings[mask]), loadings[mask], 0.0)
        noise[mask] = np.where(np.isfinite(noise[mask]), noise[mask], 0.0)
        least = np.maximum(FLOOR * scale.deviation**2, self.reg_covar)
        least = least + (2 * RESOLVED * self.eps) ** 2 * (loadings**2).sum(axis=2)
        least = np.maximum(least, 2 * covariance.pins("full", params.means, self.eps))
        noise[mask] = np.maximum(noise, least)[mask]
        return FactorParams(params.means, loadings, noise)

    def reseeded(self, params: FactorParams, k: int, row: np.ndarray, scale: Scale) -> FactorParams:
        """Component k about `row`, spread as the data."""
        copies = FactorParams(*(leaf.copy() for leaf in params))
        for leaf, value in zip(copies, self.spread_about(row[None], scale), strict=True):
            leaf[k] = value[0]
        return copies

    def spread_about(self, means: np.ndarray, scale: Scale) -> FactorParams:
        """Components at `means`, each spread as the data."""
        loadings, noise = principal(scale.covariance, self.n_factors)
        noise = np.maximum(noise, self.reg_covar)
        k = len(means)
        return FactorParams(np.array(means, float), np.repeat(loadings[None], k, 0), np.repeat(noise[None], k, 0))

    def from_responsibilities(self, X: np.ndarray, resp: np.ndarray, scale: Scale) -> tuple:
        """sum_w and Params by principal components of rows (n, d) and their weighted responsibilities (n, K).

        Components without a row are spread as the data about their mean.
        """
        sum_w = resp.sum(axis=0)
        params = self.spread_about(np.repeat(scale.mean[None], resp.shape[1], 0), scale)
        for k in np.flatnonzero(sum_w > 0):
            live = resp[:, k] > 0
            share, y = resp[live, k] / sum_w[k], X[live] - scale.mean
            offset = share @ y
            y -= offset
            params.means[k] += offset
            params.loadings[k], noise = principal((share[:, None] * y).T @ y, self.n_factors)
            params.noise_variances[k] = np.maximum(noise, self.reg_covar)
        return sum_w, params

    def n_parameters(self, params: FactorParams) -> int:
        """Of each component d means, d noise variances and d m loadings, less the m (m - 1) / 2 of a rotation.

        No more than a full covariance has, which is all that the loadings and the noise can make.
        """
        return self._n_free(params, ())

    def _n_free(self, params: FactorParams, fixed: Collection[str]) -> int:
        k, d, m = params.loadings.shape
        means = d * ("means" not in fixed)
        loadings = (d * m - m * (m - 1) // 2) * ("loadings" not in fixed)
        return k * (means + min(d * ("noise_variances" not in fixed) + loadings, d * (d + 1) // 2))

    def n_held(self, params: FactorParams, fixed: Collection[str]) -> int:
        """All but those that are still free."""
        return self.n_parameters(params) - self._n_free(params, fixed)

    def sample(self, params: FactorParams, counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """counts[k] rows of each component, in order."""
        _, d, m = params.loadings.shape
        parts = []
        for k, c in enumerate(counts):
            noise = rng.standard_normal((c, d)) * np.sqrt(params.noise_variances[k])
            parts.append(params.means[k] + rng.standard_normal((c, m)) @ params.loadings[k].T + noise)
        return np.concatenate(parts)


def _up_to(multiple: int, size: int) -> int:
    return -(-size // multiple) * multiple


def _padded(d: int, dtype: np.dtype) -> int:
    """d up to whole registers and blocks of eight."""
    return _up_to(max(8, NATIVE_OF[np.dtype(dtype)]), d)
