"""A fit of a file: seconds an iteration beside the fit of the same rows in memory, peak memory, and other formats.

The file's rows are a block of four million, over and over: what is repeated costs what is new costs. Each fit begins
with the same parameters and runs a fixed number of iterations; the first of them, which also finds out whether all
numbers are finite, is not counted. All files are in the page cache.

python bench/out_of_core.py            # writes files of 2 GB to the folder for temporary files
python bench/out_of_core.py --quick    # a 64th of that
"""

from __future__ import annotations

import argparse
import json
import select
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import report
from common import THREADS, Case, Parameters, invert, limit_threads, make_data, make_start, mixture, rest
from memory import anonymous
from sklearn.exceptions import ConvergenceWarning
from sklearn_loop import sklearn_loop

from fastem import GaussianMixture
from fastem.sources import open_rows

D, K = 8, 16
GOAL, READERS_GOAL, MEMORY_GOAL = 1.10, 1.15, 300
TABLES = ("speed", "memory", "readers")

SPEED: report.Columns = [
    ("file, GB", "gigabytes", ".2f"),
    ("N", "n", ",d"),
    ("d", "d", "d"),
    ("K", "k", "d"),
    ("in memory, s an iteration", "memory", ".3f"),
    ("from the file, s", "file", ".3f"),
    ("over memory", "ratio", ".3f"),
    ("goal", "goal", ".2f"),
    ("processor time over memory's", "cpu_ratio", ".3f"),
    ("loop around scikit-learn, s", "loop", ".1f"),
    ("x the loop", "gain", ".0f"),
]
MEMORY: report.Columns = [
    ("packages", "packages", "s"),
    ("file, GB", "gigabytes", ".2f"),
    ("peak of the process, MB", "peak_mb", ".0f"),
    ("goal", "goal", "d"),
    ("after import", "import_mb", ".0f"),
    ("peak of its own pages (RssAnon), MB", "anonymous_mb", ".0f"),
    ("after import", "import_anonymous_mb", ".0f"),
]
READERS: report.Columns = [
    ("source", "what", "s"),
    ("N", "n", ",d"),
    ("threads", "threads", "d"),
    ("reading alone, s", "reading", ".3f"),
    ("computing alone, s", "computing", ".3f"),
    ("both, s", "both", ".3f"),
    ("over the larger", "ratio", ".2f"),
    ("goal", "goal", ".2f"),
    ("the least that the cores allow", "floor", ".2f"),
]
CHILD = """
import json
import sys
import warnings
import numpy as np
if "bare" in sys.argv:
    sys.modules["pandas"] = sys.modules["pyarrow"] = None
from fastem import GaussianMixture

def status():
    with open("/proc/self/status") as lines:
        return {name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(":") for line in lines)
                if name in ("VmHWM", "RssAnon")}

warnings.simplefilter("ignore")
path, settings = sys.argv[1], dict(np.load(sys.argv[2]))
print(json.dumps(status()), flush=True)
GaussianMixture(len(settings["weights_init"]), reg_covar=0.0, tol=0.0, max_iter=3, **settings).fit(path)
print(json.dumps(status()), flush=True)
"""


class Cost(NamedTuple):
    """Seconds, and seconds of the processor."""

    seconds: float
    cpu: float


def clock() -> Cost:
    """Return the time now, and that of all threads of this process so far."""
    return Cost(time.perf_counter(), time.process_time())


def settings(start: Parameters, dtype: str) -> dict[str, np.ndarray]:
    """Return starting values as both libraries take them."""
    precisions = invert(start.covariances, "full")
    return {
        "weights_init": start.weights,
        "means_init": start.means.astype(dtype),
        "precisions_init": precisions.astype(dtype),
    }


def iteration(data: Any, start: dict[str, np.ndarray], n_iter: int, threads: int = THREADS) -> Cost:
    """Return the median cost of an iteration, the first left out."""
    clocks: list[Cost] = []
    model = GaussianMixture(K, tol=0.0, reg_covar=0.0, max_iter=n_iter + 1, n_jobs=threads, accelerate=None, **start)
    model.callback = lambda progress: clocks.append(clock())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(data)
    return Cost(*(float(v) for v in np.median(np.diff(np.array(clocks), axis=0), axis=0)))


def reading(path: str) -> Cost:
    """Return the cost of reading a source whose rows have been checked."""
    with open_rows(path) as rows:
        for _ in range(2):
            begun = clock()
            for _ in rows:
                pass
            cost = clock()
    return Cost(cost.seconds - begun.seconds, cost.cpu - begun.cpu)


def write_npy(path: Path, block: np.ndarray, n: int) -> None:
    """Write `n` rows, block after block."""
    header = {"descr": block.dtype.str, "fortran_order": False, "shape": (n, block.shape[1])}
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for begin in range(0, n, len(block)):
            block[: n - begin].tofile(file)


