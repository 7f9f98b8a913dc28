"""Moments of all components at once: their responsibilities times the products of each row's features.

A product of matrices, in which a product of features is computed once for eight components, and no sum runs across a
register. The features of a row are multiplied by themselves turned round: the segment s holds x_j x_(j + s mod d) for
all j, so that the segments up to d // 2 hold every pair, and all start on whole registers. One more holds x itself.
"""

from fastem.kernels.jit import brick
from fastem.kernels.row_moments import at_once, find_live
from fastem.kernels.simd import GROUP, add_to, fma, like, load_native, native, splat_native, store

WIDE = GROUP == 4
"""Whether there are registers for two times eight sums."""

SPARE = 8
"""Numbers behind the last segment, of which the first is the sum of the weights."""


@brick
def add_moments(tile, resp, weights, components, d, out):
    """The segments of a tile, out[c, s m + j] += sum_b weights[c, b] x_bj x_b(j + s mod d), and x_bj in the last.

    m is d padded as in the tile. Of the rows alone whose responsibility `resp` is alive, where these are few or where
    squares overflow.
    """
    width = max(8, native(resp))
    padded = -(-d // width) * width
    last = (out.shape[1] - SPARE) // padded - 1
    _turn(tile.rows, d, tile.twice)
    if at_once(tile, resp, components, d):
        _add_products(tile.twice, weights, components, d, last, padded, out)
        return
    for k in range(components):
        m = find_live(resp, k, tile.least[0], tile.index)
        if m > 0:
            _add_live(tile.twice, tile.index, m, weights, k, d, last, padded, out)


@brick
def _turn(rows, d, out):
    """Each row twice, one behind the other."""
    for b in range(rows.shape[0]):
        for j in range(0, d, native(rows)):
            store(out, b, j, load_native(rows, b, j))
        for j in range(0, d, native(rows)):
            store(out, b, d + j, load_native(rows, b, j))


@brick
def _add_products(twice, weights, components, d, last, padded, out):
    """Of all rows."""
    for j in range(0, d, native(twice)):
        for s in range(0, last + 1, 2):
            c = 0
            while WIDE and c + 4 < components:
                _eight(twice, weights, c, s, last, j, padded, out)
                c += 8
            while c < components:
                _four(twice, weights, c, s, last, j, padded, out)
                c += 4


@brick
def _add_live(twice, index, m, weights, k, d, last, padded, out):
    """Of the rows index[:m] and the component k."""
    for j in range(0, d, native(twice)):
        s = 0
        while s + 8 <= last:
            _eight_of_live(twice, index, m, weights, k, s, j, padded, out)
            s += 8
        while s <= last:
            _one_of_live(twice, index, m, weights, k, s, last, j, padded, out)
            s += 1


@brick
def _eight_of_live(twice, index, m, weights, k, s, j, padded, out):
    """One register of eight segments."""
    s0 = like(load_native(twice, 0, j), 0.0)
    s1 = s0
    s2 = s0
    s3 = s0
    s4 = s0
    s5 = s0
    s6 = s0
    s7 = s0
    for n in range(m):
        b = index[n]
        y = splat_native(weights, k, b) * load_native(twice, b, j)
        s0 = fma(y, load_native(twice, b, j + s), s0)
        s1 = fma(y, load_native(twice, b, j + s + 1), s1)
        s2 = fma(y, load_native(twice, b, j + s + 2), s2)
        s3 = fma(y, load_native(twice, b, j + s + 3), s3)
        s4 = fma(y, load_native(twice, b, j + s + 4), s4)
        s5 = fma(y, load_native(twice, b, j + s + 5), s5)
        s6 = fma(y, load_native(twice, b, j + s + 6), s6)
        s7 = fma(y, load_native(twice, b, j + s + 7), s7)
    i = s * padded + j
    add_to(out, k, i, s0)
    add_to(out, k, i + padded, s1)
    add_to(out, k, i + 2 * padded, s2)
    add_to(out, k, i + 3 * padded, s3)
    add_to(out, k, i + 4 * padded, s4)
    add_to(out, k, i + 5 * padded, s5)
    add_to(out, k, i + 6 * padded, s6)
    add_to(out, k, i + 7 * padded, s7)


@brick
def _one_of_live(twice, index, m, weights, k, s, last, j, padded, out):
    """One register of one segment."""
    s0 = like(load_native(twice, 0, j), 0.0)
    for n in range(m):
        b = index[n]
        y = splat_native(weights, k, b) * load_native(twice, b, j)
        s0 = fma(y, load_native(twice, b, j + s), s0) if s < last else s0 + y
    add_to(out, k, s * padded + j, s0)


@brick
def _eight(twice, resp, c, s, last, j, padded, out):
    """Eight components, and one register of two segments."""
    s00 = like(load_native(twice, 0, j), 0.0)
    s01 = s00
    s10 = s00
    s11 = s00
    s20 = s00
    s21 = s00
    s30 = s00
    s31 = s00
    s40 = s00
    s41 = s00
    s50 = s00
    s51 = s00
    s60 = s00
    s61 = s00
    s70 = s00
    s71 = s00
    for b in range(twice.shape[0]):
        x = load_native(twice, b, j)
        x0 = x * load_native(twice, b, j + s) if s < last else x
        x1 = x * load_native(twice, b, j + s + 1) if s + 1 < last else x
        r = splat_native(resp, c, b)
        s00 = fma(r, x0, s00)
        s01 = fma(r, x1, s01)
        r = splat_native(resp, c + 1, b)
        s10 = fma(r, x0, s10)
        s11 = fma(r, x1, s11)
        r = splat_native(resp, c + 2, b)
        s20 = fma(r, x0, s20)
        s21 = fma(r, x1, s21)
        r = splat_native(resp, c + 3, b)
        s30 = fma(r, x0, s30)
        s31 = fma(r, x1, s31)
        r = splat_native(resp, c + 4, b)
        s40 = fma(r, x0, s40)
        s41 = fma(r, x1, s41)
        r = splat_native(resp, c + 5, b)
        s50 = fma(r, x0, s50)
        s51 = fma(r, x1, s51)
        r = splat_native(resp, c + 6, b)
        s60 = fma(r, x0, s60)
        s61 = fma(r, x1, s61)
        r = splat_native(resp, c + 7, b)
        s70 = fma(r, x0, s70)
        s71 = fma(r, x1, s71)
    i = s * padded + j
    add_to(out, c, i, s00)
    add_to(out, c + 1, i, s10)
    add_to(out, c + 2, i, s20)
    add_to(out, c + 3, i, s30)
    add_to(out, c + 4, i, s40)
    add_to(out, c + 5, i, s50)
    add_to(out, c + 6, i, s60)
    add_to(out, c + 7, i, s70)
    if s < last:
        i += padded
        add_to(out, c, i, s01)
        add_to(out, c + 1, i, s11)
        add_to(out, c + 2, i, s21)
        add_to(out, c + 3, i, s31)
        add_to(out, c + 4, i, s41)
        add_to(out, c + 5, i, s51)
        add_to(out, c + 6, i, s61)
        add_to(out, c + 7, i, s71)


@brick
def _four(twice, resp, c, s, last, j, padded, out):
    """Four components, and one register of two segments."""
    s00 = like(load_native(twice, 0, j), 0.0)
    s01 = s00
    s10 = s00
    s11 = s00
    s20 = s00
    s21 = s00
    s30 = s00
    s31 = s00
    for b in range(twice.shape[0]):
        x = load_native(twice, b, j)
        x0 = x * load_native(twice, b, j + s) if s < last else x
        x1 = x * load_native(twice, b, j + s + 1) if s + 1 < last else x
        r = splat_native(resp, c, b)
        s00 = fma(r, x0, s00)
        s01 = fma(r, x1, s01)
        r = splat_native(resp, c + 1, b)
        s10 = fma(r, x0, s10)
        s11 = fma(r, x1, s11)
        r = splat_native(resp, c + 2, b)
        s20 = fma(r, x0, s20)
        s21 = fma(r, x1, s21)
        r = splat_native(resp, c + 3, b)
        s30 = fma(r, x0, s30)
        s31 = fma(r, x1, s31)
    i = s * padded + j
    add_to(out, c, i, s00)
    add_to(out, c + 1, i, s10)
    add_to(out, c + 2, i, s20)
    add_to(out, c + 3, i, s30)
    if s < last:
        i += padded
        add_to(out, c, i, s01)
        add_to(out, c + 1, i, s11)
        add_to(out, c + 2, i, s21)
        add_to(out, c + 3, i, s31)
