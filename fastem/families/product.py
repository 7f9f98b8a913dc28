r"""Products: groups of columns, each with a family of its own, independent of the others given the component.

Density
    log p(x | k) = sum_g log p_g(x_g | k), with x_g the columns of group g.
Statistics
    Those of the groups; sum_w_k = sum_i r_ik is the same in all of them.
M-step
    That of each group: its statistics say all about its parameters.

The engine (`fastem.engine.product`) runs the bricks of the groups; there are none of the product.
"""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastem.families.base import Scale
from fastem.families.linear import impossible


class Group(NamedTuple):
    """A family, and the columns of X that are its: from `first` on, as many as `columns`.

    In the statistics T that starts are made from it has those from `first_statistic` on.
    """

    family: Any
    first: int
    columns: int
    first_statistic: int
    statistics: int

    def of(self, X: np.ndarray) -> np.ndarray:
        """Its columns of rows (n, d) or of one row (d,), contiguous."""
        return np.ascontiguousarray(X[..., self.first : self.first + self.columns])

    def of_statistic(self, T: np.ndarray) -> np.ndarray:
        """Its columns of T (n, m) or (m,)."""
        return T[..., self.first_statistic : self.first_statistic + self.statistics]

    def of_scale(self, scale: Scale) -> Scale:
        """The spread of its statistics."""
        mean, deviation = self.of_statistic(scale.mean), self.of_statistic(scale.deviation)
        return Scale(mean, self.of_statistic(self.of_statistic(scale.covariance).T).T, deviation)


class ProductParams(NamedTuple):
    """Params of the groups."""

    groups: tuple[Any, ...]


class ProductPrepared(NamedTuple):
    """Prepared of the groups."""

    groups: tuple[Any, ...]


class ProductStatistics(NamedTuple):
    """Statistics of the groups."""

    groups: tuple[Any, ...]

    @property
    def sum_w(self) -> np.ndarray:
        """Sums of the responsibilities (K,)."""
        return self.groups[0].sum_w


