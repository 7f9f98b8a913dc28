"""The E-step of a finite mixture: tiles and slots. The loop over the rows of every family is here."""

import math
from collections import namedtuple
from collections.abc import Callable

import numpy as np

from fastem.kernels.jit import brick, compiled, inlined, reads_roots, stamp
from fastem.kernels.simd import NATIVE_OF, native, transpose
from fastem.kernels.softmax import normalize_and_ask

Tile = namedtuple(
    "Tile",
    "columns rows weight root_weight log_prob resp root centred weighted twice index every least spare extra order",
)
Tile.__doc__ = """Scratch of one slot: a block of B rows of X minus the shift, and what is computed of them.

columns (d, B) and rows (B, d) are the same numbers with either axis innermost (rows for d > 3 only); weight (1, B) is 0
in the lanes past the data; log_prob (1, B) is log p(x); resp (K, B) holds log p(x | k), then the responsibilities times
the weight, and root its square root; rows past K are 0. least (1,) is the responsibility below which a lane adds
nothing that float64 could hold; every (B,) counts the lanes. root_weight (1, B), centred (d, B), weighted (B, d),
twice (B, 2 d) and index (B,) are free for bricks, and so is spare (2, K, B), for what `log_prob` leaves to
`accumulate`. d is padded to whole registers, and with zeros. extra is what a family asks for beside: nothing, for
most. order (n,) are the rows of X in the order in which tiles take them; empty for that of X.
"""

SMALL = 3
"""Features up to which no brick reads the rows, and single stores fill the columns."""

NEGLIGIBLE = 1e-28
"""Responsibility that cannot show beside 1, even summed over 1e12 rows."""


