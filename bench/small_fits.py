"""What fits of small tables cost, beside scikit-learn's: default starts, and one k-means start each.

Processor time of one thread, scikit-learn's on one BLAS thread, taken in turn: the least of the rounds. Both with their
default tolerances. `select` is the choice of one to four components by BIC where a tenth of the entries is hidden.

python bench/small_fits.py
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import report
from imputation import hidden
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture as SklearnMixture
from starts import read
from threadpoolctl import threadpool_limits

from fastem import GaussianMixture, select

TABLES = (("faithful", 2), ("iris", 3), ("wine", 3))
COLUMNS: report.Columns = [
    ("data", "data", "s"),
    ("rows", "n", "d"),
    ("columns", "d", "d"),
    ("K", "k", "d"),
    ("scikit-learn, ms", "sklearn", ".1f"),
    ("fastem, ms", "fastem", ".1f"),
    ("times scikit-learn", "ratio", ".1f"),
    ("fastem from one k-means, ms", "kmeans", ".1f"),
    ("times scikit-learn", "kmeans_ratio", ".1f"),
    ("fastem with holes, ms", "holes", ".1f"),
    ("K = 1 to 4 by BIC with holes, ms", "select", ".1f"),
]


def makers(X: np.ndarray, k: int) -> dict[str, Callable[[], Any]]:
    """Return the fits that are timed."""
    mean, deviation = X.mean(axis=0), X.std(axis=0)
    Z = np.where(hidden(X, 0.1, np.random.default_rng(0)), np.nan, (X - mean) / deviation)
    ours: dict[str, Any] = {"random_state": 0, "n_jobs": 1}
    return {
        "sklearn": lambda: SklearnMixture(k, random_state=0).fit(X),
        "fastem": lambda: GaussianMixture(k, **ours).fit(X),
        "kmeans": lambda: GaussianMixture(k, init_params="kmeans", **ours).fit(X),
        "holes": lambda: GaussianMixture(k, missing="nan", reg_covar=5e-3, **ours).fit(Z),
        "select": lambda: select(Z, range(1, 5), missing="nan", reg_covar=5e-3, **ours),
    }


def row(name: str, k: int, folder: Path, rounds: int) -> dict[str, Any]:
    """Return the row of one table: the least milliseconds of each."""
    X = read(folder / f"{name}.csv")
    fits = makers(X, k)
    least = dict.fromkeys(fits, np.inf)
    for i in range(rounds + 1):
        for kind, fit in fits.items():
            begin = time.process_time()
            fit()
            if i:  # the first compiles
                least[kind] = min(least[kind], 1e3 * (time.process_time() - begin))
    ratios = {"ratio": least["fastem"] / least["sklearn"], "kmeans_ratio": least["kmeans"] / least["sklearn"]}
    case = {"data": name, "n": len(X), "d": X.shape[1], "k": k, **least, **ratios}
    print(case, flush=True)
    return case


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    default = Path(__file__).resolve().parent.parent / "tests" / "data"
    parser.add_argument("--data", type=Path, default=default, help="folder of the tables")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--dry", action="store_true", help="write no results")
    options = parser.parse_args()
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        rows = [row(name, k, options.data, options.rounds) for name, k in TABLES]
    if not options.dry:
        report.save("small-fits", COLUMNS, rows, rounds=options.rounds)


if __name__ == "__main__":
    main()
