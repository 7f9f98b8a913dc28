"""What the estimator says, in the words of the command line: options for parameters, files for arrays."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastem.tables import place
from fastem.verbose import ENDINGS, GO_ON

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
}
# What only a program can do is left out, and the end of a fit that Ctrl-C ended is told in a line of its own.
_ONLY_IN_PYTHON = re.compile(
    rf"(; |^)the fit did not converge: stop_reason_ is 'interrupted'.*|(, or|;) {re.escape(GO_ON)}"
    r"|; see diagnostics_|, e\.g\. with sklearn\.[\w.]+"
)
_WORDS = re.compile(rf"\bstop_reason_ is '(?P<reason>\w+)'|\b(?P<name>{'|'.join(OPTIONS)})\b(?P<sets>=)?|\bX\b")


def in_options(text: str, data: Path) -> str:
    """`text` with options for the parameters, and the name of the file for X."""

    def said(found: re.Match) -> str:
        if found["reason"]:
            return ENDINGS[found["reason"]]
        if found["name"]:
            return OPTIONS[found["name"]] + (" " if found["sets"] else "")
        return os.fspath(data)

    return _WORDS.sub(said, _ONLY_IN_PYTHON.sub("", text))


@contextmanager
def errors_in_options(data: Path, weights: Path | None = None, first_row: int = 0) -> Iterator[None]:
    """Reword the estimator's errors; `first_row` is where the rows that it was given begin in the file."""
    try:
        yield
    except ValueError as error:
        from fastem.validation import RowError  # here, because it imports scikit-learn

        if not isinstance(error, RowError):
            raise ValueError(in_options(str(error), data)) from error
        if error.column is None and weights:
            raise ValueError(
                f"{place(weights, error.row)}: {error.value:g}, where a finite weight of at least 0 was wanted; "
                "give 0 to rows that should not count"
            ) from error
        where = place(data, first_row + error.row, error.column)
        raise ValueError(
            f"{where}: {error.value:g}, where a finite number was wanted; remove such rows or fill them in"
        ) from error
