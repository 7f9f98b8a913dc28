"""The E-step of products: each group of columns has loops of its own, which meet in one buffer of log-densities.

One compiled loop a combination of families would take seconds for each new combination; these are compiled once a
family. What a family's `log_prob` leaves in a tile stays there for its `accumulate`, so a block has as many tiles of
each group as there are tiles of rows in it.
"""

from collections import namedtuple
from collections.abc import Callable
from typing import Any

import numpy as np

from fastem.kernels.jit import brick, compiled, stamp
from fastem.kernels.mixture import Tile, aligned, load_rows, load_weights, make_tile, put_rows
from fastem.kernels.simd import group, load, store
from fastem.kernels.softmax import normalize

Joint = namedtuple("Joint", "weight log_prob resp root least order")
Joint.__doc__ = "What all groups share of a block's tiles: the fields of `Tile`, with a leading axis over the tiles."

Own = namedtuple("Own", "columns rows centred spare out weighted twice index every root_weight extra")
Own.__doc__ = """What is a group's own: of each tile columns, rows, centred and spare, with a leading axis.

The others are scratch of one tile after the other; out (K, B) are the log-densities of one.
"""


def make_joint(dtype: np.dtype, k: int, lanes: int, tiles: int) -> Joint:
    """Buffers for that many tiles."""
    one = make_tile(dtype, 1, k, lanes)
    shared = {name: _repeated(getattr(one, name), tiles) for name in Joint._fields if name != "order"}
    return Joint(order=one.order, **shared)


def make_own(dtype: np.dtype, d: int, k: int, lanes: int, tiles: int, extra: Any) -> Own:
    """Buffers of a group of d columns, and what its family asks for; what its bricks do not touch takes no memory."""
    one = make_tile(dtype, d, k, lanes)
    kept = [_repeated(array, tiles) for array in (one.columns, one.rows, one.centred, one.spare)]
    extra = one.extra if extra is None else extra
    scratch = [one.resp, one.weighted, one.twice, one.index, one.every, one.root_weight, extra]
    return Own(*kept, *scratch)


def _repeated(array: np.ndarray, tiles: int) -> np.ndarray:
    return aligned(array.dtype, tiles, array.size).reshape(tiles, *array.shape)


@brick
def tile_of(t, own, joint):
    """The tile t of a group."""
    return Tile(
        own.columns[t],
        own.rows[t],
        joint.weight[t],
        own.root_weight,
        joint.log_prob[t],
        joint.resp[t],
        joint.root[t],
        own.centred[t],
        own.weighted,
        own.twice,
        own.index,
        own.every,
        joint.least[t],
        own.spare[t],
        own.extra,
        joint.order,
    )


@brick
def joint_of(t, joint):
    """What the groups share of the tile t."""
    return Joint(joint.weight[t], joint.log_prob[t], joint.resp[t], joint.root[t], joint.least[t], joint.order)


@brick
def add_up(out, resp, components, fresh):
    """resp[k, b] += out[k, b], or = where it is `fresh`. An entry that is missing would add nothing here."""
    for k in range(components):
        for b in range(0, out.shape[1], group(out)):
            v = load(out, k, b)
            store(resp, k, b, v if fresh else v + load(resp, k, b))


def group_log_prob(log_prob: Callable) -> Callable:
    """Compile the first loop of one family.

    Returns ``add(X, begin, tiles, column, components, fresh, prepared, own, joint)``, which for the tiles of rows from
    `begin` on adds log p(x | k) of the columns from `column` on to joint.resp.
    """
    mark = stamp(log_prob)

    def add(X, begin, tiles, column, components, fresh, prepared, own, joint):
        _ = mark
        n, lanes, d = X.shape[0], own.out.shape[1], prepared.shift.size
        for t in range(tiles):
            first = begin + t * lanes
            tile = tile_of(t, own, joint)
            load_rows(X[:, column : column + d], first, min(lanes, n - first), prepared.shift, tile)
            log_prob(tile, prepared, own.out)
            add_up(own.out, tile.resp, components, fresh)

    return compiled(add)


def group_accumulate(accumulate: Callable) -> Callable:
    """Compile the second loop of one family.

    Returns ``add(tiles, prepared, statistics, s, own, joint)``, which adds the statistics of a block whose
    responsibilities are in `joint` to ``statistics[...][s]``.
    """
    mark = stamp(accumulate)

    def add(tiles, prepared, statistics, s, own, joint):
        _ = mark
        for t in range(tiles):
            tile = tile_of(t, own, joint)
            accumulate(tile, tile.resp, prepared, statistics, s)

    return compiled(add)


def block_normalize(roots: bool) -> Callable:
    """Compile ``soften(n, weight, begin, tiles, log_weights, joint, log_likelihood, s)``.

    It turns the sums of log-densities of a block into responsibilities, with their `roots` or without, and adds to
    log_likelihood[s].
    """
    mark = stamp()

    def soften(n, weight, begin, tiles, log_weights, joint, log_likelihood, s):
        _ = mark
        lanes = joint.weight.shape[2]
        for t in range(tiles):
            first = begin + t * lanes
            one = joint_of(t, joint)
            load_weights(weight, first, min(lanes, n - first), one)
            log_likelihood[s] += normalize(one, log_weights, 0, roots)

    return compiled(soften)


def block_rows() -> Callable:
    """Compile ``put(n, begin, tiles, components, joint, log_p, labels, resp)``: what `predict` asks of a block."""
    mark = stamp()

    def put(n, begin, tiles, components, joint, log_p, labels, resp):
        _ = mark
        lanes = joint.weight.shape[2]
        for t in range(tiles):
            first = begin + t * lanes
            put_rows(joint_of(t, joint), first, min(lanes, n - first), components, log_p, labels, resp)

    return compiled(put)
