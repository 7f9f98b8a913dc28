r"""Categorical components: every column is one of its levels 0, 1, ..., independent of the others given the component.

Density
    log p(x | k) = sum_j log p_kj(x_j).
Statistics
    sum_x_kjl = sum_i r_ik [x_ij = l]: T(x) has one number for each level of each column, which is 1 or 0.
M-step
    p_kjl = sum_x_kjl / sum_w_k.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastem.families.linear import LinearFamily, Sums, logs, up_to
from fastem.kernels.lookup import lookup_accumulate, lookup_log_prob


class CategoricalParams(NamedTuple):
    """probabilities (K, m) of the levels of all columns, one column after the other."""

    probabilities: np.ndarray


class CategoricalPrepared(NamedTuple):
    """shift (d,) of zeros; table (m, K) of logarithms, padded; first (d,) level of each column; components (K,)."""

    shift: np.ndarray
    table: np.ndarray
    first: np.ndarray
    components: np.ndarray


class Categorical(LinearFamily):
    """The family of independent categories, of `levels[j]` levels in column j."""

    between = {"probabilities": (0.0, 1.0)}

    def __init__(self, levels: Sequence[int], prior: float = 0.0):
        super().__init__(prior)
        self.levels = np.asarray(levels, dtype=np.int64)
        self.first = np.concatenate([[0], np.cumsum(self.levels)[:-1]]).astype(np.int64)

    def statistic(self, X: np.ndarray) -> np.ndarray:
        """One number for each level of each column: 1 where the row has it."""
        T = np.zeros((len(X), int(self.levels.sum())))
        T[np.arange(len(X))[:, None], self.first + X.astype(np.int64)] = 1.0
        return T

    def natural(self, params: CategoricalParams) -> tuple[np.ndarray, np.ndarray]:
        """c = 0, s = log p."""
        (p,) = params
        if p.shape[1] != self.levels.sum():
            raise ValueError(f"probabilities have {p.shape[1]} columns; one a level is wanted, {self.levels.sum()}")
        sums = np.add.reduceat(p, self.first, axis=1)
        if not (p >= 0).all() or not np.allclose(sums, 1.0, atol=1e-4):
            raise ValueError("probabilities are negative, or those of a column do not sum to 1. Start elsewhere")
        return np.zeros(len(p)), logs(p)

    def expected(self, params: CategoricalParams) -> np.ndarray:
        """The probabilities."""
        return params.probabilities

    def maximum(self, means: np.ndarray) -> CategoricalParams:
        """The shares of the levels, by column."""
        means = np.maximum(means, 0.0)
        total = np.repeat(np.add.reduceat(means, self.first, axis=1), self.levels, axis=1)
        return CategoricalParams(means / np.where(total > 0, total, 1.0))

    def bricks(self, prepared: Any) -> tuple[Callable, Callable]:
        """Tables in place of products."""
        return lookup_log_prob, lookup_accumulate

    def prepare(self, params: CategoricalParams, dtype: np.dtype, weights: np.ndarray) -> Any:
        """The table, a register of components a row."""
        _, slopes = self.natural(params)
        k, m = slopes.shape
        table = np.zeros((m, up_to(16, k)), dtype)
        table[:, :k] = self.barred(params, slopes).T
        return CategoricalPrepared(np.zeros(len(self.levels)), table, self.first, np.zeros(k))

    def zeros(self, params: CategoricalParams, slots: int, prepared: Any) -> Sums:
        """Sums of zeros, padded, with the components innermost."""
        m, k = prepared.table.shape
        return Sums(np.zeros((slots, k)), np.zeros((slots, m, k)))

    def unpad(self, statistics: Sums, params: CategoricalParams, prepared: Any) -> Sums:
        """Slots summed in their order, padding off."""
        k = len(params.probabilities)
        sum_x = statistics.sum_x.sum(axis=0)[:, :k].T
        return Sums(statistics.sum_w.sum(axis=0)[:k], np.ascontiguousarray(sum_x))

    def n_parameters(self, params: CategoricalParams) -> int:
        """One less than the levels, a component and column."""
        return len(params.probabilities) * int((self.levels - 1).sum())

    def sample(self, params: CategoricalParams, counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """counts[k] rows of each component, in order."""
        X = np.zeros((int(counts.sum()), len(self.levels)))
        labels = np.repeat(np.arange(len(counts)), counts)
        for j, (first, levels) in enumerate(zip(self.first, self.levels, strict=True)):
            steps = np.cumsum(params.probabilities[:, first : first + levels], axis=1)[labels]
            X[:, j] = np.minimum((rng.random((len(X), 1)) * steps[:, -1:] > steps).sum(axis=1), levels - 1)
        return X
