"""What all benchmarks share: cases, data, starts, a common log-likelihood, the rate of dgemm, the machine."""

from __future__ import annotations

import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

import numpy as np
import threadpoolctl
from scipy.linalg import solve_triangular
from scipy.special import logsumexp

THREADS = 2
CHUNK = 1 << 16


class Case(NamedTuple):
    """One row of a table: how many rows, features and components, what covariances, and which data."""

    n: int
    d: int
    k: int
    covariance_type: str = "full"
    data: str = "overlapping"
    dtype: str = "float64"

    @property
    def name(self) -> str:
        """Return a name for people and for files."""
        return "-".join(str(part) for part in self)


class Parameters(NamedTuple):
    """A mixture: weights (K,), means (K, d), covariances (K, d, d)."""

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray


class Goal(NamedTuple):
    """The least that fastem has to reach in a case; None where nothing is asked."""

    sklearn: float | None = None
    onedal: float | None = None
    share: float | None = None


# What the project set out to reach, with full covariances: (N, d, K) and the goals.
FULL = {
    (1_000_000, 2, 8): Goal(50, 2, None),
    (1_000_000, 8, 16): Goal(20, 3, 0.30),
    (200_000, 16, 64): Goal(12, 3, 0.45),
    (200_000, 32, 16): Goal(10, 3.2, 0.60),
    (100_000, 64, 16): Goal(6, 2.7, 0.65),
    (50_000, 128, 8): Goal(6, 2.4, 0.70),
}
RESTRICTED = [(1_000_000, 8, 16), (200_000, 32, 16)]
RESTRICTED_GOALS = {"tied": Goal(12), "diag": Goal(12, 2), "spherical": Goal(12)}
FLOAT32_GOAL = 1.6  # times float64, for d >= 16


def goal(case: Case) -> Goal:
    """Return what has to be reached in a case, whatever its number of rows."""
    if case.covariance_type != "full":
        return RESTRICTED_GOALS[case.covariance_type]
    return next((g for (_, d, k), g in FULL.items() if (d, k) == (case.d, case.k)), Goal())


def mixture(case: Case, seed: int = 0) -> Parameters:
    """Return the mixture that the data of a case are drawn from.

    Overlapping: means about 2 standard deviations apart and covariances that differ by about a quarter of a
    nat, so that most rows belong to several components. Separated: means about 8 apart and covariances that
    differ by more, so that nearly every row belongs to one component and the others may be skipped.
    """
    rng = np.random.default_rng(seed)
    distance, spread = {"overlapping": (2.0, case.d**-0.5), "separated": (8.0, 0.5)}[case.data]
    weights = rng.dirichlet(np.full(case.k, 20.0))
    means = rng.normal(scale=distance / np.sqrt(2 * case.d), size=(case.k, case.d))
    rotations = np.linalg.qr(rng.normal(size=(case.k, case.d, case.d)))[0]
    variances = np.exp(spread * rng.normal(size=(case.k, 1, case.d)))
    shape = np.eye(case.d) + rng.normal(size=(case.d, case.d)) / (2 * np.sqrt(case.d))  # shared by all
    factors = shape @ (rotations * np.sqrt(variances))
    return Parameters(weights, means @ shape.T, factors @ factors.transpose(0, 2, 1))


def make_data(case: Case, truth: Parameters, seed: int = 1) -> np.ndarray:
    """Return rows of the mixture in random order: sorted rows would flatter kernels that skip components."""
    rng = np.random.default_rng(seed)
    factors = np.linalg.cholesky(truth.covariances)
    X = np.empty((case.n, case.d), dtype=case.dtype)
    for begin in range(0, case.n, CHUNK):
        component = rng.choice(case.k, size=min(CHUNK, case.n - begin), p=truth.weights)
        rows = rng.normal(size=(len(component), case.d))
        for k in range(case.k):
            mine = component == k
            rows[mine] = rows[mine] @ factors[k].T + truth.means[k]
        X[begin : begin + len(rows)] = rows
    return X


def make_start(truth: Parameters, seed: int = 2) -> Parameters:
    """Return the common start: equal weights, means moved by a standard deviation, one covariance for all."""
    rng = np.random.default_rng(seed)
    k, d = truth.means.shape
    common = np.einsum("k,kij->ij", truth.weights, truth.covariances)
    steps = rng.normal(size=(k, d)) / np.sqrt(d)
    means = truth.means + steps @ np.linalg.cholesky(common).T
    return Parameters(np.full(k, 1.0 / k), means, np.tile(common, (k, 1, 1)))


