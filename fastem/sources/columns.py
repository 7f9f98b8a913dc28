"""Columns of a source: which there are, which are wanted, and the blocks of rows cut to them."""

import operator
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastem.tables import check_names


class Column(NamedTuple):
    """A column as its source has it."""

    name: str | None
    dtype: np.dtype | None
    """None where it holds no real numbers."""
    kind: str
    """Its type in the words of the source, for messages."""
    text: bool = False
    """Whether it holds texts, or what may be texts."""
    is_index: bool = False
    """Whether it is a frame's index, which is no column unless it is asked for."""


class Choice(NamedTuple):
    """What the user wants of the columns: names or indices, None for all, ``"numeric"`` for all with numbers."""

    columns: Sequence[str | int] | str | None = None
    weights: str | int | None = None
    coding: Any = None
    """What makes numbers of columns that hold texts: ``numbers(j, column, called)``; None where there must be none."""


class Picked(NamedTuple):
    """Indices of the columns and of the weights' column, and what the rows packed from them are."""

    columns: list[int]
    weights: int | None
    feature_names: list[str] | None
    dtype: np.dtype
    coding: Any = None


def is_number(dtype: np.dtype) -> bool:
    """Whether real numbers are what the type holds."""
    return dtype.kind in "biuf"


def packed_dtype(dtypes: Sequence[np.dtype]) -> np.dtype:
    """float32 where it holds all of the types, and float64 else."""
    small = all(dtype.kind == "f" and dtype.itemsize <= 4 for dtype in dtypes)
    return np.dtype(np.float32 if small else np.float64)


def packed(columns: Sequence[Column], coding: Any) -> np.dtype | None:
    """The `packed_dtype` of columns; None where one of them holds neither numbers nor texts that are coded."""
    if any(column.dtype is None and not (coding is not None and column.text) for column in columns):
        return None
    return packed_dtype([np.dtype(float) if column.dtype is None else column.dtype for column in columns])


def schema_of(shape: tuple[int, ...], dtype: np.dtype, name: str) -> list[Column]:
    """Columns of an array with two axes, or the fields of one with records."""
    if dtype.names is not None and len(shape) == 1:
        fields = [(field, dtype[field]) for field in dtype.names]
        return [_column(field, inner) for field, inner in fields]
    if len(shape) != 2:
        raise ValueError(
            f"{name} has shape {shape}; a table of rows and columns (n, d), or records with named fields, is wanted. "
            "Reshape it with reshape(n, -1)"
        )
    return [_column(None, dtype)] * shape[1]


def _column(name: str | None, dtype: np.dtype) -> Column:
    return Column(name, dtype if is_number(dtype) else None, str(dtype), dtype.kind in "UOT")


def pick(schema: Sequence[Column], choice: Choice, name: str, *, records: bool = False) -> Picked:
    """Resolve the choice; of `records`, all fields with numbers are taken where nothing is chosen.

    Raises
    ------
    ValueError
        If there is no such column, or one that holds no numbers was chosen.
    """
    weights = None if choice.weights is None else _index(schema, choice.weights, name)
    if choice.columns is None or isinstance(choice.columns, str):
        if choice.columns not in (None, "numeric"):
            raise ValueError(f"columns is {choice.columns!r}; give a list of names or indices, or 'numeric' for all")
        every = not ((records and choice.coding is None) or choice.columns == "numeric")
        there = [i for i, column in enumerate(schema) if i != weights and not column.is_index]
        columns = [i for i in there if every or schema[i].dtype is not None]
        check_names([schema[i].name for i in columns], name)
    else:
        if not isinstance(choice.columns, Iterable):
            raise ValueError(f"columns is {choice.columns!r}; a list of names or indices is wanted, such as [0, 1]")
        columns = [_index(schema, column, name) for column in choice.columns]
    if not columns:
        raise ValueError(f"no columns of {name} are left to be features; at least one column of numbers is wanted")
    for i in columns if weights is None else [*columns, weights]:
        if packed([schema[i]], None if i == weights else choice.coding) is None:
            numbers = [column.name or j for j, column in enumerate(schema) if column.dtype is not None]
            raise ValueError(
                f"column {schema[i].name or i!r} of {name} holds {schema[i].kind}; real numbers are wanted. Choose "
                f"others with fastem.Chunks(source, columns=[...]); numbers are in {_few(numbers)}"
            )
    names = [column.name for column in (schema[i] for i in columns) if column.name is not None]
    dtype = packed([schema[i] for i in columns], choice.coding) or np.dtype(float)
    return Picked(columns, weights, names if len(names) == len(columns) else None, dtype, choice.coding)


def _index(schema: Sequence[Column], wanted: str | int, name: str) -> int:
    if isinstance(wanted, str):
        names = [column.name for column in schema]
        if wanted in names:
            check_names([other if other == wanted else None for other in names], name)
            return names.index(wanted)
        known = [n for n in names if n is not None]
        there = f"it has {_few(known)}" if known else "its columns have no names: give indices"
        raise ValueError(f"{name} has no column {wanted!r}; {there}")
    if isinstance(wanted, (bool, np.bool_)):
        raise ValueError(f"{wanted!r} is no column of {name}; of a mask, give the indices: numpy.flatnonzero(mask)")
    if np.ndim(wanted) or not hasattr(wanted, "__index__"):
        given = f"an array of shape {np.shape(wanted)}" if np.ndim(wanted) else repr(wanted)
        raise ValueError(
            f"{given} is no column of {name}; give a name or an index (weights that are an array are sample_weight)"
        )
    try:
        i = operator.index(wanted)
        return range(len(schema))[i]
    except IndexError:
        raise ValueError(f"{name} has no column {i}; it has {len(schema)}, counted from 0") from None


def _few(names: Sequence) -> str:
    more = f", ... ({len(names)} in all)" if len(names) > 12 else ""
    return (", ".join(map(repr, names[:12])) or "none") + more


def split(block: np.ndarray, picked: Picked) -> tuple[np.ndarray, np.ndarray | None]:
    """The features (n, d) and the weights (n,), or None, of a block of rows; without a copy where that can be."""
    if block.dtype.names is not None:
        return assemble([block[name] for name in block.dtype.names], picked)
    if picked.coding is not None:
        return assemble(list(block.T), picked)
    X = block if picked.columns == list(range(block.shape[1])) else block[:, picked.columns]
    return X, None if picked.weights is None else block[:, picked.weights]


def assemble(
    columns: Sequence[Any], picked: Picked, X: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray | None]:
    """The same from the columns of a block; one with texts may be its distinct ones and their places in the rows.

    The features are written to `X` where that is given.
    """
    first = columns[picked.columns[0]]
    if X is None:
        X = np.empty((len(first[1] if isinstance(first, tuple) else first), len(picked.columns)), picked.dtype)
    for j, i in enumerate(picked.columns):
        if picked.coding is None:
            X[:, j] = columns[i]
        else:
            called = repr(picked.feature_names[j]) if picked.feature_names else j
            X[:, j] = picked.coding.numbers(j, columns[i], f"column {called}")
    return X, None if picked.weights is None else np.asarray(columns[picked.weights], np.float64)