def aligned(dtype, rows, columns):
    """Zeros (rows, columns) that start on a cache line."""
    buffer = np.zeros(rows * columns + 64 // dtype.itemsize, dtype)
    first = -buffer.ctypes.data % 64 // dtype.itemsize
    return buffer[first : first + rows * columns].reshape(rows, columns)


def make_tile(dtype: np.dtype, d: int, k: int, lanes: int) -> Tile:
    """Scratch for `lanes` rows; an odd cache line a row keeps columns of the tile out of one cache set."""
    width = max(8, NATIVE_OF[dtype])
    odd = 64 // dtype.itemsize
    d = -(-d // width) * width
    k = -(-k // width) * width
    return Tile(
        aligned(dtype, d, lanes + odd),
        aligned(dtype, lanes, d + odd),
        aligned(dtype, 1, lanes),
        aligned(dtype, 1, lanes),
        aligned(dtype, 1, lanes),
        aligned(dtype, k, lanes),
        aligned(dtype, k, lanes),
        aligned(dtype, d, lanes + odd),
        aligned(dtype, lanes, d + odd),
        aligned(dtype, lanes, 2 * d + odd),
        np.zeros(lanes + 8, np.int64),
        np.arange(lanes, dtype=np.int64),
        np.zeros(1, dtype),
        aligned(dtype, 2 * k, lanes).reshape(2, k, lanes),
        np.zeros(0),
        np.zeros(0, np.int64),
    )


@brick
def load_tile(X, weight, first, count, shift, tile):
    """Rows first ... first + count of X minus the shift, and their weights."""
    load_weights(weight, first, count, tile)
    load_rows(X, first, count, shift, tile)


@brick
def load_weights(weight, first, count, tile):
    """The weights of those rows, and 0 in the lanes past them."""
    largest = 0.0
    for b in range(count):
        tile.weight[0, b] = weight[row_of(tile, first + b)] if weight.size > 0 else 1.0
        largest = max(largest, tile.weight[0, b])
    for b in range(count, tile.weight.shape[1]):
        tile.weight[0, b] = 0.0
    tile.least[0] = NEGLIGIBLE * largest


@brick
def load_rows(X, first, count, shift, tile):
    """Rows first ... first + count of X minus the shift; the difference is taken in float64."""
    rows, columns = tile.rows, tile.columns
    lanes, d = rows.shape[0], X.shape[1]
    if d <= SMALL:
        for j in range(d):
            if tile.order.size > 0:
                for b in range(count):
                    columns[j, b] = X[tile.order[first + b], j] - shift[j]
            else:
                for b in range(count):
                    columns[j, b] = X[first + b, j] - shift[j]
            for b in range(count, lanes):
                columns[j, b] = 0.0
        return
    for b in range(count):
        i = row_of(tile, first + b)
        for j in range(d):
            rows[b, j] = X[i, j] - shift[j]
    for b in range(count, lanes):
        for j in range(d):
            rows[b, j] = 0.0
    for b in range(0, lanes, native(rows)):
        for j in range(0, d, native(rows)):
            transpose(rows, b, j, columns)


@inlined
def put(tile, j, b, d, x):
    """Column j of lane b becomes x, in both layouts."""
    tile.columns[j, b] = x
    if d > SMALL:
        tile.rows[b, j] = x


@brick
def row_of(tile, i):
    """The i-th row that tiles take."""
    return tile.order[i] if tile.order.size > 0 else i


@brick
def after(tile, t, X):
    """The first row of the tile after t, where rows are taken in their order; else there is none to ask for."""
    return X.shape[0] if tile.order.size > 0 else min((t + 1) * tile.rows.shape[0], X.shape[0])


def mixture_e_step(log_prob: Callable, accumulate: Callable) -> Callable:
    """Compile the E-step of one family.

    Returns ``e_step(first, last, X, weight, log_weights, prepared, statistics, log_likelihood, tile)``, which for the
    slots s from first up to last adds the statistics of their rows to ``statistics[...][s]`` and writes their
    log-likelihood to ``log_likelihood[s]``. The slots are equal runs of tiles and depend on the data alone, so the
    sums have the same bits for any number of threads. Where log_weights (R, K) are those of R mixtures, their
    components follow each other as if they were of one, and log_likelihood has R numbers a slot.
    """
    mark, roots = stamp(log_prob, accumulate), reads_roots(accumulate)

    def e_step(first, last, X, weight, log_weights, prepared, statistics, log_likelihood, tile):
        _ = mark
        n, mixtures, lanes = X.shape[0], log_weights.shape[0], tile.rows.shape[0]
        slots, tiles = log_likelihood.size // mixtures, -(-n // lanes)
        for s in range(first, last):
            for r in range(mixtures * s, mixtures * (s + 1)):
                log_likelihood[r] = 0.0
            for t in range(tiles * s // slots, tiles * (s + 1) // slots):
                load_tile(X, weight, t * lanes, min(lanes, n - t * lanes), prepared.shift, tile)
                log_prob(tile, prepared, tile.resp)
                for r in range(mixtures):
                    ahead = after(tile, t, X) if r == 0 else n
                    log_likelihood[mixtures * s + r] += normalize_and_ask(tile, log_weights, r, roots, X, ahead)
                accumulate(tile, tile.resp, prepared, statistics, s)

    return compiled(e_step)


def mixture_rows(log_prob: Callable) -> Callable:
    """Compile what `predict` and `score_samples` need of one family.

    Returns ``rows(first, last, X, log_weights, prepared, log_p, labels, resp, slots, ones, tile)``, which for the slots
    from first up to last fills those of log_p (n,), labels (n,) and resp (n, K) that are not empty.
    """
    mark = stamp(log_prob)

    def rows(first, last, X, log_weights, prepared, log_p, labels, resp, slots, ones, tile):
        _ = mark
        n, components, lanes = X.shape[0], log_weights.shape[1], tile.rows.shape[0]
        tiles = -(-n // lanes)
        for t in range(tiles * first // slots, tiles * last // slots):
            count = min(lanes, n - t * lanes)
            load_tile(X, ones, t * lanes, count, prepared.shift, tile)
            log_prob(tile, prepared, tile.resp)
            normalize_and_ask(tile, log_weights, 0, False, X, after(tile, t, X))
            put_rows(tile, t * lanes, count, components, log_p, labels, resp)

    return compiled(rows)


def mixture_sums(accumulate: Callable) -> Callable:
    """Compile what starts need of one family: its statistics of rows whose responsibilities are given.

    Returns ``sums(X, resp, ones, prepared, statistics, tile)``, which adds them to ``statistics[...][0]``; resp (n, K).
    """
    mark = stamp(accumulate)

    def sums(X, resp, ones, prepared, statistics, tile):
        _ = mark
        (n, components), lanes = resp.shape, tile.rows.shape[0]
        tile.resp[:] = 0.0
        tile.root[:] = 0.0
        tile.log_prob[:] = 0.0
        for first in range(0, n, lanes):
            count = min(lanes, n - first)
            load_tile(X, ones, first, count, prepared.shift, tile)
            for k in range(components):
                for b in range(lanes):
                    tile.resp[k, b] = resp[first + b, k] if b < count else 0.0
                    tile.root[k, b] = math.sqrt(tile.resp[k, b])
            accumulate(tile, tile.resp, prepared, statistics, 0)

    return compiled(sums)


@brick
def put_rows(tile, first, count, components, log_p, labels, resp):
    """Those of log_p, labels and resp that are not empty, from a tile after `normalize`."""
    for b in range(count):
        i = row_of(tile, first + b)
        if log_p.size > 0:
            log_p[i] = tile.log_prob[0, b]
        if labels.size > 0:
            best = 0
            for k in range(1, components):
                best = k if tile.resp[k, b] > tile.resp[best, b] else best
            labels[i] = best
        if resp.size > 0:
            for k in range(components):
                resp[i, k] = tile.resp[k, b]
