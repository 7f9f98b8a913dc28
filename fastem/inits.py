"""Starting values, and values given to a fitted model: what is said of those that cannot be."""

from typing import Any

import numpy as np


def check_init(name: str, value: Any, shape: tuple[int, ...], meaning: str = "one row a component") -> np.ndarray:
    """A start's array in float64 with the shape wanted, finite."""
    try:
        given = np.array(value, order="C")  # of one layout, for which kernels are compiled
        if given.dtype.kind == "c":  # NumPy would drop the imaginary parts
            raise TypeError(f"it is {given.dtype}")
        array = given.astype(np.float64, copy=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} is no array of numbers ({error}). Give numbers of shape {shape}") from error
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}; {shape} is wanted. Give {meaning}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds NaN or infinity; finite numbers are wanted. Leave it out")
    return array


def check_weights_init(value: Any, k: int) -> np.ndarray:
    """Mixing proportions (K,): at least 0, summing to 1."""
    weights = check_init("weights_init", value, (k,), "one number a component")
    tolerance = 1e-6 if getattr(value, "dtype", None) == np.float32 else 1e-8
    if (weights < 0).any() or abs(weights.sum() - 1) > max(tolerance, 1e-8) * max(k, 1):
        hint = "Leave it out, or give no component less than 0" if (weights < 0).any() else "Divide it by its sum"
        raise ValueError(
            f"weights_init has least value {weights.min():.6g} and sum {weights.sum():.6g}; numbers of at least 0 that "
            f"sum to 1 are wanted. {hint}"
        )
    return weights


def check_precisions_init(value: Any, covariance_type: str, k: int, d: int) -> np.ndarray:
    """Precisions in scikit-learn's shape, as covariances; symmetric and positive definite."""
    shape = {"full": (k, d, d), "tied": (d, d), "diag": (k, d), "spherical": (k,)}[covariance_type]
    meaning = f"what covariance_type={covariance_type!r} has: the shape of precisions_"
    precisions = check_init("precisions_init", value, shape, meaning)
    if covariance_type in ("diag", "spherical"):
        if (precisions <= 0).any():
            raise ValueError(f"precisions_init holds {precisions.min():.6g}; give positive ones, 1 over each variance")
        return 1.0 / precisions
    matrices = precisions.reshape(-1, d, d)
    for c, matrix in enumerate(matrices):
        symmetric = np.allclose(matrix, matrix.T, rtol=1e-6, atol=1e-12 * abs(matrix).max())
        if not symmetric or not (np.linalg.eigvalsh(matrix) > 0).all():
            raise ValueError(
                f"precisions_init[{c}] is not symmetric positive definite (least eigenvalue "
                f"{np.linalg.eigvalsh((matrix + matrix.T) / 2).min():.6g}); such matrices are wanted: invert "
                "covariances of full rank"
            )
    return np.linalg.inv(matrices).reshape(shape)
