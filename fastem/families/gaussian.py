r"""Gaussian components: full, tied, diagonal and spherical covariances.

Density
    log p(x | k) = -(d log 2 pi + log |S_k| + (x - mu_k)^T S_k^-1 (x - mu_k)) / 2, with S_k^-1 = P_k^T P_k, P_k lower
    triangular, the inverse of the Cholesky factor of S_k.
Statistics
    sum_w_k = sum r_ik, sum_x_k = sum r_ik (x_i - mu_k), sum_xx_k = sum r_ik (x_i - mu_k)(x_i - mu_k)^T, all about the
    current mean. Tied: the kernel sums about one common centre, sum_xx over all components at once, and `unpad` moves
    the sums to the means, which loses digits with the square of the distance in units of S: components far apart are
    summed as full ones, each about its mean. Others near each other are summed about a centre too: `gaussian_near`.
M-step
    mu_k += delta_k = sum_x_k / sum_w_k; S_k = sum_xx_k / sum_w_k - delta_k delta_k^T + reg_covar I. The ridge makes it
    the maximum of the expected log-likelihood less reg_covar / 2 sum_k sum_w_k tr S_k^-1, with sum_w as it is. With a
    prior see `gaussian_prior`.

Dempster, Laird and Rubin (1977), Maximum likelihood from incomplete data via the EM algorithm, JRSS B 39.
"""

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastem.families import covariance, gaussian_near, gaussian_slots
from fastem.families import gaussian_bricks as bricks
from fastem.families.base import Plain, Scale
from fastem.families.gaussian_moments import GaussianMoments, GaussianStatistics
from fastem.families.gaussian_prior import GaussianPrior, extra, heavier, log_density
from fastem.families.gaussian_slots import NearDiagPrepared, NearPrepared, NearSphericalPrepared, Slots, TiedPrepared

COVARIANCE_TYPES = ("full", "tied", "diag", "spherical")
APART = 0.1
"""Mean square distance of tied components from the shift, in units of S and 1 / sqrt(eps), beyond which they are summed
as full ones. The fast sums have lost about 3e-10 of S there in float64, and 1e-6 in float32 (measured)."""

HALF = 0.7
"""Of two halves of a component, how far each is from the middle."""

ALIKE = 0.5
"""Divergence under which components have not parted yet: on plateaus up to 0.4 was seen, at ends of fits above 0.9."""


class GaussianParams(NamedTuple):
    """means (K, d); covariances (K, d, d), (d, d), (K, d) or (K,), float64."""

    means: np.ndarray
    covariances: np.ndarray


