"""Latent structure x family. Here the latent structure is a mixture: each row comes from one of K components."""

import functools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from fastem.engine import tree
from fastem.engine.chunks import Chunk
from fastem.engine.threads import run_slots
from fastem.kernels.mixture import make_tile, mixture_e_step, mixture_rows


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


class _Slots(NamedTuple):
    """Where chunks are summed, one after the other: zeroing and merging costs as much as some thousand rows."""

    dtype: np.dtype
    most: int
    """Slots that chunks may ask for; there are fewer where statistics are large."""
    prepared: tuple[np.ndarray, Any]
    sums: Any
    tiles: list
    """Scratch of the threads that are not at work."""


ONES = np.zeros(0)
"""No weights: every row counts once."""

SLOT_BYTES = 16 << 20
"""Memory for the statistics of all slots."""


@functools.cache
def _compiled(factory: Callable, *bricks: Callable) -> Callable:
    return factory(*bricks)


def _grid(n: int, d: int, dtype: np.dtype) -> tuple[int, int]:
    """Lanes of a tile and number of slots for n rows: of the data alone, so that sums do not depend on threads."""
    lanes = next(size for most, size in LANE_BYTES if d <= most) // dtype.itemsize
    tiles = -(-n // lanes)
    # A slot leaves the caches for the next: 64 share the work well, and more of them are worth it with tiles enough.
    return lanes, max(1, min(64, -(-tiles // 4)), min(256, tiles // 32))


LANE_BYTES = (4, 2048), (20, 1024), (40, 512), (512, 1024), (1 << 62, 512)
"""(features up to which, bytes of the lanes of a tile): measured; up to d = 40 the tile fits the first cache."""

NEVER = -1e30
"""Logarithm of the weight 0: finite, for -inf minus -inf is not a number."""


class Mixture:
    """A finite mixture of one family, as pure functions from parameters to statistics and back."""

    def __init__(self, family: Any, n_jobs: int | None = None):
        self.family, self.n_jobs = family, n_jobs

    def prepare(self, params: MixtureParams, dtype: np.dtype) -> tuple[np.ndarray, Any]:
        """Logarithms of the weights (1, K) and the family's Prepared, in the dtype of the data."""
        live = params.weights > 0
        log_weights = np.where(live, np.log(np.where(live, params.weights, 1.0)), NEVER)
        return log_weights[None].astype(dtype), self.family.prepare(params.components, dtype, params.weights)

    def e_step(self, params: MixtureParams, chunks: Iterable[Chunk]) -> MixtureStatistics:
        """Expected sufficient statistics of all rows, the log-likelihood among them."""
        log_likelihood = weight = 0.0
        components = slots = None
        for chunk in chunks:
            (n, d), dtype = chunk.X.shape, chunk.X.dtype
            lanes, most = _grid(n, d, dtype)
            if slots is None or slots.dtype != dtype or slots.most < most:
                components = self._merged(components, slots, params)
                slots = self._slots(params, dtype, most)
            log_likelihood += self._add(slots, chunk, lanes, most)
            weight += float(chunk.sample_weight.sum()) if chunk.sample_weight.size else float(n)
        if slots is None:
            raise ValueError("there are no rows: give at least one")
        return MixtureStatistics(log_likelihood, weight, self._merged(components, slots, params))

    def _slots(self, params: MixtureParams, dtype: np.dtype, most: int) -> _Slots:
        prepared = self.prepare(params, dtype)
        one = sum(a.nbytes for a in self.family.zeros(params.components, 1, prepared[1]))
        size = min(most, max(4, SLOT_BYTES // one))
        return _Slots(dtype, most, prepared, self.family.zeros(params.components, size, prepared[1]), [])

    def _add(self, slots: _Slots, chunk: Chunk, lanes: int, most: int) -> float:
        """Add the statistics of a chunk to the slots; returns its log-likelihood."""
        log_weights, prepared = slots.prepared
        log_likelihood = np.zeros(min(most, len(slots.sums[0])))
        kernel = _compiled(mixture_e_step, *self.family.bricks(prepared))
        arguments = *chunk, log_weights, prepared, slots.sums, log_likelihood

        def run(first: int, last: int) -> None:
            try:
                tile = slots.tiles.pop()
            except IndexError:
                tile = make_tile(slots.dtype, chunk.X.shape[1], log_weights.size, lanes)
            kernel(first, last, *arguments, tile)
            slots.tiles.append(tile)

        run_slots(run, len(log_likelihood), self.n_jobs)
        return float(log_likelihood.sum())

    def _merged(self, components: Any, slots: _Slots | None, params: MixtureParams) -> Any:
        """`components`, or None, plus the sums of the slots."""
        if slots is None:
            return components
        sums = self.family.unpad(slots.sums, params.components, slots.prepared[1])
        return sums if components is None else tree.add(components, sums)

    def m_step(self, statistics: MixtureStatistics, params: MixtureParams) -> MixtureParams:
        """Parameters that raise the expected log-likelihood."""
        sum_w = np.maximum(statistics.components.sum_w, 0.0)  # what was subtracted may leave -1e-16
        weights = sum_w / max(sum_w.sum(), np.finfo(float).tiny)
        return MixtureParams(weights, self.family.m_step(statistics.components, params.components))

    def eased(self, before: MixtureParams, after: MixtureParams, statistics: MixtureStatistics) -> float:
        """How far the M-step from `before` to `after` may have lowered the expected log-likelihood.

        It maximises that less a penalty, so the fall is at most what the penalty fell by.
        """
        sum_w, family = statistics.components.sum_w, self.family
        return max(family.penalty(before.components, sum_w) - family.penalty(after.components, sum_w), 0.0)

    def may_fall(self, before: MixtureParams, after: MixtureParams, statistics: MixtureStatistics) -> float:
        """How far the log-likelihood may have fallen by that M-step, and by rounding."""
        rounding = self.family.rounding(after.components, after.weights)
        return self.eased(before, after, statistics) + statistics.weight * rounding

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
        (n, d), dtype = chunk.X.shape, chunk.X.dtype
        sizes = {"log_prob": (n,), "labels": (n,), "responsibilities": (n, len(params.weights))}
        out = {
            name: np.empty(shape if name in wanted else (0,) * len(shape), np.int64 if name == "labels" else dtype)
            for name, shape in sizes.items()
        }
        lanes, slots = _grid(n, d, dtype)
        prepared = self.prepare(params, dtype)
        kernel = _compiled(mixture_rows, self.family.bricks(prepared[1])[0])
        arguments = chunk.X, *prepared, *out.values(), slots, ONES
        tile = dtype, d, len(params.weights), lanes
        run_slots(lambda first, last: kernel(first, last, *arguments, make_tile(*tile)), slots, self.n_jobs)
        return {name: out[name] for name in wanted}