class Product:
    """The family of products of `families`, each with its number of columns, which are held by their `names`."""

    def __init__(self, families: Sequence[tuple[Any, int]], names: Sequence[str] = ()):
        self.names = tuple(names)
        groups, first, first_statistic = [], 0, 0
        for family, columns in families:
            with np.errstate(divide="ignore"):  # logarithms of a row of zeros, of which the size counts
                size = family.statistic(np.zeros((1, columns))).shape[1]
            own = family.careful() if hasattr(family, "careful") else family  # no sums of a product are made again
            groups.append(Group(own, first, columns, first_statistic, size))
            first, first_statistic = first + columns, first_statistic + size
        self.groups = tuple(groups)
        self.halvings = max(int(getattr(group.family, "halvings", 0)) for group in self.groups)

    def _each(self, verb: str, trees: tuple[Any, ...], *common: Any) -> tuple[Any, ...]:
        """What the verb of each group's family gives for its parts of the trees, and for what all have in common."""
        parts = zip(*(tree.groups for tree in trees), strict=True)
        return tuple(getattr(group.family, verb)(*own, *common) for group, own in zip(self.groups, parts, strict=True))

    @property
    def prior_mean(self) -> np.ndarray:
        """Mean of the statistics of the data, of which priors are made; set for all groups at once."""
        return np.concatenate([np.ravel(getattr(group.family, "prior_mean", ())) for group in self.groups])

    @prior_mean.setter
    def prior_mean(self, mean: np.ndarray) -> None:
        for group in self.groups:
            if hasattr(group.family, "prior_mean"):
                group.family.prior_mean = group.of_statistic(mean)

    def statistic(self, X: np.ndarray) -> np.ndarray:
        """Those of the groups, side by side."""
        return np.concatenate([group.family.statistic(group.of(X)) for group in self.groups], axis=1)

    def base(self, X: np.ndarray) -> np.ndarray | None:
        """The sum of those that there are."""
        found = [base for group in self.groups if (base := group.family.base(group.of(X))) is not None]
        return np.sum(found, axis=0) if found else None

    def order(self, X: np.ndarray) -> np.ndarray:
        """What the groups that want the rows in some order say of all their columns together; empty without any."""
        asking = [group for group in self.groups if hasattr(group.family, "order")]
        if not asking:
            return np.zeros(0, np.int64)
        return asking[0].family.order(np.concatenate([group.of(X) for group in asking], axis=1))

    def prepare(self, params: ProductParams, dtype: np.dtype, weights: np.ndarray) -> ProductPrepared:
        """Of each group."""
        return ProductPrepared(self._each("prepare", (params,), dtype, weights))

    def zeros(self, params: ProductParams, slots: int, prepared: ProductPrepared) -> ProductStatistics:
        """Of each group."""
        parts = zip(self.groups, params.groups, prepared.groups, strict=True)
        return ProductStatistics(tuple(group.family.zeros(p, slots, q) for group, p, q in parts))

    def unpad(self, statistics: Any, params: ProductParams, prepared: ProductPrepared) -> ProductStatistics:
        """Of each group."""
        return ProductStatistics(self._each("unpad", (statistics, params, prepared)))

    def m_step(self, statistics: ProductStatistics, params: ProductParams) -> ProductParams:
        """Of each group."""
        return ProductParams(self._each("m_step", (statistics, params)))

    def held_m_step(self, statistics: ProductStatistics, params: ProductParams, fixed: frozenset[str]) -> ProductParams:
        """Of each group that is not held: what is best there does not depend on the others."""
        return self.holding(self.m_step(statistics, params), params, fixed)

    def holding(self, params: ProductParams, before: ProductParams, fixed: frozenset[str]) -> ProductParams:
        """With the groups of those names."""
        named = zip(self.names, params.groups, before.groups, strict=True)
        return ProductParams(tuple(old if name in fixed else new for name, new, old in named))

    def admitted(self, params: ProductParams, plain: ProductParams) -> ProductParams:
        """Of each group."""
        return ProductParams(self._each("admitted", (params, plain)))

    def wide(self, params: ProductParams) -> bool:
        """Whether any group's terms are."""
        return any(self._each("wide", (params,)))

    def impossible(self, X: np.ndarray, params: ProductParams, log_prob: np.ndarray) -> np.ndarray:
        """Mask (n,) of the rows that no component can give."""
        pairs = zip(self.groups, params.groups, strict=True)
        parts = [(group, part) for group, part in pairs if hasattr(group.family, "excluded")]

        def excluded(rows: np.ndarray) -> np.ndarray:
            return np.any([group.family.excluded(group.of(rows), part) for group, part in parts], axis=0)

        return impossible(excluded, X, log_prob) if parts else np.zeros(len(X), bool)

    def log_prior(self, params: ProductParams) -> float:
        """Sum over the groups."""
        return sum(self._each("log_prior", (params,)))

    def penalty(self, params: ProductParams, sum_w: np.ndarray) -> float:
        """Sum over the groups."""
        return sum(self._each("penalty", (params,), sum_w))

    def rounding(self, params: ProductParams, weights: np.ndarray) -> float:
        """Sum over the groups."""
        return sum(self._each("rounding", (params,), weights))

    def recentre(self, statistics: ProductStatistics, old: ProductParams, new: ProductParams) -> ProductStatistics:
        """Of each group."""
        return ProductStatistics(self._each("recentre", (statistics, old, new)))

    def expected_log_prob(self, statistics: ProductStatistics, params: ProductParams) -> float:
        """Sum over the groups."""
        return sum(self._each("expected_log_prob", (statistics, params)))

    def expected_statistics(self, params: ProductParams, sum_w: np.ndarray) -> ProductStatistics:
        """Of each group."""
        return ProductStatistics(self._each("expected_statistics", (params,), sum_w))

    def collapsed(self, params: ProductParams, statistics: ProductStatistics) -> np.ndarray:
        """Mask (K,) of the components that collapsed in any group."""
        return np.any(self._each("collapsed", (params, statistics)), axis=0)

    def singular(self, params: ProductParams) -> np.ndarray:
        """Mask (K,) of the components without a proper density in any group."""
        return np.any(self._each("singular", (params,)), axis=0)

    def alike(self, params: ProductParams, weights: np.ndarray) -> bool:
        """Whether the components are alike in all groups."""
        return all(self._each("alike", (params,), weights))

    def kept(self, params: ProductParams, mask: np.ndarray) -> ProductParams:
        """The components in the mask alone."""
        return ProductParams(self._each("kept", (params,), mask))

    def floored(self, params: ProductParams, mask: np.ndarray, scale: Scale) -> ProductParams:
        """The masked components with the least proper density of each group."""
        parts = zip(self.groups, params.groups, strict=True)
        return ProductParams(tuple(g.family.floored(p, mask, g.of_scale(scale)) for g, p in parts))

    def reseeded(self, params: ProductParams, k: int, row: np.ndarray, scale: Scale) -> ProductParams:
        """Component k about `row`, in each group as its family has it."""
        parts = zip(self.groups, params.groups, strict=True)
        return ProductParams(tuple(g.family.reseeded(p, k, g.of(row), g.of_scale(scale)) for g, p in parts))

    def spread_about(self, rows: np.ndarray, scale: Scale) -> ProductParams:
        """Components about each row, in each group as its family has it."""
        return ProductParams(tuple(g.family.spread_about(g.of(rows), g.of_scale(scale)) for g in self.groups))

    def from_responsibilities(self, T: np.ndarray, resp: np.ndarray, scale: Scale) -> tuple[np.ndarray, ProductParams]:
        """sum_w, and Params from the statistics (n, m) of rows and their weighted responsibilities (n, K)."""
        found = [g.family.from_responsibilities(g.of_statistic(T), resp, g.of_scale(scale)) for g in self.groups]
        return found[0][0], ProductParams(tuple(params for _, params in found))

    def n_parameters(self, params: ProductParams) -> int:
        """Sum over the groups."""
        return sum(self._each("n_parameters", (params,)))

    def n_held(self, params: ProductParams, fixed: Collection[str]) -> int:
        """Sum over the groups that are held."""
        numbers = zip(self.names, self._each("n_parameters", (params,)), strict=True)
        return sum(number for name, number in numbers if name in fixed)

    def sample(self, params: ProductParams, counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """counts[k] rows of each component, in order, the groups' columns side by side."""
        return np.concatenate(self._each("sample", (params,), counts, rng), axis=1)
