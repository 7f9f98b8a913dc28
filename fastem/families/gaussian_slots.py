"""What the kernels of the Gaussian family read, and the slots of sums that they write."""

from typing import Any, NamedTuple

import numpy as np

from fastem.families import covariance, gaussian_near
from fastem.families.gaussian_moments import GaussianStatistics
from fastem.kernels import whiten
from fastem.kernels.simd import NATIVE_OF
from fastem.kernels.special import LOG_TWO_PI


class Prepared(NamedTuple):
    """shift (d,); means (K, d) minus the shift; scales: P_k packed, or one over the standard deviations; log factor."""

    shift: np.ndarray
    means: np.ndarray
    scales: np.ndarray
    constant: np.ndarray


class NearPrepared(NamedTuple):
    """As `Prepared`, of covariances near each other; see `gaussian_near`."""

    shift: np.ndarray
    means: np.ndarray
    scales: np.ndarray
    constant: np.ndarray


class NearDiagPrepared(NamedTuple):
    """As `NearPrepared`, of variances; minus the means, in units of the standard deviations; zeros of that shape."""

    shift: np.ndarray
    minus_means: np.ndarray
    scales: np.ndarray
    constant: np.ndarray
    zeros: np.ndarray


class NearSphericalPrepared(NamedTuple):
    """As `NearPrepared`, of one variance each, float64: log p(x | k) = constant_k + means_k x - scales_k |x|^2 / 2.

    x is minus the shift; means are divided by the variances, and scales (1, K) are one over them.
    """

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


class NearSlots(NamedTuple):
    """Slots of weights, and segments (slots, K, m) of the moments about the shift: `kernels.products`."""

    sum_w: np.ndarray
    segments: np.ndarray


class DiagSlots(NamedTuple):
    """Slots of `GaussianStatistics` about the shift."""

    sum_w: np.ndarray
    sum_x: np.ndarray
    sum_xx: np.ndarray


class SphericalSlots(NamedTuple):
    """Slots of weights, and of the first moments and the sums of |x|^2 about the shift."""

    sum_w: np.ndarray
    sum_x: np.ndarray
    sum_norm: np.ndarray


Slots = GaussianStatistics | TiedSlots | NearSlots | DiagSlots | SphericalSlots


