"""Text files of numbers (``.csv``), read by Apache Arrow."""

import csv
from typing import Any

import numpy as np

from fastem.sources.arrow import split_batch, wanted
from fastem.sources.columns import Choice, Column, pick
from fastem.sources.source import Blocks, Source, file_signature
from fastem.sources.stores import needed
from fastem.tables import look_at_the_top, raise_at_first_bad_field, spellings_of_gaps

CSV_BYTES = 1 << 20
"""Size of the text of a batch."""


def csv_source(path: str, choice: Choice) -> Source:
    r"""Rows of a ``.csv`` file; header and delimiter are found as `fastem.tables.read_table` does.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from fastem.sources import open_rows
    >>> path = pathlib.Path(tempfile.mkdtemp(), "rows.csv")
    >>> _ = path.write_text("x;y\n1;2\n3;4\n")
    >>> with open_rows(path) as rows:
    ...     [chunk.X.tolist() for chunk in rows], rows.source.feature_names
    ([[[1.0, 2.0], [3.0, 4.0]]], ['x', 'y'])
    """
    arrow = needed("pyarrow", path)
    # Where texts are categories, "-" and "none" may be some of them.
    missing = _default_gaps(path) if choice.coding is not None else spellings_of_gaps()
    try:
        delimiter, header_lines = look_at_the_top(path)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is not UTF-8 text with commas; save it as UTF-8 (or as .npy)") from error
    types, first = csv_types(path, missing), _first_line(path, delimiter)
    named = first if header_lines else [None] * len(first)
    columns = [Column(n, _number_in_text(t), f"text ({t})", _number_in_text(t) is None) for n, t in zip(named, types)]
    try:
        picked = pick(columns, choice, path)
    except ValueError as error:
        texts = {i for i, column in enumerate(columns) if column.dtype is None}
        asked = pick([column._replace(dtype=np.dtype(float)) for column in columns], choice, path)
        try:
            raise_at_first_bad_field(path, delimiter, header_lines, texts & set(wanted(asked)), missing)
        except ValueError as first:
            raise ValueError(f"{first}. {str(error).partition('wanted. ')[2]}") from error
        raise
    read_as = {i: arrow.float64() if columns[i].dtype is not None else arrow.string() for i in wanted(picked)}

    def blocks() -> Blocks:
        try:
            with _open_csv(path, {str(i): kind for i, kind in read_as.items()}, missing) as opened:
                for batch in opened:
                    yield split_batch(batch, picked)
        except arrow.ArrowInvalid:
            # Its message names no line; this one does.
            numbers = {i for i, kind in read_as.items() if kind == arrow.float64()}
            raise_at_first_bad_field(path, delimiter, header_lines, numbers, missing)
            raise

    weighted = picked.weights is not None
    return Source(path, picked, blocks, None, weighted, signature=lambda: file_signature(path), steady=True)


def _default_gaps(path: str) -> list[str]:
    return needed("pyarrow.csv", path).ConvertOptions().null_values


def _open_csv(path: str, types: dict[str, Any], missing: list[str]) -> Any:
    """A reader of the columns with these types, of all where there are none; they are named "0", "1", ..."""
    reader = needed("pyarrow.csv", path)
    delimiter, header_lines = look_at_the_top(path)
    labels = [str(i) for i in range(len(_first_line(path, delimiter)))]  # names may be empty, or the same twice
    return reader.open_csv(
        path,
        reader.ReadOptions(skip_rows=header_lines, column_names=labels, block_size=CSV_BYTES, use_threads=False),
        reader.ParseOptions(delimiter=delimiter),
        reader.ConvertOptions(
            column_types=types, include_columns=list(types), null_values=missing, strings_can_be_null=True
        ),
    )


def csv_types(path: str, missing: list[str] | None = None) -> list[Any]:
    """Types of the columns of a ``.csv`` file in Arrow's words, by its first rows; `missing` are texts of gaps."""
    try:
        with _open_csv(path, {}, _default_gaps(path) if missing is None else missing) as top:
            return [field.type for field in top.schema]
    except needed("pyarrow", path).ArrowInvalid as error:
        raise_at_first_bad_field(path, *look_at_the_top(path), set(), [])  # its message counts rows in another way
        raise ValueError(f"{path}: {error}") from error


def _number_in_text(arrow_type: Any) -> np.dtype | None:
    types = needed("pyarrow.types", "a table")
    numbers = types.is_integer(arrow_type) or types.is_floating(arrow_type) or types.is_null(arrow_type)
    return np.dtype(np.float64) if numbers else None


def _first_line(path: str, delimiter: str) -> list[str]:
    with open(path, encoding="utf-8-sig", newline="") as file:
        return next(
            [field.strip() for field in row]
            for row in csv.reader(file, delimiter=delimiter)
            if any(map(str.strip, row))
        )
