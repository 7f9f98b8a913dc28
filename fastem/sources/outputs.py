"""Results written row by row: to ``.npy``, ``.csv`` and Parquet files, or into an array that is given."""

import csv
import glob
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO, TextIO

import numpy as np

from fastem.files import written_beside
from fastem.sources.columns import is_number
from fastem.sources.opening import Chunks
from fastem.sources.stores import needed


class Output:
    """Takes results in blocks of rows, in order."""

    def __init__(self, name: str, n_rows: int | None, width: int | None, dtype: np.dtype):
        self.name, self.n_rows, self.width, self.dtype, self.done = name, n_rows, width, dtype, 0

    def write(self, block: np.ndarray) -> None:
        """Append a block (n,), or (n, width), of rows."""
        block = np.asarray(block)
        wanted = (len(block),) if self.width is None else (len(block), self.width)
        if block.shape != wanted:
            raise ValueError(f"{self.name}: a block has shape {block.shape}; {wanted} is wanted")
        if self.n_rows is not None and self.done + len(block) > self.n_rows:
            raise ValueError(f"{self.name} has room for {self.n_rows} rows, and there are more; make it larger")
        if self.dtype.kind in "iu" and block.max(initial=0) > np.iinfo(self.dtype).max:
            raise ValueError(f"{self.name} has dtype {self.dtype}, and there is a {block.max()}; make it int64")
        if len(block):
            self._put(block.astype(self.dtype, copy=False))
        self.done += len(block)

    def _put(self, block: np.ndarray) -> None:
        raise NotImplementedError

    def finish(self) -> None:
        """Check that all rows came, and write what stands at the end."""
        if self.n_rows not in (None, self.done):
            raise ValueError(
                f"{self.name} has {self.n_rows} rows, and {self.done} were written; give one of that length"
            )


class _Npy(Output):
    """A file whose header is written again when the number of rows is known; NumPy leaves room in it for that."""

    def __init__(self, file: BinaryIO, *arguments: Any):
        super().__init__(*arguments)
        self.file = file
        self._head()

    def _head(self) -> None:
        shape = (self.done,) if self.width is None else (self.done, self.width)
        descr = np.lib.format.dtype_to_descr(self.dtype)
        header = {"descr": descr, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self.file, header)

    def _put(self, block: np.ndarray) -> None:
        self.file.write(np.ascontiguousarray(block).data.cast("B"))

    def finish(self) -> None:
        super().finish()
        self.file.seek(0)
        self._head()


class _Parquet(Output):
    """A file with one column for each of the names."""

    def __init__(self, path: str, names: list[str], *arguments: Any):
        super().__init__(*arguments)
        self.arrow = needed("pyarrow", self.name)
        kind = self.arrow.from_numpy_dtype(self.dtype)
        self.schema = self.arrow.schema([(name, kind) for name in names])
        self.file = needed("pyarrow.parquet", self.name).ParquetWriter(path, self.schema)

    def _put(self, block: np.ndarray) -> None:
        columns = [block] if self.width is None else list(block.T)
        arrays = [self.arrow.array(np.ascontiguousarray(values)) for values in columns]
        self.file.write_batch(self.arrow.record_batch(arrays, schema=self.schema))


class _Csv(Output):
    """A file with a line of names, and numbers that are read back to the last bit."""

    def __init__(self, file: TextIO, names: list[str], *arguments: Any):
        super().__init__(*arguments)
        self.file = csv.writer(file, lineterminator="\n")
        self.file.writerow(names)

    def _put(self, block: np.ndarray) -> None:
        # str() of NumPy's float32 has the digits of a float32; those of a Python float are twice as many.
        self.file.writerows(block.reshape(len(block), -1).astype(str))


class _Array(Output):
    """An array, memory-mapped or not, or a dataset of a store."""

    def __init__(self, array: Any, *arguments: Any):
        super().__init__(*arguments)
        self.array = array

    def _put(self, block: np.ndarray) -> None:
        self.array[self.done : self.done + len(block)] = block


def check_another_file(source: Any, target: Any, called: str = "out") -> None:
    """`ValueError` where what is written would replace a file, or change a folder, that the rows come from."""
    if not isinstance(target, (str, os.PathLike)):
        return
    place = os.path.realpath(target)
    for path in _files_of(_within(source)):
        if os.path.exists(place) and os.path.samefile(path, place):
            raise ValueError(f"{called} is {os.fspath(target)}, which is also read; give another name")
        if os.path.isdir(path) and place.startswith(os.path.join(os.path.realpath(path), "")):
            raise ValueError(f"{called} is {os.fspath(target)}, in the folder {path}, which is read; give another one")


