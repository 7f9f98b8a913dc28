"""Arrays and weights, and what a person is told when they are not what they should be."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import validate_data

BLOCK = 1 << 20
"""Numbers looked at at a time, so that no temporary grows with the data."""


class DataTypeError(TypeError, ValueError):
    """Data of a type that holds no numbers, or not densely; scikit-learn's checks want a TypeError."""


_ADVICE = "Give X as a dense table of real numbers with one row an observation and the columns that were fitted."


def check_data(estimator: Any, X: Any, *, reset: bool) -> np.ndarray:
    """X as a C-contiguous float32 or float64 array of finite numbers; not copied if it is one."""
    try:
        X = validate_data(
            estimator,
            X,
            reset=reset,
            dtype=[np.float64, np.float32],
            order="C",
            ensure_all_finite=False,
            ensure_min_samples=1,
        )
    except ValueError as error:
        raise ValueError(f"{error}\n{_ADVICE}") from error
    except TypeError as error:
        raise DataTypeError(f"{error}\n{_ADVICE}") from error
    check_finite(X)
    return X


def _blocks(n: int, d: int) -> Iterator[slice]:
    rows = max(1, BLOCK // max(d, 1))
    for first in range(0, n, rows):
        yield slice(first, first + rows)


def check_finite(X: np.ndarray) -> None:
    """`ValueError` that names the first rows with NaN or infinity."""
    bad: list[int] = []
    for rows in _blocks(*X.shape):
        block = X[rows]
        with np.errstate(over="ignore", invalid="ignore"):
            if np.isfinite(block.sum(dtype=block.dtype)):
                continue
        bad += list(rows.start + np.flatnonzero(~np.isfinite(block).all(axis=1)))
        if len(bad) > 5:
            break
    if bad:
        more = ", ..." if len(bad) > 5 else ""
        what = "NaN" if np.isnan(X[bad[:5]]).any() else "infinity"
        raise ValueError(
            f"X contains NaN or infinity: {what} in row(s) {', '.join(map(str, bad[:5]))}{more}; finite numbers are "
            "wanted. Drop these rows (X[np.isfinite(X).all(axis=1)]) or fill them in first, e.g. with "
            "sklearn.impute.SimpleImputer"
        )


def check_seed(random_state: Any) -> np.random.RandomState:
    """scikit-learn's `check_random_state`, with advice."""
    try:
        return check_random_state(random_state)
    except ValueError as error:
        raise ValueError(
            f"random_state is {random_state!r}; an int, a RandomState or None is wanted: use one"
        ) from error


def distinct_rows(X: np.ndarray, enough: int) -> int:
    """Number of distinct rows, or `enough` as soon as there are as many; looks at a block of rows at a time."""
    found = X[:0]
    for first in range(0, len(X), 1 << 12):
        found = np.unique(np.concatenate([found, X[first : first + (1 << 12)]]), axis=0)
        if len(found) >= enough:
            return enough
    return len(found)


def check_weights(sample_weight: Any, n: int) -> np.ndarray | None:
    """Weights (n,) in float64, finite, at least 0 and not all 0; None stays None."""
    if sample_weight is None:
        return None
    given = np.asarray(sample_weight)
    if np.iscomplexobj(given) or given.dtype == object:
        raise ValueError(f"sample_weight has dtype {given.dtype}; real numbers are wanted. Convert it to float")
    try:
        weight = np.full(n, float(given)) if given.ndim == 0 else given.astype(np.float64, copy=False)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"sample_weight has dtype {given.dtype}; real numbers are wanted. Convert it to float"
        ) from error
    if weight.shape != (n,):
        raise ValueError(
            f"sample_weight has shape {weight.shape}; ({n},) is wanted: one weight for each row of X. Give as many"
        )
    if not np.isfinite(weight).all() or (weight < 0).any():
        bad = np.flatnonzero(~(np.isfinite(weight) & (weight >= 0)))
        raise ValueError(
            f"sample_weight is {_spell(weight[bad[0]])} in row {bad[0]} ({len(bad)}); finite weights >= 0 "
            "are wanted. Give 0 to rows that should not count"
        )
    if not weight.any():
        raise ValueError("sample_weight is zero in every row; a positive one is wanted. Leave it out for ones")
    return np.ascontiguousarray(weight)


def check_enough_rows(n: int, sample_weight: np.ndarray | None, n_components: int) -> None:
    """`ValueError` where there are fewer rows, or rows of positive weight, than components."""
    rows, kind = n, "row(s)"
    if sample_weight is not None:
        rows, kind = int(np.count_nonzero(sample_weight)), "row(s) of positive weight"
    if rows < n_components:
        raise ValueError(
            f"X has {rows} {kind} and n_components is {n_components}; at least one row for each component is wanted. "
            f"Expected n_samples >= n_components: use n_components <= {rows} or give more rows"
        )


def _spell(x: float) -> str:
    return "NaN" if np.isnan(x) else f"{x:.6g}"


def check_init(name: str, value: Any, shape: tuple[int, ...], meaning: str = "one row a component") -> np.ndarray:
    """A start's array in float64 with the shape wanted, finite."""
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} is no array of numbers ({error}). Give numbers of shape {shape}") from error
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}; {shape} is wanted. Give {meaning}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds NaN or infinity; finite numbers are wanted. Leave it out")
    return array


def check_weights_init(value: Any, k: int) -> np.ndarray:
    """Mixing proportions (K,): at least 0, summing to 1."""
    weights = check_init("weights_init", value, (k,))
    tolerance = 1e-6 if getattr(value, "dtype", None) == np.float32 else 1e-8
    if (weights < 0).any() or abs(weights.sum() - 1) > max(tolerance, 1e-8) * max(k, 1):
        raise ValueError(
            f"weights_init has least value {weights.min():.6g} and sum {weights.sum():.6g}; numbers of at least 0 that "
            "sum to 1 are wanted. Divide it by its sum"
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
