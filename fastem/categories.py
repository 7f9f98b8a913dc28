"""Categories to numbers and back: texts or whole numbers, which are sorted."""

from collections.abc import Iterable
from numbers import Real
from typing import Any

import numpy as np

from fastem.columns import OPTION, DataTypeError, RowError, is_missing, unmasked
from fastem.domains import MOST
from fastem.validation import check_weights
from fastem.wording import listed


def encoded(
    X: Any, categories: list[list] | None, sample_weight: Any = None, missing: str = "error"
) -> tuple[Any, list[list]]:
    """X as numbers 0, 1, ... of the categories of each column, which are X's own where none are given.

    Arrays of whole numbers that go from 0 to the most without a gap are left as they are. A category that only rows of
    weight 0 have is none. With ``missing="nan"`` None, NaN, NaT and pandas.NA are none either, but NaN in the numbers.
    """
    X = unmasked("X", X, missing)
    if categories is not None and numbered(categories) and _is_numeric(X):
        return X, categories
    columns, names = _columns(X)
    given = None if sample_weight is None else check_weights(sample_weight, len(columns[0]) if columns else 0)
    counts = np.ones(len(X), bool) if given is None else given > 0
    if categories is None and _is_numeric(X) and X.size:
        most = _without_gaps(np.asarray(X), counts, missing)
        if most is not None:
            return X, [list(range(m)) for m in most]
    if categories is not None and len(columns) != len(categories):
        raise ValueError(
            f"X has {len(columns)} features, and the model was fitted on {len(categories)}. Give the columns that the "
            "model was fitted on"
        )
    found: list[list] = []
    codes = np.empty((len(counts), len(columns)))
    for j, (column, called) in enumerate(zip(columns, names, strict=True)):
        levels, index = factorized(column, called)
        _check_each(levels, index, called, j, missing)
        known = categories[j] if categories else sorted(levels[i] for i in np.unique(index[counts & (index >= 0)]))
        if not known:
            raise ValueError(never_observed(called))
        if len(known) > MOST:
            raise ValueError(f"{called} has {len(known)} categories, and {MOST} are the most: leave the column out")
        numbers = {level: number for number, level in enumerate(known)}
        unknown = [i for i, level in enumerate(levels) if level not in numbers]
        if categories is not None and unknown:
            row = _rows_of(index, unknown)
            raise RowError(
                f"X has {levels[index[row[0]]]!r} in {called}, {listed(row, 'row')}; {wanted(known)}", row[0], j
            )
        codes[:, j] = np.array([*(numbers.get(level, 0) for level in levels), np.nan])[index]
        found.append(known)
    return _framed(codes, X), categories or found


def decoded(codes: np.ndarray, categories: list[list]) -> np.ndarray:
    """Categories of their numbers."""
    if numbered(categories):
        return codes
    columns = [np.array(known)[codes[:, j].astype(int)] for j, known in enumerate(categories)]
    return np.stack(columns, axis=1)


def numbered(categories: list[list]) -> bool:
    """Whether the categories are the numbers 0, 1, ... of themselves."""
    return all(known == list(range(len(known))) for known in categories)


def factorized(column: np.ndarray, called: str) -> tuple[list, np.ndarray]:
    """The distinct values of a column, and the place of each row's among them; -1 where it is missing."""
    if column.dtype.kind in "mMcV":
        raise DataTypeError(
            f"{called} holds {column.dtype}; categories are texts or whole numbers. Convert it, e.g. with astype(str)"
        )
    if column.dtype.kind in "biuf":
        found, index = np.unique(column, return_inverse=True)
        if len(found) and found[-1] != found[-1]:
            found, index = found[:-1], np.where(index == len(found) - 1, -1, index)
        return [_plain(value) for value in found.tolist()], index
    values = column.tolist()
    try:
        levels = [value for value in dict.fromkeys(values) if not is_missing(value)]
        places = {level: i for i, level in enumerate(levels)}
        index = np.array([places.get(value, -1) for value in values], dtype=np.int64)
    except TypeError as error:
        raise DataTypeError(f"{called} holds no categories ({error}); give texts or whole numbers") from error
    _check_kind(levels, called)
    return [_plain(level) for level in levels], index


