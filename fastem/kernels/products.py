"""Moments of all components at once: their responsibilities times the products of each row's features.

A product of matrices, in which a product of features is computed once for eight components, and no sum runs across a
register. The features of a row are multiplied by themselves turned round: the segment s holds x_j x_(j + s mod d) for
all j, so that the segments up to d // 2 hold every pair, and all start on whole registers. One more holds x itself.
"""

from fastem.kernels.jit import brick
from fastem.kernels.moments import count_live
from fastem.kernels.simd import GROUP, add_to, count_greater, fma, like, load_native, native, splat_native, store

WIDE = GROUP == 4
"""Whether there are registers for two times eight sums."""

MOST, MOST_DOUBLE = 1e30, 1e300
"""Squares beyond which a product with a responsibility of 0 might be no number."""


@brick
def segments(d):
    """How many there are for d features."""
    return d // 2 + 2


@brick
def begin(tile, resp, components, d):
    """Whether most responsibilities of a tile are alive and no square overflows; the rows are then turned."""
    lanes, live = resp.shape[1], 0
    for k in range(components):
        live += count_live(resp, k, lanes, tile.least[0])
    return 5 * live >= 3 * components * lanes and _turn(tile.rows, d, tile.twice)


@brick
def _turn(rows, d, out):
    """Each row twice, one behind the other; whether all squares are held."""
    huge, most = 0, MOST_DOUBLE if rows.itemsize == 8 else MOST
    for b in range(rows.shape[0]):
        for j in range(0, d, native(rows)):
            x = load_native(rows, b, j)
            store(out, b, j, x)
            huge += count_greater(x * x, most)
        for j in range(0, d, native(rows)):
            store(out, b, d + j, load_native(rows, b, j))
    return huge == 0


@brick
def add_products(twice, resp, k, d, padded, out):
    """out[c, s padded + j] += sum_b resp[c, b] x_bj x_b(j + s mod d), and in the last segment sum_b resp[c, b] x_bj.

    For the components c < k; x_b are the first d numbers of twice[b].
    """
    last = d // 2 + 1
    for j in range(0, d, native(twice)):
        for s in range(0, last + 1, 2):
            c = 0
            while WIDE and c + 4 < k:
                _eight(twice, resp, c, s, last, j, padded, out)
                c += 8
            while c < k:
                _four(twice, resp, c, s, last, j, padded, out)
                c += 4


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
