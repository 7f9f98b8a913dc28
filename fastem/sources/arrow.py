"""Tables read by Apache Arrow: Parquet, Feather and Arrow IPC files, open datasets and tables in memory."""

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from fastem.engine.reader import Filling, Packing
from fastem.sources.columns import Choice, Column, Picked, assemble, pick
from fastem.sources.source import Block, Blocks, Source, file_signature
from fastem.sources.stores import needed

BATCH_BYTES = 2 << 20
"""Size of a batch of rows asked of a dataset."""

PAGE_BYTES = 1 << 18
"""Size of a read from a column of a Parquet file: else all that a row group has of each column is in memory."""


def dataset_source(
    dataset: Any,
    choice: Choice,
    name: str,
    expression: Any = None,
    files: Sequence[str] | None = None,
    batches: Callable[..., Iterator] | None = None,
) -> Source:
    """Rows of an open ``pyarrow.dataset.Dataset``; `expression` leaves rows out while reading.

    Nulls become NaN, which is an error unless the rows that have one are left out. ``batches(columns=, batch_size=)``
    gives the same rows, where something reads them better than a scan does.

    Examples
    --------
    >>> import os, pyarrow as pa, pyarrow.dataset, pyarrow.parquet, tempfile
    >>> from fastem import Chunks
    >>> from fastem.sources import open_rows
    >>> flights = pa.table({"carrier": ["UA", "AA", "UA"], "delay": [2, None, 11], "miles": [1400.0, 1416.0, 1089.0]})
    >>> path = os.path.join(tempfile.mkdtemp(), "flights.parquet")
    >>> pa.parquet.write_table(flights, path)
    >>> with open_rows(Chunks(path, columns=["delay", "miles"], rows="finite")) as rows:
    ...     [chunk.X.tolist() for chunk in rows]
    [[[2.0, 1400.0], [11.0, 1089.0]]]
    >>> import pyarrow.compute
    >>> united = Chunks(pa.dataset.dataset(path), columns="numeric", rows=pa.compute.field("carrier") == "UA")
    >>> with open_rows(united) as rows:
    ...     [chunk.X.tolist() for chunk in rows]
    [[[2.0, 1400.0], [11.0, 1089.0]]]
    """
    fields = list(dataset.schema)
    picked = pick(schema_of_table(dataset), choice, name)
    names = [fields[i].name for i in wanted(picked)]
    batch_size = max(1024, BATCH_BYTES // (8 * len(names)))
    scan = batches or functools.partial(dataset.to_batches, filter=expression, **frugal(dataset, name))

    def blocks() -> Blocks:
        X = np.empty((batch_size, len(picked.columns)), picked.dtype)
        for batch in scan(columns=names, batch_size=batch_size):
            yield split_batch(batch, picked, X[: len(batch)])

    def filling(_packing: Packing) -> Filling:
        X, sample_weight = yield 0
        for batch in scan(columns=names, batch_size=batch_size):
            while len(batch):
                part, batch = batch.slice(0, len(X)), batch.slice(len(X))
                _, weight = split_batch(part, picked, X[: len(part)])
                if weight is not None:
                    sample_weight[: len(part)] = weight
                X, sample_weight = yield len(part)

    n_rows = None if expression is not None else dataset.count_rows()
    paths = list(getattr(dataset, "files", [])) if files is None else list(files)

    def signature() -> dict[str, Any]:
        found: dict[str, Any] = {}
        for path in paths:
            found |= file_signature(path) if os.path.exists(path) or files is not None else {}
        return found

    name_of_row = None if expression is None else (lambda i: f"row {i} of those that the filter keeps of {name}")
    return Source(
        name,
        picked,
        blocks,
        n_rows,
        picked.weights is not None,
        signature=signature,
        name_of_row=name_of_row,
        filling=filling,
        steady=files is not None,
    )


def frugal(dataset: Any, name: str) -> dict[str, Any]:
    """Options of a scan that holds few batches in memory.

    Of a Parquet file of 0.5 GB in 16 row groups, pyarrow 26 holds 660 MB by default, and 120 MB so; of a Feather file
    of that size 330 MB and 65 MB.
    """
    few: dict[str, Any] = {"batch_readahead": 2, "fragment_readahead": 1}
    if getattr(getattr(dataset, "format", None), "default_extname", "") == "parquet":
        whole = needed("pyarrow.dataset", name).ParquetFragmentScanOptions(pre_buffer=False)
        return few | {"fragment_scan_options": whole}
    return few | {"use_threads": False}


def table_source(table: Any, choice: Choice, name: str, expression: Any = None) -> Source:
    """Rows of a ``pyarrow.Table``.

    Examples
    --------
    >>> import pyarrow as pa
    >>> from fastem import Chunks
    >>> from fastem.sources import open_rows
    >>> table = pa.table({"x": [1, 2], "n": [3.0, 1.0]})
    >>> with open_rows(Chunks(table, weights="n")) as rows:
    ...     [(chunk.X.tolist(), chunk.sample_weight.tolist()) for chunk in rows]
    [([[1.0], [2.0]], [3.0, 1.0])]
    """
    return dataset_source(needed("pyarrow.dataset", name).dataset(table), choice, name, expression)


def arrow_file_source(path: str, choice: Choice, expression: Any = None) -> Source:
    """Rows of a Parquet, Feather or Arrow IPC file, or of a folder of them.

    Examples
    --------
    >>> import os, pyarrow as pa, pyarrow.feather, tempfile
    >>> from fastem.sources import open_rows
    >>> path = os.path.join(tempfile.mkdtemp(), "rows.arrow")
    >>> pa.feather.write_feather(pa.table({"x": [1.0, 2.0], "y": [3.0, 4.0]}), path)
    >>> with open_rows(path) as rows:
    ...     [chunk.X.tolist() for chunk in rows], rows.source.feature_names
    ([[[1.0, 3.0], [2.0, 4.0]]], ['x', 'y'])
    """
    pyarrow = needed("pyarrow", path)
    try:
        dataset = arrow_dataset(path)
        whole = _kind(path) == "parquet" and expression is None and os.path.isfile(path)
        batches = functools.partial(_parquet_batches, path) if whole else None
        return dataset_source(dataset, choice, path, expression, [path], batches)
    except pyarrow.ArrowInvalid as error:
        raise ValueError(f"{path} is truncated, damaged or no {_kind(path)} file ({error}); write it again") from error


def arrow_dataset(path: str) -> Any:
    """A Parquet, Feather or Arrow IPC file, or a folder of them, as an open dataset."""
    return needed("pyarrow.dataset", path).dataset(path, format=_kind(path))


def _kind(path: str) -> str:
    return "parquet" if path.lower().endswith((".parquet", ".pq")) else "ipc"


def _parquet_batches(path: str, columns: list[str], batch_size: int) -> Iterator:
    """The rows of one file, decoded in this thread, page by page.

    Of a file of 0.6 GB in 16 row groups it holds 30 MB, where a scan holds 150, and takes 0.9 of its processor time.
    """
    with needed("pyarrow.parquet", path).ParquetFile(path, pre_buffer=False, buffer_size=PAGE_BYTES) as file:
        for batch in file.iter_batches(batch_size, columns=columns, use_threads=False):
            yield batch if batch.schema.names == columns else batch.select(columns)  # "a" stands for "a.b", too


def split_batch(batch: Any, picked: Picked, X: np.ndarray | None = None) -> Block:
    """Features and weights of an Arrow batch or table that holds the `wanted` columns; the features in `X` if given."""
    at = {i: position for position, i in enumerate(wanted(picked))}
    place = picked._replace(
        columns=[at[i] for i in picked.columns], weights=None if picked.weights is None else at[picked.weights]
    )
    read = _numbers if picked.coding is None else _numbers_or_texts
    return assemble([read(column) for column in batch.columns], place, X)


def table_of(frame: Any) -> Any:
    """A frame of pandas, polars or any other library as an Arrow table, without its index."""
    pyarrow = needed("pyarrow", f"a {type(frame).__name__}")
    if hasattr(frame, "iloc"):  # the columns of a pandas frame; its index would come as one more
        return pyarrow.Table.from_pandas(frame, preserve_index=False)
    return pyarrow.table(frame)


def schema_of_table(table: Any) -> list[Column]:
    """Columns of an Arrow table or dataset; pandas notes which of them are the index of its frame."""
    index = (getattr(table.schema, "pandas_metadata", None) or {}).get("index_columns", [])
    return [Column(f.name, _dtype(f.type), str(f.type), _is_text(f.type), f.name in index) for f in table.schema]


def wanted(picked: Picked) -> list[int]:
    """Columns to read, in the order of the source."""
    return sorted({*picked.columns, *([] if picked.weights is None else [picked.weights])})


def _numbers(column: Any) -> np.ndarray:
    """Floats, with NaN for null."""
    kind = _floats(column.type)
    return (column if column.type == kind else column.cast(kind, safe=False)).to_numpy(zero_copy_only=False)


@functools.cache
def _floats(arrow_type: Any) -> Any:
    """The type of float that columns of a type are read as."""
    arrow = needed("pyarrow", "a table")
    return arrow.float32() if _dtype(arrow_type) in (np.float16, np.float32) else arrow.float64()


def _numbers_or_texts(column: Any) -> Any:
    """Floats; or the distinct texts of a column and the place of each row's among them, -1 for null."""
    if not _is_text(column.type):
        return _numbers(column)
    texts = column.cast(needed("pyarrow", "a table").string()).dictionary_encode()
    parts = getattr(texts, "chunks", [texts])
    if len(parts) > 1:
        texts = texts.unify_dictionaries()
        parts = texts.chunks
    if not parts:
        return [], np.zeros(0, np.int64)
    index = np.concatenate([part.indices.fill_null(-1).to_numpy(zero_copy_only=False) for part in parts])
    return parts[0].dictionary.to_pylist(), index.astype(np.int64)


def _is_text(arrow_type: Any) -> bool:
    types = needed("pyarrow.types", "a table")
    inner = arrow_type.value_type if types.is_dictionary(arrow_type) else arrow_type
    return types.is_string(inner) or types.is_large_string(inner) or types.is_string_view(inner)


def _dtype(arrow_type: Any) -> np.dtype | None:
    types = needed("pyarrow.types", "a table")
    if types.is_decimal(arrow_type):
        return np.dtype(np.float64)
    numbers: tuple[Callable, ...] = (types.is_boolean, types.is_integer, types.is_floating)
    return np.dtype(arrow_type.to_pandas_dtype()) if any(is_one(arrow_type) for is_one in numbers) else None
