"""The E-step of families that are products: groups of columns, each with a family, independent given the component.

Blocks of tiles go through the groups' first loops, which add their log-densities up, then through one softmax, and
through the groups' second loops. Blocks and slots depend on the data alone, and slots are merged in a fixed order.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fastem.engine import accumulate
from fastem.engine.accumulate import ONES, Slots, from_factory, grid
from fastem.engine.chunks import Chunk
from fastem.engine.threads import run_slots
from fastem.kernels.jit import reads_roots
from fastem.kernels.mixture import SMALL
from fastem.kernels.product import block_normalize, block_rows, group_accumulate, group_log_prob, make_joint, make_own

BLOCK, BLOCK_BYTES = 8192, 3 << 18
"""Rows of a block at most, so many that calling the loops costs little beside them, and bytes of what they read again:
the second cache holds them."""

LONG_BYTES = 8192
"""Bytes of the lanes of a tile that is a block of its own: twice as fast as those of others (measured)."""


def _grid(groups: Any, n: int, dtype: np.dtype) -> tuple[int, int]:
    """Lanes of a tile, and number of slots, of a block and more each."""
    lanes, _ = grid(n, max(group.columns for group in groups), dtype)
    lanes = LONG_BYTES // dtype.itemsize if _single(groups) else lanes
    return lanes, max(1, min(64, n // BLOCK))


def _single(groups: Any) -> bool:
    """Whether blocks have one tile: what a family asks for beside it, `log_prob` may leave to `accumulate`."""
    return any(hasattr(group.family, "extra") for group in groups)


def _scratch(groups: Any, dtype: np.dtype, k: int, lanes: int) -> tuple[Any, list[Any]]:
    """What the groups share, and what is each one's own."""
    width = sum(d if d <= SMALL else -(-d // 8) * 8 for d in (group.columns for group in groups))
    extra = [g.family.extra(dtype, g.columns, k, lanes) if hasattr(g.family, "extra") else None for g in groups]
    rows = lanes if _single(groups) else min(BLOCK, BLOCK_BYTES // (2 * dtype.itemsize * (k + width)))
    tiles = max(1, rows // lanes)
    own = [make_own(dtype, group.columns, k, lanes, tiles, one) for group, one in zip(groups, extra, strict=True)]
    return make_joint(dtype, k, lanes, tiles), own


def _ordered(scratch: tuple[Any, list[Any]], order: np.ndarray) -> tuple[Any, list[Any]]:
    """The same, for tiles that take the rows in that order."""
    return scratch[0]._replace(order=order), scratch[1]


def _blocks(joint: Any, first: int, last: int) -> Iterator[tuple[int, int]]:
    """First row and number of tiles of the blocks of tiles `first` to `last`; sums do not depend on their size."""
    depth, _, lanes = joint.weight.shape
    for t in range(first, last, depth):
        yield t * lanes, min(depth, last - t)


class Fold(accumulate.Fold):
    """Chunks added to the statistics of one E-step."""

    def _grid(self, chunk: Chunk) -> tuple[int, int]:
        return _grid(self.model.family.groups, len(chunk.X), self._computed_in(chunk.X.dtype))

    def _tile(self, chunk: Chunk, lanes: int) -> Any:
        dtype = self._computed_in(chunk.X.dtype)
        return _scratch(self.model.family.groups, dtype, len(self.params.weights), lanes)

    def _loop(self, chunk: Chunk, slots: Slots, log_likelihood: np.ndarray, lanes: int) -> Callable:
        (X, weight), (log_weights, prepared) = chunk, slots.prepared
        n, tiles, size = len(X), -(-len(X) // lanes), len(log_likelihood)
        groups = self.model.family.groups
        prepared, sums = prepared.groups, slots.sums.groups
        scores = _scores(groups, prepared, X, log_weights.size)
        second = [group.family.bricks(part)[1] for group, part in zip(groups, prepared, strict=True)]
        adds = [from_factory(group_accumulate, brick) for brick in second]
        soften, order = from_factory(block_normalize, any(map(reads_roots, second))), self.model.order(chunk)

        def loop(first: int, last: int, scratch: Any) -> None:
            scratch = joint, owns = _ordered(scratch, order)
            for s in range(first, last):
                for begin, count in _blocks(joint, tiles * s // size, tiles * (s + 1) // size):
                    scores(begin, count, scratch)
                    soften(n, weight, begin, count, log_weights, joint, log_likelihood, s)
                    for add, part, statistics, own in zip(adds, prepared, sums, owns, strict=True):
                        add(count, part, statistics, s, own, joint)

        return loop


def _scores(groups: Any, prepared: Any, X: np.ndarray, k: int) -> Callable[[int, int, Any], None]:
    """``scores(begin, tiles, scratch)``: log p(x | k) of a block, added up over the groups."""
    first = [group.family.bricks(part)[0] for group, part in zip(groups, prepared, strict=True)]
    adds = [from_factory(group_log_prob, brick) for brick in first]

    def scores(begin: int, tiles: int, scratch: Any) -> None:
        joint, owns = scratch
        for g, (add, group, own) in enumerate(zip(adds, groups, owns, strict=True)):
            add(X, begin, tiles, group.first, k, g == 0, prepared[g], own, joint)

    return scores


def rows(model: Any, params: Any, chunk: Chunk, out: dict[str, np.ndarray]) -> None:
    """Fill what is asked of each row: those of `out` that are not empty."""
    groups, n, k = model.family.groups, len(chunk.X), len(params.weights)
    dtype = model.lanes(params, chunk.X.dtype)
    lanes, slots = _grid(groups, n, dtype)
    tiles = -(-n // lanes)
    log_weights, prepared = model.prepare(params, dtype)
    scores = _scores(groups, prepared.groups, chunk.X, k)
    soften, put, order = from_factory(block_normalize, False), from_factory(block_rows), model.order(chunk)

    def run(first: int, last: int) -> None:
        scratch = joint, _ = _ordered(_scratch(groups, dtype, k, lanes), order)
        ignored = np.zeros(1)
        for begin, count in _blocks(joint, tiles * first // slots, tiles * last // slots):
            scores(begin, count, scratch)
            soften(n, ONES, begin, count, log_weights, joint, ignored, 0)
            put(n, begin, count, k, joint, *out.values())

    run_slots(run, slots, model.n_jobs)
