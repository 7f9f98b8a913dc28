"""Log-densities and sums of negative binomial counts: small ones by table, large ones by Stirling's series."""

import math

from fastem.kernels.jit import brick, rootless
from fastem.kernels.lookup import level_sums, look_up
from fastem.kernels.simd import count_greater, fma, group, like, load, maximum, splat, store, total
from fastem.kernels.special import log


@brick
def capped(columns, most, out, lanes, d):
    """out[j, b] = min(columns[j, b], most)."""
    for j in range(d):
        for b in range(0, lanes, group(columns)):
            x = load(columns, j, b)
            zero = like(x, 0.0)
            store(out, j, b, zero - maximum(zero - x, like(x, -most)))


@brick
def stirling(z):
    """lgamma(z) less Stirling's formula, to 1e-15 for z >= 16."""
    r = 1.0 / (z * z)
    return (1 / 12 - r * (1 / 360 - r * (1 / 1260 - r * (1 / 1680 - r / 1188)))) / z


@brick
def digamma(z):
    """The derivative of log gamma, to 1e-15 for z >= 16."""
    r = 1.0 / (z * z)
    return math.log(z) - 0.5 / z - r * (1 / 12 - r * (1 / 120 - r * (1 / 252 - r * (1 / 240 - r / 132))))


@brick
def large_count(x, size, mean, rest):
    """log p(x) for x >= 16, as a deviance, whose terms are small near the mean.

    rest = lgamma(size) less Stirling's formula, minus half the logarithm of size / (2 pi (size + mean)).
    """
    z = x + size
    rise = math.log1p((x - mean) / (size + mean))
    return (z - 0.5) * rise + x * math.log(mean / x) - 0.5 * math.log(x) + stirling(z) - stirling(x) - rest


@brick
def stirlings(z):
    """`stirling` of each lane."""
    inverse = like(z, 1.0) / z
    r = inverse * inverse
    series = fma(r, like(z, 1 / 1188), like(z, -1 / 1680))
    series = fma(r, fma(r, fma(r, series, like(z, 1 / 1260)), like(z, -1 / 360)), like(z, 1 / 12))
    return inverse * series


@brick
def digammas(z):
    """`digamma` of each lane."""
    inverse = like(z, 1.0) / z
    r = inverse * inverse
    series = fma(r, like(z, 1 / 132), like(z, -1 / 240))
    series = fma(r, fma(r, fma(r, series, like(z, 1 / 252)), like(z, -1 / 120)), like(z, 1 / 12))
    return log(z) - fma(r, series, like(z, 0.5) * inverse)


@brick
def large_counts(x, size, mean, rest):
    """`large_count` of each lane; log1p(y) = log w + (y - (w - 1)) / w with w = 1 + y."""
    one, z = like(x, 1.0), x + size
    y = (x - mean) / (size + mean)
    w = one + y
    rise = log(w) + (y - (w - one)) / w
    half = like(x, 0.5)
    return fma(z - half, rise, x * log(mean / x)) - half * log(x) + stirlings(z) - stirlings(x) - rest


@brick
def at_least(x, most):
    """1 in the lanes of whole numbers x >= most, 0 in the others."""
    zero = like(x, 0.0)
    return zero - maximum(zero - maximum(x - like(x, most - 1.0), zero), like(x, -1.0))


@brick
def levels_of_holes(columns, levels, most, lanes, d):
    """levels[j, b] = most + 1 where columns[j, b] is NaN, which becomes 0."""
    for j in range(d):
        for b in range(lanes):
            hole = columns[j, b] != columns[j, b]
            levels[j, b] = most + 1 if hole else levels[j, b]
            columns[j, b] = 0.0 if hole else columns[j, b]


@brick
def count_log_prob(tile, prepared, out):
    """out[k, b] = log p(x_b | k); leaves the levels of the counts in tile.centred."""
    capped(tile.columns, prepared.most[0], tile.centred, out.shape[1], prepared.shift.size)
    levels_log_prob(tile, prepared, out)


@brick
def missing_count_log_prob(tile, prepared, out):
    """`count_log_prob` of what there is of x_b."""
    capped(tile.columns, prepared.most[0], tile.centred, out.shape[1], prepared.shift.size)
    levels_of_holes(tile.columns, tile.centred, prepared.most[0], out.shape[1], prepared.shift.size)
    levels_log_prob(tile, prepared, out)