class Gaussian(GaussianMoments, Plain):
    """The family of Gaussians with one type of covariance and a ridge `reg_covar` on its diagonal."""

    apart = APART
    together = True
    """Whether moments of components near each other may be summed about one shift."""

    def __init__(self, covariance_type: str = "full", reg_covar: float = 1e-6, eps: float = np.finfo(float).eps):
        self.covariance_type, self.reg_covar, self.eps = covariance_type, float(reg_covar), float(eps)
        if covariance_type in ("diag", "spherical"):
            self.between = {"covariances": (self.reg_covar, np.inf)}
        self.prior: GaussianPrior | None = None

    def bricks(self, prepared: Any) -> tuple[Callable, Callable]:
        """Log_prob and accumulate; tied components far apart have those of full ones."""
        if isinstance(prepared, TiedPrepared):
            return bricks.tied_log_prob, bricks.tied_accumulate
        if isinstance(prepared, NearDiagPrepared):
            return bricks.near_diag_log_prob, bricks.near_diag_accumulate
        if isinstance(prepared, NearSphericalPrepared):
            return bricks.near_spherical_log_prob, bricks.near_spherical_accumulate
        if self.covariance_type in ("diag", "spherical"):
            return bricks.diag_log_prob, bricks.diag_accumulate
        near = isinstance(prepared, NearPrepared)
        return bricks.full_log_prob, bricks.near_accumulate if near else bricks.full_accumulate

    def prepare(self, params: GaussianParams, dtype: np.dtype, weights: np.ndarray) -> Any:
        """Factor the covariances; `ValueError` if one is not positive definite.

        The shift is the mean of the heaviest component, which a far outlier does not move.
        """
        return gaussian_slots.prepared(self, params, dtype, weights, self.precisions_cholesky(params))

    def blurs(self, prepared: Any) -> bool:
        """Whether sums of what is so prepared may lose digits."""
        return isinstance(prepared, NearPrepared | NearDiagPrepared | NearSphericalPrepared)

    def blurred(self, params: GaussianParams, after: GaussianParams, prepared: Any) -> bool:
        """Whether the sums that led from `params` to `after` lost too many digits, and are wanted from `careful`."""
        if not self.blurs(prepared):
            return False
        try:
            factors = self.precisions_cholesky(after)
        except ValueError:
            return True
        if not np.isfinite(after.covariances).all():
            return True
        factors = factors if factors.ndim == 3 else factors.reshape(len(factors), -1)
        return gaussian_near.blurred(params.means, after.means, factors, prepared)

    def careful(self) -> "Gaussian":
        """This family with every sum about its mean."""
        other = copy.copy(self)
        other.together = False
        return other

    def zeros(self, params: GaussianParams, slots: int, prepared: Any) -> Slots:
        """Statistics of zeros, padded for either dtype."""
        k, d = params.means.shape
        return gaussian_slots.zeros(slots, k, d, prepared, self.covariance_type)

    def unpad(self, statistics: Slots, params: GaussianParams, prepared: Any) -> GaussianStatistics:
        """Slots summed in their order, padding off, the triangle mirrored, all about the current means."""
        return gaussian_slots.unpad(statistics, params.means, prepared, self.covariance_type)

    def m_step(self, statistics: GaussianStatistics, params: GaussianParams) -> GaussianParams:
        """Means and covariances that maximise the expected log-likelihood, and the prior's, with the ridge."""
        rows = statistics.sum_w.sum() if self.covariance_type == "tied" else statistics.sum_w
        return self.maximum(statistics, rows, params)

    def maximum(self, statistics: GaussianStatistics, rows: np.ndarray, params: GaussianParams) -> GaussianParams:
        """The M-step where the covariances are of a total weight `rows`, which may be another than `sum_w`."""
        tiny = np.finfo(float).tiny
        if self.prior is not None:
            rows = rows + extra(self.prior, len(params.means), self.covariance_type)
            statistics = heavier(self.prior, statistics, params, self.covariance_type)
        sum_w, rows = np.maximum(statistics.sum_w, tiny)[:, None], np.maximum(rows, tiny)
        delta = statistics.sum_x / sum_w
        means = params.means + delta
        if self.covariance_type == "tied":
            within = (statistics.sum_xx - (delta.T * statistics.sum_w) @ delta) / rows
            within = (within + within.T) / 2
            np.einsum("jj->j", within)[...] += self.reg_covar
            return GaussianParams(means, within)
        rows = rows[:, None]
        if self.covariance_type == "full":
            squares = (sum_w / rows)[..., None] * (delta[:, :, None] * delta[:, None, :])
            covariances = statistics.sum_xx / rows[..., None] - squares
            np.einsum("kjj->kj", covariances)[...] += self.reg_covar
            return GaussianParams(means, covariances)
        variances = statistics.sum_xx / rows - sum_w / rows * delta**2
        if self.covariance_type == "spherical":
            return GaussianParams(means, variances.mean(axis=1) + self.reg_covar)
        return GaussianParams(means, variances + self.reg_covar)

    def log_prior(self, params: GaussianParams) -> float:
        """Logarithm of the prior density, but for a constant."""
        if self.prior is None:
            return 0.0
        return log_density(self.prior, params.means, self._factors(params), self.covariance_type)

    def penalty(self, params: GaussianParams, sum_w: np.ndarray) -> float:
        """reg_covar / 2 sum_k sum_w_k tr S_k^-1, what the ridge keeps low, over the weight that the prior adds too."""
        if not self.reg_covar:
            return 0.0
        if self.prior is not None:
            e = extra(self.prior, len(params.means), self.covariance_type)
            sum_w = sum_w + (e / len(sum_w) if self.covariance_type == "tied" else e)
        return 0.5 * self.reg_covar * float(np.square(self._factors(params)).sum(axis=(1, 2)) @ sum_w)

    def rounding(self, params: GaussianParams, weights: np.ndarray) -> float:
        """Nats a row that rounding may hide or feign; see `covariance.rounding`."""
        variances = covariance.diagonals(params.covariances, self.covariance_type, params.means.shape)
        offsets = params.means - params.means[covariance.central(params.means, variances, weights)]
        return float(weights @ covariance.rounding(offsets, self._factors(params), self.eps))

    def collapsed(self, params: GaussianParams, statistics: GaussianStatistics) -> np.ndarray:
        """Mask (K,) of the components that hold no row, or whose covariance is singular in spite of the ridge."""
        sum_w = statistics.sum_w
        empty = sum_w <= 10 * np.finfo(float).eps * sum_w.sum() / len(sum_w)
        return empty | self.singular(params)

    def singular(self, params: GaussianParams) -> np.ndarray:
        """Mask (K,) of the components without a proper covariance."""
        kind, factors = self.covariance_type, self._kept_factors(params)
        mask = covariance.singular(params.covariances, kind, len(params.means), self.eps, factors)
        return mask | covariance.pinned(params.covariances, self.covariance_type, params.means, self.eps)

    def alike(self, params: GaussianParams, weights: np.ndarray) -> bool:
        """Whether no component diverges from the heaviest by more than `ALIKE`."""
        divergences = covariance.divergences(params.means, self._factors(params), int(np.argmax(weights)))
        return bool((divergences < ALIKE).all())

    def kept(self, params: GaussianParams, mask: np.ndarray) -> GaussianParams:
        """The components in the mask alone."""
        tied = self.covariance_type == "tied"
        return GaussianParams(params.means[mask], params.covariances if tied else params.covariances[mask])

    def floored(self, params: GaussianParams, mask: np.ndarray, scale: Scale) -> GaussianParams:
        """The masked components with at least the least variance of `covariance.clip`, and none that is pinned."""
        k, d = params.means.shape
        mask = mask | (self.covariance_type == "tied")
        matrices = np.array(covariance.expand(params.covariances, self.covariance_type, k, d))
        finite = np.where(np.isfinite(matrices[mask]), matrices[mask], 0.0)
        matrices[mask] = covariance.clip(finite, scale.deviation, self.eps)
        least = 2 * covariance.pins(self.covariance_type, params.means, self.eps)[mask]
        variances = np.einsum("kjj->kj", matrices)
        variances[mask] = np.maximum(variances[mask], least)
        return params._replace(covariances=covariance.reduce(matrices, self.covariance_type))

    def reseeded(self, params: GaussianParams, k: int, row: np.ndarray, scale: Scale) -> GaussianParams:
        """Component k about `row`, with the covariance of the data."""
        components, d = params.means.shape
        means = params.means.copy()
        means[k] = row
        if self.covariance_type == "tied":
            return params._replace(means=means)
        matrices = np.array(covariance.expand(params.covariances, self.covariance_type, components, d))
        spread = scale.covariance[None] + self.reg_covar * np.eye(d)
        matrices[k] = covariance.clip(spread, scale.deviation, self.eps)[0]
        return GaussianParams(means, covariance.reduce(matrices, self.covariance_type))

    def split(self, params: GaussianParams, k: int, scale: Scale) -> GaussianParams:
        """Component k cut in two across its longest axis, in units of the data, with its moments; one half comes last.

        The means are `HALF` deviations from where it was.
        """
        kept = self.kept(params, np.append(np.arange(len(params.means)), k))
        components, d = kept.means.shape
        matrices = np.array(covariance.expand(kept.covariances, self.covariance_type, components, d))
        unit = scale.deviation[:, None] * scale.deviation
        values, vectors = np.linalg.eigh(matrices[k] / unit)
        axis = HALF * np.sqrt(max(values[-1], 0.0)) * vectors[:, -1] * scale.deviation
        kept.means[k] -= axis
        kept.means[-1] += axis
        matrices[[k, -1]] -= np.outer(axis, axis)
        return GaussianParams(kept.means, covariance.reduce(matrices, self.covariance_type))

    def spread_about(self, means: np.ndarray, scale: Scale) -> GaussianParams:
        """Components at `means`, each with the covariance of the data."""
        matrix = scale.covariance + self.reg_covar * np.eye(len(scale.mean))
        matrices = np.broadcast_to(matrix, (len(means), *matrix.shape))
        return GaussianParams(np.array(means, float), covariance.reduce(matrices, self.covariance_type))

    def from_responsibilities(self, X: np.ndarray, resp: np.ndarray, scale: Scale) -> tuple:
        """sum_w and Params of an M-step from rows (n, d) and their weighted responsibilities (n, K).

        Components without a row get the mean of the data.
        """
        k, d = resp.shape[1], len(scale.mean)
        sum_w = resp.sum(axis=0)
        safe = np.maximum(sum_w, np.finfo(float).tiny)
        means = scale.mean + resp.T @ (X - scale.mean) / safe[:, None]
        matrices = np.zeros((k, d, d))
        for c in range(k):
            live = resp[:, c] > 0
            y = X[live] - means[c]
            if (np.abs(means[c] - scale.mean) > scale.deviation / np.finfo(float).eps).any():
                means[c] += resp[live, c] @ y / safe[c]  # rows of one fill value vary by nothing, not by its rounding
                y = X[live] - means[c]
            matrices[c] = (resp[live, c, None] * y).T @ y / safe[c]
        if self.covariance_type == "tied":
            matrices = np.einsum("k,kij->ij", sum_w / sum_w.sum(), matrices)[None]
        matrices = matrices + self.reg_covar * np.eye(d)
        params = GaussianParams(means, covariance.reduce(matrices, self.covariance_type))
        if self.prior is not None:
            params = self.m_step(self.expected_statistics(params, sum_w), params)
        return sum_w, params

    def n_parameters(self, params: GaussianParams) -> int:
        """Free parameters of means and covariances."""
        k, d = params.means.shape
        return k * d + covariance.n_parameters(self.covariance_type, k, d)

    def sample(self, params: GaussianParams, counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """counts[k] rows of each component, in order."""
        k, d = params.means.shape
        matrices = covariance.expand(params.covariances, self.covariance_type, k, d)
        lower = np.linalg.cholesky(matrices)
        return np.concatenate(
            [rng.standard_normal((c, d)) @ lower[k].T + params.means[k] for k, c in enumerate(counts)]
        )
