"""What is wrong with data, told by column and row: scikit-learn and NumPy only say that a conversion failed."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastem.engine.reader import OPTION
from fastem.wording import listed

BLOCK = 1 << 20
"""Numbers looked at at a time, so that no temporary grows with the data."""


class RowError(ValueError):
    """What is wrong with a row of X or of its weights; the attributes are for those who number rows in another way."""

    def __init__(self, message: str, row: int = 0, column: int | None = None, value: float = np.nan, advice: str = ""):
        super().__init__(message)
        self.row, self.column, self.value, self.advice = row, column, value, advice


class DataTypeError(TypeError, ValueError):
    """Data of a type that holds no numbers, or not densely; scikit-learn's checks want a TypeError."""


def unmasked(name: str, array: Any, missing: str | None = None) -> Any:
    """An array whose masked entries are NaN, or None among texts, where ``missing="nan"``; else they are an error.

    Their values are still there, and would be taken.
    """
    if not isinstance(array, np.ma.MaskedArray) or not np.ma.is_masked(array):
        return array
    if missing == "nan":
        return with_gaps(array)
    places = np.argwhere(np.ma.getmaskarray(array))
    at = ", ".join(f"{axis} {i}" for axis, i in zip(("row", "column"), places[0]))
    dropped = "" if array.ndim < 2 else f", or drop their rows ({name}[~{name}.mask.any(axis=1)])"
    raise ValueError(
        f"{name} is a masked array with {len(places)} of its {array.size} values masked, the first in {at}; values "
        f"without gaps are wanted. Fill them in ({name}.filled(value)){dropped}" + (OPTION if missing else "")
    )


def with_gaps(array: Any) -> np.ndarray:
    """The entries of any array, with NaN, or None among texts, in the place of those of a masked one."""
    if not isinstance(array, np.ma.MaskedArray):
        return np.asarray(array)
    if array.dtype.names is not None:
        raise DataTypeError(
            "a masked array of records holds entries that are masked and none that stand for them; give its fields as "
            "columns: numpy.ma.column_stack"
        )
    numbers = array.dtype.kind in "biuf"
    kind = array.dtype if array.dtype.kind == "f" else np.dtype(np.float64 if numbers else object)
    kept = np.array(array.data, kind)
    kept[np.ma.getmaskarray(array)] = np.nan if numbers else None
    return kept


def is_missing(value: Any) -> bool:
    """None, NaN, NaT or pandas.NA."""
    try:
        return value is None or bool(value != value)
    except TypeError:  # pandas.NA neither differs from itself nor is the same
        return True


def nan_for_missing(X: Any) -> Any:
    """An array or frame of objects with NaN for None, NaT and pandas.NA, of which only the first becomes a number."""
    if hasattr(X, "iloc"):
        return X.where(X.notna(), np.nan)
    objects = np.array(X, dtype=object)
    objects[np.asarray(np.frompyfunc(is_missing, 1, 1)(objects), dtype=bool)] = np.nan
    return objects


def check_numeric(X: Any) -> None:
    """`DataTypeError` that names the dtype, or a frame's columns, that are no real numbers."""
    if hasattr(X, "collect_schema") and hasattr(X, "collect") and not hasattr(X, "to_numpy"):
        raise DataTypeError(
            "X is a lazy frame, which holds no rows yet; rows are wanted: give X.collect(), or write it with "
            "X.sink_parquet(path) and give the path"
        )
    if hasattr(X, "columns") and hasattr(X, "dtypes"):
        _check_frame(X)
        return
    dtype = getattr(X, "dtype", None)
    if not isinstance(dtype, np.dtype):
        return
    if dtype.kind == "c":
        raise DataTypeError(
            f"Complex data not supported: X has dtype {dtype}. Give real and imaginary parts as columns of their own"
        )
    if dtype.kind in "mM":
        raise DataTypeError(
            f"X has dtype {dtype}, where numbers are wanted. Convert times first, e.g. to days since the first: "
            "(X - X.min()) / np.timedelta64(1, 'D')"
        )
    if dtype.names:
        raise DataTypeError(
            f"X is an array of records with the fields {', '.join(dtype.names)}, where a table of numbers is wanted. "
            "Use numpy.lib.recfunctions.structured_to_unstructured(X)"
        )


def _check_frame(X: Any) -> None:
    wrong = [f"{name!r} ({dtype})" for name, dtype in _columns_without_numbers(X)]
    if wrong:
        more = ", ..." if len(wrong) > 10 else ""
        raise DataTypeError(
            f"X has columns that hold no real numbers: {', '.join(wrong[:10])}{more}. Leave them out, or convert them "
            "first: categories to one column of 0 and 1 each, dates to days since a day"
        )


