"""Log-densities and sums of negative binomial counts: small ones by table, large ones by Stirling's series."""

import math

from fastem.kernels.jit import brick
from fastem.kernels.lookup import level_sums, look_up
from fastem.kernels.simd import count_greater, group, like, load, maximum, store


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

    rest = lgamma(size) less Stirling's formula, minus log(size / (2 pi)) / 2.
    """
    z = x + size
    ratios = z * math.log1p((x - mean) / (size + mean)) + x * math.log(mean / x)
    return ratios - 0.5 * math.log(x * z) + stirling(z) - stirling(x) - rest


@brick
def count_log_prob(tile, prepared, out):
    """out[k, b] = log p(x_b | k); leaves the levels of the counts in tile.centred."""
    columns, components, d = tile.columns, prepared.components.size, prepared.shift.size
    most, lanes = prepared.table.shape[0] // d - 1, out.shape[1]
    capped(columns, most, tile.centred, lanes, d)
    look_up(tile.centred, prepared.table, prepared.first, tile.weighted, out, components, d)
    sizes, means, rests = prepared.sizes, prepared.means, prepared.rests
    for j in range(d):
        for first in range(0, lanes, group(columns)):
            if count_greater(load(columns, j, first), most - 0.5) > 0:
                for b in range(first, first + group(columns)):
                    if columns[j, b] >= most:
                        x = float(columns[j, b])
                        for k in range(components):
                            out[k, b] += large_count(x, sizes[k, j], means[k, j], rests[k, j])


@brick
def count_accumulate(tile, resp, prepared, statistics, s):
    """The sums of a tile whose levels `count_log_prob` has left."""
    columns, components, d = tile.columns, prepared.components.size, prepared.shift.size
    most, lanes = prepared.table.shape[0] // d - 1, resp.shape[1]
    sum_w, levels = statistics.sum_w[s], statistics.levels[s]
    level_sums(tile.centred, prepared.first, resp, tile.weighted, sum_w, levels, components, d)
    sizes, large_x, large_psi = prepared.sizes, statistics.large_x[s], statistics.large_psi[s]
    for j in range(d):
        for first in range(0, lanes, group(columns)):
            if count_greater(load(columns, j, first), most - 0.5) > 0:
                for b in range(first, first + group(columns)):
                    if columns[j, b] >= most:
                        x = float(columns[j, b])
                        for k in range(components):
                            r = float(resp[k, b])
                            if r > tile.least[0]:
                                large_x[k, j] += r * x
                                large_psi[k, j] += r * digamma(x + sizes[k, j])
