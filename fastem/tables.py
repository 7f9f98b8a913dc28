"""Tables of numbers from .npy (memory-mapped) and .csv files, with errors that name file, line and column."""

import csv
import itertools
import os
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import numpy as np

from fastem.wording import plural

_NPY = b"\x93NUMPY"
_MISSING = {"", "na", "n/a", "null", "none", "-", "?", ".", "missing", "#n/a", "#na", "#n/a n/a", "nan", "-nan"}
_MISSING |= {f"{sign}1.#{what}" for sign in ("", "-") for what in ("ind", "qnan")}


def read_table(path: str | os.PathLike, *, gaps: bool = False) -> np.ndarray:
    """Read the rows of a ``.npy`` or ``.csv`` file.

    A ``.npy`` file is mapped into memory, not read. A ``.csv`` file may begin with a line of column names;
    its fields are separated by tabs if its first line has any, else by semicolons, else by commas.

    Parameters
    ----------
    path : str or path-like
        The file.
    gaps : bool
        Whether fields of a ``.csv`` file may be empty, NA, null or the like: they are NaN.

    Returns
    -------
    ndarray of shape (n_rows, n_columns)

    Raises
    ------
    ValueError
        If the ending is another one, the file is damaged or has no rows, or a field is not a number.
    OSError
        If the file cannot be read.
    """
    return _two_dimensional(path, _read(path, gaps))


def column_names(path: str | os.PathLike) -> list[str] | None:
    """Names in the header of a .csv file, or None where it has no header or is of another kind."""
    if not os.fspath(path).lower().endswith(".csv"):
        return None
    delimiter, header_lines = look_at_the_top(path)
    with open(path, encoding="utf-8-sig", newline="") as file:
        rows = (row for row in csv.reader(file, delimiter=delimiter) if any(map(str.strip, row)))
        return _stripped(next(rows)) if header_lines else None


def _stripped(fields: list[str]) -> list[str]:
    return [field.strip() for field in fields]


def check_names(names: Sequence[str | None], source: str) -> None:
    """`ValueError` where two columns have one name."""
    twice = [name for name in names if name and names.count(name) > 1]
    if twice:
        places = [j for j, name in enumerate(names) if name == twice[0]]
        raise ValueError(
            f"{source} has {len(places)} columns named {twice[0]!r}: {', '.join(map(str, places))}, counted from 0. "
            "Give each a name of its own, or choose columns by number, with fastem.Chunks(source, columns=[...])"
        )


def place(path: str | os.PathLike, row: int, column: int | None = None) -> str:
    """Where a row and a column, both counted from 0, stand in a file; in a ``.csv`` file by line and name, too."""
    if not os.fspath(path).lower().endswith(".csv"):
        spot = f"row {row}" if column is None else f"row {row}, column {column}"
        return f"{_name(path)}: {spot} (counted from 0)"
    delimiter, header_lines = look_at_the_top(path)
    with open(path, encoding="utf-8-sig", newline="") as file:
        line, fields = next(itertools.islice(_rows(file, delimiter, header_lines), row, None))
    spot = f"{_name(path)}: row {row} (line {line} of the file)"
    return spot if column is None else f"{spot}, {_column(column, len(fields), column_names(path))}"


def _column(j: int, width: int, names: list[str] | None) -> str:
    """Column j by its name, or by its number from 0, as rows have; and from 1, as who has the file open counts."""
    return f"column {names[j]!r}" if names and j < len(names) else f"column {j} (number {j + 1} of {width})"


def read_weights(path: str | os.PathLike) -> np.ndarray:
    """Read one weight a row from a ``.npy`` file with one axis, or a ``.csv`` file with one column."""
    weights = _read(path)
    if weights.ndim == 2 and weights.shape[1] == 1:
        weights = weights[:, 0]
    if weights.ndim != 1:
        raise ValueError(f"{_name(path)}: wanted one weight a row, and its shape is {weights.shape}")
    return weights


def _name(path: str | os.PathLike) -> str:
    return os.fspath(path)