def _check_kind(levels: list, called: str) -> None:
    texts = sum(isinstance(level, str) for level in levels)
    if texts == len(levels) or (not texts and all(isinstance(level, Real) for level in levels)):
        return
    types = sorted({type(level).__name__ for level in levels})
    raise DataTypeError(
        f"{called} holds {' and '.join(types)}; texts or whole numbers are wanted in it. Convert it, e.g. with "
        "astype(str)"
    )


def never_observed(called: str) -> str:
    """What is said of a column without any category."""
    return (
        f"all values are missing in {called} of the rows (of positive weight); at least one category is wanted. Leave "
        "such columns out"
    )


def _check_each(levels: list, index: np.ndarray, called: str, column: int, missing: str) -> None:
    """`RowError` for a missing value where that is an error, and for a number that is not whole."""
    gaps = [] if missing == "nan" else np.flatnonzero(index < 0).tolist()
    if gaps:
        raise RowError(
            f"X has a missing value in {called}, {listed(gaps, 'row')}; categories are wanted. Give it a category "
            f"of its own, such as 'none', or leave these rows out{OPTION}",
            gaps[0],
            column,
        )
    broken = [i for i, level in enumerate(levels) if not isinstance(level, str) and not _is_whole(level)]
    if broken:
        row = _rows_of(index, broken)
        value = levels[index[row[0]]]
        raise RowError(f"X has {value:.6g} in {called}, {listed(row, 'row')}; {NOT_WHOLE}", row[0], column, value)


NOT_WHOLE = (
    "categories are wanted: texts or whole numbers. Cut the column into intervals, e.g. with "
    "sklearn.preprocessing.KBinsDiscretizer, or use a family for numbers, such as fastem.GaussianMixture; where the "
    "numbers are names, give X.astype(str)"
)


def _rows_of(index: np.ndarray, levels: Iterable[int]) -> list[int]:
    return np.flatnonzero(np.isin(index, list(levels))).tolist()


def wanted(known: list) -> str:
    """What a message says of a category that is none of the `known` ones."""
    few = ", ".join(map(repr, known[:6])) + (", ..." if len(known) > 6 else "")
    return (
        f"a category that the model was fitted on ({few}) is wanted. Leave such rows out, or fit on rows that have it"
    )


def _plain(level: Any) -> Any:
    """Whole numbers as such, whatever type they came in."""
    number: Any = level if isinstance(level, Real) and not isinstance(level, bool) else None
    return level if number is None or not _is_whole(number) else int(number)


def _is_whole(level: Any) -> bool:
    return float(level).is_integer()


def _columns(X: Any) -> tuple[list[np.ndarray], list[str]]:
    """Columns of an array or frame, and what messages call them."""
    if hasattr(X, "columns"):
        columns = [X.iloc[:, j] if hasattr(X, "iloc") else X[:, j] for j in range(X.shape[1])]
        return [column.to_numpy() for column in columns], [f"column {name!r}" for name in X.columns]
    array = np.asarray(X)
    if not hasattr(X, "dtype") and array.dtype.kind in "US":
        array = np.asarray(X, dtype=object)  # texts and numbers side by side stay what they are
    if array.ndim != 2:
        raise ValueError(f"X has {array.ndim} dimensions; rows and columns are wanted. Reshape it: X.reshape(-1, 1)")
    return list(array.T), [f"column {j}" for j in range(array.shape[1])]


def _is_numeric(X: Any) -> bool:
    dtype = getattr(X, "dtype", None)
    return isinstance(dtype, np.dtype) and dtype.kind in "biuf"


def _without_gaps(X: np.ndarray, counts: np.ndarray, missing: str) -> list[int] | None:
    """Number of levels of each column, if they are 0, 1, ... and all of them occur in rows that count."""
    with np.errstate(invalid="ignore"):
        there = (X >= 0) & (X < MOST) & (X == np.floor(X))
    if not (there | np.isnan(X) if missing == "nan" else there).all() or not there.any(axis=0).all():
        return None
    most = np.fmax.reduce(X, axis=0).astype(int) + 1
    found = [
        np.bincount(column[counts & whole].astype(np.intp), minlength=m)
        for column, whole, m in zip(X.T, there.T, most, strict=True)
    ]
    return most.tolist() if all(count.all() for count in found) else None


def _framed(codes: np.ndarray, X: Any) -> Any:
    if not hasattr(X, "columns"):
        return codes
    names = list(X.columns)
    return type(X)(codes, columns=names) if hasattr(X, "iloc") else type(X)(codes, schema=names)
