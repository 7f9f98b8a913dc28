"""Missing entries of a tile: where they are, and their regression on those that are there.

Rows with the same holes that follow each other are a run. For a run the coefficients of the regression are worked out
once a component, by sweeps of whichever block is the smaller: that of the precision matrix for the holes, or that of
the covariance matrix for the entries that are there. Dempster (1969), Elements of continuous multivariate analysis.
"""

from collections import namedtuple
from math import log

import numpy as np

from fastem.kernels.holes_across import FAR, WIDEST, make_across
from fastem.kernels.jit import brick, inlined
from fastem.kernels.mixture import SMALL, put
from fastem.kernels.simd import NATIVE_OF, add_to, fma, like, load_native, native, splat_native, store, total

Holes = namedtuple("Holes", "runs index size count level units coefficients narrow deviation line mask across")
Holes.__doc__ = """Scratch of one slot.

runs (3, B): first lane of each run, the lane past its last, and its number m of holes; size (2,): how many runs, and
how many lanes `across` has. index (B, d + 1): for each run the columns of its holes, then the others, both in order.
count (B,): holes of a lane. level (1, B): what is missing in each lane adds to log p. units (d, d): the identity.
coefficients (d, d), float64: row i is of hole i, in the columns that are there the coefficients with a minus sign, in
those of the holes their conditional covariances; narrow (d, d) is the same in the dtype of the tile. deviation (1, d)
and line (1, B) are for one row and for one column, and mask (1, d), float64, is for the columns of a run. All are
padded. across is for rows that are taken a register at a time.
"""


def make_holes(dtype: np.dtype, d: int, lanes: int) -> Holes:
    """Scratch for `lanes` rows of d columns."""
    wide = padded(d, dtype)
    coefficients = np.zeros((d + 4, wide))
    return Holes(
        np.zeros((3, lanes), np.int64),
        np.zeros((lanes, d + 1), np.int64),
        np.zeros(2, np.int64),
        np.zeros(lanes, np.int64),
        np.zeros((1, lanes)),
        np.eye(d, wide),
        coefficients,
        coefficients if dtype == np.float64 else np.zeros((d + 4, wide), dtype),
        np.zeros((1, wide), dtype),
        np.zeros((1, lanes + 16), dtype),
        np.zeros((1, wide)),
        make_across(d, lanes),
    )


