r"""Gaussian components: full, tied, diagonal and spherical covariances.

Density
    log p(x | k) = -(d log 2 pi + log |S_k| + (x - mu_k)^T S_k^-1 (x - mu_k)) / 2, with S_k^-1 = P_k^T P_k, P_k lower
    triangular, the inverse of the Cholesky factor of S_k.
Statistics
    sum_w_k = sum r_ik, sum_x_k = sum r_ik (x_i - mu_k), sum_xx_k = sum r_ik (x_i - mu_k)(x_i - mu_k)^T, all about the
    current mean. Tied: the kernel sums about one common centre, sum_xx over all components at once, and `unpad` moves
    the sums to the means; components very far apart in units of S lose digits there.
M-step
    mu_k += delta_k = sum_x_k / sum_w_k; S_k = sum_xx_k / sum_w_k - delta_k delta_k^T + reg_covar I.

Dempster, Laird and Rubin (1977), Maximum likelihood from incomplete data via the EM algorithm, JRSS B 39.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from fastem.families import covariance
from fastem.families.base import Scale
from fastem.families.gaussian_bricks import (
    diag_accumulate,
    diag_log_prob,
    full_accumulate,
    full_log_prob,
    tied_accumulate,
    tied_log_prob,
)
from fastem.families.gaussian_moments import GaussianMoments, GaussianStatistics
from fastem.kernels import whiten
from fastem.kernels.simd import NATIVE_OF

COVARIANCE_TYPES = ("full", "tied", "diag", "spherical")


class GaussianParams(NamedTuple):
    """means (K, d); covariances (K, d, d), (d, d), (K, d) or (K,), float64."""

    means: np.ndarray
    covariances: np.ndarray


class Prepared(NamedTuple):
    """shift (d,); means (K, d) minus the shift; scales: P_k packed, or one over the standard deviations; log factor."""

    shift: np.ndarray
    means: np.ndarray
    scales: np.ndarray
    constant: np.ndarray


class TiedPrepared(NamedTuple):
    """As `Prepared`, with one packed P; centres (K, d) are P (mean - shift); zeros (1, d)."""

    shift: np.ndarray
    means: np.ndarray
    scales: np.ndarray
    constant: np.ndarray
    centres: np.ndarray
    zeros: np.ndarray


class TiedSlots(NamedTuple):
    """Slots of `GaussianStatistics` for tied covariances; sum_first is the first moment of all rows, scratch."""

    sum_w: np.ndarray
    sum_x: np.ndarray
    sum_xx: np.ndarray
    sum_first: np.ndarray


class Gaussian(GaussianMoments):
    """The family of Gaussians with one type of covariance and a ridge `reg_covar` on its diagonal."""

    def __init__(self, covariance_type: str = "full", reg_covar: float = 1e-6, eps: float = np.finfo(float).eps):
        self.covariance_type, self.reg_covar, self.eps = covariance_type, reg_covar, float(eps)
        shape = "diag" if covariance_type == "spherical" else covariance_type
        bricks = {
            "full": (full_log_prob, full_accumulate),
            "tied": (tied_log_prob, tied_accumulate),
            "diag": (diag_log_prob, diag_accumulate),
        }
        self.log_prob, self.accumulate = bricks[shape]

    def prepare(self, params: GaussianParams, dtype: np.dtype, weights: np.ndarray) -> Prepared | TiedPrepared:
        """Factor the covariances; `ValueError` if one is not positive definite.

        The shift is the mean of the heaviest component, which a far outlier does not move.
        """
        k, d = params.means.shape
        padded = _padded(d, dtype)
        shift = params.means[np.argmax(weights)]
        means = np.zeros((k, padded), dtype)
        means[:, :d] = centred = params.means - shift
        scales = self.precisions_cholesky(params)
        if self.covariance_type in ("full", "tied"):
            lower = np.swapaxes(scales.reshape(-1, d, d), 1, 2)
            log_det = np.log(np.diagonal(lower, axis1=1, axis2=2)).sum(axis=1)
            packed = whiten.pack(lower).astype(dtype)
        else:
            packed = np.broadcast_to(scales.reshape(k, -1), (k, d)).astype(dtype, order="C")
            log_det = np.log(np.broadcast_to(scales.reshape(k, -1), (k, d))).sum(axis=1)
        constant = np.broadcast_to(log_det - 0.5 * d * np.log(2 * np.pi), (1, k)).astype(dtype, order="C")
        if self.covariance_type != "tied":
            return Prepared(shift, means, packed, constant)
        centres = np.zeros((k, padded), dtype)
        centres[:, :d] = centred @ lower[0].T
        return TiedPrepared(shift, means, packed, constant, centres, np.zeros((1, padded), dtype))

    def precisions_cholesky(self, params: GaussianParams) -> np.ndarray:
        """scikit-learn's `precisions_cholesky_`: upper triangles U with S^-1 = U U^T, or 1 / standard deviations."""
        covariances = params.covariances
        if self.covariance_type in ("diag", "spherical"):
            _reject(np.flatnonzero(~(covariances.reshape(len(covariances), -1) > 0).all(axis=1)))
            return 1.0 / np.sqrt(covariances)
        d = params.means.shape[1]
        matrices = covariances.reshape(-1, d, d)
        try:
            lower = np.linalg.cholesky(matrices)
        except np.linalg.LinAlgError:
            lower = None
        if lower is None or not np.isfinite(lower).all():
            _reject(np.flatnonzero([not _is_definite(m) for m in matrices]))
            lower = np.stack([np.linalg.cholesky(m) for m in matrices])
        inverse = np.linalg.solve(lower, np.broadcast_to(np.eye(d), lower.shape))
        return np.swapaxes(np.tril(inverse), 1, 2).reshape(covariances.shape)

    def zeros(self, params: GaussianParams, slots: int) -> GaussianStatistics | TiedSlots:
        """Statistics of zeros, padded for either dtype."""
        k, d = params.means.shape
        k, d = -(-k // 4) * 4, _padded(d, np.dtype(np.float32))
        sums = np.zeros((slots, k)), np.zeros((slots, k, d))
        if self.covariance_type == "full":
            return GaussianStatistics(*sums, np.zeros((slots, k, d, d)))
        if self.covariance_type == "tied":
            return TiedSlots(*sums, np.zeros((slots, d, d)), np.zeros((slots, 1, d)))
        return GaussianStatistics(*sums, np.zeros((slots, k, d)))

    def unpad(self, statistics: GaussianStatistics | TiedSlots, params: GaussianParams, prepared) -> GaussianStatistics:
        """Slots summed in their order, padding off, the triangle mirrored, all about the current means."""
        k, d = params.means.shape
        sum_w, sum_x = statistics.sum_w.sum(axis=0)[:k], statistics.sum_x.sum(axis=0)[:k, :d]
        sum_xx = statistics.sum_xx.sum(axis=0)
        if self.covariance_type in ("diag", "spherical"):
            return GaussianStatistics(sum_w, sum_x, sum_xx[:k, :d])
        upper = np.triu(sum_xx[..., :d, :d])
        sum_xx = upper + np.swapaxes(np.triu(upper, 1), -1, -2)
        if self.covariance_type == "full":
            return GaussianStatistics(sum_w, sum_x, sum_xx[:k])
        centred = params.means - prepared.shift
        about = sum_x - sum_w[:, None] * centred
        cross = centred.T @ sum_x
        sum_xx = sum_xx - cross - cross.T + (centred.T * sum_w) @ centred
        return GaussianStatistics(sum_w, about, sum_xx)

    def m_step(self, statistics: GaussianStatistics, params: GaussianParams) -> GaussianParams:
        """Means and covariances that maximise the expected log-likelihood, with the ridge."""
        sum_w = np.maximum(statistics.sum_w, np.finfo(float).tiny)[:, None]
        delta = statistics.sum_x / sum_w
        if self.covariance_type == "tied":
            return self._tied_m_step(statistics, params, delta)
        means = params.means + delta
        if self.covariance_type == "full":
            covariances = statistics.sum_xx / sum_w[..., None] - delta[:, :, None] * delta[:, None, :]
            np.einsum("kjj->kj", covariances)[...] += self.reg_covar
            return GaussianParams(means, covariances)
        variances = statistics.sum_xx / sum_w - delta**2
        if self.covariance_type == "spherical":
            return GaussianParams(means, variances.mean(axis=1) + self.reg_covar)
        return GaussianParams(means, variances + self.reg_covar)

    def _tied_m_step(self, statistics, params, delta) -> GaussianParams:
        sum_w = statistics.sum_w
        within = statistics.sum_xx - (delta.T * sum_w) @ delta
        within /= max(sum_w.sum(), np.finfo(float).tiny)
        within = (within + within.T) / 2
        np.einsum("jj->j", within)[...] += self.reg_covar
        return GaussianParams(params.means + delta, within)

    def collapsed(self, params: GaussianParams, statistics: GaussianStatistics) -> np.ndarray:
        """Mask (K,) of the components that hold no row, or whose covariance is singular in spite of the ridge."""
        sum_w = statistics.sum_w
        empty = sum_w <= 10 * np.finfo(float).eps * sum_w.sum() / len(sum_w)
        return empty | self.singular(params)

    def singular(self, params: GaussianParams) -> np.ndarray:
        """Mask (K,) of the components without a proper covariance."""
        return covariance.singular(params.covariances, self.covariance_type, len(params.means), self.eps)

    def kept(self, params: GaussianParams, mask: np.ndarray) -> GaussianParams:
        """The components in the mask alone."""
        tied = self.covariance_type == "tied"
        return GaussianParams(params.means[mask], params.covariances if tied else params.covariances[mask])

    def floored(self, params: GaussianParams, mask: np.ndarray, scale: Scale) -> GaussianParams:
        """The masked components with at least the least variance of `covariance.clip`."""
        k, d = params.means.shape
        mask = mask | (self.covariance_type == "tied")
        matrices = np.array(covariance.expand(params.covariances, self.covariance_type, k, d))
        finite = np.where(np.isfinite(matrices[mask]), matrices[mask], 0.0)
        matrices[mask] = covariance.clip(finite, scale.deviation, self.eps)
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

    def spread_about(self, means: np.ndarray, scale: Scale) -> GaussianParams:
        """Components at `means`, each with the covariance of the data."""
        matrix = scale.covariance + self.reg_covar * np.eye(len(scale.mean))
        matrices = np.broadcast_to(matrix, (len(means), *matrix.shape))
        return GaussianParams(np.array(means, float), covariance.reduce(matrices, self.covariance_type))

    def from_responsibilities(self, blocks: Callable[[], Iterable[tuple]], k: int, scale: Scale) -> tuple:
        """sum_w and Params of an M-step from rows and their weighted responsibilities, in two passes over the blocks.

        ``blocks()`` yields X (m, d) and resp (m, K). Components without a row get the mean of the data.
        """
        d = len(scale.mean)
        sum_w, sum_x = np.zeros(k), np.zeros((k, d))
        for X, resp in blocks():
            sum_w += resp.sum(axis=0)
            sum_x += resp.T @ (X - scale.mean)
        means = scale.mean + sum_x / np.maximum(sum_w, np.finfo(float).tiny)[:, None]
        sum_xx = np.zeros((k, d, d))
        for X, resp in blocks():
            for c in np.flatnonzero(resp.any(axis=0)):
                live = resp[:, c] > 0
                y = X[live] - means[c]
                sum_xx[c] += (resp[live, c, None] * y).T @ y
        matrices = sum_xx / np.maximum(sum_w, np.finfo(float).tiny)[:, None, None]
        if self.covariance_type == "tied":
            matrices = np.einsum("k,kij->ij", sum_w / sum_w.sum(), matrices)[None]
        matrices = matrices + self.reg_covar * np.eye(d)
        return sum_w, GaussianParams(means, covariance.reduce(matrices, self.covariance_type))

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


def _padded(d: int, dtype: np.dtype) -> int:
    """d up to whole registers and blocks of eight."""
    width = max(8, NATIVE_OF[np.dtype(dtype)])
    return -(-d // width) * width


def _is_definite(matrix: np.ndarray) -> bool:
    try:
        return bool(np.isfinite(np.linalg.cholesky(matrix)).all())
    except np.linalg.LinAlgError:
        return False


def _reject(bad: np.ndarray) -> None:
    if len(bad):
        raise ValueError(
            f"the covariance of component(s) {', '.join(map(str, bad[:5]))} is not positive definite: "
            "its observations lie in a subspace, or are too few. Use fewer components, a larger reg_covar, "
            "or another covariance_type"
        )
