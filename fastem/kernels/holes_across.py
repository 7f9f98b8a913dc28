"""Rows of a tile whose holes are all different: as many eliminations at a time as a register has lanes, a row in each.

With y = x - mean, 0 where there is a hole, a hole is filled with its mean less the entry of (P_mm)^-1 (P y)_m, of the
precision matrix P. In P_mm = L D L^T each row is as large as the one of its register with the most holes: what is
past its own is that of the identity. Golub and Van Loan (2013), Matrix computations, 4.1.
"""

from collections import namedtuple

import numpy as np

from fastem.kernels.jit import inlined
from fastem.kernels.mixture import aligned, put
from fastem.kernels.simd import (
    NATIVE_OF,
    add_at,
    count_greater,
    fma,
    gather,
    like,
    load_native,
    native,
    splat_native,
    store,
)
from fastem.kernels.special import LOG_TWO_PI, log

WIDEST = 64
"""Columns up to which rows are taken so: the scratch of more is out of the cache."""

FAR = 1e-100
"""Product of pivots below which, or above one over which, its logarithm is taken; a further factor may be as far."""

Across = namedtuple("Across", "count index mask centred product factor inverse pivots line")
Across.__doc__ = """Scratch of one slot.

count (B,): holes of the lanes that are filled here, 0 for others; index (d, B): their columns, in order, then 0; mask
(d, B): 1 where there is a hole in index, else 0; centred (d, B) is y. The others are a register wide: product (d, W) is
P y; line (2, W) are log |D| and weights. factor: rows j q ... j q + m, where q is 3 more than the m holes, of L below
the diagonal and -(L D)^T above it; row m is of the right-hand side, then of the solution. inverse is L^-1 in the same
places, pivots (d, W) are one over those of D. All have room for three rows and columns past the last.
"""


def make_across(d: int, lanes: int) -> Across:
    """Scratch for `lanes` rows of d columns; none but the counts where d is over `WIDEST`."""
    dtype = np.dtype(np.float64)
    size, width = d + 4 if d <= WIDEST else 0, NATIVE_OF[dtype]
    return Across(
        np.zeros(lanes, np.int64),
        np.zeros((size, lanes), np.int64),
        aligned(dtype, size, lanes),
        aligned(dtype, size, lanes),
        aligned(dtype, size, width),
        aligned(dtype, size * size, width),
        aligned(dtype, size * size, width),
        aligned(dtype, size, width),
        aligned(dtype, 2, width),
    )


@inlined
def most_holes(across, b):
    """The most holes of a lane from b on that is filled here."""
    most = 0
    for lane in range(b, b + native(across.factor)):
        most = max(most, across.count[lane])
    return most


@inlined
def fill_across(tile, precisions, means, k, b, n, d):
    """Fill the lanes from b on, with n holes at most, given component k, and put log |P_mm| where it belongs."""
    across = tile.extra.across
    _multiply(across, precisions, k * d, b, d)
    _gather(across, precisions, k * d, b, n)
    _eliminate(across, n)
    _substitute(across.factor, n)
    for lane in range(native(across.factor)):
        for i in range(across.count[b + lane]):
            j = across.index[i, b + lane]
            put(tile, j, b + lane, d, means[k, j] + across.factor[n * (n + 3) + i, lane])


@inlined
def put_level(across, level, b):
    """What the entries that are missing in the lanes from b on add to log p."""
    for lane in range(native(across.factor)):
        m = across.count[b + lane]
        if m > 0:
            level[0, b + lane] = 0.5 * (m * LOG_TWO_PI - across.line[0, lane])


@inlined
def begin_across(tile, means, k, d):
    """y of the whole tile in component k; how many lanes to go through, 0 where none is filled here."""
    y, across = tile.extra.across.centred, tile.extra.across
    if tile.extra.size[1] == 0:
        return 0
    for j in range(d):
        for b in range(across.count.size):
            y[j, b] = tile.columns[j, b] - means[k, j]
    for b in range(across.count.size):
        for i in range(across.count[b]):
            y[across.index[i, b], b] = 0.0
    return across.count.size


@inlined
def _multiply(across, precisions, first, b, d):
    """The product of P, whose rows begin with `first`, and y."""
    y, product = across.centred, across.product
    for i in range(0, d, 4):
        s0 = like(load_native(y, 0, b), 0.0)
        s1 = s0
        s2 = s0
        s3 = s0
        for j in range(d):
            v = load_native(y, j, b)
            s0 = fma(splat_native(precisions, first + j, i), v, s0)
            s1 = fma(splat_native(precisions, first + j, i + 1), v, s1)
            s2 = fma(splat_native(precisions, first + j, i + 2), v, s2)
            s3 = fma(splat_native(precisions, first + j, i + 3), v, s3)
        store(product, i, 0, s0)
        store(product, i + 1, 0, s1)
        store(product, i + 2, 0, s2)
        store(product, i + 3, 0, s3)


@inlined
def _gather(across, precisions, first, b, n):
    """P_mm of each lane, and the negative right-hand side as one more row; the identity past its holes."""
    a, index, q = across.factor, across.index, n + 3
    zero = like(load_native(a, 0, 0), 0.0)
    one = like(zero, 1.0)
    for i in range(n):
        mask = load_native(across.mask, i, b)
        for j in range(i):
            store(a, i * q + j, 0, gather(precisions, first, index, i, j, b) * mask)
        store(a, i * q + i, 0, fma(gather(precisions, first, index, i, i, b), mask, one - mask))
        for lane in range(native(a)):
            a[n * q + i, lane] = across.product[index[i, b + lane], lane]
        store(a, n * q + i, 0, zero - load_native(a, n * q + i, 0) * mask)
    for i in range((n + 1) * q, (n + 4) * q):  # read with the last rows
        store(a, i, 0, zero)


