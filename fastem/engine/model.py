"""Latent structure x family. Here the latent structure is a mixture: each row comes from one of K components."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from fastem.engine import accumulate, numpy_e_step, product, tree
from fastem.engine.chunks import Chunk


class MixtureParams(NamedTuple):
    """weights (K,), summing to 1, and the parameters of the family's K components."""

    weights: np.ndarray
    components: Any


class MixtureStatistics(NamedTuple):
    """Log-likelihood and weight of the rows, and the family's sums: additive over rows."""

    log_likelihood: float
    weight: float
    components: Any


def check_finite(statistics: MixtureStatistics, what: str) -> None:
    """`ValueError` where sums overflowed, or rows or weights are no numbers."""
    if not tree.is_finite(statistics):
        raise ValueError(
            f"{what} gave sums that are no finite numbers: its rows or weights hold NaN or infinity, or values whose "
            "squares overflow. Remove such rows, or scale the data"
        )


def expected_rows(statistics: MixtureStatistics, rows: int) -> np.ndarray:
    """How many of that many rows each component holds (K,)."""
    sum_w = statistics.components.sum_w
    return rows * sum_w / max(sum_w.sum(), np.finfo(float).tiny)


UNORDERED = np.zeros(0, np.int64)

NEVER = -1e30
"""Logarithm of the weight 0: finite, for -inf minus -inf is not a number."""


def _logs(weights: np.ndarray) -> np.ndarray:
    live = weights > 0
    return np.where(live, np.log(np.where(live, weights, 1.0)), NEVER)


GAINED = 0.5
"""Not all of it: the penalty has the weights of before, and leaps along the ridge, which gain nearly all, are good."""


