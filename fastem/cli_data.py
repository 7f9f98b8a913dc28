"""The rows that the command line names: a small table is read into memory, everything else in chunks."""

import glob
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastem.cli_words import errors_in_options
from fastem.data import SMALL_MAP
from fastem.sources import Chunks
from fastem.sources.opening import matches, names_of_file
from fastem.tables import check_names, column_names, read_table, read_weights
from fastem.wording import plural

SMALL = SMALL_MAP
"""Size of a file that is read into memory."""


class DataFiles(NamedTuple):
    """Files with rows, and what is chosen of them."""

    paths: list[str]
    columns: str | list[str] | None = None
    weights_column: str | None = None
    rows_per_chunk: int | None = None
    complete: bool = False
    weights: Path | None = None
    dtype: str | None = None
    gaps: bool = False

    @property
    def name(self) -> str:
        """What messages call the rows."""
        more = f" and {len(self.paths) - 1} more" if len(self.paths) > 1 else ""
        return self.paths[0] + more

    @property
    def inputs(self) -> list[Path]:
        """The files that are read, as far as they exist."""
        named = [path.partition("::")[0] for path in self.paths]
        found = [match for path in named for match in ([path] if Path(path).exists() else glob.glob(path))]
        return [Path(path) for path in found] + ([self.weights] if self.weights else [])

    @property
    def table(self) -> Path | None:
        """The one small file of which nothing is chosen."""
        path = Path(self.paths[0])
        chosen = self.columns or self.weights_column or self.rows_per_chunk or self.complete
        if len(self.paths) > 1 or chosen or path.suffix.lower() not in (".npy", ".csv"):
            return None
        if not path.exists():
            return None if glob.has_magic(self.paths[0]) else path
        return path if path.stat().st_size <= SMALL else None

    def of_the_fit(self, model: Any) -> "DataFiles":
        """The columns that a model was fitted on, where they are among others and nothing else was chosen."""
        fitted = list(getattr(model, "feature_names_in_", []))
        there = None if self.columns or not fitted else names_of_file(matches(self.paths[0])[0])
        return (
            self if there is None or there == fitted or not set(fitted) <= set(there) else self._replace(columns=fitted)
        )

    def read(self) -> tuple[Any, np.ndarray | None]:
        """What an estimator takes for these rows, and their weights."""
        weight = None if self.weights is None else read_weights(self.weights)
        if self.table is None:
            return self._chunks(), weight
        X = read_table(self.table, gaps=self.gaps)
        with errors_in_options(self):
            check_names(self.column_names() or [], self.name)
        if weight is not None and len(weight) != len(X):
            raise ValueError(
                f"{self.weights} has {plural(len(weight), 'weight')}, and {self.name} has {plural(len(X), 'row')}; "
                "give one weight a row"
            )
        return X if self.dtype is None else X.astype(self.dtype, copy=False), weight

    def column_names(self) -> list[str] | None:
        """Names of the columns of the small file, where it has them; a source knows its own."""
        return column_names(self.table) if self.table else None

    def _chunks(self) -> Chunks:
        columns: Any = self.columns
        if isinstance(columns, str) and columns != "numeric":
            columns = [_column(column) for column in columns.split(",")]
        return Chunks(
            self.paths if len(self.paths) > 1 else self.paths[0],
            columns=columns,
            rows_per_chunk=self.rows_per_chunk,
            weights=None if self.weights_column is None else _column(self.weights_column),
            rows="finite" if self.complete else None,
            dtype=self.dtype,
        )


def _column(text: str) -> str | int:
    """A whole number is an index, anything else a name."""
    text = text.strip()
    return int(text) if text.removeprefix("-").isdecimal() else text