def _columns_without_numbers(X: Any) -> Iterator[tuple[Any, Any]]:
    for j, (name, dtype) in enumerate(zip(X.columns, X.dtypes)):
        kind = getattr(dtype, "kind", None)
        if kind is None:  # polars
            numeric = dtype.is_numeric() or str(dtype) == "Boolean"
        elif kind in "OUST" and not hasattr(dtype, "categories"):
            numeric = _converts(X.iloc[:, j])
        else:
            numeric = kind in "biuf"
        if not numeric:
            yield name, dtype


def _converts(column: Any) -> bool:
    """Whether objects or texts are numbers all the same, or missing."""
    try:
        column.to_numpy(dtype=float, na_value=np.nan)
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def check_column(estimator: Any, parameter: str, beside: str = "", least: int = 1) -> int | None:
    """The number of the column of X that a parameter gives by number or name; None for none."""
    given, d = getattr(estimator, parameter), estimator.n_features_in_
    names = [str(name) for name in getattr(estimator, "feature_names_in_", [])]
    if given is None:
        return None
    if isinstance(given, str) and given in names:
        return names.index(given)
    if isinstance(given, int | np.integer) and not isinstance(given, bool) and 0 <= given < d and d >= least:
        return int(given)
    if d < least:
        raise ValueError(
            f"{parameter} is {given!r}, and X has {d} column alone; a column of X{beside} is wanted. Give those, too, "
            f"or use {parameter}=None"
        )
    raise ValueError(
        f"{parameter} is {given!r}; a column of X{beside} is wanted: one of 0 to {d - 1}"
        + (f", or {', '.join(map(repr, names))}" if names else "")
        + f". Use {parameter}=None where there is none"
    )


FINITE = "finite numbers are wanted. Drop these rows ({}) or fill them in first, e.g. with fastem.GaussianImputer"
FINITE_ROWS = "X[np.isfinite(X).all(axis=1)]"
ONLY_NAN = "finite numbers, or NaN where one is missing, are wanted. Replace it: X[np.isinf(X)] = np.nan"


def _blocks(n: int, d: int) -> Iterator[slice]:
    rows = max(1, BLOCK // max(d, 1))
    for first in range(0, n, rows):
        yield slice(first, first + rows)


def check_finite(X: np.ndarray, names: Any = None, missing: str | None = None, drop: str = FINITE_ROWS) -> None:
    """`RowError` that names the first rows with NaN or infinity; `missing` is the estimator's, where it has that.

    `drop` is how one writes that rows are left out.
    """
    bad: list[int] = []
    for rows in _blocks(*X.shape):
        block = X[rows]
        with np.errstate(over="ignore", invalid="ignore"):
            if np.isfinite(block.sum(dtype=block.dtype)):
                continue
        wrong = np.isinf(block) if missing == "nan" else ~np.isfinite(block)
        bad += list(rows.start + np.flatnonzero(wrong.any(axis=1)))
        if len(bad) > 5:
            break
    if bad:
        row = int(bad[0])
        column = int(np.flatnonzero(np.isinf(X[row]) if missing == "nan" else ~np.isfinite(X[row]))[0])
        what = "NaN" if np.isnan(X[row, column]) else "infinity"
        first = f"column {column if names is None else repr(names[column])}"
        wanted = ONLY_NAN if missing == "nan" else FINITE.format(drop) + (OPTION if missing and what == "NaN" else "")
        raise RowError(
            f"X contains NaN or infinity: {what} in {listed(bad, 'row')} ({first}{' first' if len(bad) > 1 else ''}); "
            + wanted,
            row,
            column,
            float(X[row, column]),
            wanted,
        )


def words_of_single_values(X: np.ndarray, names: Any = None) -> str:
    """What to warn of where a column has one observed value; else nothing."""
    single = np.flatnonzero((~np.isnan(X)).sum(axis=0) == 1) if len(X) > 1 else np.zeros(0, int)
    if not single.size:
        return ""
    called = [str(j) if names is None else repr(names[j]) for j in single]
    return (
        f"one value alone is observed in {listed(called, 'column')} of the {len(X)} rows (of positive weight): "
        "nothing says how it varies, its variances come of reg_covar alone, and EM moves them slowly. Leave such "
        "columns out"
    )


def check_observed(X: np.ndarray, names: Any = None) -> None:
    """`ValueError` that names the columns without any value in the rows that a start is made from."""
    empty = np.flatnonzero(np.isnan(X).all(axis=0))
    if empty.size:
        called = empty if names is None else [repr(names[j]) for j in empty]
        raise ValueError(
            f"all values are missing in {listed(called, 'column')} of the {len(X)} rows (of positive weight) that were "
            "looked at for a start; at least one is wanted. Leave such columns out"
        )
