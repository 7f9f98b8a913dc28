"""Rows in the directions of a few factors and beside them: O(d m) a row, and no matrix d x d.

The rows of `directions`, m for each component and padded to a multiple of four, are orthonormal. They are taken away
four at a time from what those before have left (modified Gram-Schmidt), so that rounding does not grow with m.
"""

from fastem.kernels.jit import brick
from fastem.kernels.mixture import SMALL
from fastem.kernels.moments import count_live, lane_products, lane_sum
from fastem.kernels.row_moments import live_rows
from fastem.kernels.simd import (
    add_to,
    add_totals,
    fma,
    group,
    like,
    load,
    load_like,
    load_native,
    load_pair,
    native,
    pair,
    splat,
    splat_like,
    store,
)

BLOCK = 64
"""Rows at a time, which stay in the first cache while they are gone over."""


@brick
def whiten_group(columns, b, means, scales, k, out, d):
    """out[j, :] = scales[k, j] (columns[j, b : b + group] - means[k, j])."""
    for j in range(d):
        store(out, j, 0, (load(columns, j, b) - splat(means, k, j)) * splat(scales, k, j))


@brick
def take_lanes(directions, i, y, d, shrink, k, f, last):
    """y -= U^T g with g = U y, U the rows i to i + 3; returns sum_f shrink[k, f] g_f^2.

    If it is the `last` time y is not stored, and |y|^2 is added.
    """
    zero = like(load(y, 0, 0), 0.0)
    g0 = zero
    g1 = zero
    g2 = zero
    g3 = zero
    for j in range(d):
        x = load(y, j, 0)
        g0 = fma(splat(directions, i, j), x, g0)
        g1 = fma(splat(directions, i + 1, j), x, g1)
        g2 = fma(splat(directions, i + 2, j), x, g2)
        g3 = fma(splat(directions, i + 3, j), x, g3)
    n0 = zero - g0
    n1 = zero - g1
    n2 = zero - g2
    n3 = zero - g3
    q = zero
    for j in range(d):
        x = fma(splat(directions, i, j), n0, load(y, j, 0))
        x = fma(splat(directions, i + 1, j), n1, x)
        x = fma(splat(directions, i + 2, j), n2, x)
        x = fma(splat(directions, i + 3, j), n3, x)
        if last:
            q = fma(x, x, q)
        else:
            store(y, j, 0, x)
    q = fma(splat(shrink, k, f) * g0, g0, q)
    q = fma(splat(shrink, k, f + 1) * g1, g1, q)
    q = fma(splat(shrink, k, f + 2) * g2, g2, q)
    return fma(splat(shrink, k, f + 3) * g3, g3, q)


@brick
def whiten_rows(rows, index, m, root, means, scales, k, out, sum_y, d):
    """out[b] = y_b = root[k, i] scales[k] (rows[i] - means[k]) for i = index[b]; sum_y[k] += sum_b root[k, i] y_b."""
    j = 0
    while j + group(rows) <= d:
        _whiten_columns(rows, index, m, root, load(means, k, j), load(scales, k, j), k, out, sum_y, j)
        j += group(rows)
    while j + pair(rows) <= d:
        _whiten_columns(rows, index, m, root, load_pair(means, k, j), load_pair(scales, k, j), k, out, sum_y, j)
        j += pair(rows)
    while j < d:
        _whiten_columns(rows, index, m, root, load_native(means, k, j), load_native(scales, k, j), k, out, sum_y, j)
        j += native(rows)


@brick
def _whiten_columns(rows, index, m, root, mean, scale, k, out, sum_y, j):
    s = like(mean, 0.0)
    for b in range(m):
        i = index[b]
        w = splat_like(mean, root, k, i)
        y = (load_like(mean, rows, i, j) - mean) * (w * scale)
        store(out, b, j, y)
        s = fma(w, y, s)
    add_to(sum_y, k, j, s)


