"""Log-densities that are linear in the row, and sums of the rows by component: products of a tile and a matrix."""

from fastem.kernels import moments
from fastem.kernels.jit import brick
from fastem.kernels.simd import fma, group, load, splat, store


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
    lanes = resp.shape[1]
    for k in range(components):
        sum_w[k] += moments.lane_sum(resp, k, lanes)
    for k in range(0, components, 4):
        for j in range(0, d, 2):
            moments.rectangle(resp, columns, lanes, sum_x, k, j)


@brick
def linear_log_prob(tile, prepared, out):
    """out[k, b] = log p(x_b | k), without what does not depend on k."""
    products(tile.columns, prepared.slopes, prepared.constant, out, prepared.components.size, prepared.shift.size)


@brick
def linear_accumulate(tile, resp, prepared, statistics, s):
    """sum_w and sum_x of the tile."""
    row_sums(
        tile.columns, resp, statistics.sum_w[s], statistics.sum_x[s], prepared.components.size, prepared.shift.size
    )
