"""Tables copied from file to file with all of their columns, while the gaps of some are filled."""

import csv
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from typing import Any

import numpy as np

from fastem.files import written_beside
from fastem.sources import open_source
from fastem.sources.arrow import BATCH_BYTES, arrow_dataset, frugal
from fastem.sources.csv_files import csv_types
from fastem.sources.opening import ARROW, names_of_file
from fastem.sources.stores import needed
from fastem.tables import check_names, text_rows

_PADDED = re.compile(r"\s*([+]|-?0\d|-0\s*$)")
"""Whole numbers whose texts numbers do not give back."""

LINES = 4096
"""Lines of a .csv file that are held as texts at a time."""


class Filled:
    """Rows of the `columns` of a table, without their gaps, taken a few at a time.

    `parts` are where the gaps were (n, d), and the rows (n, d), from the first to the last.
    """

    def __init__(self, columns: Sequence[int], parts: Iterable[tuple[np.ndarray, np.ndarray]]):
        self.columns, self._parts = list(columns), iter(parts)
        self._left = np.zeros((0, len(columns)), bool), np.zeros((0, len(columns)))

    def take(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Where the gaps were, and the rows, of the next n."""
        gaps, rows = [], []
        while n:
            if not len(self._left[0]):
                self._left = self._next()
            gaps.append(self._left[0][:n])
            rows.append(self._left[1][:n])
            self._left = self._left[0][n:], self._left[1][n:]
            n -= len(gaps[-1])
        return np.concatenate(gaps), np.concatenate(rows)

    def _next(self) -> tuple[np.ndarray, np.ndarray]:
        for part in self._parts:
            return part
        raise ValueError("the table has more rows than were filled; it must not change while it is read")

    def end(self) -> None:
        """`ValueError` where rows are left over."""
        if len(self._left[0]) or any(len(gaps) for gaps, _ in self._parts):
            raise ValueError("the table has fewer rows than were filled; it must not change while it is read")


def write_csv(paths: Sequence[str], out: str | os.PathLike, filled: Filled) -> None:
    """Copy the tables, one after the other, to a ``.csv`` file: every text as it stands, but for the gaps."""
    names = common_names(paths)
    with written_beside(out) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if names is not None or not _is_csv(paths[0]):
            writer.writerow(names or _numbered(_width(paths[0])))
        for path in paths:
            for rows in _texts(path):
                gaps, X = filled.take(len(rows))
                for i, j in np.argwhere(gaps):
                    rows[i][filled.columns[j]] = str(X[i, j])
                writer.writerows(rows)
        filled.end()


def kept_columns(paths: Sequence[str], parts: Iterable[np.ndarray], d: int) -> np.ndarray:
    """Which columns (d,) need not be written anew: those without gaps; of texts, those of whole numbers alone.

    All others are in the rows to the last digit.
    """
    full, whole = np.ones(d, bool), np.ones(d, bool)
    for X in parts:
        full &= ~np.isnan(X).any(axis=0)
        whole &= (X == np.floor(X)).all(axis=0)
    return full & whole if any(map(_is_csv, paths)) else full


def write_parquet(
    paths: Sequence[str], out: str | os.PathLike, filled: Filled, kept: np.ndarray, dtype: Any = None
) -> None:
    """Copy the tables, one after the other, to a Parquet file.

    The columns `kept` (d,) of those that were filled are as they were, as are all others; those that had gaps hold
    `dtype`, or where that is None the type of float that they had, or else float64.
    """
    arrow = needed("pyarrow", os.fspath(out))
    types = _exact(paths, _types(paths[0]))
    names = common_names(paths) or _numbered(len(types))
    check_names(names, paths[0])
    anew = {c: j for j, c in enumerate(filled.columns) if not kept[j]}
    for c in anew:
        own = types[c] if arrow.types.is_floating(types[c]) else arrow.float64()
        types[c] = own if dtype is None else arrow.from_numpy_dtype(np.dtype(dtype))
    schema = arrow.schema(list(zip(names, types)), _notes(paths[0], {names[c]: types[c] for c in anew}))
    with ExitStack() as stack:
        temporary = stack.enter_context(written_beside(out))
        file = stack.enter_context(needed("pyarrow.parquet", os.fspath(out)).ParquetWriter(temporary, schema))
        for path in paths:
            for columns in _columns(path, types):
                _, X = filled.take(len(columns[0]))
                arrays = [
                    arrow.array(X[:, anew[c]]).cast(kind, safe=False)
                    if c in anew
                    else _cast(columns[c], kind, name, path)
                    for c, (name, kind) in enumerate(zip(names, types))
                ]
                file.write_batch(arrow.record_batch(arrays, schema=schema))
        filled.end()


def _exact(paths: Sequence[str], types: list[Any]) -> list[Any]:
    """The types, but text where a .csv file has whole numbers in another way than these are written, such as 007."""
    arrow = needed("pyarrow", paths[0])
    whole = {c for c, kind in enumerate(types) if arrow.types.is_integer(kind)}
    for path in filter(_is_csv, paths):
        for rows in _texts(path) if whole else ():
            whole -= {c for c in whole if any(_PADDED.match(row[c]) for row in rows)}
    texts = {c for c, kind in enumerate(types) if arrow.types.is_integer(kind)} - whole
    return [arrow.string() if c in texts else kind for c, kind in enumerate(types)]


def _notes(path: str, anew: dict[str, Any]) -> dict[bytes, bytes] | None:
    """What pandas noted of the columns and the index of a Parquet file, and of the columns `anew` their new types."""
    notes = arrow_dataset(path).schema.metadata if _is_arrow(path) else None
    if not notes or b"pandas" not in notes:
        return notes
    pandas = json.loads(notes[b"pandas"])
    for column in pandas.get("columns", ()):
        if (kind := anew.get(column.get("field_name"))) is not None:
            column.update(pandas_type=_pandas_type(kind), numpy_type=_pandas_type(kind), metadata=None)
    return {**notes, b"pandas": json.dumps(pandas).encode()}


def _pandas_type(kind: Any) -> str:
    return str(np.dtype(kind.to_pandas_dtype()))


def _is_csv(path: str) -> bool:
    return path.lower().endswith(".csv")


def _is_arrow(path: str) -> bool:
    return path.lower().rstrip("/").endswith(ARROW)


def _numbered(width: int) -> list[str]:
    return [f"x{c}" for c in range(width)]


def _width(path: str) -> int:
    return open_source(path).n_features


def common_names(paths: Sequence[str]) -> list[str] | None:
    """Names of all columns of tables that are copied into one; None where they have none."""
    first, *others = map(_names, paths)
    for path, names in zip(paths[1:], others):
        if names != first:
            here, there = (", ".join(columns) if columns else "columns without names" for columns in (names, first))
            raise ValueError(
                f"{path} has {here}, where {paths[0]} has {there}; tables that are copied into one must have the same "
                "columns. Fill one at a time, or write a .npy file, which has the columns that are filled alone"
            )
    return first


def _names(path: str) -> list[str] | None:
    names = names_of_file(path)
    if names and not _is_csv(path) and not _is_arrow(path):
        raise ValueError(
            f"{path} holds records with the fields {', '.join(names)}, of which no table is made; write a .npy file, "
            "which has the columns that are filled alone"
        )
    return names


def _texts(path: str) -> Iterator[list[list[str]]]:
    """The rows of a table as texts, some at a time."""
    if _is_csv(path):
        with text_rows(path) as rows:
            while some := list(islice(rows, LINES)):
                yield some
    elif _is_arrow(path):
        arrow = needed("pyarrow", path)
        for columns in _columns(path):
            names = arrow_dataset(path).schema.names
            texts = [
                _cast(column, arrow.string(), name, path).fill_null("").to_pylist()
                for name, column in zip(names, columns)
            ]
            yield [list(row) for row in zip(*texts)]
    else:
        for block, _ in open_source(path).blocks():
            yield block.astype(str).tolist()


def _columns(path: str, types: Sequence[Any] = ()) -> Iterator[list[Any]]:
    """The columns of a table as Arrow arrays, some rows at a time; those of a .csv file are texts of `types`."""
    arrow = needed("pyarrow", path)
    if _is_csv(path):
        missing = set(needed("pyarrow.csv", path).ConvertOptions().null_values)
        nothing = [{""} if kind == arrow.string() else missing for kind in types]
        for rows in _texts(path):
            yield [
                arrow.array([None if field in none else field for field in column], arrow.string())
                for column, none in zip(zip(*rows), nothing)
            ]
    elif _is_arrow(path):
        dataset = arrow_dataset(path)
        size = max(1024, BATCH_BYTES // (8 * len(dataset.schema.names)))
        for batch in dataset.to_batches(batch_size=size, **frugal(dataset, path)):
            if len(batch):
                yield batch.columns
    else:
        for block, _ in open_source(path).blocks():
            yield [arrow.array(np.ascontiguousarray(column)) for column in block.T]


def _types(path: str) -> list[Any]:
    """Types of all columns in Arrow's words."""
    if _is_csv(path):
        arrow = needed("pyarrow", path)
        return [arrow.string() if kind == arrow.null() else kind for kind in csv_types(path)]
    if _is_arrow(path):
        return list(arrow_dataset(path).schema.types)
    for block, _ in open_source(path).blocks():
        return [needed("pyarrow", path).from_numpy_dtype(block.dtype)] * block.shape[1]
    return []


def _cast(column: Any, kind: Any, name: str, path: str) -> Any:
    """A column of another type."""
    arrow = needed("pyarrow", path)
    try:
        return column if column.type == kind else column.cast(kind)
    except (arrow.ArrowInvalid, arrow.ArrowNotImplementedError) as error:
        raise ValueError(
            f"column {name!r} of {path} holds {column.type}, which does not become {kind} ({error}); leave that "
            "column out of the file, or write a file of the same kind"
        ) from error
