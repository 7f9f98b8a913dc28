"""Families of independent columns, of rows with missing entries (NaN): the likelihood is that of what is there.

Density
    log p(x | k) = sum_j there_j (c_kj + s_kj x_j), with there_j = 1, or 0 where x_j is missing: the columns are
    independent given the component. 1 where nothing is there. With an exposure there_j is that of the row.
Statistics
    sum_w_k, sum_x_kj = sum_i r_ik x_ij of what is there, sum_there_kj = sum_i r_ik there_ij.
M-step
    That of the family, of the means sum_x_kj / sum_there_kj. A column of which nothing is there keeps its parameter.

Little and Rubin (2002), Statistical analysis with missing data, chapter 8.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastem.families.bernoulli import Bernoulli
from fastem.families.exponential import Exponential
from fastem.families.linear import LinearFamily, checked_and_padded, up_to
from fastem.families.poisson import Poisson
from fastem.kernels.jit import brick, rootless
from fastem.kernels.linear import part_holes, products_of_two, row_sums, weighted_sums

WHOLE_ROWS = np.zeros(0, np.int64)
"""No column of an exposure."""


class MissingPrepared(NamedTuple):
    """shift (d,) of zeros; slopes and levels (K, d), and constant (1, K) of zeros, padded; components (K,).

    exposure: the column that has it, or none.
    """

    shift: np.ndarray
    slopes: np.ndarray
    levels: np.ndarray
    constant: np.ndarray
    components: np.ndarray
    exposure: np.ndarray


class MissingSums(NamedTuple):
    """sum_w (K,), sum_x and sum_there (K, d)."""

    sum_w: np.ndarray
    sum_x: np.ndarray
    sum_there: np.ndarray


@brick
def missing_linear_log_prob(tile, prepared, out):
    """out[k, b] = log p(x_b | k) of what there is of x_b; leaves 0 at its holes, and in tile.centred what is there."""
    k, d = prepared.components.size, prepared.shift.size
    part_holes(tile.columns, tile.centred, prepared.exposure, out.shape[1], d)
    products_of_two(tile.columns, tile.centred, prepared.slopes, prepared.levels, prepared.constant, out, k, d)


@rootless
@brick
def missing_linear_accumulate(tile, resp, prepared, statistics, s):
    """The sums of a tile whose holes `missing_linear_log_prob` has found."""
    k, d = prepared.components.size, prepared.shift.size
    row_sums(tile.columns, resp, statistics.sum_w[s], statistics.sum_x[s], k, d)
    weighted_sums(tile.centred, resp, statistics.sum_there[s], k, d)


class LinearMissing(LinearFamily):
    """To inherit from before a family that has `terms`, of T(x) = x."""

    exposure: int | None = None

    def bricks(self, prepared: Any) -> tuple[Callable, Callable]:
        """Products with the rows and with what is there of them."""
        return missing_linear_log_prob, missing_linear_accumulate

    def prepare(self, params: Any, dtype: np.dtype, weights: np.ndarray) -> Any:
        """The terms of the columns, padded."""
        levels, slopes = self.terms(params)
        k, d = slopes.shape
        levels, slopes = (checked_and_padded(term, dtype) for term in (levels, self.barred(params, slopes)))
        exposure = WHOLE_ROWS if self.exposure is None else np.array([self.exposure])
        return MissingPrepared(np.zeros(d), slopes, levels, np.zeros((1, len(slopes)), dtype), np.zeros(k), exposure)

    def zeros(self, params: Any, slots: int, prepared: Any) -> Any:
        """Sums of zeros, padded."""
        k, d = len(prepared.slopes), up_to(16, prepared.slopes.shape[1])
        return MissingSums(np.zeros((slots, k)), np.zeros((slots, k, d)), np.zeros((slots, k, d)))

    def unpad(self, statistics: Any, params: Any, prepared: Any) -> Any:
        """Slots summed in their order, padding off."""
        (sum_w, sum_x, sum_there), (k, d) = (a.sum(axis=0) for a in statistics), self.expected(params).shape
        return MissingSums(sum_w[:k], sum_x[:k, :d], sum_there[:k, :d])

    def means(self, statistics: Any, params: Any) -> np.ndarray:
        """With the prior's rows, of which nothing is missing."""
        _, sum_x, there = statistics
        there = np.maximum(there, 0.0)
        if self.prior:
            there, sum_x = there + self.prior * self._whole(self.prior_mean), sum_x + self.prior * self.prior_mean
        empty = there <= 0
        before = self.prior_mean if params is None else self.expected(params)
        return np.where(empty, before / self._whole(before), sum_x / np.where(empty, 1.0, there))

    def _whole(self, T: np.ndarray) -> np.ndarray | float:
        """What is there in each column of rows of which nothing is missing: 1, or the exposure."""
        return 1.0 if self.exposure is None else T[..., self.exposure, None]

    def expected_log_prob(self, statistics: Any, params: Any) -> float:
        """sum_ik r_ik log p(x_i | k), without h."""
        levels, slopes = self.terms(params)
        return float((levels * statistics.sum_there).sum() + (slopes * statistics.sum_x).sum())

    def expected_statistics(self, params: Any, sum_w: np.ndarray) -> Any:
        """Sums of components of weights sum_w that are as `params` says, and complete."""
        sum_w, expected = np.array(sum_w, float), self.expected(params)
        there = sum_w[:, None] * np.broadcast_to(self._whole(expected), expected.shape)
        return MissingSums(sum_w, sum_w[:, None] * expected, there)


class BernoulliMissing(LinearMissing, Bernoulli):
    """Zeros, ones and holes."""


class ExponentialMissing(LinearMissing, Exponential):
    """Waiting times with holes."""


class PoissonMissing(LinearMissing, Poisson):
    """Counts with holes; the exposure has none."""

    def base(self, X: np.ndarray) -> np.ndarray:
        """That of the counts that are there: 0 adds nothing."""
        return super().base(np.nan_to_num(X, nan=0.0))
