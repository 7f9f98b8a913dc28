"""Data as a sequence of chunks of rows."""

from typing import NamedTuple

import numpy as np


class Chunk(NamedTuple):
    """Rows of X (n, d), C-contiguous float32 or float64, and their weights (n,) float64, or (0,) for ones."""

    X: np.ndarray
    sample_weight: np.ndarray


def chunk(X: np.ndarray, sample_weight: np.ndarray | None = None) -> Chunk:
    """One chunk without a copy, in the one array type that the kernels are compiled for."""
    X = np.asarray(X).view()
    X.flags.writeable = False
    weight = np.zeros(0) if sample_weight is None else np.asarray(sample_weight, np.float64).view()
    weight.flags.writeable = False
    return Chunk(X, weight)