def padded(d: int, dtype: np.dtype) -> int:
    """d up to whole registers of that dtype and of float64."""
    width = max(8, NATIVE_OF[np.dtype(dtype)])
    return -(-d // width) * width


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
    _part(tile, d)


@inlined
def _part(tile, d):
    """Which lanes are filled a register at a time: those of short runs, unless little is there."""
    runs, index, across = tile.extra.runs, tile.extra.index, tile.extra.across
    for b in range(across.count.size):
        across.count[b] = 0
    lanes = 0
    for r in range(tile.extra.size[0]):
        m = runs[2, r]
        if runs[1, r] - runs[0, r] < native(tile.columns) and 4 * m <= 3 * d <= 3 * WIDEST:
            lanes += runs[1, r] - runs[0, r]
            for b in range(runs[0, r], runs[1, r]):
                across.count[b] = m
                for i in range(m):
                    across.index[i, b] = index[r, i]
    tile.extra.size[1] = lanes
    if lanes > 0:
        for i in range(d):
            for b in range(across.count.size):
                there = i < across.count[b]
                across.index[i, b] = across.index[i, b] if there else 0
                across.mask[i, b] = 1.0 if there else 0.0


@inlined
def _all_missing(columns, b, index, r, m):
    for i in range(m):
        x = columns[index[r, i], b]
        if x == x:
            return False
    return True


@inlined
def regress(holes, r, precisions, covariances, k, by_covariance):
    """The coefficients of run r in component k, and log |block|, of the block of either (K d, d) that was swept."""
    d, m = holes.index.shape[1] - 1, holes.runs[2, r]
    a, index, source = holes.coefficients, holes.index, covariances if by_covariance else precisions
    first, last = (m, d) if by_covariance else (0, m)
    zero = like(load_native(a, 0, 0), 0.0)
    for j in range(0, a.shape[1], native(a)):
        for i in range(last):
            store(a, i, j, load_native(source, k * d + index[r, i], j))
        for i in range(last, last + 3):
            store(a, i, j, zero)
    log_det, product = 0.0, 1.0
    for p in range(first, last):
        product *= a[p, index[r, p]]
        if not FAR < product < 1.0 / FAR:  # one logarithm costs as much as a sweep
            log_det += log(product)
            product = 1.0
        _sweep(a, holes.units, p, index[r, p], last)
    narrow = holes.narrow
    if narrow.itemsize != a.itemsize:
        for i in range(m):
            for j in range(d):
                narrow[i, j] = a[i, j]
    return log_det + log(product)


@inlined
def _sweep(a, units, p, c, last):
    """Eliminate column c by row p from all other rows, four at a time; three past the last are 0.

    Entry c of a row is replaced by way of the unit vector: a store of one number would hold up the next load of all.
    """
    pivot = a[p, c]
    scale = 1.0 / pivot
    for j in range(0, a.shape[1], native(a)):
        row, unit = load_native(a, p, j), load_native(units, c, j)
        store(a, p, j, fma(unit, like(unit, scale), fma(unit, like(unit, -pivot), row) * like(unit, scale)))
    for i in range(0, last, 4):
        f0 = 0.0 if i == p else -a[i, c]
        f1 = 0.0 if i + 1 == p else -a[i + 1, c]
        f2 = 0.0 if i + 2 == p else -a[i + 2, c]
        f3 = 0.0 if i + 3 == p else -a[i + 3, c]
        for j in range(0, a.shape[1], native(a)):
            row, unit = load_native(a, p, j), load_native(units, c, j)
            store(a, i, j, fma(like(row, f0), row, fma(like(row, f0), unit, load_native(a, i, j))))
            store(a, i + 1, j, fma(like(row, f1), row, fma(like(row, f1), unit, load_native(a, i + 1, j))))
            store(a, i + 2, j, fma(like(row, f2), row, fma(like(row, f2), unit, load_native(a, i + 2, j))))
            store(a, i + 3, j, fma(like(row, f3), row, fma(like(row, f3), unit, load_native(a, i + 3, j))))


@inlined
def add_within(holes, r, weight, sum_xx):
    """sum_xx[i, j] += weight times the conditional covariance of the holes i and j of run r, on both sides."""
    index, a, mask, m = holes.index, holes.coefficients, holes.mask, holes.runs[2, r]
    for i in range(m):
        mask[0, index[r, i]] = weight
    for i in range(m):
        for j in range(0, a.shape[1], native(a)):
            add_to(sum_xx, index[r, i], j, load_native(a, i, j) * load_native(mask, 0, j))
    for i in range(m):
        mask[0, index[r, i]] = 0.0


@inlined
def fill(tile, r, means, k, d):
    """The holes of run r become their means in component k, given what is there; `regress` comes first."""
    if tile.extra.runs[1, r] - tile.extra.runs[0, r] < native(tile.columns):
        _fill_rows(tile, r, means, k, d)
    else:
        _fill_lanes(tile, r, means, k, d)


@inlined
def _fill_rows(tile, r, means, k, d):
    index, a, y, m = tile.extra.index, tile.extra.narrow, tile.extra.deviation, tile.extra.runs[2, r]
    for b in range(tile.extra.runs[0, r], tile.extra.runs[1, r]):
        if d > SMALL:
            for j in range(0, y.shape[1], native(y)):
                store(y, 0, j, load_native(tile.rows, b, j) - load_native(means, k, j))
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


@inlined
def _fill_lanes(tile, r, means, k, d):
    holes = tile.extra
    index, a, line, y, m = holes.index, holes.narrow, holes.line, tile.centred, holes.runs[2, r]
    first, last = holes.runs[0, r], holes.runs[1, r]
    for q in range(m, d):
        j = index[r, q]
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
    """out[k, b] += the level of lane b, where there are holes."""
    for b in range(holes.count.size):
        if holes.count[b] > 0:
            out[k, b] += holes.level[0, b]


@inlined
def put_level(holes, r, level):
    """The level of all lanes of run r."""
    for b in range(holes.runs[0, r], holes.runs[1, r]):
        holes.level[0, b] = level


@brick
def weight_of(holes, r, resp, k):
    """Sum of the responsibilities of component k for the rows of run r, as float64."""
    s = 0.0
    for b in range(holes.runs[0, r], holes.runs[1, r]):
        s += resp[k, b]
    return s