def _files_of(data: Any) -> list[str]:
    """The files that rows come from, as far as these are known."""
    files = getattr(data, "files", None)  # of a pyarrow.dataset; a column of a frame may have any name
    parts = next((given for given in (data, files) if isinstance(given, (list, tuple))), (data,))
    known = [os.fspath(path).partition("::")[0] for part in parts for path in _names_of(_within(part))]
    return [found for name in known for found in glob.glob(name) or [name] if os.path.exists(found)]


def _within(data: Any) -> Any:
    return data.source if isinstance(data, Chunks) else data


def _names_of(data: Any) -> list[Any]:
    """What may be the name of the file of a path, a dataset, or an array."""
    while isinstance(data, np.ndarray) and getattr(data, "filename", None) is None:
        data = data.base  # of a view; that of a memmap is one
    names = data, getattr(data, "filename", None), getattr(getattr(data, "file", None), "filename", None)  # h5py
    return [name for name in names if isinstance(name, (str, os.PathLike))]


@contextmanager
def open_output(
    target: Any,
    n_rows: int | None,
    width: int | None,
    dtype: Any,
    column: str | Sequence[str] = "label",
) -> Iterator[Output]:
    """Open `target` for rows that come block by block.

    Parameters
    ----------
    target : path or array
        A ``.npy``, ``.csv`` or ``.parquet`` file, written beside and renamed at the end; or an array to fill, which may
        be memory-mapped, or a dataset of HDF5 or Zarr.
    n_rows : int or None
        Number of rows, None where it is not known.
    width : int or None
        Number of columns, None for a vector.
    dtype : dtype
        What is written.
    column : str or sequence of str
        Name of the column of a table, of which the columns 0, 1, ... of a matrix are numbered: ``proba_0``; or a name
        for each column.

    Yields
    ------
    Output
        With a method ``write(block)``.

    Raises
    ------
    ValueError
        If the array has another shape or a dtype that does not hold the results, or too many or too few rows came.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import numpy as np, pathlib, tempfile
    >>> from fastem.sources import open_output
    >>> path = pathlib.Path(tempfile.mkdtemp(), "labels.npy")
    >>> with open_output(path, None, None, np.int64) as out:
    ...     for block in ([0, 1], [1]):
    ...         out.write(block)
    >>> np.load(path)
    array([0, 1, 1])
    """
    dtype = np.dtype(dtype)
    if not isinstance(target, (str, os.PathLike)):
        output: Output = _Array(target, *_checked(target, n_rows, width, dtype))
        yield output
        output.finish()
        return
    name = os.fspath(target)
    ending = os.path.splitext(name)[1].lower()
    if ending not in (".npy", ".csv", ".parquet", ".pq"):
        raise ValueError(f"{name}: cannot write {ending or 'a file with no ending'}; give .npy, .csv or .parquet")
    names = [column] if isinstance(column, str) else list(column)
    if isinstance(column, str) and width is not None:
        names = [f"{column}_{k}" for k in range(width)]
    with written_beside(target) as temporary:
        if ending == ".npy":
            with open(temporary, "wb") as file:
                output = _Npy(file, name, n_rows, width, dtype)
                yield output
                output.finish()
        elif ending == ".csv":
            with open(temporary, "w", encoding="utf-8", newline="") as text:
                output = _Csv(text, names, name, n_rows, width, dtype)
                yield output
                output.finish()
        else:
            parquet = _Parquet(os.fspath(temporary), names, name, n_rows, width, dtype)
            with parquet.file:
                yield parquet
                parquet.finish()


def _checked(array: Any, n_rows: int | None, width: int | None, dtype: np.dtype) -> tuple:
    """Name, rows, width and dtype of an array to fill."""
    if not (hasattr(array, "shape") and hasattr(array, "__setitem__") and hasattr(array, "dtype")):
        raise ValueError(
            f"out is {type(array).__name__}; an array, or a path to a .npy, .csv or .parquet file, is wanted"
        )
    shape = tuple(array.shape)
    rows = shape[0] if n_rows is None and shape else n_rows
    wanted = (rows,) if width is None else (rows, width)
    if shape != wanted:
        asked = f"({'n_rows' if n_rows is None else n_rows},{'' if width is None else f' {width}'})"
        raise ValueError(f"out has shape {shape}; {asked} is wanted: one row for each of X")
    if not (is_number(array.dtype) and np.can_cast(dtype, array.dtype, "same_kind")):
        raise ValueError(f"out has dtype {array.dtype}, which does not hold {dtype}; make it {dtype}")
    if not getattr(getattr(array, "flags", None), "writeable", True):
        raise ValueError("out is read-only; give an array that can be written, e.g. np.memmap(..., mode='w+')")
    return "out", rows, width, np.dtype(array.dtype)
