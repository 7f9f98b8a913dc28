"""The bricks of Student's t. The whitening and the sums are the Gaussian's; see `student_t` for the formulas."""

from fastem.kernels import moments, products, row_moments, whiten
from fastem.kernels.jit import brick, rootless
from fastem.kernels.mixture import SMALL
from fastem.kernels.simd import fma, group, like, load, maximum, native, splat, store, total
from fastem.kernels.special import log, rsqrt

FARTHEST, FARTHEST_DOUBLE = 1e37, 1e300
"""Bound of q / nu: the logarithm of infinity is not a number here."""


@brick
def put_density(q, tile, prepared, k, b, out):
    """out = log p(x | k) from the squared distances q; spare holds 1 / sqrt(1 + q / nu) and log(1 + q / nu).

    What 1 + q / nu rounds away is added back, so that the logarithm is right to the last bits at any nu.
    """
    roots, logs = tile.spare[0], tile.spare[1]
    one = like(q, 1.0)
    less = maximum(q * splat(prepared.tails, 0, k), like(q, -FARTHEST_DOUBLE if out.itemsize == 8 else -FARTHEST))
    s = one - less
    root = rsqrt(s)
    logarithm = fma(((one - s) - less) * root, root, log(s))
    store(roots, k, b, root)
    store(logs, k, b, logarithm)
    store(out, k, b, fma(splat(prepared.powers, 0, k), logarithm, splat(prepared.constant, 0, k)))


@brick
def full_log_prob(tile, prepared, out):
    """out[k, b] = log p(x_b | k)."""
    for k in range(prepared.constant.shape[1]):
        full_log_prob_of(tile, prepared, k, out)


@brick
def full_log_prob_of(tile, prepared, k, out):
    """`full_log_prob` of one component."""
    d = -(-prepared.shift.size // 4) * 4
    for b in range(0, out.shape[1], group(out)):
        if prepared.shift.size <= 2:
            q = whiten.tiniest_squared_norm(tile.columns, b, prepared.means, prepared.scales, k)
        elif d == 4:
            q = whiten.tiny_squared_norm(tile.columns, b, prepared.means, prepared.scales, k)
        else:
            whiten.subtract_mean(tile.columns, b, prepared.means, k, tile.centred, d)
            q = whiten.squared_norm(prepared.scales, k, tile.centred, d)
        put_density(q, tile, prepared, k, b, out)


@brick
def diag_log_prob(tile, prepared, out):
    """out[k, b] = log p(x_b | k)."""
    for k in range(prepared.constant.shape[1]):
        diag_log_prob_of(tile, prepared, k, out)


@brick
def diag_log_prob_of(tile, prepared, k, out):
    """`diag_log_prob` of one component."""
    for b in range(0, out.shape[1], group(out)):
        q = whiten.scaled_distance(tile.columns, b, prepared.means, prepared.scales, k, prepared.shift.size)
        put_density(q, tile, prepared, k, b, out)


@brick
def weigh(tile, resp, k, lanes, sum_w, sum_log, full):
    """sum_w += sum r, sum_log += sum r log(1 + q / nu); returns sum r f, with f = 1 / (1 + q / nu).

    In root is then the square root of r f, or without `full` in the first of spare r f itself.
    """
    roots, logs = tile.spare[0], tile.spare[1]
    w = like(load(resp, k, 0), 0.0)
    u = w
    logarithm = w
    for b in range(0, lanes, group(resp)):
        r = load(resp, k, b)
        root = load(roots, k, b)
        f = r * (root * root)
        w = w + r
        u = u + f
        logarithm = fma(r, load(logs, k, b), logarithm)
        if full:
            store(tile.root, k, b, load(tile.root, k, b) * root)
        else:
            store(roots, k, b, f)
    sum_w[k] += total(w)
    sum_log[k] += total(logarithm)
    return total(u)


@brick
def full_accumulate(tile, resp, prepared, statistics, s):
    """All sums of the tile, those of x about the locations; sum_xx above the diagonal only."""
    for k in range(prepared.constant.shape[1]):
        full_accumulate_of(tile, resp, prepared, statistics, s, k)


@brick
def full_accumulate_of(tile, resp, prepared, statistics, s, k):
    """`full_accumulate` of one component."""
    lanes, d = resp.shape[1], prepared.shift.size
    sum_u, sum_x, sum_xx = statistics.sum_u[s], statistics.sum_x[s], statistics.sum_xx[s]
    live = moments.count_live(resp, k, lanes, tile.least[0])
    if live == 0:
        return
    u = weigh(tile, resp, k, lanes, statistics.sum_w[s], statistics.sum_log[s], True)
    if d <= 3:
        moments.tiny_moments(tile.columns, tile.root, prepared.means, k, lanes, sum_u, sum_x, sum_xx[k], d)
        return
    sum_u[k] += u
    if d <= moments.LANE_MAJOR and 2 * live > lanes:
        padded = -(-d // 4) * 4
        moments.weighted_lanes(tile.columns, tile.root, prepared.means, k, lanes, tile.centred, sum_x, padded)
        moments.lane_products(tile.centred, lanes, sum_xx[k], padded)
    else:
        padded = prepared.means.shape[1]
        index = row_moments.live_rows(resp, k, tile.least[0], live, tile.index, tile.every)
        row_moments.weighted_rows(tile.rows, index, live, tile.root, prepared.means, k, tile.weighted, sum_x, padded)
        row_moments.outer_sum(tile.weighted, live, sum_xx[k], padded)


@rootless
@brick
def near_accumulate(tile, resp, prepared, statistics, s):
    """All sums of the tile, the moments about the shift, for all components at once."""
    near, components = statistics.segments[s], prepared.constant.shape[1]
    for k in range(components):
        u = weigh(tile, resp, k, resp.shape[1], statistics.sum_w[s], statistics.sum_log[s], False)
        statistics.sum_u[s, k] += u
        near[k, near.shape[1] - products.SPARE] += u
    products.add_moments(tile, resp, tile.spare[0], components, prepared.shift.size, near)


@rootless
@brick
def diag_accumulate(tile, resp, prepared, statistics, s):
    """All sums of the tile, those of x about the locations, feature by feature."""
    for k in range(prepared.constant.shape[1]):
        diag_accumulate_of(tile, resp, prepared, statistics, s, k)


@brick
def diag_accumulate_of(tile, resp, prepared, statistics, s, k):
    """`diag_accumulate` of one component."""
    lanes, d = resp.shape[1], prepared.shift.size
    sum_x, sum_xx = statistics.sum_x[s], statistics.sum_xx[s]
    live = moments.count_live(resp, k, lanes, tile.least[0])
    if live == 0:
        return
    statistics.sum_u[s, k] += weigh(tile, resp, k, lanes, statistics.sum_w[s], statistics.sum_log[s], False)
    weights = tile.spare[0]
    if d <= SMALL or d < native(resp):
        moments.square_sums(tile.columns, weights, prepared.means, k, lanes, sum_x, sum_xx, d)
    else:
        padded = prepared.means.shape[1]
        index = row_moments.live_rows(resp, k, tile.least[0], live, tile.index, tile.every)
        row_moments.square_rows(tile.rows, index, live, weights, prepared.means, k, sum_x, sum_xx, padded)
