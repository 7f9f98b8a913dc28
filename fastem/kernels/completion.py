"""The holes of a tile filled given one component: what all families do that are Gaussian given something else.

They differ in the densities and sums that they then take of the filled tile. `prepared` has the means, precisions and
covariances of `families.gaussian_missing`.
"""

from fastem.kernels import holes, holes_across
from fastem.kernels.jit import inlined
from fastem.kernels.simd import native
from fastem.kernels.special import LOG_TWO_PI


@inlined
def fill_full(tile, prepared, k, constant):
    """Fill the holes given component k; `level` is what they add to the normal log p, which has that constant."""
    extra, d = tile.extra, prepared.shift.size
    across = extra.across
    for r in range(extra.size[0]):
        if across.count[extra.runs[0, r]] > 0 and not prepared.inflated[k]:
            continue
        m = extra.runs[2, r]
        by_covariance = prepared.inflated[k] or 2 * m > d
        log_det = holes.regress(extra, r, prepared.precisions, prepared.covariances, k, by_covariance)
        holes.fill(tile, r, prepared.means, k, d)
        if by_covariance:
            holes.put_level(extra, r, -constant - 0.5 * (log_det + (d - m) * LOG_TWO_PI))
        else:
            holes.put_level(extra, r, 0.5 * (m * LOG_TWO_PI - log_det))
    lanes = 0 if prepared.inflated[k] else holes_across.begin_across(tile, prepared.means, k, d)
    for b in range(0, lanes, native(across.factor)):
        n = holes_across.most_holes(across, b)
        if n > 0:
            holes_across.fill_across(tile, prepared.precisions, prepared.means, k, b, n, d)
            holes_across.put_level(across, extra.level, b)


@inlined
def fill_full_and_add(tile, resp, prepared, k, share, sum_xx):
    """Fill the holes given component k, and add `share` times resp times their conditional covariances to sum_xx."""
    extra, d = tile.extra, prepared.shift.size
    across = extra.across
    for r in range(extra.size[0]):
        if across.count[extra.runs[0, r]] > 0 and not prepared.inflated[k]:
            continue
        weight = holes.weight_of(extra, r, resp, k)
        if weight <= tile.least[0]:
            continue
        by_covariance = prepared.inflated[k] or 2 * extra.runs[2, r] > d
        holes.regress(extra, r, prepared.precisions, prepared.covariances, k, by_covariance)
        holes.fill(tile, r, prepared.means, k, d)
        holes.add_within(extra, r, weight * share, sum_xx)
    lanes = 0 if prepared.inflated[k] else holes_across.begin_across(tile, prepared.means, k, d)
    for b in range(0, lanes, native(across.factor)):
        n = holes_across.most_holes(across, b)
        if n > 0:
            holes_across.fill_across(tile, prepared.precisions, prepared.means, k, b, n, d)
            holes_across.add_within_across(tile, resp, k, b, n, share, sum_xx)


@inlined
def fill_diag(tile, prepared, k, constant):
    """`fill_full` of columns that do not covary: a hole at the mean adds nothing but its `level`."""
    runs, index, d = tile.extra.runs, tile.extra.index, prepared.shift.size
    for r in range(tile.extra.size[0]):
        level = 0.0
        for i in range(runs[2, r]):
            level += prepared.precisions[k, index[r, i]]
        holes.put_level(tile.extra, r, level if runs[2, r] < d else -constant)
    holes.fill_means(tile, prepared.means, k, d)


@inlined
def fill_diag_and_add(tile, resp, prepared, k, share, sum_xx):
    """`fill_full_and_add` of columns that do not covary: sum_xx (K, d)."""
    runs, index = tile.extra.runs, tile.extra.index
    for r in range(tile.extra.size[0]):
        weight = holes.weight_of(tile.extra, r, resp, k) * share
        for i in range(runs[2, r]):
            sum_xx[k, index[r, i]] += weight * prepared.covariances[k, index[r, i]]
    holes.fill_means(tile, prepared.means, k, prepared.shift.size)
