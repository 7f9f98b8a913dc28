r"""Negative binomial components of rows with missing entries (NaN): the likelihood is that of what is there.

Density
    log p(x | k), the sum of the negative binomial's over the columns that are there; 1 where nothing is. To the kernel
    a hole is one more level of each column, of log-probability 0.
Statistics
    The negative binomial's, of what is there; the levels of a column sum to the weight of its entries.
M-step
    The negative binomial's, with that weight in each column.

Little and Rubin (2002), Statistical analysis with missing data, chapter 8.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from fastem.families.negative_binomial import NegativeBinomial
from fastem.kernels.counts import (
    count_accumulate,
    missing_count_log_prob,
    missing_single_count_log_prob,
    single_count_accumulate,
)


class NegativeBinomialMissing(NegativeBinomial):
    """Counts that vary more than Poisson ones, with holes."""

    beyond = 2

    def bricks(self, prepared: Any) -> tuple[Callable, Callable]:
        """Tables with a level of holes, and series for the counts beyond."""
        if prepared.table.itemsize == 4:
            return missing_single_count_log_prob, single_count_accumulate
        return missing_count_log_prob, count_accumulate

    def weight(self, statistics: Any) -> np.ndarray:
        """Of the rows that have a number in each column, (K, d)."""
        return np.asarray(statistics.levels.sum(axis=2))
