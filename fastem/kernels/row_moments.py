"""Weighted sums down the rows of a tile: no sum runs across a register.

Rows of no weight are left out, but where all components are summed at once. Second moments are summed as y y^T with
y = sqrt(r) (x - mean), rows innermost in memory, so that a tile of the result stays in registers over all rows; squares
alone as r x^2.
"""

from fastem.kernels.jit import brick
from fastem.kernels.moments import count_live
from fastem.kernels.simd import (
    add_to,
    count_greater,
    fma,
    group,
    like,
    load,
    load_like,
    load_native,
    load_pair,
    lowest_bit,
    maximum,
    native,
    pair,
    splat_like,
    store,
    which_greater,
)

MOST, MOST_DOUBLE = 1e30, 1e300
"""Squares beyond which a product with a responsibility of 0 might be no number."""


@brick
def live_rows(resp, k, least, live, index, every):
    """The lanes b with resp[k, b] > least, of which there are `live`: in `index`, unless it is `every` one."""
    if live == resp.shape[1]:
        return every
    find_live(resp, k, least, index)
    return index


@brick
def find_live(resp, k, least, index):
    """Put the lanes b with resp[k, b] > least into `index`; returns how many there are."""
    m = 0
    for first in range(0, resp.shape[1], group(resp)):
        bits = which_greater(load(resp, k, first), least)
        while bits != 0:
            index[m] = first + lowest_bit(bits)
            bits &= bits - 1
            m += 1
    return m


@brick
def weighted_rows(rows, index, m, root, means, k, out, sum_x, d):
    """out[b] = root[k, i] (rows[i] - means[k]) for i = index[b]; sum_x[k] += sum_b root[k, i] out[b]."""
    j = 0
    while j + group(rows) <= d:
        _weighted_columns(rows, index, m, root, load(means, k, j), k, out, sum_x, j)
        j += group(rows)
    while j + pair(rows) <= d:
        _weighted_columns(rows, index, m, root, load_pair(means, k, j), k, out, sum_x, j)
        j += pair(rows)
    while j < d:
        _weighted_columns(rows, index, m, root, load_native(means, k, j), k, out, sum_x, j)
        j += native(rows)


@brick
def _weighted_columns(rows, index, m, root, mean, k, out, sum_x, j):
    s = like(mean, 0.0)
    for b in range(m):
        i = index[b]
        w = splat_like(mean, root, k, i)
        y = w * (load_like(mean, rows, i, j) - mean)
        store(out, b, j, y)
        s = fma(w, y, s)
    add_to(sum_x, k, j, s)


