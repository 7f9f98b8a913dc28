"""Factors of small covariances: to call LAPACK for each takes longer than what it does."""

import functools
import math
from collections.abc import Callable

import numpy as np

from fastem.kernels.jit import brick, compiled, stamp

LARGEST = 32
"""Columns up to which a matrix is factored here in less time than by LAPACK."""


@brick
def invert_factors(matrices, out):
    """out[c] = U, upper triangular, with matrices[c]^-1 = U U^T; how many were done before one that has none.

    With R^T R = matrices[c] it is U = R^-1, a column at a time.
    """
    d = matrices.shape[1]
    for c in range(matrices.shape[0]):
        for j in range(d):
            for i in range(j + 1):
                s = matrices[c, j, i]
                for p in range(i):
                    s -= out[c, p, i] * out[c, p, j]
                if i < j:
                    out[c, i, j] = s / out[c, i, i]
                    out[c, j, i] = 0.0
                elif 0.0 < s < np.inf:
                    out[c, j, j] = math.sqrt(s)
                else:
                    return c
        for j in range(d):
            out[c, j, j] = 1.0 / out[c, j, j]
            for i in range(j):
                s = 0.0
                for p in range(i, j):
                    s += out[c, i, p] * out[c, p, j]
                out[c, i, j] = -s * out[c, j, j]
    return matrices.shape[0]


@functools.cache
def inverter() -> Callable:
    """`invert_factors`, compiled."""
    mark = stamp(invert_factors)

    def invert(matrices, out):
        _ = mark
        return invert_factors(matrices, out)

    return compiled(invert)
