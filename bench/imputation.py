"""Errors of imputed entries on complete tables of which a tenth is hidden, beside scikit-learn's imputers.

All get the same standardised tables (mean and deviation of the entries that are left), with their default settings,
but that fastem's also stands there as a mixture, `n_components="auto"`, for all tables alike.
The error is the root mean square over the hidden entries, in standard deviations of the columns: 1 is about what the
mean of the column gives. Entries are hidden at random, anew for every seed.

python bench/imputation.py
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import report
from common import THREADS, limit_threads, rest
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer
from starts import read

from fastem import GaussianImputer

TABLES = ("faithful", "geyser", "iris", "wine", "banknote", "wdbc")
FEW_SEEDS = {"digits": 2}  # IterativeImputer takes minutes
COLUMNS: report.Columns = [
    ("data", "data", "s"),
    ("rows", "n", "d"),
    ("columns", "d", "d"),
    ("one Gaussian", "one", ".4f"),
    ("mixture", "mixture", ".4f"),
    ("IterativeImputer", "iterative", ".4f"),
    ("KNNImputer", "knn", ".4f"),
    ("one Gaussian lower than both", "one_wins", "s"),
    ("mixture lower than both", "mixture_wins", "s"),
    ("one Gaussian, s", "one_seconds", ".3f"),
    ("mixture, s", "mixture_seconds", ".3f"),
    ("IterativeImputer, s", "iterative_seconds", ".3f"),
    ("KNNImputer, s", "knn_seconds", ".3f"),
]


def makers(seed: int) -> dict[str, Any]:
    """Return the imputers."""
    return {
        "one": GaussianImputer(random_state=seed, n_jobs=THREADS),
        "mixture": GaussianImputer("auto", random_state=seed, n_jobs=THREADS),
        "iterative": IterativeImputer(random_state=seed),
        "knn": KNNImputer(),
    }


def load(name: str, folder: Path) -> np.ndarray:
    """Return a complete table without its constant columns."""
    X = load_digits().data if name == "digits" else read(folder / f"{name}.csv")
    return X[:, X.std(axis=0) > 0]


def hidden(X: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Return which entries are hidden: `share` of them, but not so that a column loses all that varies."""
    while True:
        mask = rng.random(X.shape) < share
        if (np.nanstd(np.where(mask, np.nan, X), axis=0) > 0).all():
            return mask


def measure(X: np.ndarray, share: float, seed: int) -> dict[str, float]:
    """Return the errors and seconds of one draw of the hidden entries."""
    mask = hidden(X, share, np.random.default_rng(seed))
    Z = np.where(mask, np.nan, X)
    mean, deviation = np.nanmean(Z, axis=0), np.nanstd(Z, axis=0)
    Z, truth = (Z - mean) / deviation, ((X - mean) / deviation)[mask]
    found: dict[str, float] = {}
    for name, imputer in makers(seed).items():
        rest()
        begin = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            filled = imputer.fit_transform(Z)
        found[f"{name}_seconds"] = time.perf_counter() - begin
        found[name] = float(np.mean((filled[mask] - truth) ** 2))
    return found


def row(name: str, folder: Path, share: float, seeds: int) -> dict[str, Any]:
    """Return the row of one table: errors over all seeds, median seconds."""
    X = load(name, folder)
    runs = [measure(X, share, seed) for seed in range(seeds)]
    case: dict[str, Any] = {"data": name, "n": len(X), "d": X.shape[1]}
    for imputer in makers(0):
        case[imputer] = float(np.sqrt(np.mean([run[imputer] for run in runs])))
        case[f"{imputer}_seconds"] = float(np.median([run[f"{imputer}_seconds"] for run in runs]))
    for imputer in ("one", "mixture"):
        case[f"{imputer}_wins"] = "yes" if case[imputer] < min(case["iterative"], case["knn"]) else "no"
    print(case, flush=True)
    return case


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    default = Path(__file__).resolve().parent.parent / "tests" / "data"
    parser.add_argument("tables", nargs="*", default=[*TABLES, "digits"])
    parser.add_argument("--data", type=Path, default=default, help="folder of the tables")
    parser.add_argument("--share", type=float, default=0.1, help="of the entries that are hidden")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--dry", action="store_true", help="write no results")
    options = parser.parse_args()
    limit_threads()
    measure(np.random.default_rng(0).normal(size=(300, 8)), 0.1, 0)  # compiles
    seeds = {name: min(options.seeds, FEW_SEEDS.get(name, options.seeds)) for name in options.tables}
    rows = [row(name, options.data, options.share, seeds[name]) for name in options.tables]
    if not options.dry:
        seeds = ", ".join(f"{name} {number}" for name, number in seeds.items())
        report.save("imputation", COLUMNS, rows, seeds=seeds, hidden=f"{options.share:.0%} of the entries")


if __name__ == "__main__":
    main()
