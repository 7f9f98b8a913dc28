"""Explicit SIMD for Numba: one vector type, a dozen primitives, and for each a NumPy twin.

Every primitive is an ordinary Python function on NumPy slices (the twin), and Numba lowers calls of it to vector
instructions. A brick written with them therefore runs uncompiled in a test and compiled in a loop. Three widths of each
dtype are used: `native` (one register), `pair` (one or two registers: the columns of an M-step tile) and `group` (the
lanes of an E-step tile: as many registers as hide the latency of a multiply-add and leave room for the operands).

The instructions are in `lowering`. Loads and stores know no bounds. Arrays are C-contiguous and
two-dimensional, and scratch is padded to the width.
"""

import numpy as np
from numba.core import config as numba_config
from numba.core.codegen import get_host_cpu_features

_GIVEN = getattr(numba_config, "CPU_FEATURES", None)
_FEATURES = get_host_cpu_features() if _GIVEN is None else _GIVEN
_WIDE = "+avx512f" in _FEATURES
_BYTES = 64 if _WIDE else 32 if "+avx" in _FEATURES else 16
GROUP = 4 if _WIDE else 2
PAIR = 2 if _WIDE else 1
NATIVE_OF = {np.dtype(t): _BYTES // np.dtype(t).itemsize for t in (np.float32, np.float64)}


def native(a: np.ndarray) -> int:
    """Numbers of `a`'s dtype in one register."""
    return NATIVE_OF[a.dtype]


def pair(a: np.ndarray) -> int:
    """Columns of an M-step tile."""
    return PAIR * NATIVE_OF[a.dtype]


def group(a: np.ndarray) -> int:
    """Lanes of an E-step tile."""
    return GROUP * NATIVE_OF[a.dtype]


def load(a, i, j):
    """A group of lanes, a[i, j : j + group]."""
    return a[i, j : j + group(a)].copy()


def load_pair(a, i, j):
    """a[i, j : j + pair]."""
    return a[i, j : j + pair(a)].copy()


def load_native(a, i, j):
    """a[i, j : j + native]."""
    return a[i, j : j + native(a)].copy()


def load_like(v, a, i, j):
    """a[i, j : j + width of v]."""
    return a[i, j : j + v.size].copy()


def store(a, i, j, v):
    """a[i, j : j + width of v] = v."""
    a[i, j : j + v.size] = v


def add_to(a, i, j, v):
    """a[i, j : j + width of v] += v, widened to a's dtype."""
    a[i, j : j + v.size] += v


def splat(a, i, j):
    """a[i, j] in every lane of a group."""
    return np.full(group(a), a[i, j])


def splat_pair(a, i, j):
    """a[i, j] in every lane of a pair."""
    return np.full(pair(a), a[i, j])


def splat_native(a, i, j):
    """a[i, j] in every lane of one register."""
    return np.full(native(a), a[i, j])


def splat_like(v, a, i, j):
    """a[i, j] in every lane of the type of v."""
    return np.full(v.size, a[i, j])


def prefetch(a, i, j):
    """Ask memory for the line that holds a[i, j], into the second cache, without waiting; a twin has nothing to do."""


def transpose(a, i, j, out):
    """out[j : j + native, i : i + native] = the transpose of a[i : i + native, j : j + native]."""
    w = native(a)
    out[j : j + w, i : i + w] = a[i : i + w, j : j + w].T


def gather(a, first, index, i, j, b):
    """One register: a[first + index[i, l], index[j, l]] of the lanes l from b on; `index` holds integers."""
    lanes = slice(b, b + native(a))
    return a[first + index[i, lanes], index[j, lanes]]


def add_at(a, i, j, x):
    """a[i, j] += the number x; as loads and stores it knows no bounds, nor indices from the end."""
    a[i, j] += x


def fma(a, b, c):
    """a * b + c, rounded once (the twin rounds twice)."""
    return a * b + c


def maximum(a, b):
    """The larger of each lane."""
    return np.where(a > b, a, b)


def sqrt(a):
    """Square root of each lane."""
    return np.sqrt(a)


def count_greater(a, x):
    """Number of lanes over the scalar x."""
    return int(np.sum(a > x))


def which_greater(v, x):
    """The lanes over the scalar x as the bits of an integer."""
    return sum(1 << int(b) for b in np.flatnonzero(v > x))


def lowest_bit(bits):
    """Which bit of an integer that is not 0 is the lowest that is set."""
    return (bits & -bits).bit_length() - 1


def total(v):
    """Sum of the lanes as float64."""
    return float(np.sum(v, dtype=np.float64))


def add_totals(a, i, j, v00, v01, v10, v11, v20, v21, v30, v31):
    """a[i + r, j + c] += sum of the lanes of v[r][c], for the four by two vectors of a tile."""
    for r, row in enumerate(((v00, v01), (v10, v11), (v20, v21), (v30, v31))):
        for c, v in enumerate(row):
            a[i + r, j + c] += total(v)


def like(v, x):
    """The number x in every lane, in the type of the vector v."""
    return np.full(v.size, x, v.dtype)
