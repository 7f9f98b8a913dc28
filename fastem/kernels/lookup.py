"""Log-densities looked up by level, and sums by level: a row takes one load a column, whatever the number of levels."""

from fastem.kernels import moments
from fastem.kernels.jit import brick
from fastem.kernels.simd import add_to, load_native, native, store, transpose


@brick
def lookup_log_prob(tile, prepared, out):
    """out[k, b] = sum_j table[first[j] + columns[j, b], k]; a register of components at a time."""
    columns, table, first, rows = tile.columns, prepared.table, prepared.first, tile.weighted
    lanes, d, width = out.shape[1], prepared.shift.size, native(out)
    for k in range(0, prepared.components.size, width):
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
def lookup_accumulate(tile, resp, prepared, statistics, s):
    """sum_w[k] += sum_b resp[k, b]; sum_x[first[j] + columns[j, b], k] += resp[k, b]."""
    columns, first, rows = tile.columns, prepared.first, tile.weighted
    lanes, d, width = resp.shape[1], prepared.shift.size, native(resp)
    sum_w, sum_x = statistics.sum_w[s], statistics.sum_x[s]
    for k in range(prepared.components.size):
        sum_w[k] += moments.lane_sum(resp, k, lanes)
    for k in range(0, prepared.components.size, width):
        for b in range(0, lanes, width):
            transpose(resp[k : k + width], 0, b, rows)
        for b in range(lanes):
            r = load_native(rows, b, 0)
            for j in range(d):
                add_to(sum_x, first[j] + int(columns[j, b]), k, r)
