"""Rows so far from the others that one unit for all of them would leave the others no digits: fill values, mostly."""

import warnings
from typing import Any

import numpy as np

from fastem.wording import column_called, plural

FAR = 1e8
"""Distance from the median of a column, in units of the median distance, beyond which a row is far."""

ENOUGH = 1 << 12
"""Rows that medians are taken of."""


def far_rows(X: np.ndarray, weight: np.ndarray | None = None, least: float = 0.0) -> np.ndarray:
    """Mask (n,) of the rows that are far in some column, and whose weight is worth a component.

    NaN is not far; `least` is the least unit of a distance. Where all rows are far from each other none is in the mask.
    """
    distances = _distances(X, least)
    far = distances > FAR
    if not far.any():
        return np.zeros(len(X), bool)
    w = np.ones(len(X)) if weight is None else weight
    # Beside the others of its component a row costs w distance^2 / 2 nats, and a component the others some nats each.
    with np.errstate(over="ignore"):
        mask = (far & (w[:, None] / w.sum() * distances**2 > 1)).any(axis=1)
    return mask & (not mask.all())


def _distances(X: np.ndarray, least: float) -> np.ndarray:
    """Of each number of X (n, d) from the median of its column, in units of their median; 0 where there is none."""
    median, spread = _middle(X, least)
    with np.errstate(over="ignore", invalid="ignore"):
        return np.nan_to_num(np.where(spread > 0, np.abs(X - median) / np.where(spread > 0, spread, 1.0), 0.0))


def _middle(X: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray]:
    """Medians (d,) and median distances (d,) from them, 0 where none differs; where most are equal those of the others.

    Fill values may be more than half of a column.
    """
    some = X[:: max(1, len(X) // ENOUGH)].astype(np.float64)
    median = _medians(some)
    distance = np.abs(some - median)
    spread = _medians(distance)
    for j in np.flatnonzero(spread == 0):
        others = some[distance[:, j] > 0, j, None]
        centre = _medians(others)
        if (apart := _medians(np.abs(others - centre))[0]) > 0:
            median[j], spread[j] = centre[0], apart
    return median, np.where(spread > 0, np.maximum(spread, least), 0.0)


def _medians(X: np.ndarray) -> np.ndarray:
    """Of each column (d,), NaN left out; 0 where there is no number."""
    if len(X) and not np.isnan(X).any():
        return np.median(X, axis=0)
    columns = [x[~np.isnan(x)] for x in X.T]
    return np.array([np.median(x) if len(x) else 0.0 for x in columns])


def least_unit(family: Any) -> float:
    """Deviation below which a family sees nothing: that of its ridge, the largest of those of its groups."""
    ridges = [getattr(group.family, "reg_covar", 0.0) for group in getattr(family, "groups", ())]
    return float(np.sqrt(max([getattr(family, "reg_covar", 0.0), *ridges])))


def warning_of_far_rows(estimator: Any, start: Any, whole: bool, begun: bool = True) -> str:
    """What to warn of where the sample of a start, or the whole, has far rows; else nothing.

    `begun` where components are made for them.
    """
    if start.near is None:
        return ""
    lie = told_of_far_rows(start.sample.X, ~start.near, least_unit(start.model.family), estimator, whole)
    begun = begun and start.k > 1
    holes = ", give them weight 0, or make them NaN and use missing='nan'" if hasattr(estimator, "missing") else ""
    return (
        lie
        + ("Components of their own are begun for such rows. " if begun else "")
        + f"If they are errors or fill values, leave them out{holes or ' or give them weight 0'}"
    )


def told_of_far_rows(X: np.ndarray, far: np.ndarray, least: float, estimator: Any, whole: bool) -> str:
    """How many rows of X (n, d) are far, a mask (n,), and the farthest number in them."""
    distances = _distances(X, least)[far]
    i, j = np.unravel_index(distances.argmax(), distances.shape)
    median, spread = (part[j] for part in _middle(X, least))
    rows = plural(int(far.sum()), "row") + ("" if whole else f" of a sample of {len(X)}")
    return (
        f"{rows} of X lie{'s' if far.sum() == 1 else ''} {distances[i, j]:.0e} times as far from the others as these "
        f"from each other: {column_called(int(j), estimator)} has {X[far][i, j]:.6g}, and half of it is within "
        f"{spread:.3g} of {median:.3g}. "
    )


def warn_of_fill_values(imputer: Any, piece: Any, whole: bool) -> None:
    """Warn where rows are far whose numbers ought to be missing: in units common to all, others lose their digits."""
    X, weight = piece
    X, weight = (X, None) if not weight.size else (X[weight > 0], weight[weight > 0])
    if len(X) and (far := far_rows(X, weight)).any():
        lie = told_of_far_rows(X, far, 0.0, imputer, whole)
        warnings.warn(f"{lie}If such numbers are errors or fill values, make them NaN", UserWarning, stacklevel=3)