@brick
def outer_sum(y, m, out, d):
    """out[i, j] += sum_b y[b, i] y[b, j] for i <= j < d in whole tiles; d is a multiple of eight and native."""
    for i in range(0, d, 8):
        j = (i // native(y)) * native(y)
        while j + pair(y) <= d:
            _outer_tile(y, m, out, i, j, load_pair(y, 0, j))
            j += pair(y)
        while j < d:
            _outer_tile(y, m, out, i, j, load_native(y, 0, j))
            j += native(y)


@brick
def _outer_tile(y, m, out, i, j, v):
    """Eight rows of the result, and as many columns as v is wide."""
    s0 = like(v, 0.0)
    s1 = s0
    s2 = s0
    s3 = s0
    s4 = s0
    s5 = s0
    s6 = s0
    s7 = s0
    for b in range(m):
        x = load_like(v, y, b, j)
        s0 = fma(splat_like(v, y, b, i), x, s0)
        s1 = fma(splat_like(v, y, b, i + 1), x, s1)
        s2 = fma(splat_like(v, y, b, i + 2), x, s2)
        s3 = fma(splat_like(v, y, b, i + 3), x, s3)
        s4 = fma(splat_like(v, y, b, i + 4), x, s4)
        s5 = fma(splat_like(v, y, b, i + 5), x, s5)
        s6 = fma(splat_like(v, y, b, i + 6), x, s6)
        s7 = fma(splat_like(v, y, b, i + 7), x, s7)
    add_to(out, i, j, s0)
    add_to(out, i + 1, j, s1)
    add_to(out, i + 2, j, s2)
    add_to(out, i + 3, j, s3)
    add_to(out, i + 4, j, s4)
    add_to(out, i + 5, j, s5)
    add_to(out, i + 6, j, s6)
    add_to(out, i + 7, j, s7)


@brick
def squares_of_four(rows, resp, k, sum_x, sum_xx, d):
    """sum_x[c, :d] += sum_b r x and sum_xx[c, :d] += sum_b r x^2 with r = resp[c, b], the components c from k on."""
    j = 0
    while j + pair(rows) <= d:
        _squares_of_four(rows, resp, k, sum_x, sum_xx, j, load_pair(rows, 0, j))
        j += pair(rows)
    while j < d:
        _squares_of_four(rows, resp, k, sum_x, sum_xx, j, load_native(rows, 0, j))
        j += native(rows)


@brick
def _squares_of_four(rows, resp, k, sum_x, sum_xx, j, v):
    s0 = like(v, 0.0)
    s1 = s0
    s2 = s0
    s3 = s0
    ss0 = s0
    ss1 = s0
    ss2 = s0
    ss3 = s0
    for b in range(rows.shape[0]):
        x = load_like(v, rows, b, j)
        xx = x * x
        r = splat_like(v, resp, k, b)
        s0 = fma(r, x, s0)
        ss0 = fma(r, xx, ss0)
        r = splat_like(v, resp, k + 1, b)
        s1 = fma(r, x, s1)
        ss1 = fma(r, xx, ss1)
        r = splat_like(v, resp, k + 2, b)
        s2 = fma(r, x, s2)
        ss2 = fma(r, xx, ss2)
        r = splat_like(v, resp, k + 3, b)
        s3 = fma(r, x, s3)
        ss3 = fma(r, xx, ss3)
    add_to(sum_x, k, j, s0)
    add_to(sum_x, k + 1, j, s1)
    add_to(sum_x, k + 2, j, s2)
    add_to(sum_x, k + 3, j, s3)
    add_to(sum_xx, k, j, ss0)
    add_to(sum_xx, k + 1, j, ss1)
    add_to(sum_xx, k + 2, j, ss2)
    add_to(sum_xx, k + 3, j, ss3)


@brick
def at_once(tile, resp, components, d):
    """Whether sums over all rows are the quicker ones, as few are without weight, and right, as no square overflows."""
    lanes, live = resp.shape[1], 0
    for k in range(components):
        live += count_live(resp, k, lanes, tile.least[0])
    return 5 * live >= 3 * components * lanes and _squares_are_held(tile.rows, d)


@brick
def _squares_are_held(rows, d):
    """Whether no square overflows."""
    most = MOST_DOUBLE if rows.itemsize == 8 else MOST
    over, j = 0, 0
    while j + group(rows) <= d:
        over += _greater_squares(rows, j, load(rows, 0, j), most)
        j += group(rows)
    while j < d:
        over += _greater_squares(rows, j, load_native(rows, 0, j), most)
        j += native(rows)
    return over == 0


@brick
def _greater_squares(rows, j, v, most):
    """Of as many columns as v is wide, how many have a square above `most`."""
    top = like(v, 0.0)
    for b in range(rows.shape[0]):
        x = load_like(v, rows, b, j)
        top = maximum(x * x, top)
    return count_greater(top, most)


@brick
def square_rows(rows, index, m, resp, means, k, sum_x, sum_xx, d):
    """`square_sums` over the rows index[:m], down the rows: no sum runs across a register."""
    j = 0
    while j + group(rows) <= d:
        _square_columns(rows, index, m, resp, load(means, k, j), k, sum_x, sum_xx, j)
        j += group(rows)
    while j + pair(rows) <= d:
        _square_columns(rows, index, m, resp, load_pair(means, k, j), k, sum_x, sum_xx, j)
        j += pair(rows)
    while j < d:
        _square_columns(rows, index, m, resp, load_native(means, k, j), k, sum_x, sum_xx, j)
        j += native(rows)


@brick
def _square_columns(rows, index, m, resp, mean, k, sum_x, sum_xx, j):
    s = like(mean, 0.0)
    ss = s
    for b in range(m):
        i = index[b]
        w = splat_like(mean, resp, k, i)
        x = load_like(mean, rows, i, j) - mean
        s = fma(w, x, s)
        ss = fma(w * x, x, ss)
    add_to(sum_x, k, j, s)
    add_to(sum_xx, k, j, ss)


@brick
def weighted_sums(rows, resp, k, out, d):
    """out[c, :d] += sum_b resp[c, b] rows[b, :d] for the four components c from k on."""
    j = 0
    while j + group(rows) <= d:
        _sums_of_four(rows, resp, k, out, j, load(rows, 0, j))
        j += group(rows)
    while j + pair(rows) <= d:
        _sums_of_four(rows, resp, k, out, j, load_pair(rows, 0, j))
        j += pair(rows)
    while j < d:
        _sums_of_four(rows, resp, k, out, j, load_native(rows, 0, j))
        j += native(rows)


@brick
def _sums_of_four(rows, resp, k, out, j, v):
    s0 = like(v, 0.0)
    s1 = s0
    s2 = s0
    s3 = s0
    for b in range(rows.shape[0]):
        x = load_like(v, rows, b, j)
        s0 = fma(splat_like(v, resp, k, b), x, s0)
        s1 = fma(splat_like(v, resp, k + 1, b), x, s1)
        s2 = fma(splat_like(v, resp, k + 2, b), x, s2)
        s3 = fma(splat_like(v, resp, k + 3, b), x, s3)
    add_to(out, k, j, s0)
    add_to(out, k + 1, j, s1)
    add_to(out, k + 2, j, s2)
    add_to(out, k + 3, j, s3)