def restrict(covariances: np.ndarray, covariance_type: str) -> np.ndarray:
    """Return a start's covariances (K, d, d), which are all the same, in scikit-learn's shape for a type."""
    if covariance_type == "full":
        return covariances
    if covariance_type == "tied":
        return covariances[0]
    diagonals = np.einsum("kii->ki", covariances).copy()
    return diagonals if covariance_type == "diag" else diagonals.mean(axis=1)


def invert(covariances: np.ndarray, covariance_type: str) -> np.ndarray:
    """Return precisions in scikit-learn's shape for a type."""
    return np.linalg.inv(covariances) if covariance_type in ("full", "tied") else 1.0 / covariances


def expand(covariances: np.ndarray, covariance_type: str, k: int, d: int) -> np.ndarray:
    """Return covariances of any of scikit-learn's shapes as (K, d, d) in float64."""
    covariances = np.asarray(covariances, dtype=np.float64)
    if covariance_type == "diag":
        return covariances[:, :, None] * np.eye(d)
    if covariance_type == "spherical":
        return covariances[:, None, None] * np.eye(d)
    return np.broadcast_to(covariances, (k, d, d))


def log_prob(X: np.ndarray, parameters: Parameters) -> np.ndarray:
    """Return log(weight) + log density of every row in every component (n, K); covariances are (K, d, d)."""
    k, d = parameters.means.shape
    X = np.asarray(X, dtype=np.float64)
    out = np.empty((len(X), k))
    for j, covariance in enumerate(parameters.covariances):
        factor = np.linalg.cholesky(covariance)
        whitened = solve_triangular(factor, (X - parameters.means[j]).T, lower=True)
        constant = 0.5 * d * np.log(2 * np.pi) + np.log(np.diag(factor)).sum() - np.log(parameters.weights[j])
        out[:, j] = -0.5 * np.einsum("ji,ji->i", whitened, whitened) - constant
    return out


def log_likelihood(X: np.ndarray, parameters: Parameters) -> float:
    """Return the mean log-likelihood of a row: one function for all rivals, which each define their own."""
    chunks = [X[begin : begin + CHUNK] for begin in range(0, len(X), CHUNK)]
    return float(sum(logsumexp(log_prob(chunk, parameters), axis=1).sum() for chunk in chunks) / len(X))


def overlap(X: np.ndarray, parameters: Parameters) -> float:
    """Return how many components a row belongs to: the mean of exp(entropy of its responsibilities)."""
    scores = log_prob(X[:10_000], parameters)
    log_resp = scores - logsumexp(scores, axis=1, keepdims=True)
    return float(np.exp(-(np.exp(log_resp) * log_resp).sum(axis=1)).mean())


def gemm_rate(dtype: str = "float64", size: int = 2048) -> float:
    """Return the rate of NumPy's matrix product in flops a second, the best of three."""
    left = np.random.default_rng(0).random((size, size)).astype(dtype)
    right, out = left.T.copy(), np.empty_like(left)
    np.matmul(left, right, out=out)
    seconds = []
    for _ in range(3):
        begin = time.perf_counter()
        np.matmul(left, right, out=out)
        seconds.append(time.perf_counter() - begin)
    return 2.0 * size**3 / min(seconds)


def limit_threads(threads: int = THREADS) -> None:
    """Give BLAS and OpenMP of this process that many threads."""
    threadpoolctl.threadpool_limits(threads)


def rest(seconds: float = 0.2) -> None:
    """Let the idle threads of the last rival stop spinning before the next begins."""
    time.sleep(seconds)


def machine() -> dict[str, Any]:
    """Return what the figures depend on: processor, threads, versions, and the kernels that BLAS chose."""
    blas = {pool["architecture"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"}
    names = ("numba", "numpy", "scipy", "scikit-learn", "threadpoolctl")
    versions = {name: _version(name) for name in names}
    # A variable such as OPENBLAS_CORETYPE would make BLAS, and with it the rivals, slower than they are.
    watched = ("CORETYPE", "MKL_", "OMP_", "OPENBLAS_", "KMP_", "NUMBA_")
    forced = {name: value for name, value in os.environ.items() if any(word in name for word in watched)}
    forced.pop("NUMBA_CACHE_DIR", None)  # a folder of whoever measured
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": THREADS,
        "python": platform.python_version(),
        "versions": versions,
        "blas_kernels": sorted(str(name) for name in blas),
        "environment": forced,
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    """Return the processor's name and its widest vector instructions."""
    try:
        with open("/proc/cpuinfo") as lines:
            fields = dict(line.split(":", 1) for line in lines if ":" in line)
    except OSError:
        return platform.processor() or platform.machine()
    fields = {key.strip(): value.strip() for key, value in fields.items()}
    flags = fields.get("flags", "").split()
    width = next((name for name in ("avx512f", "avx2", "avx") if name in flags), platform.machine())
    return f"{fields.get('model name', platform.machine())}, {width}"
