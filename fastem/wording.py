"""Small words that messages share."""

from collections.abc import Collection
from difflib import get_close_matches
from typing import Any


def plural(number: int, noun: str) -> str:
    """Return the number and the noun: 1 row, 2 rows."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def listed(items: Collection[Any], noun: str, most: int = 5) -> str:
    """Return the noun and the first few items: row 3; rows 1, 2, 5; rows 0, 1, 2, 3, 4, ..."""
    shown = ", ".join(str(item) for item, _ in zip(items, range(most)))
    return f"{noun}{'s' if len(items) > 1 else ''} {shown}{', ...' if len(items) > most else ''}"


def count(number: float) -> str:
    """Return a number with three digits and a unit: 1.23 M."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= 0.9995 * size:  # 999,600 would be shown as 1e+03 k
            return f"{number / size:.3g}{unit}"
    return f"{number:.3g}"


def did_you_mean(wanted: str, known: Collection[Any]) -> str:
    """Return a question for the known name that is closest, or nothing."""
    close = get_close_matches(wanted, [name for name in known if isinstance(name, str)], 1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def column_called(j: int, estimator: Any) -> str:
    """Column j of the rows of an estimator, where y comes after X."""
    names = getattr(estimator, "feature_names_in_", None)
    if j >= getattr(estimator, "n_features_in_", j + 1):
        return "y"
    return f"column {j} of X" if names is None else f"column {names[j]!r}"
