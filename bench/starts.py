"""How often fastem's default start ends at least as high as scikit-learn's default start, both converged.

On the complete continuous tables of tests/data with K = 2..6, and on photographs, with the time of both. Both
log-likelihoods are computed by one common function. A case is "spiked" where the higher one has a component
that is flat in some direction but for reg_covar, such as one with no more rows than features: that is a spike
of the likelihood and no better fit. A column leaves those cases out.

python bench/starts.py
"""

from __future__ import annotations

import argparse
import time
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import report
from common import THREADS, Parameters, limit_threads, log_likelihood, rest
from photos import NAMES, pixels
from scipy.linalg import eigh
from sklearn.mixture import GaussianMixture as SklearnMixture

from fastem import GaussianMixture

# Columns that are no measurements: classes, and the number of a patient.
IGNORED = {"Species", "Class", "Status", "ID", "Diagnosis", "class", "id1", "id2", "yp", "yb"}
TABLES = ("faithful", "geyser", "iris", "wine", "banknote", "wdbc", "tonedata", "no_data", "npreg")
SLACK = 1e-5  # nats a row: what two converged runs of one optimum may differ by
REG_COVAR = 1e-6  # of both, by default
FLAT = 1e-6  # variance over that of the data, in the flattest direction of a spike
COLUMNS: report.Columns = [
    ("data", "data", "s"),
    ("cases", "cases", "d"),
    ("at least as high", "share", ".0%"),
    ("without spikes", "share_without_spikes", ".0%"),
    ("median gain, nats a row", "gain", ".5f"),
    ("scikit-learn, s", "sklearn_seconds", ".1f"),
    ("fastem, s", "fastem_seconds", ".2f"),
]


def read(path: Path) -> np.ndarray:
    """Return the continuous columns of a table."""
    table = np.genfromtxt(path, delimiter=",", names=True, dtype=None, encoding="utf-8", deletechars="")
    names = [name for name in table.dtype.names if name.strip('"') not in IGNORED]
    return np.column_stack([np.asarray(table[name], dtype=np.float64) for name in names])


def fit(kind: Any, X: np.ndarray, k: int, seed: int, tol: float) -> tuple[float, float, float]:
    """Return the seconds, the log-likelihood and how thin the thinnest component is."""
    rest(0.0)
    model = kind(k, tol=tol, max_iter=20_000, random_state=seed)
    begin = time.perf_counter()
    model.fit(X)
    seconds = time.perf_counter() - begin
    value = log_likelihood(X, Parameters(model.weights_, model.means_, model.covariances_))
    return seconds, value, thinnest(X, model.covariances_)


def thinnest(X: np.ndarray, covariances: np.ndarray) -> float:
    """Return the least variance of a component in any direction, without reg_covar, over that of the data."""
    scales = np.outer(X.std(axis=0), X.std(axis=0))
    own = (covariances - REG_COVAR * np.eye(X.shape[1])) / scales
    whole = np.cov(X.T, bias=True) / scales
    return min(float(eigh(covariance, whole, eigvals_only=True)[0]) for covariance in own)


def race(name: str, X: np.ndarray, k: int, seed: int, tol: float) -> dict[str, Any]:
    """Return one case."""
    sklearn_seconds, theirs, their_thinnest = fit(SklearnMixture, X, k, seed, tol)
    fastem_seconds, ours, our_thinnest = fit(partial(GaussianMixture, n_jobs=THREADS), X, k, seed, tol)
    case = {
        "data": name,
        "k": k,
        "seed": seed,
        "sklearn_ll": theirs,
        "fastem_ll": ours,
        "gain": ours - theirs,
        "reached": ours >= theirs - SLACK,
        "spiked": (their_thinnest if theirs > ours else our_thinnest) < FLAT,
        "sklearn_seconds": sklearn_seconds,
        "fastem_seconds": fastem_seconds,
    }
    print(case, flush=True)
    return case


def summary(name: str, cases: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the row of one table, of one photograph, or of all."""
    plain = [case["reached"] for case in cases if not case["spiked"]]
    return {
        "data": name,
        "cases": len(cases),
        "share": float(np.mean([case["reached"] for case in cases])),
        "share_without_spikes": float(np.mean(plain)) if plain else None,
        "gain": float(np.median([case["gain"] for case in cases])),
        "sklearn_seconds": sum(case["sklearn_seconds"] for case in cases),
        "fastem_seconds": sum(case["fastem_seconds"] for case in cases),
        "single_cases": cases,
    }


def summaries(label: str, cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each data set and one for all of them."""
    names = list(dict.fromkeys(case["data"] for case in cases))
    rows = [summary(name, [case for case in cases if case["data"] == name]) for name in names]
    return [*rows, {**summary(label, cases), "single_cases": None}]


def main() -> None:
    """Measure and write both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    default = Path(__file__).resolve().parent.parent / "tests" / "data"
    parser.add_argument("what", nargs="*", default=["tables", "photos"])
    parser.add_argument("--data", type=Path, default=default, help="folder of the tables")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--photos", nargs="+", default=list(NAMES))
    parser.add_argument("--k", type=int, nargs="+", default=[8], help="components of the photographs")
    parser.add_argument("--step", type=int, default=1, help="keep every STEP-th pixel of the photographs")
    parser.add_argument("--dry", action="store_true", help="write no results")
    options = parser.parse_args()
    limit_threads()
    warnings.simplefilter("ignore")
    fit(GaussianMixture, np.random.default_rng(0).normal(size=(500, 2)), 2, 0, 1e-4)  # loads the kernels
    if "tables" in options.what:
        paths = [options.data / f"{name}.csv" for name in TABLES]
        tables = {path.stem: read(path) for path in paths if path.exists()}
        cases = [
            race(name, X, k, seed, 1e-8)
            for name, X in tables.items()
            for k in range(2, 7)
            for seed in range(options.seeds)
        ]
        rows = summaries("all tables", cases)
        if not options.dry:
            report.save("starts-tables", COLUMNS, rows, K="2 to 6", seeds=options.seeds, tol=1e-8)
    if "photos" in options.what:
        photos = ((name, pixels(name, options.step)) for name in options.photos)
        cases = [race(name, X, k, 0, 1e-6) for name, X in photos for k in options.k]
        rows = summaries("all photographs", cases)
        if not options.dry:
            notes = {"K": options.k, "every_nth_pixel": options.step, "tol": 1e-6}
            report.save("starts-photos", COLUMNS, rows, **notes)


if __name__ == "__main__":
    main()
