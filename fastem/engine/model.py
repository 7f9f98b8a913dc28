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
    return lanes, max(1, min(256, -(-n // (4 * lanes))))


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
        result = None
        prepared: dict[np.dtype, tuple] = {}
        for chunk in chunks:
            dtype = chunk.X.dtype
            prepared.setdefault(dtype, self.prepare(params, dtype))
            part = self._e_step(params, prepared[dtype], chunk)
            result = part if result is None else tree.add(result, part)
        if result is None:
            raise ValueError("there are no rows: give at least one")
        return result

    def _e_step(self, params: MixtureParams, prepared: tuple, chunk: Chunk) -> MixtureStatistics:
        n, d = chunk.X.shape
        lanes, slots = _grid(n, d, chunk.X.dtype)
        one = sum(a.nbytes for a in self.family.zeros(params.components, 1, prepared[1]))
        slots = min(slots, max(4, SLOT_BYTES // one))
        sums, log_likelihood = self.family.zeros(params.components, slots, prepared[1]), np.zeros(slots)
        kernel = _compiled(mixture_e_step, *self.family.bricks(prepared[1]))
        arguments = *chunk, *prepared, sums, log_likelihood
        tile = chunk.X.dtype, d, len(params.weights), lanes
        run_slots(lambda first, last: kernel(first, last, *arguments, make_tile(*tile)), slots, self.n_jobs)
        weight = float(chunk.sample_weight.sum()) if chunk.sample_weight.size else float(n)
        return MixtureStatistics(
            float(log_likelihood.sum()), weight, self.family.unpad(sums, params.components, prepared[1])
        )

    def m_step(self, statistics: MixtureStatistics, params: MixtureParams) -> MixtureParams:
        """Parameters that raise the expected log-likelihood."""
        sum_w = np.maximum(statistics.components.sum_w, 0.0)  # what was subtracted may leave -1e-16
        weights = sum_w / max(sum_w.sum(), np.finfo(float).tiny)
        return MixtureParams(weights, self.family.m_step(statistics.components, params.components))

    def may_fall(self, before: MixtureParams, after: MixtureParams, statistics: MixtureStatistics) -> float:
        """How far the log-likelihood may have fallen by the M-step from `before` to `after`.

        That maximises the expected log-likelihood less a penalty, so the fall is at most what the penalty fell by; and
        of rounding.
        """
        sum_w, family = statistics.components.sum_w, self.family
        eased = family.penalty(before.components, sum_w) - family.penalty(after.components, sum_w)
        return max(eased, 0.0) + statistics.weight * family.rounding(after.components, after.weights)

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
