"""The bricks of the Gaussian family, one pair for each shape of covariance. See `gaussian` for the formulas."""

from fastem.kernels import moments, products, row_moments, whiten
from fastem.kernels.jit import brick, rootless
from fastem.kernels.mixture import SMALL
from fastem.kernels.simd import fma, group, like, load, native, splat, sqrt, store


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
        store(out, k, b, fma(like(q, -0.5), q, splat(prepared.constant, 0, k)))


@brick
def full_accumulate(tile, resp, prepared, statistics, s):
    """sum_w, sum_x, sum_xx += the moments of the tile about the means; sum_xx above the diagonal only."""
    for k in range(prepared.constant.shape[1]):
        full_accumulate_of(tile, resp, prepared, statistics, s, k)


@brick
def full_accumulate_of(tile, resp, prepared, statistics, s, k):
    """`full_accumulate` of one component."""
    lanes, d = resp.shape[1], prepared.shift.size
    sum_w, sum_x, sum_xx = statistics.sum_w[s], statistics.sum_x[s], statistics.sum_xx[s]
    if d <= 3:
        moments.tiny_moments(tile.columns, tile.root, prepared.means, k, lanes, sum_w, sum_x, sum_xx[k], d)
        return
    live = moments.count_live(resp, k, lanes, tile.least[0])
    if live == 0:
        return
    sum_w[k] += moments.lane_sum(resp, k, lanes)
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
    """The moments of the tile about the shift, for all components at once."""
    near, components = statistics.segments[s], prepared.constant.shape[1]
    for k in range(components):
        w = moments.lane_sum(resp, k, resp.shape[1])
        statistics.sum_w[s, k] += w
        near[k, near.shape[1] - products.SPARE] += w
    products.add_moments(tile, resp, resp, components, prepared.shift.size, near)


