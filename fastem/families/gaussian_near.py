"""Components near each other: moments summed about one shift, all components at once.

Moving them to the means loses digits with the squares of the distances. In units of S = P^-1 P^-T the sums about a mean
have lost eps (|P| sd)^2 and those about the shift eps (|P| |mean - shift|)^2: it is the latter that must be small. Of
covariances that are diagonal, each variance for itself.
"""

import functools
from typing import Any

import numpy as np

from fastem.kernels.products import SPARE
from fastem.kernels.simd import NATIVE_OF

NEAR = {4: 1e-5, 8: 1e-12}
"""Part of S that may be lost, by bytes of the float."""

SLACK = 10.0
"""How much more than that where components have shrunk within an iteration."""

FEW, FEW_SQUARES, MOST = 7, 3, 48
"""Least components, with covariances and with variances alone, and most features with which the sums are faster that
way (measured)."""

WASTE = 1.15
"""Products computed, in units of those that the other way computes, up to which they are faster."""


def segments(d: int) -> int:
    """How many `kernels.products` has for d features."""
    return d // 2 + 2


def by_products(covariance_type: str, dtype: np.dtype) -> bool:
    """Whether densities are the products of rows and means: the digits that they lose are too many in float32.

    What is left there of a density changes with the means, and a fit would end where that hides its gains.
    """
    return covariance_type == "spherical" and dtype.itemsize == 8


def worthwhile(k: int, d: int, dtype: np.dtype, covariance_type: str) -> bool:
    """Whether sums about one shift are the faster ones."""
    native, fours = NATIVE_OF[dtype], -(-d // 4) * 4
    columns = -(-d // native) * native
    if k < (FEW if covariance_type == "full" else FEW_SQUARES) or (d <= 4 and not by_products(covariance_type, dtype)):
        return False
    if covariance_type != "full":
        return by_products(covariance_type, dtype) or 2 * columns <= 3 * d
    products = segments(d) * columns * -(-k // 4) * 4
    return d <= MOST and products <= WASTE * k * (fours * (fours + 3) // 2)


def are_near(lower: np.ndarray, centred: np.ndarray, dtype: np.dtype, slack: float = 1.0) -> bool:
    """Whether components of factors P (K, d, d), or of diagonals, at `centred` (K, d) keep their digits so.

    Both are (K, 1) where it is the whole distance that counts.
    """
    with np.errstate(over="ignore"):
        if lower.ndim == 2:
            lost = np.square(lower * centred)
        else:
            lost = np.square(np.einsum("kij,kj->ki", np.abs(lower), np.abs(centred))).sum(axis=1)
    return bool(np.finfo(dtype).eps * lost.max() <= slack * NEAR[dtype.itemsize])


def blurred(means: np.ndarray, after: np.ndarray, factors: np.ndarray, prepared: Any) -> bool:
    """Whether components, now at `after`, shrank so far that sums about the shift have lost too much of them.

    `means` are those before, `factors` the upper triangles (K, d, d) or diagonals of the precisions after. Where a wide
    start meets narrow clusters, what was small in units of S no longer is.
    """
    far = np.maximum(np.abs(means - prepared.shift), np.abs(after - prepared.shift))
    lower = np.swapaxes(factors, 1, 2) if factors.ndim == 3 else factors
    return not are_near(lower, far, prepared.scales.dtype, SLACK)


def zeros(slots: int, k: int, d: int, padded: int) -> np.ndarray:
    """Slots of the segments, and a place behind them for the sum of the weights."""
    return np.zeros((slots, -(-k // 8) * 8, segments(d) * padded + SPARE))


@functools.cache
def _pairs(d: int) -> tuple[np.ndarray, ...]:
    """Of each pair i <= j < d, row by row: i, j, the segment that holds it, and its place there."""
    i, j = np.triu_indices(d)
    ahead = 2 * (j - i) <= d
    return i, j, np.where(ahead, j - i, d - (j - i)), np.where(ahead, i, j)


def about_means(sums: np.ndarray, centred: np.ndarray, padded: int) -> tuple[np.ndarray, np.ndarray]:
    """sum_x (K, d) and sum_xx (K, d, d) about the means, which are `centred` from the shift."""
    k, d = centred.shape
    last = segments(d) - 1
    about_shift, sum_w = sums[:, last * padded :][:, :d], sums[:, -SPARE, None]
    sum_x = about_shift - sum_w * centred
    i, j, segment, place = _pairs(d)
    sum_xx = np.empty((k, d, d))
    sum_xx[:, i, j] = sum_xx[:, j, i] = sums[:, segment * padded + place]
    cross = about_shift[:, :, None] * centred[:, None, :] + centred[:, :, None] * sum_x[:, None, :]
    return sum_x, sum_xx - (cross + np.swapaxes(cross, 1, 2)) / 2