class Mixture:
    """A finite mixture of one family, as pure functions from parameters to statistics and back.

    `fixed` are the names of parameters, "weights" among them, that the M-step leaves as they are. The prior of the
    weights is a symmetric Dirichlet distribution of that `concentration`, at least 1; 1 is maximum likelihood.
    """

    def __init__(
        self,
        family: Any,
        n_jobs: int | None = None,
        fixed: frozenset[str] = frozenset(),
        concentration: float = 1.0,
    ):
        self.family, self.n_jobs, self.fixed, self.concentration = family, n_jobs, fixed, concentration
        self.held = fixed - {"weights"}
        """Those of the family."""
        self.loops: Any = (
            product if hasattr(family, "groups") else accumulate if hasattr(family, "bricks") else numpy_e_step
        )
        self.halvings = int(getattr(family, "halvings", 0))
        self.tiles: dict[tuple[np.dtype, int, int, int], list[Any]] = {}
        """Scratch of threads that are not at work, by dtype, d, K and lanes."""
        self.slots: tuple[Any, Any] = (None, None)
        """Memory for the sums of an E-step, and of which form it is."""
        self._other: Mixture | None = None
        self._known: tuple[Any, float] = (None, 0.0)
        self._prepared: tuple[Any, Any, Any] = (None, None, None)
        self._stepped: tuple[Any, Any, Any] = (None, None, None)
        self._ordered: tuple[Any, np.ndarray] = (None, UNORDERED)

    def prepare(self, params: MixtureParams, dtype: np.dtype) -> tuple[np.ndarray, Any]:
        """Logarithms of the weights (1, K) and the family's Prepared, in the dtype of the data."""
        (known, of, prepared), self._prepared = self._prepared, (None, None, None)
        if known is params and of == dtype:
            return prepared
        return _logs(params.weights)[None].astype(dtype), self.family.prepare(params.components, dtype, params.weights)

    def lanes(self, params: MixtureParams, dtype: np.dtype) -> np.dtype:
        """The dtype in which rows of that dtype are computed with."""
        double = np.dtype(np.float64)
        wide = dtype != double and hasattr(self.family, "wide") and self.family.wide(params.components)
        return double if wide else dtype

    def admitted(self, params: MixtureParams, plain: MixtureParams) -> MixtureParams | None:
        """Parameters that were extrapolated, or None where they are none of a mixture.

        A weight that left its domain goes half the way from the EM step `plain` to 0. Far extrapolations leave sums
        of probabilities at 1 but for a rounding that would show as a gain.
        """
        if not tree.is_finite(params):
            return None
        weights = np.where(params.weights < 0, plain.weights / 2, params.weights)
        try:
            components = self._holding(self.family.admitted(params.components, plain.components), plain.components)
            params, double = MixtureParams(weights / weights.sum(), components), np.dtype(np.float64)
            self._prepared = params, double, self.prepare(params, double)  # for the E-step that follows
        except ValueError:
            return None
        return params

    def e_step(self, params: MixtureParams, chunks: Iterable[Chunk]) -> MixtureStatistics:
        """Expected sufficient statistics of all rows, the log-likelihood among them."""
        log_likelihood = weight = 0.0
        pieces = not isinstance(chunks, list)  # rows in memory are a list of one
        fold = self.loops.Fold(self, params, pieces)
        for chunk in chunks:
            log_likelihood += fold.add(chunk) + self.base(chunk)
            weight += float(chunk.sample_weight.sum()) if chunk.sample_weight.size else float(len(chunk.X))
        sums = fold.sums()
        if hasattr(self.family, "blurred") and self._is_blurred(sums, params.components, fold.prepared):
            fold = self.loops.Fold(self._careful, params, pieces)
            for chunk in chunks:
                fold.add(chunk)
            sums = fold.sums()
        return MixtureStatistics(log_likelihood, weight, sums)

    def _is_blurred(self, sums: Any, components: Any, prepared: Any) -> bool:
        """Whether the sums lost too many digits, by the M-step that they give, which is kept for `m_step`."""
        if not self.family.blurs(prepared):
            return False
        after = self.family.m_step(sums, components)
        self._stepped = sums, components, after
        return bool(self.family.blurred(components, after, prepared))

    @property
    def _careful(self) -> "Mixture":
        """This model with the one kind of sums that loses no digits; of a row alone all kinds say the same."""
        if self._other is None and hasattr(self.family, "careful"):
            self._other = Mixture(self.family.careful(), self.n_jobs)
        return self._other or self

    def base(self, chunk: Chunk) -> float:
        """The part of the log-likelihood that is the same in all components; kept for the chunk that comes again."""
        if self._known[0] is not chunk:
            base = self.family.base(chunk.X)
            if base is None:
                return 0.0
            weight = chunk.sample_weight
            if weight.size:
                base = np.where(weight > 0, weight * base, 0.0)  # a row of weight 0 may have none
            self._known = chunk, float(base.sum())
        return self._known[1]

    def order(self, chunk: Chunk) -> np.ndarray:
        """The order (n,) in which the family wants to see the rows, empty for theirs; kept for the chunk."""
        if not hasattr(self.family, "order"):
            return UNORDERED
        if self._ordered[0] is not chunk:
            self._ordered = chunk, self.family.order(chunk.X)
        return self._ordered[1]

    def m_step(self, statistics: MixtureStatistics, params: MixtureParams) -> MixtureParams:
        """Parameters that raise the expected log-likelihood."""
        weights = params.weights if "weights" in self.fixed else self.weights_of(statistics.components.sum_w)
        (sums, components, after), self._stepped = self._stepped, (None, None, None)
        if self.held:
            after = self.family.held_m_step(statistics.components, params.components, self.held)
        elif sums is not statistics.components or components is not params.components:
            after = self.family.m_step(statistics.components, params.components)
        return MixtureParams(weights, after)

    def floored(self, params: MixtureParams, mask: np.ndarray, scale: Any) -> MixtureParams:
        """The masked components with the least proper density that what is held leaves them."""
        components = self.family.floored(params.components, mask, scale)
        return params._replace(components=self._holding(components, params.components))

    def _holding(self, components: Any, before: Any) -> Any:
        return self.family.holding(components, before, self.held) if self.held else components

    def weights_of(self, sum_w: np.ndarray) -> np.ndarray:
        """The weights (..., K) of components that hold so much of the rows: the mode of their posterior density."""
        counts = np.maximum(sum_w, 0.0) + (self.concentration - 1.0)  # what was subtracted may leave -1e-16
        return counts / np.maximum(counts.sum(axis=-1, keepdims=True), np.finfo(float).tiny)

    def log_prior(self, params: MixtureParams) -> float:
        """Logarithm of the prior density of `params`, but for constants, of which that of weights that are held is.

        Equal weights have 0, so that models of different K compare, and a strong prior does not drown the rest.
        """
        of_components = self.family.log_prior(params.components)
        if self.concentration == 1.0 or "weights" in self.fixed:
            return of_components
        beside_equal = _logs(params.weights) + np.log(len(params.weights))
        return (self.concentration - 1.0) * float(beside_equal.sum()) + of_components

    def objective(self, params: MixtureParams, statistics: MixtureStatistics) -> float:
        """What EM never lowers: the log-likelihood of `params`, and the logarithm of their prior density if any."""
        return statistics.log_likelihood + self.log_prior(params)

    def eased(self, before: MixtureParams, after: MixtureParams, statistics: MixtureStatistics) -> float:
        """What the penalty fell by from `before` to `after`; an M-step lowers the expected objective by no more.

        For it maximises the expected log-likelihood and the logarithm of the prior density, less that penalty.
        """
        sum_w, family = statistics.components.sum_w, self.family
        return family.penalty(before.components, sum_w) - family.penalty(after.components, sum_w)

    def may_fall(
        self, before: MixtureParams, after: MixtureParams, statistics: MixtureStatistics, leap: bool = False
    ) -> float:
        """How far the objective may have fallen by that M-step, and by rounding; by a leap not by this.

        A leap has to gain `GAINED` of what the penalty rose by (then this is negative): else leaps to where the ridge
        does not let EM stay are taken again and again, and the fit ends there.
        """
        eased = self.eased(before, after, statistics)
        if leap:
            return max(eased, GAINED * eased)
        return max(eased, 0.0) + statistics.weight * self.family.rounding(after.components, after.weights)

    def recentre(self, statistics: MixtureStatistics, old: MixtureParams, new: MixtureParams) -> MixtureStatistics:
        """Statistics that were summed about `old`, about `new`."""
        components = self.family.recentre(statistics.components, old.components, new.components)
        return statistics._replace(components=components)

    def expected_log_prob(self, statistics: MixtureStatistics, params: MixtureParams) -> float:
        """sum_ik r_ik log(a_k p(x_i | k)) from statistics about `params`: the expected complete-data log-likelihood."""
        sum_w = statistics.components.sum_w
        live = params.weights > 0
        weights = float(sum_w[live] @ np.log(params.weights[live]))
        return weights + self.family.expected_log_prob(statistics.components, params.components)

    def expected_statistics(self, params: MixtureParams, mask: np.ndarray | None = None) -> MixtureStatistics:
        """Statistics of one unit of weight that is distributed as `params` says; of the masked components alone."""
        sum_w = params.weights if mask is None else np.where(mask, params.weights, 0.0)
        components = self.family.expected_statistics(params.components, sum_w)
        return MixtureStatistics(0.0, float(sum_w.sum()), components)

    def collapsed(self, params: MixtureParams, statistics: MixtureStatistics) -> np.ndarray:
        """Mask (K,) of the components without a proper density."""
        return self.family.collapsed(params.components, statistics.components)

    def rows(self, params: MixtureParams, chunk: Chunk, *wanted: str) -> dict[str, np.ndarray]:
        """For each row what is `wanted`: "log_prob" (n,), "labels" (n,) int64, "responsibilities" (n, K)."""
        n, dtype, check = len(chunk.X), self.lanes(params, chunk.X.dtype), getattr(self.family, "check_log_prob", None)
        filled = wanted if check is None else {*wanted, "log_prob"}
        sizes = {"log_prob": (n,), "labels": (n,), "responsibilities": (n, len(params.weights))}
        out = {
            name: np.empty(shape if name in filled else (0,) * len(shape), np.int64 if name == "labels" else dtype)
            for name, shape in sizes.items()
        }
        self.loops.rows(self._careful, params, chunk, out)
        if "log_prob" in wanted and (base := self.family.base(chunk.X)) is not None:
            out["log_prob"] += base
        if check is not None:
            check(out["log_prob"])
        if "log_prob" in wanted and hasattr(self.family, "impossible"):
            out["log_prob"][self.family.impossible(chunk.X, params.components, out["log_prob"])] = -np.inf
        return {name: out[name] if name == "labels" else out[name].astype(chunk.X.dtype, copy=False) for name in wanted}