@brick
def project_rows(directions, i, y, m, d, out, f):
    """out[f : f + 4, b] = U y_b for b < m, U the rows i to i + 3, and 0 from m up to whole pairs."""
    for r in range(f, f + 4):
        for b in range(0, m, pair(y)):
            store(out, r, b, like(load_pair(out, r, b), 0.0))
    for b in range(0, m, 2):
        _project(directions, i, y, b, d, out, f)
    if m % 2 == 1:
        for r in range(f, f + 4):
            out[r, m] = 0.0


@brick
def _project(directions, i, y, b, d, out, f):
    s00 = like(load_native(y, b, 0), 0.0)
    s01 = s00
    s10 = s00
    s11 = s00
    s20 = s00
    s21 = s00
    s30 = s00
    s31 = s00
    for j in range(0, d, native(y)):
        y0 = load_native(y, b, j)
        y1 = load_native(y, b + 1, j)
        u0 = load_native(directions, i, j)
        s00 = fma(u0, y0, s00)
        s01 = fma(u0, y1, s01)
        u1 = load_native(directions, i + 1, j)
        s10 = fma(u1, y0, s10)
        s11 = fma(u1, y1, s11)
        u2 = load_native(directions, i + 2, j)
        s20 = fma(u2, y0, s20)
        s21 = fma(u2, y1, s21)
        u3 = load_native(directions, i + 3, j)
        s30 = fma(u3, y0, s30)
        s31 = fma(u3, y1, s31)
    add_totals(out, f, b, s00, s01, s10, s11, s20, s21, s30, s31)


@brick
def take_rows(directions, i, y, m, d, g, f):
    """y_b -= U^T g[f : f + 4, b] for b < m, U the rows i to i + 3."""
    j = 0
    while j + pair(y) <= d:
        _take_columns(directions, i, y, m, g, f, j, load_pair(directions, i, j))
        j += pair(y)
    while j < d:
        _take_columns(directions, i, y, m, g, f, j, load_native(directions, i, j))
        j += native(y)


@brick
def _take_columns(directions, i, y, m, g, f, j, u0):
    """As many columns as u0 is wide."""
    zero = like(u0, 0.0)
    n0 = zero - u0
    n1 = zero - load_like(u0, directions, i + 1, j)
    n2 = zero - load_like(u0, directions, i + 2, j)
    n3 = zero - load_like(u0, directions, i + 3, j)
    for b in range(m):
        e = fma(splat_like(u0, g, f, b), n0, load_like(u0, y, b, j))
        e = fma(splat_like(u0, g, f + 1, b), n1, e)
        e = fma(splat_like(u0, g, f + 2, b), n2, e)
        store(y, b, j, fma(splat_like(u0, g, f + 3, b), n3, e))


@brick
def finish_rows(directions, i, y, m, d, g, f, sum_ee, k, sum_ge):
    """`take_rows`, and of what is left sum_ee[k] += sum_b y_b^2 and sum_ge[f : f + 4] += sum_b g[f : f + 4, b] y_b.

    What is left is stored for those directions alone that are summed after it.
    """
    j = 0
    while j + pair(y) <= d:
        _finish_columns(directions, i, y, m, g, f, sum_ee, k, sum_ge, j, load_pair(directions, i, j))
        j += pair(y)
    while j < d:
        _finish_columns(directions, i, y, m, g, f, sum_ee, k, sum_ge, j, load_native(directions, i, j))
        j += native(y)


@brick
def _finish_columns(directions, i, y, m, g, f, sum_ee, k, sum_ge, j, u0):
    s = like(u0, 0.0)
    s0 = s
    s1 = s
    s2 = s
    s3 = s
    n0 = s - u0
    n1 = s - load_like(u0, directions, i + 1, j)
    n2 = s - load_like(u0, directions, i + 2, j)
    n3 = s - load_like(u0, directions, i + 3, j)
    for b in range(m):
        g0 = splat_like(u0, g, f, b)
        g1 = splat_like(u0, g, f + 1, b)
        g2 = splat_like(u0, g, f + 2, b)
        g3 = splat_like(u0, g, f + 3, b)
        e = fma(g3, n3, fma(g2, n2, fma(g1, n1, fma(g0, n0, load_like(u0, y, b, j)))))
        if f > 0:
            store(y, b, j, e)
        s = fma(e, e, s)
        s0 = fma(g0, e, s0)
        s1 = fma(g1, e, s1)
        s2 = fma(g2, e, s2)
        s3 = fma(g3, e, s3)
    add_to(sum_ee, k, j, s)
    add_to(sum_ge, f, j, s0)
    add_to(sum_ge, f + 1, j, s1)
    add_to(sum_ge, f + 2, j, s2)
    add_to(sum_ge, f + 3, j, s3)


