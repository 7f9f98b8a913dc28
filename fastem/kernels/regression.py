"""Regressions by component: linear predictors of a tile, and the weighted moments of x and the working residual.

The last column of the tile is the response y. Slopes (K, d) are 0 there, so that the predictor is a product with the
whole row. A column named by `prepared.size` holds the size m of the row: its exposure or number of trials; else m = 1.
"""

from fastem.kernels import moments
from fastem.kernels.jit import brick
from fastem.kernels.linear import products
from fastem.kernels.simd import fma, group, like, load, maximum, splat, sqrt, store, total
from fastem.kernels.special import exp, log

HIGHEST, HIGHEST_SINGLE = 600.0, 60.0
"""Linear predictor of a Poisson mean up to which its exponential, and the square of that, are numbers."""

LEAST, LEAST_SINGLE = 1e-100, 1e-20
"""Fisher information of one row that still counts: what is divided by its root stays a number."""


@brick
def predictor(columns, prepared, k, b):
    """constant[0, k] + sum_j slopes[k, j] columns[j, b]."""
    s = splat(prepared.constant, 0, k)
    for j in range(prepared.shift.size - 1):
        s = fma(load(columns, j, b), splat(prepared.slopes, k, j), s)
    return s


@brick
def predictors(tile, prepared, out):
    """out[k, b] = the linear predictor."""
    products(tile.columns, prepared.slopes, prepared.constant, out, prepared.components.size, prepared.shift.size)


@brick
def size_of(columns, prepared, b):
    """The column of the sizes, or ones."""
    j = max(prepared.size[0], 0)
    m = load(columns, j, b)
    return m if prepared.size[0] >= 0 else like(m, 1.0)


@brick
def rate(eta, columns):
    """exp(eta), for eta up to `HIGHEST`, and its value there beyond; columns are of eta's dtype."""
    highest = HIGHEST if columns.itemsize == 8 else HIGHEST_SINGLE
    return exp(eta - maximum(eta - like(eta, highest), like(eta, 0.0)))


@brick
def root_of(tile, k, b):
    """root[k], and 0 where nothing of the row would show in a sum: products of denormal numbers are slow."""
    w = load(tile.root, k, b)
    least = sqrt(like(w, tile.least[0])) * like(w, 1e-14 if tile.root.itemsize == 8 else 1.0)
    return maximum(w - least, like(w, 0.0))


