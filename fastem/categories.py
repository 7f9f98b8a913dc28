"""Categories to numbers and back; what numbers they get is scikit-learn's `OrdinalEncoder`'s business."""

from typing import Any

import numpy as np
from sklearn.preprocessing import OrdinalEncoder

from fastem.columns import DataTypeError


def encoded(X: Any, categories: list[list] | None) -> tuple[Any, list[list]]:
    """X as numbers 0, 1, ... of the categories of each column, which are X's own where none are given.

    Arrays of whole numbers that go from 0 to the most without a gap are left as they are.
    """
    if categories is not None and _numbered(categories) and _is_numeric(X):
        return X, categories
    if categories is None and _is_numeric(X):
        array = np.asarray(X)
        if array.ndim == 2 and array.size and (most := _without_gaps(array)) is not None:
            return X, [list(range(m)) for m in most]
    if np.ndim(X) != 2:
        raise ValueError(f"X has {np.ndim(X)} dimensions; rows and columns are wanted. Reshape it: X.reshape(-1, 1)")
    given = "auto" if categories is None else [np.array(known) for known in categories]
    encoder = OrdinalEncoder(categories=given)
    try:
        codes = encoder.fit_transform(X) if categories is None else encoder.fit(X).transform(X)
    except ValueError as error:
        hint = " is wanted to be one that the model was fitted on: leave such rows out, or fit on rows that have it"
        raise ValueError(f"{str(error).rstrip('.')}; a category{hint}") from error
    except TypeError as error:
        raise DataTypeError(f"X mixes types in a column ({error}); convert it, e.g. with X.astype(str)") from error
    if np.isnan(codes).any():
        row, column = np.argwhere(np.isnan(codes))[0]
        raise ValueError(
            f"X has a missing value in row {row}, column {column}; categories are wanted. Give it a category of its "
            "own, or leave the row out"
        )
    return _named(codes, X), categories or [known.tolist() for known in encoder.categories_]


def decoded(codes: np.ndarray, categories: list[list]) -> np.ndarray:
    """Categories of their numbers."""
    if _numbered(categories):
        return codes
    columns = [np.array(known)[codes[:, j].astype(int)] for j, known in enumerate(categories)]
    return np.stack(columns, axis=1)


def _numbered(categories: list[list]) -> bool:
    return all(known == list(range(len(known))) for known in categories)


def _is_numeric(X: Any) -> bool:
    dtype = getattr(X, "dtype", None)
    return isinstance(dtype, np.dtype) and dtype.kind in "biuf"


def _without_gaps(X: np.ndarray) -> list[int] | None:
    """Number of levels of each column, if they are 0, 1, ... and all of them occur."""
    with np.errstate(invalid="ignore"):
        whole = ((X >= 0) & (X < 1 << 16) & (X == np.floor(X))).all()
    if not whole:
        return None
    counts = [np.bincount(column.astype(np.intp)) for column in X.T]
    return [len(count) for count in counts] if all(count.all() for count in counts) else None


def _named(codes: np.ndarray, X: Any) -> Any:
    if not hasattr(X, "columns"):
        return codes
    import pandas as pd  # the frame's own library, or scikit-learn's

    return pd.DataFrame(codes, columns=list(X.columns))
