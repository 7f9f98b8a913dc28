r"""Gamma components of rows with missing entries (NaN): the likelihood is that of what is there.

Density
    log p(x | k), the sum of the gamma's over the columns that are there; 1 where nothing is.
Statistics
    The gamma's of what is there, and sum_there_kj = sum_i r_ik there_ij, once for x and once for log x.
M-step
    The gamma's, of the means sum_x_kj / sum_there_kj. A column of which nothing is there keeps its parameters.

Little and Rubin (2002), Statistical analysis with missing data, chapter 8.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastem.families.gamma import Gamma, GammaParams, about_zero
from fastem.families.linear import checked_and_padded, up_to
from fastem.families.linear_missing import WHOLE_ROWS, LinearMissing, MissingSums
from fastem.kernels.jit import brick, rootless
from fastem.kernels.linear import (
    logarithms,
    masked,
    part_holes,
    products,
    products_of_two,
    row_sums,
    weighted_sums,
)
from fastem.kernels.mixture import aligned
from fastem.kernels.product import add_up


class GammaMissingPrepared(NamedTuple):
    """As the gamma's, with constant (1, K) of zeros, and what each column adds to log p in `levels` (K, d), padded.

    exposure: none.
    """

    shift: np.ndarray
    unit: np.ndarray
    slopes: np.ndarray
    log_slopes: np.ndarray
    levels: np.ndarray
    constant: np.ndarray
    components: np.ndarray
    exposure: np.ndarray


class GammaMissingSums(NamedTuple):
    """sum_w (K,), and sums of u - 1, of log u and of what is there (K, d), of each slot."""

    sum_w: np.ndarray
    sum_u: np.ndarray
    sum_log: np.ndarray
    sum_there: np.ndarray


@brick
def missing_gamma_log_prob(tile, prepared, out):
    """out[k, b] = log p(x_b | k) of what there is of x_b; leaves that in tile.extra, and 0 at its holes.

    tile.columns and tile.centred are as `gamma_log_prob` leaves them.
    """
    k, d, lanes, there = prepared.components.size, prepared.shift.size, out.shape[1], tile.extra
    part_holes(tile.columns, there, prepared.exposure, lanes, d)
    logarithms(tile.columns, prepared.unit, tile.centred, lanes, d)
    masked(tile.columns, there, lanes, d)
    masked(tile.centred, there, lanes, d)
    slopes, log_slopes, constant, part = prepared.slopes, prepared.log_slopes, prepared.constant, tile.spare[0]
    products(there, prepared.levels, constant, part, k, d)
    products_of_two(tile.columns, tile.centred, slopes, log_slopes, constant, out, k, d)
    add_up(part, out, k, False)


@rootless
@brick
def missing_gamma_accumulate(tile, resp, prepared, statistics, s):
    """The sums of a tile whose holes and logarithms `missing_gamma_log_prob` has found."""
    k, d = prepared.components.size, prepared.shift.size
    row_sums(tile.columns, resp, statistics.sum_w[s], statistics.sum_u[s], k, d)
    weighted_sums(tile.centred, resp, statistics.sum_log[s], k, d)
    weighted_sums(tile.extra, resp, statistics.sum_there[s], k, d)


class GammaMissing(LinearMissing, Gamma):
    """Amounts with holes."""

    def extra(self, dtype: np.dtype, d: int, k: int, lanes: int) -> np.ndarray:
        """What is there, (d, B), padded."""
        return aligned(dtype, up_to(16, d), lanes)

    def bricks(self, prepared: Any) -> tuple[Callable, Callable]:
        """Products with the rows, with their logarithms, and with what is there."""
        return missing_gamma_log_prob, missing_gamma_accumulate

    def prepare(self, params: GammaParams, dtype: np.dtype, weights: np.ndarray) -> Any:
        """The terms of the columns, padded."""
        unit, slopes, log_slopes, levels = self._about_unit(params, dtype, weights)
        (k, d), constant = params.shapes.shape, np.zeros((1, len(slopes)), dtype)
        levels = checked_and_padded(levels, dtype)
        return GammaMissingPrepared(np.zeros(d), unit, slopes, log_slopes, levels, constant, np.zeros(k), WHOLE_ROWS)

    def zeros(self, params: GammaParams, slots: int, prepared: Any) -> Any:
        """Sums of zeros, padded."""
        sum_w, sum_u, sum_there = super().zeros(params, slots, prepared)
        return GammaMissingSums(sum_w, sum_u, sum_u.copy(), sum_there)

    def unpad(self, statistics: Any, params: GammaParams, prepared: Any) -> Any:
        """Slots summed in their order, padding off, of x and log x themselves."""
        k, d = params.shapes.shape
        sum_w, *sums = (leaf.sum(axis=0)[:k] for leaf in statistics)
        sum_u, sum_log, there = (leaf[:, :d] for leaf in sums)
        return MissingSums(sum_w, about_zero(sum_u, sum_log, there, prepared), np.tile(there, 2))
