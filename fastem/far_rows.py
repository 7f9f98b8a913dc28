"""Rows so far from the others that one unit for all of them would leave the others no digits: fill values, mostly."""

from typing import Any

import numpy as np

from fastem.wording import plural

FAR = 1e8
"""Distance from the median of a column, in units of the median distance, beyond which a row is far."""

ENOUGH = 1 << 12
"""Rows that medians are taken of."""


def far_rows(X: np.ndarray) -> np.ndarray:
    """Mask (n,) of the rows that are far in some column; NaN is not, and those of equal numbers have no far row."""
    return np.asarray((_distances(X) > FAR).any(axis=1))


def _distances(X: np.ndarray) -> np.ndarray:
    """Of each number of X (n, d) from the median of its column, in units of their median; 0 where there is none."""
    median, spread = _middle(X)
    with np.errstate(over="ignore", invalid="ignore"):
        return np.where(spread > 0, np.abs(X - median) / np.where(spread > 0, spread, 1.0), 0.0)


def _middle(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Medians (d,) and the median distances (d,) from them of those that differ from it, 0 where none does."""
    some = X[:: max(1, len(X) // ENOUGH)].astype(np.float64)
    median = _medians(some)
    distance = np.abs(some - median)
    spread = _medians(distance)
    for j in np.flatnonzero(spread == 0):
        spread[j] = _medians(distance[distance[:, j] > 0, j, None])[0]
    return median, spread


def _medians(X: np.ndarray) -> np.ndarray:
    """Of each column (d,), NaN left out; 0 where there is no number."""
    if len(X) and not np.isnan(X).any():
        return np.median(X, axis=0)
    columns = [x[~np.isnan(x)] for x in X.T]
    return np.array([np.median(x) if len(x) else 0.0 for x in columns])


def warning_of_far_rows(estimator: Any, X: np.ndarray, whole: bool) -> str:
    """What to warn of where a sample X, or the whole, has far rows; else nothing."""
    distances = _distances(X)
    far = (distances > FAR).any(axis=1)
    if not far.any():
        return ""
    i, j = np.unravel_index(np.nanargmax(distances), distances.shape)
    median, spread = (part[j] for part in _middle(X))
    rows, holes = plural(int(far.sum()), "row"), hasattr(estimator, "missing")
    lie = f"{rows if whole else f'{rows} of a sample of {len(X)}'} of X lie{'s' if far.sum() == 1 else ''}"
    return (
        f"{lie} {distances[i, j]:.0e} times as far from the others as these from each other: "
        f"{column_called(int(j), estimator)} has {X[i, j]:.6g}, and half of it is within {spread:.3g} of {median:.3g}. "
        "Components of their own are begun for such rows. If they are errors or fill values, leave them out"
        + (", give them weight 0, or make them NaN and use missing='nan'" if holes else " or give them weight 0")
    )


def column_called(j: int, estimator: Any) -> str:
    """Column j of the rows of an estimator, where y comes after X."""
    names = getattr(estimator, "feature_names_in_", None)
    if j >= estimator.n_features_in_:
        return "y"
    return f"column {j if names is None else repr(names[j])}"