@brick
def levels_log_prob(tile, prepared, out):
    """out[k, b] = log p(x_b | k) of counts whose levels are in tile.centred."""
    columns, components, d = tile.columns, prepared.components.size, prepared.shift.size
    most, lanes = prepared.most[0], out.shape[1]
    look_up(tile.centred, prepared.table, prepared.first, tile.weighted, out, components, d)
    sizes, means, rests = prepared.sizes, prepared.means, prepared.rests
    for j in range(d):
        for b in range(0, lanes, group(columns)):
            x = load(columns, j, b)
            if count_greater(x, most - 0.5) > 0:
                large, x = at_least(x, most), maximum(x, like(x, most))
                for k in range(components):
                    v = large_counts(x, splat(sizes, k, j), splat(means, k, j), splat(rests, k, j))
                    store(out, k, b, fma(large, v, load(out, k, b)))


@rootless
@brick
def count_accumulate(tile, resp, prepared, statistics, s):
    """The sums of a tile whose levels `count_log_prob` has left."""
    columns, components, d = tile.columns, prepared.components.size, prepared.shift.size
    most, lanes = prepared.most[0], resp.shape[1]
    sum_w, levels = statistics.sum_w[s], statistics.levels[s]
    level_sums(tile.centred, prepared.first, resp, tile.weighted, sum_w, levels, components, d)
    sizes, large_x, large_psi = prepared.sizes, statistics.large_x[s], statistics.large_psi[s]
    for j in range(d):
        for b in range(0, lanes, group(columns)):
            x = load(columns, j, b)
            if count_greater(x, most - 0.5) > 0:
                large, x = at_least(x, most), maximum(x, like(x, most))
                for k in range(components):
                    r = load(resp, k, b) * large
                    large_x[k, j] += total(r * x)
                    large_psi[k, j] += total(r * digammas(x + splat(sizes, k, j)))


@brick
def single_count_log_prob(tile, prepared, out):
    """`count_log_prob` of float32 rows."""
    capped(tile.columns, prepared.most[0], tile.centred, out.shape[1], prepared.shift.size)
    single_levels_log_prob(tile, prepared, out)


@brick
def missing_single_count_log_prob(tile, prepared, out):
    """`single_count_log_prob` of what there is of x_b."""
    capped(tile.columns, prepared.most[0], tile.centred, out.shape[1], prepared.shift.size)
    levels_of_holes(tile.columns, tile.centred, prepared.most[0], out.shape[1], prepared.shift.size)
    single_levels_log_prob(tile, prepared, out)


@brick
def single_levels_log_prob(tile, prepared, out):
    """`levels_log_prob` of float32 rows: that of a large count is computed in float64, one after the other."""
    columns, components, d = tile.columns, prepared.components.size, prepared.shift.size
    most, lanes = prepared.most[0], out.shape[1]
    look_up(tile.centred, prepared.table, prepared.first, tile.weighted, out, components, d)
    sizes, means, rests = prepared.sizes, prepared.means, prepared.rests
    for j in range(d):
        for b in range(lanes):
            x = float(columns[j, b])
            if x >= most:
                for k in range(components):
                    out[k, b] += large_count(x, sizes[k, j], means[k, j], rests[k, j])


@rootless
@brick
def single_count_accumulate(tile, resp, prepared, statistics, s):
    """`count_accumulate` of float32 rows."""
    columns, components, d = tile.columns, prepared.components.size, prepared.shift.size
    most, lanes = prepared.most[0], resp.shape[1]
    sum_w, levels = statistics.sum_w[s], statistics.levels[s]
    level_sums(tile.centred, prepared.first, resp, tile.weighted, sum_w, levels, components, d)
    sizes, large_x, large_psi = prepared.sizes, statistics.large_x[s], statistics.large_psi[s]
    for j in range(d):
        for b in range(lanes):
            x = float(columns[j, b])
            if x >= most:
                for k in range(components):
                    r = float(resp[k, b])
                    if r > tile.least[0]:
                        large_x[k, j] += r * x
                        large_psi[k, j] += r * digamma(x + sizes[k, j])
