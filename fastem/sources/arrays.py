"""Arrays in memory, in stores and in ``.npy`` files: whatever has a shape and gives slices of rows."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, BinaryIO

import numpy as np

from fastem.columns import with_gaps
from fastem.engine.reader import Filling, Packing, copied
from fastem.sources.columns import Choice, pick, schema_of, split
from fastem.sources.source import Blocks, Source, file_signature
from fastem.tables import _read_npy

SLICE_BYTES = 8 << 20
"""Size of a slice asked of a store: enough of its chunks to be worth the call."""

READ_BYTES = 1 << 19
"""Size of a read from a .npy file: still in the cache when it is packed."""


def array_source(array: Any, choice: Choice, name: str) -> Source:
    """Rows of an array, or of any object with ``shape`` and slices of rows.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> from fastem import Chunks
    >>> from fastem.sources import open_rows
    >>> with open_rows(Chunks(np.arange(10).reshape(5, 2), columns=[1], rows_per_chunk=4)) as rows:
    ...     [chunk.X.ravel().tolist() for chunk in rows]
    [[1.0, 3.0, 5.0, 7.0], [9.0]]

    Records in a memory-mapped file, two of its three fields and those rows in which they are numbers:

    >>> with tempfile.NamedTemporaryFile() as file:
    ...     fields = [("id", "i8"), ("parallax", ">f4"), ("magnitude", ">f4")]
    ...     np.array([(1, 0.5, 17.0), (2, np.nan, 16.0), (3, 0.25, 15.0)], fields).tofile(file.name)
    ...     stars = np.memmap(file.name, fields, mode="r")
    ...     with open_rows(Chunks(stars, columns=["magnitude", "parallax"], rows="finite")) as rows:
    ...         [chunk.X.tolist() for chunk in rows]
    [[[17.0, 0.5], [15.0, 0.25]]]
    """
    return sliced_source(lambda: nullcontext(array), choice, name)


def sliced_source(
    opened: Callable[[], AbstractContextManager[Any]],
    choice: Choice,
    name: str,
    signature: Callable[[], dict[str, Any]] | None = None,
) -> Source:
    """Rows of what `opened` gives; it is opened for every pass, and closed after it."""
    with opened() as array:
        shape, dtype, step = tuple(array.shape), with_gaps(array[:1]).dtype, _rows_of_a_slice(array)
    picked = pick(schema_of(shape, dtype, name), choice, name, records=dtype.names is not None)

    def blocks() -> Blocks:
        with opened() as array:
            for first in range(0, shape[0], step):
                rows = with_gaps(array[first : first + step])
                wanted = (min(step, shape[0] - first), *shape[1:])
                if rows.shape != wanted or rows.dtype != dtype:
                    raise ValueError(
                        f"rows {first} to {first + wanted[0] - 1} have shape {rows.shape} and dtype {rows.dtype}; "
                        f"{wanted} and {dtype} are wanted"
                    )
                yield split(rows, picked)

    def shape_and_type() -> dict[str, Any]:
        with opened() as array:
            return {f"shape of {name}": tuple(array.shape), f"type of {name}": str(getattr(array, "dtype", dtype))}

    return Source(
        name,
        picked,
        blocks,
        shape[0],
        picked.weights is not None,
        signature=signature or shape_and_type,
        filling=(lambda packing: copied(blocks(), packing, lend=True)) if signature is not None else None,
        watched=signature is None,
        steady=signature is not None,
    )


def _rows_of_a_slice(array: Any) -> int:
    """About SLICE_BYTES, and whole chunks where the store has chunks: each is then decompressed once."""
    row_bytes = np.asarray(array[:1]).nbytes if array.shape[0] else 1
    rows = max(1, SLICE_BYTES // max(row_bytes, 1))
    chunks = getattr(array, "chunks", None)
    if not chunks or not isinstance(chunks[0], int):
        return rows
    return max(1, rows // chunks[0]) * chunks[0]


def npy_source(path: str | os.PathLike, choice: Choice) -> Source:
    """Rows of a ``.npy`` file, read and not mapped: mapped pages would count as memory of the process.

    Examples
    --------
    >>> import numpy as np, pathlib, tempfile
    >>> from fastem.sources import open_rows
    >>> path = pathlib.Path(tempfile.mkdtemp(), "rows.npy")
    >>> np.save(path, np.arange(6, dtype=np.float32).reshape(3, 2))
    >>> with open_rows(path) as rows:
    ...     [chunk.X.tolist() for chunk in rows], str(rows.source.dtype), rows.n_rows
    ([[[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]], 'float32', 3)
    """
    name = os.fspath(path)
    mapped = _read_npy(path)  # for the header, and for the length of the file
    shape, dtype, by_columns = mapped.shape, mapped.dtype, not mapped.flags.c_contiguous
    picked = pick(schema_of(shape, dtype, name), choice, name, records=dtype.names is not None)
    offset = getattr(mapped, "offset", 0)  # a file without rows is not mapped
    width = int(np.prod(shape[1:], dtype=int))
    del mapped

    def blocks() -> Blocks:
        # A column of a block is a read of its own where the file holds column after column: larger blocks, then.
        step = max(1, (SLICE_BYTES if by_columns else READ_BYTES) // (width * dtype.itemsize))
        buffer = np.empty((width, step) if by_columns else (step, *shape[1:]), dtype)
        with open(path, "rb", buffering=0) as file:
            file.seek(offset)
            for first in range(0, shape[0], step):
                n = min(step, shape[0] - first)
                for j in range(width if by_columns else 0):
                    file.seek(offset + (j * shape[0] + first) * dtype.itemsize)
                    _read_into(file, buffer[j, :n])
                if not by_columns:
                    _read_into(file, buffer[:n])
                yield split(buffer[:, :n].T if by_columns else buffer[:n], picked)

    as_packed = dtype == picked.dtype and not by_columns and picked.columns == list(range(width))
    return Source(
        name,
        picked,
        blocks,
        shape[0],
        picked.weights is not None,
        signature=lambda: file_signature(path),
        filling=partial(_filling, path, offset, shape[0]) if as_packed and picked.weights is None else None,
        steady=True,
    )


def _filling(path: str | os.PathLike, offset: int, left: int, _packing: Packing) -> Filling:
    """The rows of a file that stand in it as they are wanted."""
    with open(path, "rb", buffering=0) as file:
        file.seek(offset)
        rows, _ = yield 0
        while left:
            n = min(len(rows), left)
            _read_into(file, rows[:n])
            left -= n
            rows, _ = yield n


def _read_into(file: BinaryIO, rows: np.ndarray) -> None:
    view = memoryview(rows.view(np.uint8).data).cast("B")
    done = 0
    while done < len(view):
        n = file.readinto(view[done:])  # type: ignore[attr-defined]
        if not n:
            raise ValueError(
                f"the file is truncated: {len(view) - done} bytes of these rows are missing; write it again"
            )
        done += n
