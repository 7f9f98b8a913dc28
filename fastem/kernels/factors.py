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
    fma,
    group,
    like,
    load,
    load_like,
    load_native,
    load_pair,
    maximum,
    native,
    pair,
    splat,
    splat_like,
    store,
)

BLOCK = 64
"""Rows at a time where they are gone over for every four factors: they stay in the first cache."""

LARGE, LARGE_DOUBLE = 1e18, 1e150
"""Bound of a factor: its square is held."""


@brick
def take_lanes(columns, b, prepared, k, f, y, g, d):
    """g = U y and y -= U^T g, U the directions f to f + 3 of component k; with the first y = scales x + offsets.

    Of the group of lanes from b on. Returns sum_f shrink[k, f] g_f^2, and with the last directions |y|^2 too, which is
    not stored then.
    """
    m, scales, offsets, directions = prepared.shrink.shape[1], prepared.scales, prepared.offsets, prepared.directions
    i, last = k * m + f, f + 4 == m
    zero = like(load(columns, 0, b), 0.0)
    g0 = zero
    g1 = zero
    g2 = zero
    g3 = zero
    for j in range(d):
        if f == 0:
            x = fma(load(columns, j, b), splat(scales, k, j), splat(offsets, k, j))
            store(y, j, 0, x)
        else:
            x = load(y, j, 0)
        g0 = fma(splat(directions, i, j), x, g0)
        g1 = fma(splat(directions, i + 1, j), x, g1)
        g2 = fma(splat(directions, i + 2, j), x, g2)
        g3 = fma(splat(directions, i + 3, j), x, g3)
    store(g, i, b, g0)
    store(g, i + 1, b, g1)
    store(g, i + 2, b, g2)
    store(g, i + 3, b, g3)
    n0 = zero - g0
    n1 = zero - g1
    n2 = zero - g2
    n3 = zero - g3
    q = splat(prepared.shrink, k, f) * n0 * n0  # before the loop, which needs the registers
    q = fma(splat(prepared.shrink, k, f + 1) * n1, n1, q)
    q = fma(splat(prepared.shrink, k, f + 2) * n2, n2, q)
    q = fma(splat(prepared.shrink, k, f + 3) * n3, n3, q)
    for j in range(d):
        x = fma(splat(directions, i, j), n0, load(y, j, 0))
        x = fma(splat(directions, i + 1, j), n1, x)
        x = fma(splat(directions, i + 2, j), n2, x)
        x = fma(splat(directions, i + 3, j), n3, x)
        if last:
            q = fma(x, x, q)
        else:
            store(y, j, 0, x)
    return q


@brick
def factor_log_prob(tile, prepared, out):
    """out[k, b] = log p(x_b | k); leaves g in `extra`."""
    d, m, y, g = prepared.shift.size, prepared.shrink.shape[1], tile.centred, tile.extra
    for k in range(prepared.constant.shape[1]):
        for b in range(0, out.shape[1], group(out)):
            q = take_lanes(tile.columns, b, prepared, k, 0, y, g, d)
            for f in range(4, m, 4):
                q = q + take_lanes(tile.columns, b, prepared, k, f, y, g, d)
            store(out, k, b, fma(like(q, -0.5), q, splat(prepared.constant, 0, k)))


@brick
def sum_rows(tile, index, count, resp, prepared, statistics, s, k, f):
    """y_b -= U^T g for the rows index[:count], U the directions f to f + 3 of component k; as `take_lanes` does.

    sum_y is summed with the first directions, and sum_ee and sum_ge of the last four with the last. In y is then what
    is left times the responsibility, for the directions that are summed after it.
    """
    d, j = prepared.scales.shape[1], 0
    while j + pair(resp) <= d:
        _sum_columns(tile, index, count, resp, prepared, statistics, s, k, f, j, load_pair(prepared.scales, k, j))
        j += pair(resp)
    while j < d:
        _sum_columns(tile, index, count, resp, prepared, statistics, s, k, f, j, load_native(prepared.scales, k, j))
        j += native(resp)