def padded(d: int, dtype: np.dtype) -> int:
    """d up to whole registers and blocks of eight."""
    width = max(8, NATIVE_OF[np.dtype(dtype)])
    return -(-d // width) * width


def prepared(family: Any, params: Any, dtype: np.dtype, weights: np.ndarray, scales: np.ndarray) -> Any:
    """What the kernels of a Gaussian `family` read of `params`, with `scales`, the factors of the precisions."""
    k, d = params.means.shape
    variances = covariance.diagonals(params.covariances, family.covariance_type, (k, d))
    shift = params.means[covariance.central(params.means, variances, weights)]
    means = np.zeros((k, padded(d, dtype)), dtype)
    means[:, :d] = centred = params.means - shift
    if family.covariance_type in ("full", "tied"):
        lower = np.swapaxes(scales.reshape(-1, d, d), 1, 2)
        log_det = np.log(np.diagonal(lower, axis1=1, axis2=2)).sum(axis=1)
        packed = whiten.pack(lower).astype(dtype)
    else:
        lower = scales.reshape(k, -1)
        packed = np.broadcast_to(lower, (k, d)).astype(dtype, order="C")
        log_det = np.log(np.broadcast_to(lower, (k, d))).sum(axis=1)
    constant = np.empty((1, k), dtype)
    constant[0] = log_det - 0.5 * d * LOG_TWO_PI
    if family.covariance_type == "tied":
        centres = np.zeros_like(means)
        centres[:, :d] = distances = centred @ lower[0].T
        if weights @ np.square(distances).sum(axis=1) > family.apart / np.sqrt(np.finfo(dtype).eps):
            return Prepared(shift, means, np.repeat(packed, k, axis=0), constant)
        return TiedPrepared(shift, means, packed, constant, centres, np.zeros_like(means[:1]))
    near = family.together and gaussian_near.worthwhile(k, d, dtype, family.covariance_type)
    by_products = gaussian_near.by_products(family.covariance_type, dtype)
    # Products are differences of whole squares, and lose by all features at once.
    far = np.hypot.reduce(centred, axis=1)[:, None] if by_products else centred
    if not near or not gaussian_near.are_near(lower, far, dtype):
        return Prepared(shift, means, packed, constant)
    if family.covariance_type == "full":
        return NearPrepared(shift, means, packed, constant)
    if not by_products:
        means[:, :d] = -centred * lower
        return NearDiagPrepared(shift, means, packed, constant, np.zeros_like(means))
    precisions = np.square(lower)
    means[:, :d] = centred * precisions
    constant[0] -= 0.5 * np.square(means).sum(axis=1) / precisions[:, 0]  # of the products as they are rounded
    return NearSphericalPrepared(shift, means, precisions.T.copy(), constant)


def zeros(slots: int, components: int, features: int, prepared: Any, covariance_type: str) -> Slots:
    """Statistics of zeros, padded for either dtype."""
    k, d = -(-components // 4) * 4, padded(features, np.dtype(np.float32))
    if isinstance(prepared, NearPrepared):
        near = gaussian_near.zeros(slots, components, features, padded(features, prepared.scales.dtype))
        return NearSlots(np.zeros((slots, k)), near)
    moments = np.zeros((slots, k)), np.zeros((slots, k, d))
    if isinstance(prepared, NearSphericalPrepared):
        return SphericalSlots(*moments, np.zeros((slots, k)))
    if isinstance(prepared, NearDiagPrepared):
        return DiagSlots(*moments, np.zeros((slots, k, d)))
    if isinstance(prepared, TiedPrepared):
        return TiedSlots(*moments, np.zeros((slots, d, d)), np.zeros((slots, 1, d)))
    square = covariance_type in ("full", "tied")
    return GaussianStatistics(*moments, np.zeros((slots, k, d, d) if square else (slots, k, d)))


def unpad(statistics: Slots, means: np.ndarray, prepared: Any, covariance_type: str) -> GaussianStatistics:
    """Slots summed in their order, padding off, the triangle mirrored, all about the means (K, d)."""
    k, d = means.shape
    centred = means - prepared.shift
    if isinstance(statistics, NearSlots):
        segments = statistics.segments.sum(axis=0)[:k]
        moments = gaussian_near.about_means(segments, centred, padded(d, prepared.scales.dtype))
        return GaussianStatistics(statistics.sum_w.sum(axis=0)[:k], *moments)
    sum_w, sum_x = statistics.sum_w.sum(axis=0)[:k], statistics.sum_x.sum(axis=0)[:k, :d]
    if isinstance(statistics, SphericalSlots):
        about = sum_x - sum_w[:, None] * centred
        norm = statistics.sum_norm.sum(axis=0)[:k] - (centred * (sum_x + about)).sum(axis=1)
        # Shared by all features alike: a spherical M-step reads no more than their mean.
        return GaussianStatistics(sum_w, about, np.repeat(norm[:, None] / d, d, axis=1))
    sum_xx = statistics.sum_xx.sum(axis=0)
    if isinstance(statistics, DiagSlots):
        about = sum_x - sum_w[:, None] * centred
        return GaussianStatistics(sum_w, about, sum_xx[:k, :d] - centred * (sum_x + about))
    if covariance_type in ("diag", "spherical"):
        return GaussianStatistics(sum_w, sum_x, sum_xx[:k, :d])
    sum_xx = sum_xx[..., :d, :d]
    sum_xx = np.where(covariance.upper_triangle(d), sum_xx, np.swapaxes(sum_xx, -1, -2))
    if isinstance(prepared, TiedPrepared):
        about = sum_x - sum_w[:, None] * centred
        cross = centred.T @ sum_x
        return GaussianStatistics(sum_w, about, sum_xx - cross - cross.T + (centred.T * sum_w) @ centred)
    return GaussianStatistics(sum_w, sum_x, sum_xx[:k].sum(axis=0) if covariance_type == "tied" else sum_xx[:k])
