"""Missing entries of a tile: where they are, and their regression on those that are there.

Rows with the same holes that follow each other are a run. For a run the coefficients of the regression are worked out
once a component, by sweeps of whichever block is the smaller: that of the precision matrix for the holes, or that of
the covariance matrix for the entries that are there. Dempster (1969), Elements of continuous multivariate analysis.
"""

from collections import namedtuple
from math import log

import numpy as np

from fastem.kernels.jit import brick
from fastem.kernels.mixture import SMALL
from fastem.kernels.simd import fma, like, load_native, native, splat_native, store, total

Holes = namedtuple("Holes", "runs index size count level coefficients narrow deviation line")
Holes.__doc__ = """Scratch of one slot.

runs (3, B): first lane of each run, the lane past its last, and its number m of holes; size (1,): how many runs.
index (B, d + 1): for each run the columns of its holes, then the others, both in order. count (B,): holes of a lane.
level (1, B): what each run adds to log p. coefficients (d, d), float64: row i is of hole i, in the columns that are
there the coefficients with a minus sign, in those of the holes their conditional covariances; narrow is the same in the
dtype of the tile. deviation (1, d) and line (1, B) are for one row and for one column. All are padded.
"""


def make_holes(dtype: np.dtype, d: int, lanes: int) -> Holes:
    """Scratch for `lanes` rows of d columns."""
    wide = padded(d)
    return Holes(
        np.zeros((3, lanes), np.int64),
        np.zeros((lanes, d + 1), np.int64),
        np.zeros(1, np.int64),
        np.zeros(lanes, np.int64),
        np.zeros((1, lanes)),
        np.zeros((d, wide)),
        np.zeros((d, wide), dtype),
        np.zeros((1, wide)),
        np.zeros((1, lanes + 16), dtype),
    )


def padded(d: int) -> int:
    """d up to whole registers of any machine."""
    return -(-d // 8) * 8


@brick
def find_holes(tile, d):
    """The runs of rows with the same holes; the holes themselves become 0."""
    columns, runs, index, count = tile.columns, tile.extra.runs, tile.extra.index, tile.extra.count
    for b in range(count.size):
        count[b] = 0
    for j in range(d):
        for b in range(count.size):
            count[b] += 1 if columns[j, b] != columns[j, b] else 0
    n = 0
    for b in range(count.size):
        m = count[b]
        if m == 0:
            continue
        if n > 0 and runs[1, n - 1] == b and runs[2, n - 1] == m and _all_missing(columns, b, index, n - 1, m):
            runs[1, n - 1] = b + 1
        else:
            runs[0, n], runs[1, n], runs[2, n] = b, b + 1, m
            hole, there = 0, m
            for j in range(d):
                if columns[j, b] != columns[j, b]:
                    index[n, hole] = j
                    hole += 1
                else:
                    index[n, there] = j
                    there += 1
            n += 1
        for i in range(m):
            put(tile, index[n - 1, i], b, d, 0.0)
    tile.extra.size[0] = n


@brick
def _all_missing(columns, b, index, r, m):
    for i in range(m):
        x = columns[index[r, i], b]
        if x == x:
            return False
    return True


@brick
def put(tile, j, b, d, x):
    """Column j of lane b becomes x, in both layouts."""
    tile.columns[j, b] = x
    if d > SMALL:
        tile.rows[b, j] = x


@brick
def regress(holes, r, precisions, covariances, k, by_covariance):
    """The coefficients of run r in component k, and log |block|, of the block of either (K d, d) that was swept."""
    d, m = holes.index.shape[1] - 1, holes.runs[2, r]
    a, index, source = holes.coefficients, holes.index, covariances if by_covariance else precisions
    first, last = (m, d) if by_covariance else (0, m)
    for i in range(max(m, last)):
        for j in range(0, a.shape[1], native(a)):
            store(a, i, j, load_native(source, k * d + index[r, i], j))
    log_det = 0.0
    for p in range(first, last):
        log_det += log(a[p, index[r, p]])
        _sweep(a, p, index[r, p], m, last)
    return log_det


@brick
def _sweep(a, p, c, wanted, last):
    """Eliminate column c by row p: from rows below it, and from those that are wanted."""
    scale = 1.0 / a[p, c]
    a[p, c] = 1.0
    for j in range(0, a.shape[1], native(a)):
        row = load_native(a, p, j)
        store(a, p, j, row * like(row, scale))
    for i in range(last):
        if i == p or wanted <= i < p:
            continue
        factor = -a[i, c]
        a[i, c] = 0.0
        for j in range(0, a.shape[1], native(a)):
            row = load_native(a, p, j)
            store(a, i, j, fma(like(row, factor), row, load_native(a, i, j)))


@brick
def fill(tile, r, means, k, d):
    """The holes of run r become their means in component k, given what is there; `regress` comes first."""
    if tile.extra.runs[1, r] - tile.extra.runs[0, r] < native(tile.columns):
        _fill_rows(tile, r, means, k, d)
    else:
        _fill_lanes(tile, r, means, k, d)


@brick
def _fill_rows(tile, r, means, k, d):
    holes = tile.extra
    index, a, y, m = holes.index, holes.coefficients, holes.deviation, holes.runs[2, r]
    for b in range(holes.runs[0, r], holes.runs[1, r]):
        if d > SMALL:
            for j in range(d):
                y[0, j] = tile.rows[b, j] - means[k, j]
        else:
            for j in range(d):
                y[0, j] = tile.columns[j, b] - means[k, j]
        for i in range(m):
            y[0, index[r, i]] = 0.0
        for i in range(m):
            s = like(load_native(y, 0, 0), 0.0)
            for j in range(0, y.shape[1], native(y)):
                s = fma(load_native(a, i, j), load_native(y, 0, j), s)
            put(tile, index[r, i], b, d, means[k, index[r, i]] - total(s))


@brick
def _fill_lanes(tile, r, means, k, d):
    holes = tile.extra
    index, a, line, y, m = holes.index, holes.narrow, holes.line, tile.centred, holes.runs[2, r]
    first, last = holes.runs[0, r], holes.runs[1, r]
    for q in range(m, d):
        j = index[r, q]
        for i in range(m):
            a[i, j] = holes.coefficients[i, j]
        mean = splat_native(means, k, j)
        for b in range(first, last, native(y)):
            store(y, j, b, load_native(tile.columns, j, b) - mean)
    for i in range(m):
        c = index[r, i]
        mean = splat_native(means, k, c)
        for b in range(first, last, native(y)):
            s = like(mean, 0.0)
            for q in range(m, d):
                s = fma(splat_native(a, i, index[r, q]), load_native(y, index[r, q], b), s)
            store(line, 0, b, mean - s)
        for b in range(first, last):
            put(tile, c, b, d, line[0, b])


@brick
def fill_means(tile, means, k, d):
    """All holes become their means in component k."""
    runs, index = tile.extra.runs, tile.extra.index
    for r in range(tile.extra.size[0]):
        for b in range(runs[0, r], runs[1, r]):
            for i in range(runs[2, r]):
                put(tile, index[r, i], b, d, means[k, index[r, i]])


@brick
def add_level(holes, k, out):
    """out[k, b] += the level of the run of lane b."""
    for r in range(holes.size[0]):
        for b in range(holes.runs[0, r], holes.runs[1, r]):
            out[k, b] += holes.level[0, r]


@brick
def weight_of(holes, r, resp, k):
    """Sum of the responsibilities of component k for the rows of run r, as float64."""
    s = 0.0
    for b in range(holes.runs[0, r], holes.runs[1, r]):
        s += resp[k, b]
    return s
