"""From what the user gave to a source."""

import csv
import glob
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastem.sources.arrays import array_source, npy_source
from fastem.sources.arrow import arrow_dataset, arrow_file_source, dataset_source, table_of, table_source
from fastem.sources.columns import Choice
from fastem.sources.csv_files import csv_source
from fastem.sources.rows import Rows
from fastem.sources.source import Source, cast, coded, joined, kept, weighted
from fastem.sources.stores import hdf5_source, zarr_source
from fastem.sources.streams import callable_source, iterator_source
from fastem.tables import column_names

ARROW = (".parquet", ".pq", ".arrow", ".feather", ".ipc")
HDF5 = (".h5", ".hdf5", ".hdf", ".he5", ".nc")
ZARR = (".zarr", ".zip")
ENDINGS = ".npy, .csv, .parquet, .feather, .arrow, .h5::dataset or .zarr"


@dataclass(frozen=True, eq=False)
class Chunks:
    """Data from anywhere, with a choice of columns, weights, rows and the size of chunks; give it in place of X.

    Parameters
    ----------
    source : anything that is read in chunks
        A path, a list of paths or a glob (``.npy``, ``.csv``, Parquet, Feather, ``file.h5::dataset``,
        ``store.zarr::array``), an open dataset, array or table, or a callable that returns an iterator of chunks.
    columns : list of str or int, or 'numeric', optional
        Columns that are features, in this order: names, or indices counted from 0. ``'numeric'`` takes all that hold
        numbers. By default, all columns but the weights and a pandas index; of records, all fields with numbers.
    rows_per_chunk : int, optional
        Rows of a chunk in memory. Results do not depend on it beyond rounding.
    weights : str or int, optional
        The column with the weights of the rows.
    rows : 'finite', callable or pyarrow expression, optional
        Rows to keep. ``'finite'``: those without NaN, null and infinity in the columns chosen. A callable is given
        blocks X (n, d) of the columns chosen and returns masks (n,). An expression may name any column of a Parquet or
        Arrow source, and keeps others from being read: ``pyarrow.compute.field("carrier") == "UA"``.
    dtype : {'float32', 'float64'}, optional
        What rows are read as; by default float32 where it holds all of the columns, and float64 else.

    Examples
    --------
    >>> import numpy as np
    >>> import fastem
    >>> X = np.random.default_rng(0).normal(size=(100, 3))
    >>> positive = fastem.Chunks(X, columns=[0, 2], rows=lambda X: X[:, 0] > 0)
    >>> with fastem.sources.open_rows(positive) as rows:
    ...     sum(len(chunk.X) for chunk in rows) == (X[:, 0] > 0).sum()
    np.True_
    """

    source: Any
    columns: Sequence[str | int] | str | None = None
    rows_per_chunk: int | None = None
    weights: str | int | None = None
    rows: Any = None
    dtype: Any = None

    def __post_init__(self) -> None:
        n = self.rows_per_chunk
        if n is not None and (isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1):
            raise ValueError(f"rows_per_chunk is {n!r}; a whole number of at least 1 is wanted")
        try:
            known = self.dtype is None or np.dtype(self.dtype) in (np.float32, np.float64)
        except TypeError:
            known = False
        if not known:
            raise ValueError(f"dtype is {self.dtype!r}; 'float32' or 'float64' is wanted")
        if isinstance(self.source, Chunks):
            raise ValueError("the source of these Chunks is Chunks already; give the choice in one")


def is_source(X: Any) -> bool:
    """Whether `X` is to be read in chunks, not as an array or a frame in memory."""
    if isinstance(X, np.ndarray):
        return isinstance(X, np.memmap) or X.dtype.names is not None
    if isinstance(X, (Chunks, str, os.PathLike, Iterator)) or _is_paths(X) or _is_arrow(X):
        return True
    if any(hasattr(X, mark) for mark in ("iloc", "__dataframe__", "__arrow_c_stream__", "__dlpack__", "tocsr")):
        return False  # frames, tensors and sparse matrices: they are in memory
    return callable(X) or _is_group(X) or (hasattr(X, "shape") and hasattr(X, "__getitem__"))


def open_rows(
    data: Any,
    *,
    sample_weight: Any = None,
    on_rows: Callable[[int, int | None], Any] | None = None,
    coding: Any = None,
) -> Rows:
    """Open `data` as an iterable of chunks that the engine reads; see `open_source` and `Rows`."""
    source = open_source(data, sample_weight=sample_weight, coding=coding)
    return Rows(source, getattr(data, "rows_per_chunk", None), on_rows)


def open_source(data: Any, *, sample_weight: Any = None, coding: Any = None) -> Source:
    """Open anything that gives rows; nothing but headers is read, or the first chunk of a stream.

    Parameters
    ----------
    data : Chunks, or what its `source` may be
    sample_weight : array-like (n_rows,) or float, optional
        Weights of the rows of `data`, those included that a filter leaves out.
    coding : fastem.coding.Coding, optional
        What makes numbers of categories; without it, texts are no columns to be chosen.

    Returns
    -------
    Source

    Raises
    ------
    ValueError
        If it is of a kind that cannot be read, damaged, or without the columns that were chosen.
    OSError
        If a file cannot be read.
    ModuleNotFoundError
        If the package that reads it is not installed; it is in the extra ``fastem[io]``.
    """
    chosen = data if isinstance(data, Chunks) else Chunks(data)
    expression = chosen.rows if _is_arrow(chosen.rows) else None
    if expression is not None and sample_weight is not None:
        raise ValueError(
            "sample_weight is an array and rows a pyarrow expression, after which it is not known which rows are left; "
            "give the weights as a column (Chunks(weights=...)), or rows as a callable"
        )
    source = _opened(chosen.source, Choice(chosen.columns, chosen.weights, coding), expression)
    if sample_weight is not None:
        source = weighted(source, sample_weight)
    if chosen.dtype is not None:
        source = cast(source, chosen.dtype)
    if chosen.rows is not None and expression is None:
        source = kept(source, chosen.rows)
    return coded(source, coding) if coding is not None and coding.codes_differ else source