@brick
def add_products(g, f, y, m, out, d):
    """out[f : f + 4, :d] += sum_b g[f : f + 4, b] y[b, :d] for b < m, in whole registers."""
    j = 0
    while j + pair(y) <= d:
        _add_columns(g, f, y, m, out, j, load_pair(y, 0, j))
        j += pair(y)
    while j < d:
        _add_columns(g, f, y, m, out, j, load_native(y, 0, j))
        j += native(y)


@brick
def _add_columns(g, f, y, m, out, j, v):
    s0 = like(v, 0.0)
    s1 = s0
    s2 = s0
    s3 = s0
    for b in range(m):
        x = load_like(v, y, b, j)
        s0 = fma(splat_like(v, g, f, b), x, s0)
        s1 = fma(splat_like(v, g, f + 1, b), x, s1)
        s2 = fma(splat_like(v, g, f + 2, b), x, s2)
        s3 = fma(splat_like(v, g, f + 3, b), x, s3)
    add_to(out, f, j, s0)
    add_to(out, f + 1, j, s1)
    add_to(out, f + 2, j, s2)
    add_to(out, f + 3, j, s3)


@brick
def factor_log_prob(tile, prepared, out):
    """out[k, b] = log p(x_b | k)."""
    d, m = prepared.shift.size, prepared.shrink.shape[1]
    for k in range(prepared.constant.shape[1]):
        for b in range(0, out.shape[1], group(out)):
            whiten_group(tile.columns, b, prepared.means, prepared.scales, k, tile.centred, d)
            q = take_lanes(prepared.directions, k * m, tile.centred, d, prepared.shrink, k, 0, m == 4)
            for f in range(4, m, 4):
                q = q + take_lanes(prepared.directions, k * m + f, tile.centred, d, prepared.shrink, k, f, f + 4 == m)
            store(out, k, b, fma(like(q, -0.5), q, splat(prepared.constant, 0, k)))


@brick
def factor_accumulate(tile, resp, prepared, statistics, s):
    """All sums of the tile, over the rows that have a part in the component; of sum_gg the upper triangle."""
    if prepared.shift.size <= SMALL:
        for b in range(resp.shape[1]):
            for j in range(prepared.shift.size):
                tile.rows[b, j] = tile.columns[j, b]
    for k in range(prepared.constant.shape[1]):
        live = count_live(resp, k, resp.shape[1], tile.least[0])
        if live == 0:
            continue
        statistics.sum_w[s][k] += lane_sum(resp, k, resp.shape[1])
        index = live_rows(resp, k, tile.least[0], live, tile.index, tile.every)
        for b in range(0, live, BLOCK):
            _accumulate_block(tile, index[b:], min(BLOCK, live - b), prepared, k, statistics, s)


@brick
def _accumulate_block(tile, index, count, prepared, k, statistics, s):
    """The rows index[:count]; y and g hold them times the roots of their responsibilities."""
    d, m, y, g = prepared.means.shape[1], prepared.shrink.shape[1], tile.weighted, tile.centred
    sum_ge, u = statistics.sum_ge[s][k], prepared.directions
    whiten_rows(tile.rows, index, count, tile.root, prepared.means, prepared.scales, k, y, statistics.sum_y[s], d)
    for f in range(0, m, 4):
        project_rows(u, k * m + f, y, count, d, g, f)
        if f + 4 < m:
            take_rows(u, k * m + f, y, count, d, g, f)
        else:
            finish_rows(u, k * m + f, y, count, d, g, f, statistics.sum_ee[s], k, sum_ge)
    for f in range(0, m - 4, 4):
        add_products(g, f, y, count, sum_ge, d)
    lane_products(g, -(-count // native(y)) * native(y), statistics.sum_gg[s][k], m)