@brick
def moments_of(tile, statistics, s, k, d):
    """Moments about 0 of the design of component k, with the weights root_weight^2.

    centred[d - 1, b] holds the working residual times root_weight; the other rows are filled here.
    """
    columns, root, y = tile.columns, tile.root_weight, tile.centred
    lanes, sum_x = root.shape[1], statistics.sum_x[s]
    for j in range(d - 1):
        c = like(load(root, 0, 0), 0.0)
        for b in range(0, lanes, group(columns)):
            w = load(root, 0, b)
            v = w * load(columns, j, b)
            store(y, j, b, v)
            c = fma(w, v, c)
        sum_x[k, j] += total(c)
    v0 = like(load(root, 0, 0), 0.0)
    e0 = v0
    for b in range(0, lanes, group(columns)):
        w = load(root, 0, b)
        v0 = fma(w, w, v0)
        e0 = fma(w, load(y, d - 1, b), e0)
    statistics.sum_v[s, k] += total(v0)
    sum_x[k, d - 1] += total(e0)
    moments.lane_products(y, lanes, statistics.sum_xx[s, k], -(-d // 4) * 4)


@brick
def linear_log_prob(tile, prepared, out):
    """out[k, b] = log N(y_b; eta_kb, s_k^2)."""
    d = prepared.shift.size
    predictors(tile, prepared, out)
    for b in range(0, out.shape[1], group(out)):
        y = load(tile.columns, d - 1, b)
        for k in range(prepared.components.size):
            e = (y - load(out, k, b)) * splat(prepared.scales, 0, k)
            store(out, k, b, fma(e * like(e, -0.5), e, splat(prepared.scales, 1, k)))


@brick
def linear_accumulate(tile, resp, prepared, statistics, s):
    """sum_w, and the moments of x and y - eta with the weights resp."""
    lanes, d = resp.shape[1], prepared.shift.size
    for k in range(prepared.components.size):
        if moments.count_live(resp, k, lanes, tile.least[0]) == 0:
            continue
        statistics.sum_w[s, k] += moments.lane_sum(resp, k, lanes)
        for b in range(0, lanes, group(resp)):
            w = root_of(tile, k, b)
            store(tile.root_weight, 0, b, w)
            residual = load(tile.columns, d - 1, b) - predictor(tile.columns, prepared, k, b)
            store(tile.centred, d - 1, b, w * residual)
        moments_of(tile, statistics, s, k, d)


@brick
def working_row(tile, k, b, d, information, residual):
    """Fill root_weight and the last row of `centred` from the row's Fisher information and residual y - mean."""
    least = LEAST if tile.root.itemsize == 8 else LEAST_SINGLE
    v = sqrt(maximum(information, like(information, least)))
    w = root_of(tile, k, b)
    store(tile.root_weight, 0, b, w * v)
    store(tile.centred, d - 1, b, w * residual / v)


@brick
def poisson_log_prob(tile, prepared, out):
    """out[k, b] = y_b eta_kb - m_b exp(eta_kb)."""
    predictors(tile, prepared, out)
    for b in range(0, out.shape[1], group(out)):
        y, m = load(tile.columns, prepared.shift.size - 1, b), size_of(tile.columns, prepared, b)
        for k in range(prepared.components.size):
            eta = load(out, k, b)
            store(out, k, b, y * eta - m * rate(eta, tile.columns))


@brick
def poisson_accumulate(tile, resp, prepared, statistics, s):
    """sum_w, and the moments of x and (y - mu) / mu with the weights resp mu."""
    lanes, d = resp.shape[1], prepared.shift.size
    for k in range(prepared.components.size):
        if moments.count_live(resp, k, lanes, tile.least[0]) == 0:
            continue
        statistics.sum_w[s, k] += moments.lane_sum(resp, k, lanes)
        for b in range(0, lanes, group(resp)):
            mu = size_of(tile.columns, prepared, b) * rate(predictor(tile.columns, prepared, k, b), tile.columns)
            working_row(tile, k, b, d, mu, load(tile.columns, d - 1, b) - mu)
        moments_of(tile, statistics, s, k, d)


@brick
def logistic_log_prob(tile, prepared, out):
    """out[k, b] = y_b eta_kb - m_b log(1 + exp(eta_kb))."""
    predictors(tile, prepared, out)
    for b in range(0, out.shape[1], group(out)):
        y, m = load(tile.columns, prepared.shift.size - 1, b), size_of(tile.columns, prepared, b)
        zero = like(y, 0.0)
        for k in range(prepared.components.size):
            eta = load(out, k, b)
            e = exp(zero - maximum(eta, zero - eta))
            store(out, k, b, y * eta - m * (maximum(eta, zero) + log(like(y, 1.0) + e)))


@brick
def logistic_accumulate(tile, resp, prepared, statistics, s):
    """sum_w, and the moments of x and (y - m p) / v with the weights resp v, where v = m p (1 - p)."""
    lanes, d = resp.shape[1], prepared.shift.size
    for k in range(prepared.components.size):
        if moments.count_live(resp, k, lanes, tile.least[0]) == 0:
            continue
        statistics.sum_w[s, k] += moments.lane_sum(resp, k, lanes)
        for b in range(0, lanes, group(resp)):
            eta = predictor(tile.columns, prepared, k, b)
            zero = like(eta, 0.0)
            e = exp(zero - maximum(eta, zero - eta))
            unit = like(eta, 1.0) / (like(eta, 1.0) + e)
            p = exp(eta - maximum(eta, zero)) * unit
            m = size_of(tile.columns, prepared, b)
            working_row(tile, k, b, d, m * e * unit * unit, load(tile.columns, d - 1, b) - m * p)
        moments_of(tile, statistics, s, k, d)
