"""Log-densities looked up by level, and sums by level: a row takes one load a column, whatever the number of levels."""

from fastem.kernels import moments
from fastem.kernels.jit import brick, rootless
from fastem.kernels.simd import add_to, load_native, native, store, transpose


@brick
def look_up(columns, table, first, rows, out, components, d):
    """out[k, b] = sum_j table[first[j] + columns[j, b], k]; a register of components at a time, by way of `rows`."""
    lanes, width = out.shape[1], native(out)
    for k in range(0, components, width):
        for b in range(lanes):
            even = load_native(table, first[0] + int(columns[0, b]), k)
            if d > 1:
                odd = load_native(table, first[1] + int(columns[1, b]), k)
                for j in range(2, d - 1, 2):  # two sums, so that one need not wait for the other
                    even = even + load_native(table, first[j] + int(columns[j, b]), k)
                    odd = odd + load_native(table, first[j + 1] + int(columns[j + 1, b]), k)
                if d % 2 == 1:
                    even = even + load_native(table, first[d - 1] + int(columns[d - 1, b]), k)
                even = even + odd
            store(rows, b, 0, even)
        for b in range(0, lanes, width):
            transpose(rows, b, 0, out[k : k + width])


@brick
def level_sums(columns, first, resp, rows, sum_w, sum_x, components, d):
    """sum_w[k] += sum_b resp[k, b]; sum_x[first[j] + columns[j, b], k] += resp[k, b]; by way of `rows`."""
    lanes, width = resp.shape[1], native(resp)
    for k in range(components):
        sum_w[k] += moments.lane_sum(resp, k, lanes)
    for k in range(0, components, width):
        for b in range(0, lanes, width):
            transpose(resp[k : k + width], 0, b, rows)
        for b in range(lanes):
            r = load_native(rows, b, 0)
            for j in range(d):
                add_to(sum_x, first[j] + int(columns[j, b]), k, r)


@brick
def number_holes(columns, hole, lanes, d):
    """columns[j, b] = hole[j] where it is NaN."""
    for j in range(d):
        for b in range(lanes):
            if columns[j, b] != columns[j, b]:
                columns[j, b] = hole[j]


@brick
def lookup_log_prob(tile, prepared, out):
    """out[k, b] = log p(x_b | k)."""
    components, d = prepared.components.size, prepared.shift.size
    look_up(tile.columns, prepared.table, prepared.first, tile.weighted, out, components, d)


@rootless
@brick
def lookup_accumulate(tile, resp, prepared, statistics, s):
    """sum_w and the levels' sums of the tile."""
    components, d = prepared.components.size, prepared.shift.size
    sum_w, sum_x = statistics.sum_w[s], statistics.sum_x[s]
    level_sums(tile.columns, prepared.first, resp, tile.weighted, sum_w, sum_x, components, d)