def check_agreement(path: Path, start: dict[str, np.ndarray], log_likelihood: float, n_iter: int) -> None:
    """Raise unless fastem's fit of the file is where the loop is after as many iterations."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = GaussianMixture(K, tol=0.0, reg_covar=0.0, max_iter=n_iter, **start).fit(str(path))
    if abs(model.lower_bound_ - log_likelihood) > 1e-5 * abs(log_likelihood):
        raise RuntimeError(f"fastem is at {model.lower_bound_!r} nats a row, the loop at {log_likelihood!r}")


def speed(folder: Path, n: int, block: np.ndarray, start: dict[str, np.ndarray], rounds: int) -> Iterator[dict]:
    """Yield the row of the file beside a part of it in memory, taken in turn, and beside the loop on a smaller part."""
    part, small = min(n // 8, 2 * len(block)), min(n // 64, len(block))
    X = np.resize(block, (part, D))
    path, short = folder / "rows.npy", folder / "short.npy"
    write_npy(path, block, n)
    write_npy(short, block, small)
    loop, log_likelihood = sklearn_loop(short, start, 3)
    check_agreement(short, start, log_likelihood, 3)
    pairs = []
    for _ in range(rounds):
        rest()
        inside = iteration(X, start, 4 * n // part // 8 + 4)
        pairs.append((Cost(*(v * n / part for v in inside)), iteration(str(path), start, 3)))
        print(*pairs[-1], flush=True)
    yield {
        "gigabytes": path.stat().st_size / 1e9,
        "n": n,
        "d": D,
        "k": K,
        "memory": median(a.seconds for a, _ in pairs),
        "file": median(b.seconds for _, b in pairs),
        "ratio": median(b.seconds / a.seconds for a, b in pairs),
        "cpu_ratio": median(b.cpu / a.cpu for a, b in pairs),
        "goal": GOAL,
        "loop": loop * n / small,
        "gain": loop * n / small / median(b.seconds for _, b in pairs),
    }


def memory(folder: Path, n: int, block: np.ndarray, start: dict[str, np.ndarray], rounds: int) -> Iterator[dict]:
    """Yield the peaks of processes that fit a quarter, half and all of the rows."""
    np.savez(folder / "start.npz", **start)
    path = folder / "rows.npy"
    for rows in (n // 4, n // 2, n):
        write_npy(path, block, rows)
        for packages in ("bare", "pandas and pyarrow installed"):
            before, after, own = peaks(path, folder / "start.npz", packages)
            yield {
                "packages": "fastem's own" if packages == "bare" else f"also {packages}",
                "gigabytes": path.stat().st_size / 1e9,
                "peak_mb": after["VmHWM"] / 1e6,
                "import_mb": before["VmHWM"] / 1e6,
                "anonymous_mb": own / 1e6,
                "import_anonymous_mb": before["RssAnon"] / 1e6,
                "goal": MEMORY_GOAL,
            }


def peaks(path: Path, start: Path, packages: str) -> tuple[dict, dict, int]:
    """Return the memory of a process that fits the file, after its import and at its end, and the most it had alone."""
    command = [sys.executable, "-c", CHILD, str(path), str(start), packages]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        before, own = child.stdout.readline(), 0
        while before and not select.select([child.stdout], [], [], 0.002)[0]:
            own = max(own, anonymous(child.pid))
        after = child.stdout.readline()
    if not after:
        raise RuntimeError("the child ended in its fit: its message stands above")
    return json.loads(before), json.loads(after), own


def readers(folder: Path, n: int, block: np.ndarray, start: dict[str, np.ndarray], rounds: int) -> Iterator[dict]:
    """Yield a row for each format: reading, computing, and both at once."""
    import pyarrow
    import pyarrow.parquet
    import zarr

    X = np.resize(block, (n // 8, D))
    paths = {name: str(folder / name) for name in ("rows.npy", "rows.parquet", "plain.zarr", "default.zarr")}
    np.save(paths["rows.npy"], X)
    table = pyarrow.table({f"x{j}": X[:, j] for j in range(D)})
    pyarrow.parquet.write_table(table, paths["rows.parquet"])
    del table
    chunks = (min(len(X), 1 << 18), D)
    for name, options in (("plain.zarr", {"compressors": None}), ("default.zarr", {})):
        array = zarr.create_array(paths[name], shape=X.shape, chunks=chunks, dtype=X.dtype, **options)
        array[:] = X
    names = ".npy", "Parquet", "Zarr, not compressed", "Zarr, compressed as by default"
    for what, path in zip(names, paths.values()):
        for threads in (1, THREADS):
            found = []
            for _ in range(rounds):
                rest()
                found.append((reading(path), iteration(X, start, 4, threads), iteration(path, start, 4, threads)))
            alone = [max(a.seconds, b.seconds) for a, b, _ in found]
            row = {"what": what, "n": len(X), "threads": threads, "goal": READERS_GOAL}
            for name, costs in zip(("reading", "computing", "both"), zip(*found)):
                row[name] = median(cost.seconds for cost in costs)
            row["ratio"] = median(f[2].seconds / least for f, least in zip(found, alone))
            work = [(a.cpu + b.cpu) / THREADS for a, b, _ in found]
            row["floor"] = median(max(1.0, w / least) for w, least in zip(work, alone))
            yield row


def main() -> None:
    """Measure and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("tables", nargs="*", default=TABLES, metavar="TABLE", help=", ".join(TABLES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="files a 64th as large; writes no results")
    parser.add_argument("--dry", action="store_true", help="write no results")
    options = parser.parse_args()
    limit_threads()
    n = 1_000_000 if options.quick else 64_000_000
    truth = mixture(Case(n, D, K))
    block = make_data(Case(min(n // 8, 4_000_000), D, K, dtype="float32"), truth)
    start = settings(make_start(truth), "float32")
    chosen = {"speed": (speed, SPEED), "memory": (memory, MEMORY), "readers": (readers, READERS)}
    for table in options.tables:
        measure, columns = chosen[table]
        rows = []
        with tempfile.TemporaryDirectory() as folder:
            for row in measure(Path(folder), n, block, start, options.rounds):
                print(row, flush=True)
                rows.append(row)
        if not (options.dry or options.quick):
            report.save(f"out-of-core-{table}", columns, rows, rounds=options.rounds)


if __name__ == "__main__":
    main()