def _opened(data: Any, choice: Choice, expression: Any) -> Source:
    if isinstance(data, (str, os.PathLike)):
        data = matches(os.fspath(data))
    if _is_paths(data):
        parts = [_file(os.fspath(path), choice, expression) for path in data]
        return parts[0] if len(parts) == 1 else joined(parts)
    if _is_group(data):
        there = ", ".join(map(repr, data.keys())) or "none"
        raise ValueError(f"X is a group of arrays, and one array is wanted: give group[name]; there are {there}")
    name = _name_of(data)
    if hasattr(data, "to_batches") and hasattr(data, "count_rows") and hasattr(data, "schema"):
        return dataset_source(data, choice, name, expression)
    if not isinstance(data, Iterator) and hasattr(data, "__arrow_c_stream__"):
        return table_source(table_of(data), choice, name, expression)
    if expression is not None:
        raise _no_expression(name)
    if hasattr(data, "shape") and hasattr(data, "__getitem__"):
        return array_source(data, choice, name)
    if isinstance(data, Iterator):
        return iterator_source(data, choice, name)
    if callable(data):
        return callable_source(data, choice, name)
    raise ValueError(
        f"X is {type(data).__name__}; an array, a path ({ENDINGS}), a list of paths, an open dataset, an object with "
        "shape and slices of rows, or a callable that returns an iterator of chunks is wanted"
    )


def _name_of(data: Any) -> str:
    """What messages call an open object: its file, where it has one."""
    if isinstance(getattr(data, "filename", None), (str, os.PathLike)):  # of a numpy.memmap
        return os.fspath(data.filename)
    if hasattr(data, "file") and hasattr(data.file, "filename"):  # of an h5py.Dataset
        return f"{data.file.filename}::{data.name}"
    files = getattr(data, "files", None)  # of a pyarrow.dataset
    if isinstance(files, list) and files:
        return files[0] if len(files) == 1 else f"{files[0]} and {len(files) - 1} more"
    kind = "callable" if callable(data) else type(data).__name__
    return f"the {kind} {getattr(data, '__name__', '')}".rstrip()


def _file(path: str, choice: Choice, expression: Any) -> Source:
    file, _, array = path.partition("::")
    file = file.rstrip("/") or file
    ending = os.path.splitext(file)[1].lower()
    if not os.path.exists(file):
        raise FileNotFoundError(f"there is no file {file}")
    if array and ending not in HDF5 + ZARR:
        raise ValueError(f"{path}: only HDF5 and Zarr files hold named arrays; leave out ::{array}")
    if ending in ARROW:
        return arrow_file_source(file, choice, expression)
    if expression is not None:
        raise _no_expression(file)
    if ending in HDF5:
        return hdf5_source(file, array, choice)
    if ending in ZARR:
        return zarr_source(file, array, choice)
    if ending not in (".npy", ".csv"):
        what = "a folder" if os.path.isdir(file) else ending or "a file with no ending"
        raise ValueError(f"{file}: cannot read {what}; give {ENDINGS}, or records as numpy.memmap(file, dtype)")
    return npy_source(file, choice) if ending == ".npy" else csv_source(file, choice)


def names_of_file(path: str) -> list[str] | None:
    """Names of all columns of a file, of records those with numbers; None where it has none, or is none."""
    file = path.partition("::")[0]
    if not os.path.exists(file):
        return None
    if file.lower().endswith(".csv"):
        try:
            return column_names(file)
        except (UnicodeDecodeError, csv.Error):
            return None  # which its reader tells
    if file.rstrip("/").lower().endswith(ARROW):
        return list(arrow_dataset(file).schema.names)
    return open_source(path).feature_names


def matches(path: str) -> list[str]:
    """The path, or the files that a glob matches, by name."""
    file, mark, array = path.partition("::")
    if os.path.exists(file) or not glob.has_magic(file):
        return [path]
    found = sorted(glob.glob(file, recursive=True))
    if not found:
        raise FileNotFoundError(f"no file matches {file}")
    return [f"{match}{mark}{array}" for match in found]


def _is_paths(X: Any) -> bool:
    return isinstance(X, (list, tuple)) and len(X) > 0 and all(isinstance(path, (str, os.PathLike)) for path in X)


def _is_group(X: Any) -> bool:
    """Whether it is a folder of arrays, or an open file, of HDF5 or Zarr."""
    return type(X).__module__.partition(".")[0] in ("h5py", "zarr") and hasattr(X, "keys")


def _is_arrow(X: Any) -> bool:
    return type(X).__module__.partition(".")[0] == "pyarrow"


def _no_expression(name: str) -> ValueError:
    return ValueError(
        f"rows is a pyarrow expression, and {name} is not read by pyarrow.dataset; give a callable, e.g. "
        "rows=lambda X: X[:, 0] > 0"
    )