def _read(path: str | os.PathLike, gaps: bool = False) -> np.ndarray:
    if os.path.isdir(path):
        raise ValueError(f"{_name(path)} is a folder; give a .npy or .csv file")
    ending = Path(path).suffix.lower()
    if ending not in (".npy", ".csv"):
        raise ValueError(f"{_name(path)}: cannot read {ending or 'a file with no ending'}; give .npy or .csv")
    return _read_csv(path, gaps) if ending == ".csv" else _real(path, _read_npy(path))


def _real(path: str | os.PathLike, array: np.ndarray) -> np.ndarray:
    if array.dtype.names:
        raise ValueError(
            f"{_name(path)} holds records with the fields {', '.join(array.dtype.names)}, and a table of numbers was "
            "wanted; save numpy.lib.recfunctions.structured_to_unstructured(array)"
        )
    if array.dtype.kind not in "biuf":
        kinds = {"c": "complex numbers", "U": "text", "S": "text", "M": "times", "m": "times"}
        raise ValueError(
            f"{_name(path)} holds {kinds.get(array.dtype.kind, 'no numbers')} ({array.dtype}), and real numbers were "
            "wanted; save an array of those"
        )
    return array


def _two_dimensional(path: str | os.PathLike, X: np.ndarray) -> np.ndarray:
    if X.ndim != 2:
        raise ValueError(
            f"{_name(path)}: wanted a table of rows and columns, and the array has the shape {X.shape}; "
            "save array.reshape(len(array), -1), or array[:, None] for a single column"
        )
    if X.size == 0:
        raise ValueError(f"{_name(path)} has {X.shape[0]} rows and {X.shape[1]} columns: nothing to read")
    return X


def _read_npy(path: str | os.PathLike) -> np.ndarray:
    with open(path, "rb") as file:
        if file.read(len(_NPY)) != _NPY:
            raise ValueError(f"{_name(path)} is no .npy file, whatever its ending; write it with numpy.save")
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        if "object" in str(error).lower():  # numpy: "Array can't be memory-mapped: Python objects in dtype."
            why = "holds Python objects, which may run code and are never loaded; save an array of numbers"
        elif "empty file" in str(error):  # an array of no elements has no bytes to map
            return np.load(path, allow_pickle=False)
        else:
            why = f"is truncated or damaged ({error}); write it again"
        raise ValueError(f"{_name(path)} {why}") from error


def _read_csv(path: str | os.PathLike, gaps: bool) -> np.ndarray:
    try:
        return _parse_csv(path, gaps)
    except UnicodeDecodeError as error:
        raise ValueError(f"{_name(path)} is not UTF-8 text; save it as UTF-8 (or as .npy)") from error
    except csv.Error as error:
        why = "close the quote that stands somewhere alone" if "field larger" in str(error) else error
        raise ValueError(f"{_name(path)} is not a table of comma-separated numbers: {why}") from error


def _parse_csv(path: str | os.PathLike, gaps: bool) -> np.ndarray:
    delimiter, header_lines = look_at_the_top(path)
    try:
        # numpy's parser is compiled; the loop below is slow, and only finds the place of an error.
        X = np.loadtxt(
            path,
            delimiter=delimiter,
            quotechar='"',
            comments=None,
            skiprows=header_lines,
            ndmin=2,
            encoding="utf-8-sig",
            converters=_number_or_gap if gaps else None,
        )
        if np.isfinite(X).all() or (gaps and not np.isinf(X).any()):
            return X
        error = None
    except UnicodeDecodeError:
        raise
    except ValueError as caught:
        error = caught
    raise_at_first_bad_field(path, delimiter, header_lines, gaps=gaps)
    raise ValueError(f"{_name(path)}: {error or 'a field is not a finite number'}")


def _number_or_gap(field: str) -> float:
    return np.nan if _is_gap(field) else float(field.replace("_", "?"))  # 1_000 is none, as in `_is_number`


def _is_gap(field: str) -> bool:
    return field.strip().lower() in _MISSING


def spellings_of_gaps() -> list[str]:
    """The same for a reader that knows no case and no blanks: those that are met with, with a blank on either side."""
    words = {spelt for word in _MISSING for spelt in (word, word.upper(), word.capitalize())} | {"NaN", "-NaN"}
    return sorted(before + word + after for word in words for before in ("", " ") for after in ("", " "))


