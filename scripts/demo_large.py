"""Part 3 of the demo: a file of five million rows, fitted from a memory map."""

from __future__ import annotations

import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table
from scipy.optimize import linear_sum_assignment

from fastem import GaussianMixture

COMPONENTS, FEATURES, CHUNK = 6, 8, 1 << 18
MEGABYTE = 1e6


class AnonymousPeak(threading.Thread):
    """The peak of the memory that this process owns, sampled every 2 ms while a ``with`` block runs.

    Resident memory also counts the pages of a mapped file, which the system drops when it needs them. So this
    takes resident less shared (file-backed) pages, RssAnon in Linux's /proc/self/status; elsewhere all of it.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._process, self._ended = psutil.Process(), threading.Event()
        self.before = self.peak = self.now()
        self.samples = 0

    def now(self) -> int:
        """Return the bytes owned at this moment."""
        memory = self._process.memory_info()
        return memory.rss - getattr(memory, "shared", 0)

    def run(self) -> None:
        """Sample until the block ends."""
        while not self._ended.wait(0.002):
            self.peak = max(self.peak, self.now())
            self.samples += 1

    def __enter__(self) -> AnonymousPeak:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self.join()


def truth(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return weights, means and covariances of a mixture whose components touch but can be told apart."""
    weights = rng.dirichlet(np.full(COMPONENTS, 8.0))
    means = rng.normal(scale=2.0, size=(COMPONENTS, FEATURES))
    factors = rng.normal(size=(COMPONENTS, FEATURES, FEATURES)) / np.sqrt(FEATURES)
    covariances = factors @ factors.transpose(0, 2, 1) + 0.3 * np.eye(FEATURES)
    return weights, means, covariances


def write(path: Path, rows: int, rng: np.random.Generator, mixture: tuple[np.ndarray, ...]) -> None:
    """Write `rows` float32 rows of the mixture to a .npy file, one chunk at a time."""
    weights, means, covariances = mixture
    factors = np.linalg.cholesky(covariances)
    table = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(rows, FEATURES))
    for begin in range(0, rows, CHUNK):
        component = rng.choice(COMPONENTS, size=min(CHUNK, rows - begin), p=weights)
        chunk = rng.normal(size=(len(component), FEATURES))
        for k in range(COMPONENTS):
            mine = component == k
            chunk[mine] = chunk[mine] @ factors[k].T + means[k]
        table[begin : begin + len(chunk)] = chunk
    table.flush()


def recovery_table(model: GaussianMixture, mixture: tuple[np.ndarray, ...]) -> Table:
    """Return the true components beside the fitted ones, matched by their means."""
    weights, means, covariances = mixture
    distances = np.linalg.norm(means[:, None] - model.means_[None], axis=2)
    table = Table(title="true and recovered components")
    errors = ("largest error of a mean,\nin standard deviations", "covariance,\nrelative error")
    for column in ("true k", "fitted k", "true weight", "recovered", *errors):
        table.add_column(column, justify="right")
    for k, match in zip(*linear_sum_assignment(distances)):
        sd = np.sqrt(np.diag(covariances[k]))
        mean_error = np.max(np.abs(model.means_[match] - means[k]) / sd)
        difference = model.covariances_[match] - covariances[k]
        covariance_error = np.linalg.norm(difference) / np.linalg.norm(covariances[k])
        numbers = (weights[k], model.weights_[match], mean_error, covariance_error)
        table.add_row(str(k), str(match), *(f"{number:.5f}" for number in numbers))
    return table


def fit_from_map(path: Path) -> tuple[GaussianMixture, float, dict[str, float]]:
    """Fit in a fresh process, where no memory freed by earlier parts of the demo can hide what this takes."""
    X = np.load(path, mmap_mode="r")
    GaussianMixture(2, tol=1e-2, random_state=0).fit(X[:2000])  # loads the kernels, before memory is counted
    with AnonymousPeak() as memory:
        begin = time.perf_counter()
        model = GaussianMixture(COMPONENTS, random_state=0).fit(X)
        seconds = time.perf_counter() - begin
    numbers = {"before": memory.before, "peak": memory.peak, "samples": memory.samples}
    return model, seconds, {name: float(value) for name, value in numbers.items()}


def fit_file(console: Console, rows: int) -> None:
    """Part 3: generate, fit from the memory map, and compare with what the data were made of."""
    console.rule(f"3. a file of {rows:,} x {FEATURES} float32, fitted from np.load(mmap_mode='r')")
    rng = np.random.default_rng(3)
    mixture = truth(rng)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.npy"
        write(path, rows, rng, mixture)
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            model, seconds, memory = pool.submit(fit_from_map, path).result()
        spent = np.diff(model.history_["seconds"])
        rate = f"{rows / np.median(spent) / 1e6:.1f} million rows a second" if len(spent) else "one iteration"
        console.print(recovery_table(model, mixture))
        console.print(
            f"{path.stat().st_size / MEGABYTE:.0f} MB; fit: {seconds:.1f} s with its start, {model.n_iter_}"
            f" iterations, {model.stop_reason_}; {rate} (the median iteration)"
        )
        above, before = (memory["peak"] - memory["before"]) / MEGABYTE, memory["before"] / MEGABYTE
        console.print(
            f"peak memory above the data: {above:.0f} MB (anonymous pages, {memory['samples']:.0f} samples;"
            f" the process held {before:.0f} MB before the fit)"
        )
