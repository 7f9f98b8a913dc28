"""The softmax of an E-step: log-densities become responsibilities, while memory brings the next rows."""

from fastem.kernels.jit import brick
from fastem.kernels.simd import fma, group, like, load, maximum, prefetch, splat, sqrt, store, total
from fastem.kernels.special import exp, log

LEAST, LEAST_DOUBLE = -1e37, -1e300
"""Floor under half a log-density: -inf minus -inf is not a number."""

SPECK, SPECK_DOUBLE = 1e-18, 1e-150
"""Root of a responsibility that is 0: squares below it are denormal, with which a sum takes twice the time."""

LINE = 64
"""Bytes that memory gives at a time."""

AHEAD = 1 << 17
"""Bytes of a tile's rows up to which they are asked for ahead: more would push this tile out of the second cache."""


@brick
def normalize(tile, log_weights, r=0, roots=True):
    """resp[k, b] = w_b p(k | x_b), root = sqrt(resp), log_prob = log p(x_b); returns sum_b w_b log p(x_b).

    Of the r-th of several mixtures, whose components follow each other. The exponential is taken of half the
    difference, so that the `roots` cost one square root a row instead of K; they may be left out.
    """
    return normalize_and_ask(tile, log_weights, r, roots, tile.resp, tile.resp.shape[0])  # past its last row


@brick
def normalize_and_ask(tile, log_weights, r, roots, X, first):
    """`normalize`, while the rows of X from `first` on, as many as there are lanes, come near.

    They are asked for a few at a time between the exponentials: all at once, they would be waited for.
    """
    resp, root, weight = tile.resp, tile.root, tile.weight
    components, lanes = log_weights.shape[1], resp.shape[1]
    start, end = r * components, (r + 1) * components
    at, stop = first * X.shape[1], min(first + lanes, X.shape[0]) * X.shape[1]
    if (stop - at) * X.itemsize > AHEAD:
        at = stop
    share, line = -(-(stop - at) * group(resp) // (lanes * components)), LINE // X.itemsize
    log_likelihood = 0.0
    least = LEAST_DOUBLE if resp.itemsize == 8 else LEAST
    speck = SPECK_DOUBLE if resp.itemsize == 8 else SPECK
    for b in range(0, lanes, group(resp)):
        top = like(load(resp, start, b), least)
        for k in range(start, end):
            half = (load(resp, k, b) + splat(log_weights, r, k - start)) * like(top, 0.5)
            store(resp, k, b, half)
            top = maximum(half, top)
        s = like(top, 0.0)
        for k in range(start, end):
            at = _ask(X, at, min(at + share, stop), line)
            e = maximum(exp(maximum(load(resp, k, b), like(top, least)) - top), like(top, speck)) - like(top, speck)
            store(resp, k, b, e)
            s = fma(e, e, s)
        w = load(weight, 0, b)
        scale = sqrt(w / s)
        for k in range(start, end):
            e = load(resp, k, b) * scale
            if roots:
                store(root, k, b, e)
            store(resp, k, b, e * e)
        log_p = fma(like(top, 2.0), top, log(s))
        store(tile.log_prob, 0, b, log_p)
        log_likelihood += total(w * log_p)
    return log_likelihood


@brick
def _ask(X, at, stop, line):
    """Ask for the numbers of X from `at` up to `stop`, so many at a time; returns where to go on."""
    while at < stop:
        prefetch(X, 0, at)
        at += line
    return at