def look_at_the_top(path: str | os.PathLike) -> tuple[str, int]:
    """Return the delimiter, and how many lines the header takes (0 if there is none)."""
    with open(path, encoding="utf-8-sig", newline="") as file:
        first = next((line for line in file if line.strip()), "")
        if not first:
            raise ValueError(f"{_name(path)} is empty; wanted lines of numbers")
        delimiter = next((mark for mark in "\t;" if mark in first), ",")
        file.seek(0)
        reader = csv.reader(file, delimiter=delimiter)
        fields, lines = next(((row, reader.line_num) for row in reader if any(map(str.strip, row))), ([], 0))
        # A first line with a number in it is a row; a wrong field in it is an error, as in every other line.
        if not fields or any(map(_is_number, fields)):
            return delimiter, 0
        if not any(row for row in reader):
            raise ValueError(f"{_name(path)} has column names and no rows; wanted lines of numbers")
        return delimiter, lines


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return "_" not in field  # Python reads 1_000 as a number, and nobody's table means that


def _rows(file: TextIO, delimiter: str, header_lines: int) -> Iterator[tuple[int, list[str]]]:
    """Lines of a .csv file that are rows, each with its first line's number from 1; no header, no blank lines."""
    reader = csv.reader(file, delimiter=delimiter)
    rows = (fields for fields in reader if reader.line_num > header_lines and fields)
    return ((reader.line_num - sum(field.rstrip("\n").count("\n") for field in fields), fields) for fields in rows)


@contextmanager
def text_rows(path: str | os.PathLike) -> Iterator[Iterator[list[str]]]:
    """The rows of a ``.csv`` file as they stand there."""
    delimiter, header_lines = look_at_the_top(path)
    with open(path, encoding="utf-8-sig", newline="") as file:
        yield (fields for _, fields in _rows(file, delimiter, header_lines))


def raise_at_first_bad_field(
    path: str | os.PathLike,
    delimiter: str,
    header_lines: int,
    columns: Collection[int] | None = None,
    missing: Collection[str] | None = None,
    gaps: bool = False,
) -> None:
    """Name the place of the first field that is no finite number, or the row of another length.

    Only fields in `columns` count, if these are given; with `missing` only those that are neither one of these texts
    nor any number; and with `gaps` no fields that are empty, NA or the like.
    """
    names = column_names(path)
    width = len(names) if names else None
    with open(path, encoding="utf-8-sig", newline="") as file:
        for row, (line, fields) in enumerate(_rows(file, delimiter, header_lines)):
            where = f"{_name(path)}: row {row} (line {line} of the file)"
            for column, field in enumerate(fields):
                uncounted = (columns is not None and column not in columns) or (gaps and _is_gap(field))
                if uncounted or _passes(field, missing):
                    continue
                what = repr(field[:40] + "..." * (len(field) > 40)) if field.strip() else "empty"
                raise ValueError(
                    f"{where}, {_column(column, len(fields), names)}: {what}, where a finite number was wanted; "
                    + (
                        "remove this second line of column names"
                        if names == _stripped(fields)
                        else _advice(field, gaps or missing is not None, columns is None)
                    )
                )
            if width not in (None, len(fields)):
                raise ValueError(f"{where} has {plural(len(fields), 'column')}, where the lines before have {width}")
            width = len(fields)


def _passes(field: str, missing: Collection[str] | None) -> bool:
    if _is_number(field):
        return missing is not None or bool(np.isfinite(float(field)))
    return missing is not None and field in missing


def _advice(field: str, gaps: bool, numeric: bool) -> str:
    if re.fullmatch(r"\s*[+-]?\d+,\d*\s*", field):
        return "write decimals with a point"
    if len(field.split()) > 1 and all(map(_is_number, field.split())):
        return "separate columns by commas, semicolons or tabs"
    if _is_number(field) or _is_gap(field):
        if gaps:
            return "make such fields empty, which stands for a number that is missing"
        if not _is_gap(field):
            return "leave such rows out with --complete, or write another number"
        return "leave such rows out with --complete, take what there is of them with --missing, or fill them in"
    column = "take the columns of numbers alone, with --columns numeric" if numeric else "leave the column out"
    return "close the quote that begins there" if "\n" in field else f"write a number, remove the row, or {column}"
