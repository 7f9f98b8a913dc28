"""Triangular whitening, register-blocked: |P (x - mean)|^2 for a group of lanes at a time."""

import functools

import numpy as np

from fastem.kernels.jit import brick
from fastem.kernels.simd import fma, like, load, splat, store

ROWS = 4
"""Rows of P at a time: with the lanes of a group this fills the registers."""


def pack(triangles: np.ndarray) -> np.ndarray:
    """Lower triangles (K, d, d) as the stream (K, m) in which `squared_norm` reads them.

    Blocks of four rows follow each other; within a block the columns left of the diagonal, four numbers each, then the
    ten numbers of the triangle on the diagonal, row by row. Rows past d are zero.
    """
    k, d, _ = triangles.shape
    padded = -(-d // ROWS) * ROWS
    square = np.zeros((k, padded, padded), triangles.dtype)
    square[:, :d, :d] = triangles
    return np.take(square.reshape(k, -1), _stream(padded), axis=1)


@functools.cache
def _stream(padded: int) -> np.ndarray:
    """Where in a square of that size the numbers of the stream are."""
    place, inside = np.arange(padded**2).reshape(padded, padded), np.tril_indices(ROWS)
    parts = []
    for i in range(0, padded, ROWS):
        parts.append(place[i : i + ROWS, :i].T.ravel())
        parts.append(place[i : i + ROWS, i : i + ROWS][inside])
    return np.concatenate(parts)


@brick
def subtract_mean(columns, b, means, k, out, d):
    """out[j, :] = x[j, b : b + group] - means[k, j]."""
    for j in range(d):
        store(out, j, 0, load(columns, j, b) - splat(means, k, j))


@brick
def squared_norm(packed, k, centred, d):
    """sum_i (sum_j P[k, i, j] centred[j])^2 for the lanes of `centred`; d is padded to a multiple of four."""
    q = like(load(centred, 0, 0), 0.0)
    p = 0
    for i in range(0, d, 4):
        z0 = like(q, 0.0)
        z1 = like(q, 0.0)
        z2 = like(q, 0.0)
        z3 = like(q, 0.0)
        for j in range(i):
            x = load(centred, j, 0)
            z0 = fma(splat(packed, k, p), x, z0)
            z1 = fma(splat(packed, k, p + 1), x, z1)
            z2 = fma(splat(packed, k, p + 2), x, z2)
            z3 = fma(splat(packed, k, p + 3), x, z3)
            p += 4
        x0 = load(centred, i, 0)
        x1 = load(centred, i + 1, 0)
        x2 = load(centred, i + 2, 0)
        x3 = load(centred, i + 3, 0)
        z0 = fma(splat(packed, k, p), x0, z0)
        z1 = fma(splat(packed, k, p + 1), x0, z1)
        z1 = fma(splat(packed, k, p + 2), x1, z1)
        z2 = fma(splat(packed, k, p + 3), x0, z2)
        z2 = fma(splat(packed, k, p + 4), x1, z2)
        z2 = fma(splat(packed, k, p + 5), x2, z2)
        z3 = fma(splat(packed, k, p + 6), x0, z3)
        z3 = fma(splat(packed, k, p + 7), x1, z3)
        z3 = fma(splat(packed, k, p + 8), x2, z3)
        z3 = fma(splat(packed, k, p + 9), x3, z3)
        p += 10
        q = fma(z0, z0, q)
        q = fma(z1, z1, q)
        q = fma(z2, z2, q)
        q = fma(z3, z3, q)
    return q


@brick
def tiniest_squared_norm(columns, b, means, packed, k):
    """`squared_norm` of x[:, b : b + group] - means[k] for d <= 2, in registers."""
    x0 = load(columns, 0, b) - splat(means, k, 0)
    x1 = load(columns, 1, b) - splat(means, k, 1)
    z0 = splat(packed, k, 0) * x0
    z1 = fma(splat(packed, k, 2), x1, splat(packed, k, 1) * x0)
    return fma(z0, z0, z1 * z1)


@brick
def tiny_squared_norm(columns, b, means, packed, k):
    """`squared_norm` of x[:, b : b + group] - means[k] for d <= 4, in registers."""
    x0 = load(columns, 0, b) - splat(means, k, 0)
    x1 = load(columns, 1, b) - splat(means, k, 1)
    x2 = load(columns, 2, b) - splat(means, k, 2)
    x3 = load(columns, 3, b) - splat(means, k, 3)
    z0 = splat(packed, k, 0) * x0
    z1 = fma(splat(packed, k, 2), x1, splat(packed, k, 1) * x0)
    z2 = fma(splat(packed, k, 5), x2, fma(splat(packed, k, 4), x1, splat(packed, k, 3) * x0))
    z3 = fma(splat(packed, k, 7), x1, splat(packed, k, 6) * x0)
    z3 = fma(splat(packed, k, 9), x3, fma(splat(packed, k, 8), x2, z3))
    return fma(z0, z0, fma(z1, z1, fma(z2, z2, z3 * z3)))


@brick
def whiten_lanes(packed, columns, b, out, d):
    """out[i, b : b + group] = sum_j P[i, j] columns[j, b : b + group] for one triangle P."""
    p = 0
    for i in range(0, d, 4):
        z0 = like(load(columns, i, b), 0.0)
        z1 = z0
        z2 = z0
        z3 = z0
        for j in range(i):
            x = load(columns, j, b)
            z0 = fma(splat(packed, 0, p), x, z0)
            z1 = fma(splat(packed, 0, p + 1), x, z1)
            z2 = fma(splat(packed, 0, p + 2), x, z2)
            z3 = fma(splat(packed, 0, p + 3), x, z3)
            p += 4
        x0 = load(columns, i, b)
        x1 = load(columns, i + 1, b)
        x2 = load(columns, i + 2, b)
        x3 = load(columns, i + 3, b)
        store(out, i, b, fma(splat(packed, 0, p), x0, z0))
        store(out, i + 1, b, fma(splat(packed, 0, p + 2), x1, fma(splat(packed, 0, p + 1), x0, z1)))
        z2 = fma(splat(packed, 0, p + 4), x1, fma(splat(packed, 0, p + 3), x0, z2))
        store(out, i + 2, b, fma(splat(packed, 0, p + 5), x2, z2))
        z3 = fma(splat(packed, 0, p + 7), x1, fma(splat(packed, 0, p + 6), x0, z3))
        store(out, i + 3, b, fma(splat(packed, 0, p + 9), x3, fma(splat(packed, 0, p + 8), x2, z3)))
        p += 10


@brick
def squared_distance(columns, b, centres, k, d):
    """sum_j (columns[j, b : b + group] - centres[k, j])^2."""
    q = like(load(columns, 0, b), 0.0)
    for j in range(d):
        z = load(columns, j, b) - splat(centres, k, j)
        q = fma(z, z, q)
    return q


@brick
def squared_length(columns, b, d):
    """sum_j columns[j, b : b + group]^2."""
    q = like(load(columns, 0, b), 0.0)
    for j in range(d):
        x = load(columns, j, b)
        q = fma(x, x, q)
    return q


@brick
def product(columns, b, means, k, d):
    """sum_j means[k, j] columns[j, b : b + group]."""
    q = like(load(columns, 0, b), 0.0)
    for j in range(d):
        q = fma(load(columns, j, b), splat(means, k, j), q)
    return q


@brick
def products_of_four(columns, b, means, k, d, out):
    """out[c, b : b + group] = `product` for the components c from k on."""
    q0 = like(load(columns, 0, b), 0.0)
    q1 = q0
    q2 = q0
    q3 = q0
    for j in range(d):
        x = load(columns, j, b)
        q0 = fma(x, splat(means, k, j), q0)
        q1 = fma(x, splat(means, k + 1, j), q1)
        q2 = fma(x, splat(means, k + 2, j), q2)
        q3 = fma(x, splat(means, k + 3, j), q3)
    store(out, k, b, q0)
    store(out, k + 1, b, q1)
    store(out, k + 2, b, q2)
    store(out, k + 3, b, q3)


@brick
def scaled_distance(columns, b, centres, scales, k, d):
    """sum_j (scales[k, j] (columns[j, b : b + group] - centres[k, j]))^2."""
    q = like(load(columns, 0, b), 0.0)
    for j in range(d):
        z = (load(columns, j, b) - splat(centres, k, j)) * splat(scales, k, j)
        q = fma(z, z, q)
    return q


@brick
def distance_in_units(columns, b, minus_centres, scales, k, d):
    """sum_j (scales[k, j] columns[j, b : b + group] + minus_centres[k, j])^2."""
    q = like(load(columns, 0, b), 0.0)
    for j in range(d):
        z = fma(load(columns, j, b), splat(scales, k, j), splat(minus_centres, k, j))
        q = fma(z, z, q)
    return q
