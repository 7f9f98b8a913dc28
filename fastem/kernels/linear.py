"""Log-densities that are linear in the row or its logarithms, and their sums: products of a tile and a matrix."""

from fastem.kernels import moments
from fastem.kernels.jit import brick, rootless
from fastem.kernels.simd import fma, group, like, load, maximum, splat, store
from fastem.kernels.special import log

TINY, TINY_DOUBLE = 1.1754944e-38, 2.2250738585072014e-308
"""The least normal numbers: lanes past the data hold 0, which has no logarithm."""


@brick
def products(columns, slopes, constant, out, components, d):
    """out[k, b] = constant[0, k] + sum_j slopes[k, j] columns[j, b]; slopes and constant are padded to even k."""
    for b in range(0, out.shape[1], group(out)):
        for k in range(0, components, 2):
            s0 = splat(constant, 0, k)
            s1 = splat(constant, 0, k + 1)
            for j in range(d):
                x = load(columns, j, b)
                s0 = fma(x, splat(slopes, k, j), s0)
                s1 = fma(x, splat(slopes, k + 1, j), s1)
            store(out, k, b, s0)
            store(out, k + 1, b, s1)


@brick
def row_sums(columns, resp, sum_w, sum_x, components, d):
    """sum_w[k] += sum_b resp[k, b]; sum_x[k, j] += sum_b resp[k, b] columns[j, b]."""
    for k in range(components):
        sum_w[k] += moments.lane_sum(resp, k, resp.shape[1])
    weighted_sums(columns, resp, sum_x, components, d)


@brick
def weighted_sums(columns, resp, sum_x, components, d):
    """sum_x[k, j] += sum_b resp[k, b] columns[j, b]; sum_x is padded to fours of k and pairs of j."""
    lanes = resp.shape[1]
    for k in range(0, components, 4):
        for j in range(0, d, 2):
            moments.rectangle(resp, columns, lanes, sum_x, k, j)


@brick
def part_holes(columns, there, exposure, lanes, d):
    """there[j, b] = 1, or the number of the row in the column `exposure`, if that has one; NaN is 0 in both."""
    for j in range(d):
        for b in range(lanes):
            hole = columns[j, b] != columns[j, b]
            there[j, b] = 0.0 if hole else 1.0
            columns[j, b] = 0.0 if hole else columns[j, b]
    for e in exposure:
        for j in range(d):
            for b in range(lanes):
                there[j, b] = there[j, b] * columns[e, b]


@brick
def masked(columns, there, lanes, d):
    """columns[j, b] becomes 0 where there[j, b] is."""
    for j in range(d):
        for b in range(lanes):
            columns[j, b] = columns[j, b] if there[j, b] != 0.0 else 0.0


@brick
def linear_log_prob(tile, prepared, out):
    """out[k, b] = log p(x_b | k), without what does not depend on k."""
    products(tile.columns, prepared.slopes, prepared.constant, out, prepared.components.size, prepared.shift.size)


@rootless
@brick
def linear_accumulate(tile, resp, prepared, statistics, s):
    """sum_w and sum_x of the tile."""
    row_sums(
        tile.columns, resp, statistics.sum_w[s], statistics.sum_x[s], prepared.components.size, prepared.shift.size
    )


@brick
def logarithms(columns, unit, logs, lanes, d):
    """columns[j, b] becomes u - 1 with u = unit[0, j] columns[j, b], and logs[j, b] = log u.

    About a typical value of the column both are small, and what they are multiplied with may be large.
    """
    for j in range(d):
        scale = splat(unit, 0, j)
        one = like(scale, 1.0)
        least = like(scale, TINY_DOUBLE if columns.itemsize == 8 else TINY)
        for b in range(0, lanes, group(columns)):
            u = maximum(load(columns, j, b) * scale, least)
            store(columns, j, b, u - one)
            store(logs, j, b, log(u))


@brick
def products_of_two(columns, logs, slopes, log_slopes, constant, out, components, d):
    """out[k, b] = constant[0, k] + sum_j slopes[k, j] columns[j, b] + log_slopes[k, j] logs[j, b]."""
    for b in range(0, out.shape[1], group(out)):
        for k in range(0, components, 2):
            s0 = splat(constant, 0, k)
            s1 = splat(constant, 0, k + 1)
            t0 = like(s0, 0.0)
            t1 = t0
            for j in range(d):
                x = load(columns, j, b)
                s0 = fma(x, splat(slopes, k, j), s0)
                s1 = fma(x, splat(slopes, k + 1, j), s1)
                x = load(logs, j, b)
                t0 = fma(x, splat(log_slopes, k, j), t0)
                t1 = fma(x, splat(log_slopes, k + 1, j), t1)
            store(out, k, b, s0 + t0)
            store(out, k + 1, b, s1 + t1)
