"""Categorical components of rows with missing entries (NaN): the likelihood is that of what is there.

Density
    log p(x | k) = sum_j log p_kj(x_j) over the columns that are there; 1 where nothing is. To the kernel a hole is one
    more level of each column, of log-probability 0.
Statistics
    The categorical's, of the levels proper.
M-step
    p_kjl = sum_x_kjl / sum_l sum_x_kjl. A column of which nothing is there keeps its probabilities.

Little and Rubin (2002), Statistical analysis with missing data, chapter 13.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastem.families.categorical import Categorical, CategoricalParams
from fastem.families.linear import Sums
from fastem.kernels.jit import brick
from fastem.kernels.lookup import lookup_accumulate, lookup_log_prob, number_holes


class CategoricalMissingPrepared(NamedTuple):
    """As the categorical's, with a level more in each column: that of the number `hole` (d,)."""

    shift: np.ndarray
    table: np.ndarray
    first: np.ndarray
    components: np.ndarray
    hole: np.ndarray


@brick
def missing_lookup_log_prob(tile, prepared, out):
    """out[k, b] = log p(x_b | k) of what there is of x_b; leaves the numbers of holes in tile.columns."""
    number_holes(tile.columns, prepared.hole, out.shape[1], prepared.shift.size)
    lookup_log_prob(tile, prepared, out)


class CategoricalMissing(Categorical):
    """The family of independent categories with holes."""

    @property
    def _proper(self) -> np.ndarray:
        """Where the levels (m,) are among those with the holes."""
        return np.arange(self.levels.sum()) + np.repeat(np.arange(len(self.levels)), self.levels)

    def statistic(self, X: np.ndarray) -> np.ndarray:
        """One number for each level of each column: 1 where the row has it, NaN where the entry is missing."""
        holes = np.isnan(X)
        T = super().statistic(np.where(holes, 0.0, X))
        T[np.repeat(holes, self.levels, axis=1)] = np.nan
        return T

    def bricks(self, prepared: Any) -> tuple[Callable, Callable]:
        """Tables with the levels of the holes."""
        return missing_lookup_log_prob, lookup_accumulate

    def prepare(self, params: CategoricalParams, dtype: np.dtype, weights: np.ndarray) -> Any:
        """The table, with zeros for the holes."""
        shift, table, first, components = super().prepare(params, dtype, weights)
        d = len(self.levels)
        wide = np.zeros((len(table) + d, table.shape[1]), dtype)
        wide[self._proper] = table
        return CategoricalMissingPrepared(shift, wide, first + np.arange(d), components, self.levels)

    def unpad(self, statistics: Sums, params: CategoricalParams, prepared: Any) -> Sums:
        """Slots summed in their order, padding and holes off."""
        sum_w, sum_x = super().unpad(statistics, params, prepared)
        return Sums(sum_w, np.ascontiguousarray(sum_x[:, self._proper]))

    def m_step(self, statistics: Sums, params: CategoricalParams) -> CategoricalParams:
        """The maximum, with the prior's rows."""
        sum_w, sum_x = statistics
        empty = np.add.reduceat(sum_x, self.first, axis=1) <= 0
        if empty.any() and not self.prior:
            before = self.prior_mean if params is None else params.probabilities
            sum_x = np.where(np.repeat(empty, self.levels, axis=1), before, sum_x)
        return super().m_step(Sums(sum_w, sum_x), params)