@inlined
def _eliminate(across, n):
    """L and D, log |D|, and for row n, the right-hand side, (L D)^-1 of it; four rows at a time."""
    a, q = across.factor, n + 3
    zero = like(load_native(a, 0, 0), 0.0)
    one = like(zero, 1.0)
    log_det = zero
    determinant = one
    for j in range(n):
        scale = one
        for i in range(j, n + 1, 4):
            s0 = load_native(a, i * q + j, 0)
            s1 = load_native(a, (i + 1) * q + j, 0)
            s2 = load_native(a, (i + 2) * q + j, 0)
            s3 = load_native(a, (i + 3) * q + j, 0)
            for p in range(j):
                c = load_native(a, p * q + j, 0)
                s0 = fma(load_native(a, i * q + p, 0), c, s0)
                s1 = fma(load_native(a, (i + 1) * q + p, 0), c, s1)
                s2 = fma(load_native(a, (i + 2) * q + p, 0), c, s2)
                s3 = fma(load_native(a, (i + 3) * q + p, 0), c, s3)
            if i == j:
                scale = one / s0
                store(across.pivots, j, 0, scale)
                determinant = determinant * s0
            store(a, j * q + i + 1, 0, zero - s1)
            store(a, j * q + i + 2, 0, zero - s2)
            store(a, (i + 1) * q + j, 0, s1 * scale)
            store(a, (i + 2) * q + j, 0, s2 * scale)
            store(a, (i + 3) * q + j, 0, s3 * scale)
            if i > j:
                store(a, j * q + i, 0, zero - s0)
                store(a, i * q + j, 0, s0 * scale)
            if i + 3 < n:
                store(a, j * q + i + 3, 0, zero - s3)
        if count_greater(determinant, 1.0 / FAR) > 0 or count_greater(determinant, FAR) < native(a):
            log_det = log_det + log(determinant)
            determinant = one
    store(across.line, 0, 0, log_det + log(determinant))


@inlined
def _substitute(a, n):
    """Row n becomes (L^T)^-1 of it."""
    q = n + 3
    for j in range(n - 1, 0, -1):
        x = load_native(a, n * q + j, 0)
        x = like(x, 0.0) - x
        for i in range(j):
            store(a, n * q + i, 0, fma(load_native(a, j * q + i, 0), x, load_native(a, n * q + i, 0)))


@inlined
def add_within_across(tile, resp, k, b, n, share, sum_xx):
    """Add `share` of the conditional covariances of the holes of the lanes from b on, weighted, to sum_xx.

    Above its diagonal.
    """
    across = tile.extra.across
    a, index, q = across.factor, across.index, n + 3
    for lane in range(native(a)):
        across.line[1, lane] = resp[k, b + lane] * share if resp[k, b + lane] > tile.least[0] else 0.0
    _invert(across, b, n)
    for lane in range(native(a)):
        if across.line[1, lane] > 0.0:
            for i in range(n):  # what is past the holes of a row is 0: loops of one length, which processors foresee
                for j in range(i + 1):
                    add_at(sum_xx, index[j, b + lane], index[i, b + lane], a[i * q + j, lane])


@inlined
def _invert(across, b, n):
    """Below its diagonal the factor becomes (L D L^T)^-1 times the weights of the lanes, and 0 past their holes."""
    a, inverse, q = across.factor, across.inverse, n + 3
    zero = like(load_native(a, 0, 0), 0.0)
    for i in range(n):
        for j in range(0, i, 4):
            s0 = zero
            s1 = zero
            s2 = zero
            s3 = zero
            for p in range(j, i):
                f = load_native(a, i * q + p, 0)
                s0 = fma(f, load_native(inverse, p * q + j, 0), s0)
                s1 = fma(f, load_native(inverse, p * q + j + 1, 0), s1)
                s2 = fma(f, load_native(inverse, p * q + j + 2, 0), s2)
                s3 = fma(f, load_native(inverse, p * q + j + 3, 0), s3)
            store(inverse, i * q + j, 0, zero - s0)
            store(inverse, i * q + j + 1, 0, zero - s1)
            store(inverse, i * q + j + 2, 0, zero - s2)
            store(inverse, i * q + j + 3, 0, zero - s3)
        store(inverse, i * q + i, 0, like(zero, 1.0))
        store(inverse, i * q + i + 1, 0, zero)
        store(inverse, i * q + i + 2, 0, zero)
        store(inverse, i * q + i + 3, 0, zero)
    for i in range(n):
        weight = load_native(across.line, 1, 0) * load_native(across.mask, i, b)
        for j in range(0, i + 1, 4):
            s0 = zero
            s1 = zero
            s2 = zero
            s3 = zero
            for p in range(i, n):
                f = load_native(inverse, p * q + i, 0) * load_native(across.pivots, p, 0)
                s0 = fma(f, load_native(inverse, p * q + j, 0), s0)
                s1 = fma(f, load_native(inverse, p * q + j + 1, 0), s1)
                s2 = fma(f, load_native(inverse, p * q + j + 2, 0), s2)
                s3 = fma(f, load_native(inverse, p * q + j + 3, 0), s3)
            store(a, i * q + j, 0, s0 * weight)
            store(a, i * q + j + 1, 0, s1 * weight)
            store(a, i * q + j + 2, 0, s2 * weight)
            store(a, i * q + j + 3, 0, s3 * weight)
