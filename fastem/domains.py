"""What values a family's columns may hold; a wrong one is told with its column and rows."""

from collections.abc import Callable
from typing import Any

import numpy as np

from fastem.columns import BLOCK, RowError
from fastem.wording import listed

MOST = 1 << 16
"""Levels that a column may have."""


def check_values(
    X: np.ndarray, bad: Callable[[np.ndarray], np.ndarray], wanted: str, names: Any = None, *, holes: bool = True
) -> None:
    """`RowError` where ``bad(X)`` is true anywhere: the first column that has such a value, and its first rows.

    NaN is let pass with `holes`: where it is an error it was told before.
    """
    size = max(1, BLOCK // max(1, X.shape[1]))
    for first in range(0, len(X), size):
        mask = bad(X[first : first + size])
        if holes and mask.any():
            mask &= ~np.isnan(X[first : first + size])
        if not mask.any():
            continue
        column = int(np.flatnonzero(mask.any(axis=0))[0])
        rows = first + np.flatnonzero(mask[:, column])
        value = float(X[rows[0], column])
        called = f"column {column}" if names is None else f"column {names[column]!r}"
        where = listed([int(row) for row in rows[:6]], "row")
        raise RowError(f"X has {value:.6g} in {called}, {where}; {wanted}", int(rows[0]), column, value, wanted)


def check_binary(X: np.ndarray, names: Any = None) -> None:
    """0 and 1 only."""
    check_values(
        X,
        lambda block: (block != 0) & (block != 1),
        "0 and 1 are wanted. Give (X > threshold).astype(float), or use fastem.CategoricalMixture for more levels",
        names,
    )


def check_counts(X: np.ndarray, names: Any = None, *, exposure: int | None = None) -> None:
    """Whole numbers of at least 0; in the column `exposure` any above 0."""

    def bad(block: np.ndarray) -> np.ndarray:
        mask = (block < 0) | (block != np.floor(block))
        if exposure is not None:
            mask[:, exposure] = False
        return mask

    def nothing(block: np.ndarray) -> np.ndarray:
        mask = np.zeros(block.shape, bool)
        mask[:, exposure] = ~(block[:, exposure] > 0)
        return mask

    advice = "Round them, leave the column out, or use another family"
    check_values(X, bad, f"whole numbers of at least 0 are wanted. {advice}", names)
    if exposure is not None:
        check_values(X, nothing, "an exposure above 0 is wanted. Leave these rows out", names, holes=False)


def check_levels(X: np.ndarray, names: Any = None, levels: np.ndarray | None = None) -> None:
    """Whole numbers from 0 up to the number of levels of each column, or up to `MOST` - 1 where that is not known."""
    most = np.full(X.shape[1], MOST) if levels is None else levels
    wanted = (
        f"levels numbered 0, 1, ..., below {MOST} are wanted. Give the categories as an array or frame in memory: "
        "they are numbered then"
        if levels is None
        else "a level that the model was fitted on is wanted. Leave these rows out, or fit on rows that have it"
    )
    check_values(X, lambda block: (block < 0) | (block >= most) | (block != np.floor(block)), wanted, names)


def check_positive(X: np.ndarray, names: Any = None, *, zero: bool = False) -> None:
    """Above 0, or with `zero` at least 0."""
    limit = "of at least 0" if zero else "above 0"
    check_values(
        X,
        (lambda block: block < 0) if zero else (lambda block: block <= 0),
        f"numbers {limit} are wanted. Leave these rows out, shift the column, or use another family",
        names,
    )
