"""Tables of mixed columns: those of a product found in them, taken out, read from a source, and put together again."""

import importlib
import importlib.util
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from fastem.columns import RowError, check_numeric
from fastem.latent_class import CategoricalMixture
from fastem.product import Column, Product
from fastem.wording import did_you_mean


def positions(columns: Sequence[Column], names: Sequence[Any] | None, width: int, what: str = "X") -> list[int]:
    """Numbers of the columns of a table of that width, by its names where it has any; `ValueError` where one lacks."""
    found = []
    for column in columns:
        if isinstance(column, str):
            if names is None:
                raise ValueError(
                    f"product has the column {column!r}, and {what} has no names: give a frame, or number the columns "
                    f"from 0 to {width - 1}"
                )
            if column not in names:
                raise ValueError(
                    f"product has the column {column!r}, and {what} has {', '.join(map(repr, names))}"
                    f"{did_you_mean(column, names)}. Name columns that are there"
                )
            if list(names).count(column) > 1:
                raise ValueError(f"{what} has two columns {column!r}: rename one of them")
            found.append(list(names).index(column))
        elif column < width:
            found.append(column)
        else:
            raise ValueError(
                f"product has the column {column}, and {what} has {width} columns: give numbers from 0 to {width - 1}"
            )
    return found


@contextmanager
def told_of(columns: Sequence[Column]) -> Iterator[None]:
    """Errors that number the columns of a group call them what the table calls them."""

    def told(error: Exception) -> str:
        def name(match: re.Match) -> str:
            return f"column {columns[int(match[1])]!r}" if int(match[1]) < len(columns) else match[0]

        return re.sub(r"\bcolumn (\d+)", name, str(error))

    try:
        yield
    except RowError as error:
        column: Any = None if error.column is None else columns[error.column]
        raise RowError(told(error), error.row, column, error.value, error.advice) from error
    except ValueError as error:
        raise type(error)(told(error)) from error


class Table:
    """A frame or array in memory, of which columns are taken; `names` is None where they are numbered."""

    def __init__(self, X: Any):
        if hasattr(X, "collect"):
            check_numeric(X)  # which says what to do with a lazy frame
        frame = hasattr(X, "columns") and hasattr(X, "dtypes")
        self.X: Any = X if frame or hasattr(X, "shape") else np.asarray(X, dtype=object)
        if len(self.X.shape) != 2:
            raise ValueError(
                f"Expected 2D array, got {len(self.X.shape)} dimensions; a frame, or an array of rows and columns, "
                "is wanted: one column is X.reshape(-1, 1)"
            )
        self.width = self.X.shape[1]
        names = list(X.columns) if frame else []
        self.names = names if names and all(isinstance(name, str) for name in names) else None

    def take(self, numbers: list[int]) -> Any:
        """The columns of these numbers, as a table of the same kind."""
        if hasattr(self.X, "iloc"):
            return self.X.iloc[:, numbers]
        if self.names is not None:
            return self.X.select([self.names[j] for j in numbers])
        return self.X[:, numbers]


def open_product(product: Product, X: Any, sample_weight: Any, on_rows: Any) -> Any:
    """`Rows` of a source, with the columns of the product in its order."""
    from fastem.sources import Chunks, open_rows

    chosen = X if isinstance(X, Chunks) else Chunks(X)
    wanted, first = product.columns, chosen.columns
    if isinstance(first, list | tuple):
        wanted = [first[j] for j in positions(wanted, first, len(first), "fastem.Chunks(columns=...)")]
    if callable(chosen.rows) and list(first or ()) != wanted:
        raise ValueError(
            f"rows is a function of the columns in the order of fastem.Chunks(columns=...); give them in that of the "
            f"product, columns={wanted!r}, and write rows for these"
        )
    try:
        return open_rows(replace(chosen, columns=wanted), sample_weight=sample_weight, on_rows=on_rows)
    except ValueError as error:
        texts = [c for p in product.parts if type(p.estimator) is CategoricalMixture for c in p.columns]
        if not any(str(error).startswith(f"column {column!r} of") for column in texts):
            raise
        raise ValueError(
            f"{str(error).split(';')[0]}; of a source that is read in chunks categories are wanted as numbers 0, 1, "
            "... Write their numbers to it (pandas.factorize), or give the table in memory, where texts are taken: "
            "pandas.read_parquet(path)"
        ) from error


def assembled(columns: list[np.ndarray], numbers: Sequence[Column], names: Any) -> Any:
    """A frame of columns with names, or an array with each column in the place of its number."""
    for library in () if names is None else ("pandas", "polars"):
        if importlib.util.find_spec(library):
            return importlib.import_module(library).DataFrame(dict(zip(names, columns, strict=True)))
    places = [int(j) for j in numbers] if names is None else list(range(len(columns)))
    dtype = columns[0].dtype if len({c.dtype for c in columns}) == 1 else np.dtype(object)
    dtype = dtype if dtype.kind == "f" else np.dtype(object)
    X = np.full((len(columns[0]), max(places) + 1), np.nan, dtype)
    for j, column in zip(places, columns, strict=True):
        X[:, j] = column
    return X
