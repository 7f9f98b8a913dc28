"""Weighted sums across the lanes of a tile, register-blocked: for few features, where a tile of the sums is small."""

from fastem.kernels.jit import brick
from fastem.kernels.simd import (
    add_totals,
    count_greater,
    fma,
    group,
    like,
    load,
    load_native,
    load_pair,
    maximum,
    native,
    pair,
    splat,
    splat_native,
    store,
    total,
)

LANE_MAJOR = 20
"""Features up to which second moments are summed across lanes; above, down the rows of the tile (measured)."""


@brick
def count_live(resp, k, lanes, least):
    """Number of lanes b with resp[k, b] > least."""
    m = 0
    for b in range(0, lanes, group(resp)):
        m += count_greater(load(resp, k, b), least)
    return m


@brick
def lane_sum(a, k, lanes):
    """sum_b a[k, b] as float64."""
    s = like(load(a, k, 0), 0.0)
    for b in range(0, lanes, group(a)):
        s = s + load(a, k, b)
    return total(s)


@brick
def live_product(resp, k, a, lanes):
    """sum_b resp[k, b] a[0, b] as float64, a >= 0; where resp is 0, a may be infinite."""
    s = like(load(resp, k, 0), 0.0)
    for b in range(0, lanes, group(resp)):
        # What is no number is not the larger one.
        s = s + maximum(load(resp, k, b) * load(a, 0, b), like(s, 0.0))
    return total(s)


@brick
def tiny_moments(columns, root, means, k, lanes, sum_w, sum_x, sum_xx, d):
    """All three sums of one component for d <= 3, as products of the four rows root * (1, x - mean)."""
    mean0 = splat_native(means, k, 0)
    mean1 = splat_native(means, k, 1)
    mean2 = splat_native(means, k, 2)
    w00 = like(mean0, 0.0)
    w10 = w00
    w20 = w00
    w30 = w00
    s00 = w00
    s01 = w00
    s02 = w00
    s11 = w00
    s12 = w00
    s22 = w00
    for b in range(0, lanes, native(columns)):
        w = load_native(root, k, b)
        y0 = w * (load_native(columns, 0, b) - mean0)
        y1 = w * (load_native(columns, 1, b) - mean1)
        y2 = w * (load_native(columns, 2, b) - mean2)
        w00 = fma(w, w, w00)
        w10 = fma(w, y0, w10)
        w20 = fma(w, y1, w20)
        w30 = fma(w, y2, w30)
        s00 = fma(y0, y0, s00)
        s01 = fma(y0, y1, s01)
        s02 = fma(y0, y2, s02)
        s11 = fma(y1, y1, s11)
        s12 = fma(y1, y2, s12)
        s22 = fma(y2, y2, s22)
    sum_w[k] += total(w00)
    sum_x[k, 0] += total(w10)
    sum_xx[0, 0] += total(s00)
    if d > 1:
        sum_x[k, 1] += total(w20)
        sum_xx[0, 1] += total(s01)
        sum_xx[1, 1] += total(s11)
    if d > 2:
        sum_x[k, 2] += total(w30)
        sum_xx[0, 2] += total(s02)
        sum_xx[1, 2] += total(s12)
        sum_xx[2, 2] += total(s22)


@brick
def square_sums(columns, resp, means, k, lanes, sum_x, sum_xx, d):
    """sum_x[k, j] += sum_b r (x - mean) and sum_xx[k, j] += sum_b r (x - mean)^2 with r = resp[k, b]."""
    for j in range(d):
        mean = splat(means, k, j)
        s = like(mean, 0.0)
        ss = s
        for b in range(0, lanes, group(columns)):
            x = load(columns, j, b) - mean
            y = load(resp, k, b) * x
            s = s + y
            ss = fma(y, x, ss)
        sum_x[k, j] += total(s)
        sum_xx[k, j] += total(ss)


@brick
def weighted_lanes(columns, root, means, k, lanes, out, sum_x, d):
    """out[j, b] = root[k, b] (columns[j, b] - means[k, j]); sum_x[k, j] += sum_b root[k, b] out[j, b]."""
    for j in range(d):
        mean = splat(means, k, j)
        s = like(mean, 0.0)
        for b in range(0, lanes, group(columns)):
            w = load(root, k, b)
            y = w * (load(columns, j, b) - mean)
            store(out, j, b, y)
            s = fma(w, y, s)
        sum_x[k, j] += total(s)


@brick
def lane_products(y, lanes, out, d):
    """out[i, j] += sum_b y[i, b] y[j, b] for i <= j < d; d is padded to a multiple of four."""
    for i in range(0, d, 4):
        _triangle(y, lanes, out, i)
        for j in range(i + 4, d, 2):
            rectangle(y, y, lanes, out, i, j)


@brick
def _triangle(y, lanes, out, i):
    s00 = like(load_native(y, i, 0), 0.0)
    s01 = s00
    s02 = s00
    s03 = s00
    s11 = s00
    s12 = s00
    s13 = s00
    s22 = s00
    s23 = s00
    s33 = s00
    for b in range(0, lanes, native(y)):
        y0 = load_native(y, i, b)
        y1 = load_native(y, i + 1, b)
        y2 = load_native(y, i + 2, b)
        y3 = load_native(y, i + 3, b)
        s00 = fma(y0, y0, s00)
        s01 = fma(y0, y1, s01)
        s02 = fma(y0, y2, s02)
        s03 = fma(y0, y3, s03)
        s11 = fma(y1, y1, s11)
        s12 = fma(y1, y2, s12)
        s13 = fma(y1, y3, s13)
        s22 = fma(y2, y2, s22)
        s23 = fma(y2, y3, s23)
        s33 = fma(y3, y3, s33)
    add_totals(out, i, i, s00, s01, s01, s11, s02, s12, s03, s13)
    add_totals(out, i, i + 2, s02, s03, s12, s13, s22, s23, s23, s33)


@brick
def rectangle(y, x, lanes, out, i, j):
    """out[i : i + 4, j : j + 2] += sum_b y[i : i + 4, b] x[j : j + 2, b]^T."""
    s00 = like(load_pair(y, i, 0), 0.0)
    s01 = s00
    s10 = s00
    s11 = s00
    s20 = s00
    s21 = s00
    s30 = s00
    s31 = s00
    for b in range(0, lanes, pair(y)):
        x0 = load_pair(x, j, b)
        x1 = load_pair(x, j + 1, b)
        y0 = load_pair(y, i, b)
        s00 = fma(y0, x0, s00)
        s01 = fma(y0, x1, s01)
        y1 = load_pair(y, i + 1, b)
        s10 = fma(y1, x0, s10)
        s11 = fma(y1, x1, s11)
        y2 = load_pair(y, i + 2, b)
        s20 = fma(y2, x0, s20)
        s21 = fma(y2, x1, s21)
        y3 = load_pair(y, i + 3, b)
        s30 = fma(y3, x0, s30)
        s31 = fma(y3, x1, s31)
    add_totals(out, i, j, s00, s01, s10, s11, s20, s21, s30, s31)
