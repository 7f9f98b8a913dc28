"""Weighted sums down the rows of a tile: no sum runs across a register, and rows of no weight are left out.

Second moments are summed as y y^T with y = sqrt(r) (x - mean), rows innermost in memory, so that a tile of the result
stays in registers over all rows.
"""

from fastem.kernels.jit import brick
from fastem.kernels.simd import (
    add_to,
    fma,
    group,
    like,
    load,
    load_like,
    load_native,
    load_pair,
    lowest_bit,
    native,
    pair,
    splat_like,
    store,
    which_greater,
)


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
