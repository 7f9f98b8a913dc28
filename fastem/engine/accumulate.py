"""The fold of the E-step over chunks: compiled loops over runs of slots, and the sums merged in a fixed order."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastem.engine import tree
from fastem.engine.chunks import Chunk, chunk
from fastem.engine.threads import run_slots
from fastem.kernels.mixture import Tile, make_tile, mixture_e_step, mixture_rows, mixture_sums
from fastem.kernels.simd import GROUP, NATIVE_OF


class Slots(NamedTuple):
    """Where chunks are summed, one after the other: zeroing and merging costs as much as some thousand rows."""

    dtype: np.dtype
    most: int
    """Slots that chunks may ask for; there are fewer where statistics are large."""
    prepared: tuple[np.ndarray, Any]
    sums: Any
    used: bool
    """Whether they still hold the sums of an earlier E-step: new memory costs as much as zeroing and merging it."""


ONES = chunk(np.zeros((0, 1))).sample_weight
"""No weights: every row counts once."""

SLOT_BYTES = 16 << 20
"""Memory for the statistics of all slots."""

PIECE_BYTES = 1 << 18
"""Of the slots that a thread adds up at least."""


@functools.cache
def from_factory(factory: Callable, *bricks: Any) -> Callable:
    """What the factory compiles of these bricks, made once."""
    return factory(*bricks)


def grid(n: int, d: int, dtype: np.dtype) -> tuple[int, int]:
    """Lanes of a tile and number of slots for n rows: of the data alone, so that sums do not depend on threads.

    Lanes without a row cost as much as others, and are of a few rows up to half: tiles are no larger than rows ask for.
    """
    lanes = next(size for most, size in LANE_BYTES if d <= most) // dtype.itemsize
    tiles = max(1, -(-n // lanes))
    least = GROUP * NATIVE_OF[np.dtype(dtype)]
    lanes = max(least, -(-n // (tiles * least)) * least)
    # A slot leaves the caches for the next: 64 share the work well, and more of them are worth it with tiles enough.
    return lanes, max(1, min(64, -(-tiles // 4)), min(256, tiles // 32))


def scratch(family: Any, dtype: np.dtype, d: int, k: int, lanes: int) -> Tile:
    """A tile, with what the family asks for beside."""
    tile = make_tile(dtype, d, k, lanes)
    return tile._replace(extra=family.extra(dtype, d, k, lanes)) if hasattr(family, "extra") else tile


LANE_BYTES = (4, 2048), (20, 1024), (40, 512), (512, 1024), (1 << 62, 512)
"""(features up to which, bytes of the lanes of a tile): measured; up to d = 40 the tile fits the first cache."""


PIECE_ROWS = 8192
"""Least rows of a slot where chunks are pieces of the rows: for each of them the sums of all slots come from afar. With
8 features and 16 components a slot takes 7 us for that, and 8192 rows 500."""


class Fold:
    """Chunks added to the statistics of one E-step, in slots that serve chunk after chunk.

    The chunks may be `pieces` of the rows, of which more than one is expected.
    """

    def __init__(self, model: Any, params: Any, pieces: bool = False):
        self.model, self.params, self.pieces = model, params, pieces
        self._slots: Slots | None = None
        self._dtypes: dict[np.dtype, np.dtype] = {}
        self._sums: Any = None
        self._prepared: Any = None

    def add(self, chunk: Chunk) -> float:
        """Add the statistics of a chunk; returns its log-likelihood."""
        dtype = self._computed_in(chunk.X.dtype)
        lanes, most = self._grid(chunk)
        slots = self._slots
        if slots is None or slots.dtype != dtype or slots.most < most:
            self._merge()
            self._slots = slots = self._fresh(chunk, most)
        log_likelihood = np.zeros(min(most, len(tree.leaves(slots.sums)[0])))
        loop = self._loop(chunk, slots, log_likelihood, lanes)
        tiles = self.model.tiles.setdefault((dtype, chunk.X.shape[1], len(self.params.weights), lanes), [])
        used = tree.leaves(slots.sums) if slots.used else []
        self._slots = slots._replace(used=False)

        def run(first: int, last: int) -> None:
            for leaf in used:
                leaf[first:last] = 0.0
            try:
                tile = tiles.pop()
            except IndexError:
                tile = self._tile(chunk, lanes)
            loop(first, last, tile)
            tiles.append(tile)

        run_slots(run, len(log_likelihood), self.model.n_jobs)
        return float(log_likelihood.sum())

    def _computed_in(self, dtype: np.dtype) -> np.dtype:
        if dtype not in self._dtypes:
            self._dtypes[dtype] = self.model.lanes(self.params, dtype)
        return self._dtypes[dtype]

    def _grid(self, chunk: Chunk) -> tuple[int, int]:
        """Lanes of a tile, and number of slots."""
        lanes, slots = grid(len(chunk.X), chunk.X.shape[1], self._computed_in(chunk.X.dtype))
        return lanes, max(1, min(slots, len(chunk.X) // PIECE_ROWS)) if self.pieces else slots

    def _tile(self, chunk: Chunk, lanes: int) -> Any:
        """Scratch of one thread."""
        dtype = self._computed_in(chunk.X.dtype)
        return scratch(self.model.family, dtype, chunk.X.shape[1], len(self.params.weights), lanes)

    def _loop(self, chunk: Chunk, slots: Slots, log_likelihood: np.ndarray, lanes: int) -> Callable:
        """``loop(first, last, tile)``: the rows of the slots from first up to last."""
        log_weights, prepared = slots.prepared
        kernel = from_factory(mixture_e_step, *self.model.family.bricks(prepared))
        arguments, order = (*chunk, log_weights, prepared, slots.sums, log_likelihood), self.model.order(chunk)
        return lambda first, last, tile: kernel(first, last, *arguments, tile._replace(order=order))

    @property
    def prepared(self) -> Any:
        """What the last chunk was summed with."""
        return self._prepared

    def sums(self) -> Any:
        """The family's statistics of all chunks."""
        self._merge()
        if self._sums is None:
            raise ValueError("there are no rows: give at least one")
        return self._sums

    def _fresh(self, chunk: Chunk, most: int) -> Slots:
        """Slots of zeros, or those that an E-step of the same form has left."""
        dtype, family, components = self._computed_in(chunk.X.dtype), self.model.family, self.params.components
        prepared = self.model.prepare(self.params, dtype)
        self._prepared = prepared[1]
        if self.model.slots[0] == self._form(prepared[1], most):
            (_, sums), self.model.slots = self.model.slots, (None, None)
            return Slots(dtype, most, prepared, sums, used=True)
        sums = family.zeros(components, 1, prepared[1])
        if most > 1:
            one = sum(a.nbytes for a in tree.leaves(sums))
            sums = family.zeros(components, min(most, max(4, SLOT_BYTES // one)), prepared[1])
        return Slots(dtype, most, prepared, sums, used=False)

    def _form(self, prepared: Any, most: int) -> tuple[Any, ...]:
        """What slots must have in common to serve again."""
        return type(prepared), len(self.params.weights), tree.shapes(prepared), most

    def _merge(self) -> None:
        """Add the slots to the sums, and leave them to the next E-step."""
        if self._slots is None:
            return
        _, most, (_, prepared), slots, _ = self._slots
        self._slots = None
        sums = tree.mapped(lambda leaf: summed(leaf, self.model.n_jobs), slots)
        self.model.slots = self._form(prepared, most), slots
        sums = self.model.family.unpad(sums, self.params.components, prepared)
        self._sums = sums if self._sums is None else tree.add(self._sums, sums)


def summed(slots: np.ndarray, n_jobs: int | None) -> np.ndarray:
    """The slots (s, ...) added up in their order, as one (1, ...); many threads share the numbers, not the slots."""
    if slots.nbytes < 2 * PIECE_BYTES:
        return slots.sum(axis=0, keepdims=True)
    flat = slots.reshape(len(slots), -1)
    m, pieces = flat.shape[1], slots.nbytes // PIECE_BYTES
    out = np.empty((1, m))

    def add(first: int, last: int) -> None:
        for p in range(first, last):  # always the same, as NumPy adds a single column in another order
            part = slice(m * p // pieces, m * (p + 1) // pieces)
            flat[:, part].sum(axis=0, out=out[0, part])

    run_slots(add, pieces, n_jobs)
    return out.reshape(1, *slots.shape[1:])


def rows(model: Any, params: Any, chunk: Chunk, out: dict[str, np.ndarray]) -> None:
    """Fill what is asked of each row: those of `out` that are not empty."""
    (n, d), dtype = chunk.X.shape, model.lanes(params, chunk.X.dtype)
    lanes, slots = grid(n, d, dtype)
    prepared = model.prepare(params, dtype)
    kernel = from_factory(mixture_rows, model.family.bricks(prepared[1])[0])
    arguments = chunk.X, *prepared, *out.values(), slots, ONES
    order = model.order(chunk)

    def run(first: int, last: int) -> None:
        tile = scratch(model.family, dtype, d, len(params.weights), lanes)
        kernel(first, last, *arguments, tile._replace(order=order))

    run_slots(run, slots, model.n_jobs)


def compiled_sums(family: Any, params: Any, X: np.ndarray, resp: np.ndarray) -> Any:
    """The family's statistics of rows X whose weighted responsibilities (n, K) are given."""
    (n, d), k = X.shape, resp.shape[1]
    prepared = family.prepare(params, X.dtype, np.full(k, 1.0 / k))
    kernel = from_factory(mixture_sums, family.bricks(prepared)[1])
    statistics = family.zeros(params, 1, prepared)
    kernel(chunk(X).X, resp, ONES, prepared, statistics, make_tile(X.dtype, d, k, grid(n, d, X.dtype)[0]))
    return family.unpad(statistics, params, prepared)