@brick
def _sum_columns(tile, index, count, resp, prepared, statistics, s, k, f, j, scale):
    """As many columns as `scale` is wide."""
    m, rows, g, y, u = prepared.shrink.shape[1], tile.rows, tile.extra, tile.weighted, prepared.directions
    i, last = k * m + f, f + 4 == m
    offset = load_like(scale, prepared.offsets, k, j)
    zero = like(scale, 0.0)
    u0 = zero - load_like(scale, u, i, j)
    u1 = zero - load_like(scale, u, i + 1, j)
    u2 = zero - load_like(scale, u, i + 2, j)
    u3 = zero - load_like(scale, u, i + 3, j)
    sum_y = zero
    sum_ee = zero
    s0 = zero
    s1 = zero
    s2 = zero
    s3 = zero
    for b in range(count):
        row = index[b]
        r = splat_like(scale, resp, k, row)
        if f == 0:
            e = fma(load_like(scale, rows, row, j), scale, offset)
            sum_y = fma(r, e, sum_y)
        else:
            e = load_like(scale, y, b, j)
        g0 = splat_like(scale, g, i, row)
        g1 = splat_like(scale, g, i + 1, row)
        g2 = splat_like(scale, g, i + 2, row)
        g3 = splat_like(scale, g, i + 3, row)
        e = fma(g3, u3, fma(g2, u2, fma(g1, u1, fma(g0, u0, e))))
        if last:
            z = r * e
            sum_ee = fma(z, e, sum_ee)
            s0 = fma(g0, z, s0)
            s1 = fma(g1, z, s1)
            s2 = fma(g2, z, s2)
            s3 = fma(g3, z, s3)
            if f > 0:
                store(y, b, j, z)
        else:
            store(y, b, j, e)
    if f == 0:
        add_to(statistics.sum_y[s], k, j, sum_y)
    if last:
        sum_ge = statistics.sum_ge[s][k]
        add_to(statistics.sum_ee[s], k, j, sum_ee)
        add_to(sum_ge, f, j, s0)
        add_to(sum_ge, f + 1, j, s1)
        add_to(sum_ge, f + 2, j, s2)
        add_to(sum_ge, f + 3, j, s3)


@brick
def add_products(tile, index, count, prepared, sum_ge, k, f):
    """sum_ge[f : f + 4] += sum_b g[k m + f : k m + f + 4, index[b]] y[b] for b < count, in whole registers."""
    d, j, y = prepared.scales.shape[1], 0, tile.weighted
    i = k * prepared.shrink.shape[1] + f
    while j + pair(y) <= d:
        _add_columns(tile.extra, i, index, y, count, sum_ge, f, j, load_pair(y, 0, j))
        j += pair(y)
    while j < d:
        _add_columns(tile.extra, i, index, y, count, sum_ge, f, j, load_native(y, 0, j))
        j += native(y)


@brick
def _add_columns(g, i, index, y, count, out, f, j, v):
    s0 = like(v, 0.0)
    s1 = s0
    s2 = s0
    s3 = s0
    for b in range(count):
        row = index[b]
        x = load_like(v, y, b, j)
        s0 = fma(splat_like(v, g, i, row), x, s0)
        s1 = fma(splat_like(v, g, i + 1, row), x, s1)
        s2 = fma(splat_like(v, g, i + 2, row), x, s2)
        s3 = fma(splat_like(v, g, i + 3, row), x, s3)
    add_to(out, f, j, s0)
    add_to(out, f + 1, j, s1)
    add_to(out, f + 2, j, s2)
    add_to(out, f + 3, j, s3)


@brick
def square_factors(g, i, root, k, m, out, h):
    """out[c, f] += sum_b r g[i + c, b] g[i + f, b] for c <= f < m, with root = sqrt(r); in h is -root g.

    Over all lanes: where one has no part g may be no number, and is bounded.
    """
    least = -LARGE_DOUBLE if g.itemsize == 8 else -LARGE
    for f in range(m):
        for b in range(0, root.shape[1], group(root)):
            low = like(load(root, k, b), least)
            store(h, f, b, load(root, k, b) * maximum(like(low, 0.0) - maximum(load(g, i + f, b), low), low))
    lane_products(h, root.shape[1], out, m)


@brick
def factor_accumulate(tile, resp, prepared, statistics, s):
    """All sums of the tile, over the rows that have a part in the component; of sum_gg the upper triangle."""
    d, m = prepared.shift.size, prepared.shrink.shape[1]
    if d <= SMALL:
        for b in range(resp.shape[1]):
            for j in range(d):
                tile.rows[b, j] = tile.columns[j, b]
    for k in range(prepared.constant.shape[1]):
        live = count_live(resp, k, resp.shape[1], tile.least[0])
        if live == 0:
            continue
        statistics.sum_w[s][k] += lane_sum(resp, k, resp.shape[1])
        square_factors(tile.extra, k * m, tile.root, k, m, statistics.sum_gg[s][k], tile.centred)
        index = live_rows(resp, k, tile.least[0], live, tile.index, tile.every)
        size = live if m == 4 else BLOCK
        for b in range(0, live, size):
            count = min(size, live - b)
            for f in range(0, m, 4):
                sum_rows(tile, index[b:], count, resp, prepared, statistics, s, k, f)
            for f in range(0, m - 4, 4):
                add_products(tile, index[b:], count, prepared, statistics.sum_ge[s][k], k, f)
