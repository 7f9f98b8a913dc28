"""What the kernels of the Gaussian family read, and the slots of sums that they write."""

from typing import Any, NamedTuple

import numpy as np

from fastem.families import covariance, gaussian_near
from fastem.families.gaussian_moments import GaussianStatistics
from fastem.kernels.simd import NATIVE_OF


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
    """As `NearPrepared`, of variances; minus the means, in units of the standard deviations."""

    shift: np.ndarray
    minus_means: np.ndarray
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


Slots = GaussianStatistics | TiedSlots | NearSlots


def padded(d: int, dtype: np.dtype) -> int:
    """d up to whole registers and blocks of eight."""
    width = max(8, NATIVE_OF[np.dtype(dtype)])
    return -(-d // width) * width


def zeros(slots: int, components: int, features: int, prepared: Any, covariance_type: str) -> Slots:
    """Statistics of zeros, padded for either dtype."""
    k, d = -(-components // 4) * 4, padded(features, np.dtype(np.float32))
    if isinstance(prepared, NearPrepared | NearDiagPrepared):
        segments = gaussian_near.segments(features, covariance_type == "full")
        near = gaussian_near.zeros(slots, components, segments, padded(features, prepared.scales.dtype))
        return NearSlots(np.zeros((slots, k)), near)
    moments = np.zeros((slots, k)), np.zeros((slots, k, d))
    if isinstance(prepared, TiedPrepared):
        return TiedSlots(*moments, np.zeros((slots, d, d)), np.zeros((slots, 1, d)))
    square = covariance_type in ("full", "tied")
    return GaussianStatistics(*moments, np.zeros((slots, k, d, d) if square else (slots, k, d)))


def unpad(statistics: Slots, means: np.ndarray, prepared: Any, covariance_type: str) -> GaussianStatistics:
    """Slots summed in their order, padding off, the triangle mirrored, all about the means (K, d)."""
    k, d = means.shape
    centred = means - prepared.shift
    if isinstance(statistics, NearSlots):
        segments, full = statistics.segments.sum(axis=0)[:k], covariance_type == "full"
        moments = gaussian_near.about_means(segments, centred, padded(d, prepared.scales.dtype), full)
        return GaussianStatistics(statistics.sum_w.sum(axis=0)[:k], *moments)
    sum_w, sum_x = statistics.sum_w.sum(axis=0)[:k], statistics.sum_x.sum(axis=0)[:k, :d]
    sum_xx = statistics.sum_xx.sum(axis=0)
    if covariance_type in ("diag", "spherical"):
        return GaussianStatistics(sum_w, sum_x, sum_xx[:k, :d])
    sum_xx = sum_xx[..., :d, :d]
    sum_xx = np.where(covariance.upper_triangle(d), sum_xx, np.swapaxes(sum_xx, -1, -2))
    if isinstance(prepared, TiedPrepared):
        about = sum_x - sum_w[:, None] * centred
        cross = centred.T @ sum_x
        return GaussianStatistics(sum_w, about, sum_xx - cross - cross.T + (centred.T * sum_w) @ centred)
    return GaussianStatistics(sum_w, sum_x, sum_xx[:k].sum(axis=0) if covariance_type == "tied" else sum_xx[:k])