@brick
def tied_log_prob(tile, prepared, out):
    """out[k, b] = log p(x_b | k); the rows are whitened once for all components."""
    lanes, d = out.shape[1], -(-prepared.shift.size // 4) * 4
    for b in range(0, lanes, group(out)):
        whiten.whiten_lanes(prepared.scales, tile.columns, b, tile.centred, d)
    for k in range(prepared.constant.shape[1]):
        for b in range(0, lanes, group(out)):
            q = whiten.squared_distance(tile.centred, b, prepared.centres, k, prepared.shift.size)
            store(out, k, b, fma(like(q, -0.5), q, splat(prepared.constant, 0, k)))


@rootless
@brick
def tied_accumulate(tile, resp, prepared, statistics, s):
    """sum_w, sum_x and the scatter of the tile about the shift."""
    lanes, d = resp.shape[1], -(-prepared.shift.size // 4) * 4
    sum_w, sum_x = statistics.sum_w[s], statistics.sum_x[s]
    for k in range(prepared.constant.shape[1]):
        sum_w[k] += moments.lane_sum(resp, k, lanes)
    for k in range(0, prepared.constant.shape[1], 4):
        for j in range(0, d, 2):
            moments.rectangle(resp, tile.columns, lanes, sum_x, k, j)
    for b in range(0, lanes, group(resp)):
        store(tile.root_weight, 0, b, sqrt(load(tile.weight, 0, b)))
    first = statistics.sum_first[s]
    moments.weighted_lanes(tile.columns, tile.root_weight, prepared.zeros, 0, lanes, tile.centred, first, d)
    moments.lane_products(tile.centred, lanes, statistics.sum_xx[s], d)


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
        store(out, k, b, fma(like(q, -0.5), q, splat(prepared.constant, 0, k)))


@brick
def near_diag_log_prob(tile, prepared, out):
    """`diag_log_prob` in units of the deviations: one instruction in place of two, and the digits suffice."""
    for k in range(prepared.constant.shape[1]):
        for b in range(0, out.shape[1], group(out)):
            q = whiten.distance_in_units(tile.columns, b, prepared.minus_means, prepared.scales, k, prepared.shift.size)
            store(out, k, b, fma(like(q, -0.5), q, splat(prepared.constant, 0, k)))


@rootless
@brick
def near_diag_accumulate(tile, resp, prepared, statistics, s):
    """sum_w, sum_x, sum_xx += the moments of the tile about the shift.

    Of the rows alone that are alive, where these are few or where squares overflow.
    """
    components, d = prepared.constant.shape[1], prepared.shift.size
    sum_w, sum_x, sum_xx = statistics.sum_w[s], statistics.sum_x[s], statistics.sum_xx[s]
    for k in range(components):
        sum_w[k] += moments.lane_sum(resp, k, resp.shape[1])
    if row_moments.at_once(tile, resp, components, d):
        for k in range(0, components, 4):
            row_moments.squares_of_four(tile.rows, resp, k, sum_x, sum_xx, d)
        return
    for k in range(components):
        m = row_moments.find_live(resp, k, tile.least[0], tile.index)
        if m > 0:
            row_moments.square_rows(tile.rows, tile.index, m, resp, prepared.zeros, k, sum_x, sum_xx, d)


@brick
def near_spherical_log_prob(tile, prepared, out):
    """out[k, b] = log p(x_b | k), by the products of x and the means: the square of x is one for all components."""
    components, d = prepared.constant.shape[1], prepared.shift.size
    for b in range(0, out.shape[1], group(out)):
        norm = whiten.squared_length(tile.columns, b, d)
        k = 0
        while k + 4 <= components:
            whiten.products_of_four(tile.columns, b, prepared.means, k, d, out)
            k += 4
        while k < components:
            store(out, k, b, whiten.product(tile.columns, b, prepared.means, k, d))
            k += 1
        half = norm * like(norm, -0.5)
        for k in range(components):
            q = load(out, k, b) + splat(prepared.constant, 0, k)
            store(out, k, b, fma(half, splat(prepared.scales, 0, k), q))


@rootless
@brick
def near_spherical_accumulate(tile, resp, prepared, statistics, s):
    """sum_w, sum_x and sum_norm += the moments of the tile about the shift."""
    lanes, d = resp.shape[1], prepared.shift.size
    sum_w, sum_x, sum_norm = statistics.sum_w[s], statistics.sum_x[s], statistics.sum_norm[s]
    for b in range(0, lanes, group(resp)):
        store(tile.root_weight, 0, b, whiten.squared_length(tile.columns, b, d))
    for k in range(prepared.constant.shape[1]):
        sum_w[k] += moments.lane_sum(resp, k, lanes)
        sum_norm[k] += moments.live_product(resp, k, tile.root_weight, lanes)
    for k in range(0, prepared.constant.shape[1], 4):
        if d > SMALL:
            row_moments.weighted_sums(tile.rows, resp, k, sum_x, d)
        else:
            for j in range(0, d, 2):
                moments.rectangle(resp, tile.columns, lanes, sum_x, k, j)


@rootless
@brick
def diag_accumulate(tile, resp, prepared, statistics, s):
    """sum_w, sum_x, sum_xx += the moments of the tile about the means, feature by feature."""
    for k in range(prepared.constant.shape[1]):
        diag_accumulate_of(tile, resp, prepared, statistics, s, k)


@brick
def diag_accumulate_of(tile, resp, prepared, statistics, s, k):
    """`diag_accumulate` of one component."""
    lanes, d = resp.shape[1], prepared.shift.size
    sum_w, sum_x, sum_xx = statistics.sum_w[s], statistics.sum_x[s], statistics.sum_xx[s]
    live = moments.count_live(resp, k, lanes, tile.least[0])
    if live == 0:
        return
    sum_w[k] += moments.lane_sum(resp, k, lanes)
    if d <= SMALL or d < native(resp):
        moments.square_sums(tile.columns, resp, prepared.means, k, lanes, sum_x, sum_xx, d)
    else:
        index = row_moments.live_rows(resp, k, tile.least[0], live, tile.index, tile.every)
        row_moments.square_rows(tile.rows, index, live, resp, prepared.means, k, sum_x, sum_xx, prepared.means.shape[1])
