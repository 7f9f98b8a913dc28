"""What the estimator says, in the words of the command line: options for parameters, files for arrays."""

import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fastem.tables import place
from fastem.verbose import ENDINGS, GO_ON

if TYPE_CHECKING:
    from fastem.cli_data import DataFiles

OPTIONS = {
    "n_components": "--components",
    "covariance_type": "--covariance",
    "sample_weight": "--weights",
    "random_state": "--seed",
    "n_init": "--n-init",
    "init_params": "--init",
    "tol": "--tol",
    "max_iter": "--max-iter",
    "max_time": "--max-time",
    "reg_covar": "--reg-covar",
    "on_collapse": "--on-collapse",
    "n_jobs": "--threads",
    "algorithm": "--algorithm",
    "batch_size": "--batch-size",
    "rows_per_chunk": "--rows-per-chunk",
}
_CHOICES = {
    "fastem.Chunks(source, rows='finite')": "--complete",
    "fastem.Chunks(source, columns=[...])": "--columns",
    "fastem.Chunks(files, columns=[...])": "--columns",
    "fit(..., checkpoint=)": "--checkpoint",
    "fit what there is of each row: missing='nan'": "take what there is of each row: --missing",
    "missing='nan'": "--missing",
}
# What only a program can do is left out, and the end of a fit that Ctrl-C ended is told in a line of its own.
_ONLY_IN_PYTHON = re.compile(
    rf"(; |^)the fit did not converge: stop_reason_ is 'interrupted'.*|(, or|;) {re.escape(GO_ON)}"
    r"|; see diagnostics_|, e\.g\. with (sklearn|fastem)\.(?!Chunks)[\w.]+"
)
LEFT_OUT = "leave such rows out with --complete, take what there is of them with --missing, or fill them in"
_WORDS = rf"\bstop_reason_ is '(?P<reason>\w+)'|\b(?P<name>{'|'.join(OPTIONS)})\b(?P<sets>=)?|\bX\b"


def in_options(text: str, name: str, files: Collection[str] = (), columns: Sequence[str] | None = None) -> str:
    """`text` with options for the parameters, `name` for X, and columns by name; names of files stay as they are."""

    def said(found: re.Match) -> str:
        if found["file"]:
            return found["file"]
        if found["reason"]:
            return ENDINGS[found["reason"]]
        if found["name"]:
            return OPTIONS[found["name"]] + (" " if found["sets"] else "")
        return name

    known = dict(enumerate(columns or ()))

    def named(found: re.Match) -> str:
        return found[1] + re.sub(r"\d+", lambda number: repr(known.get(int(number[0]), int(number[0]))), found[2])

    for choice, option in _CHOICES.items():
        text = text.replace(choice, option)
    text = re.sub(r"\b(columns? )(\d+(?:(?:,| and) \d+)*)", named, _ONLY_IN_PYTHON.sub("", text))
    literally = "|".join(re.escape(file) for file in sorted(files, key=len, reverse=True)) or r"(?!)"
    return re.sub(f"(?P<file>{literally})|{_WORDS}", said, text)


@contextmanager
def errors_in_options(data: "DataFiles", *others: Path | None) -> Iterator[None]:
    """Reword the estimator's errors, but for names of files; rows of a table are told by their line."""
    try:
        yield
    except ValueError as error:
        from fastem.validation import RowError  # here, because it imports scikit-learn

        if not isinstance(error, RowError) or data.table is None:
            raise ValueError(in_options(str(error), data.name, names_of(data, *others), data.column_names())) from error
        if error.column is None and data.weights:
            raise ValueError(
                f"{place(data.weights, error.row)}: {error.value:g}, where a finite weight of at least 0 was wanted; "
                "give 0 to rows that should not count"
            ) from error
        raise ValueError(
            f"{place(data.table, error.row, error.column)}: {error.value:g}, where a finite number was wanted; "
            + ("make such fields empty, or NaN" if data.gaps else LEFT_OUT)
        ) from error


def names_of(data: "DataFiles", *others: Path | None) -> list[str]:
    """The names that may stand in a message."""
    return [*data.paths, *map(str, data.inputs), *(str(path) for path in others if path)]
