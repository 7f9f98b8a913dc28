"""scikit-learn, oneDAL and fastem behind one function: fit from a start for a fixed number of iterations."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from common import THREADS, Case, Parameters, expand, invert, make_data, make_start, mixture, restrict
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits


class Fit(NamedTuple):
    """What a rival did: seconds, iterations, and where it arrived."""

    seconds: float
    n_iter: int
    parameters: Parameters


class Problem(NamedTuple):
    """The data of a case and the common start, with the covariances in the shape of the case's type."""

    case: Case
    X: np.ndarray
    start: Parameters
    truth: Parameters


def make_problem(case: Case) -> Problem:
    """Return the data and the start of a case."""
    truth = mixture(case)
    start = make_start(truth)
    start = start._replace(covariances=restrict(start.covariances, case.covariance_type))
    return Problem(case, make_data(case, truth), start, truth)


def arrived(case: Case, weights: np.ndarray, means: np.ndarray, covariances: np.ndarray) -> Parameters:
    """Return fitted parameters in float64, with covariances (K, d, d) whatever their type."""
    full = expand(covariances, case.covariance_type, case.k, case.d)
    return Parameters(np.asarray(weights, dtype=np.float64), np.asarray(means, dtype=np.float64), full)


class Estimator:
    """A class with scikit-learn's interface: "fastem", "sklearn", and "sklearn1" on one BLAS thread."""

    def __init__(self, name: str, threads: int = THREADS) -> None:
        self.name = name
        self._threads = 1 if name == "sklearn1" else threads
        if name == "fastem":
            from fastem import GaussianMixture
        else:
            from sklearn.mixture import GaussianMixture
        self._class: Any = GaussianMixture

    def supports(self, case: Case) -> bool:
        """Return whether it can fit the case."""
        return True

    def fit(self, problem: Problem, n_iter: int) -> Fit:
        """Run `n_iter` iterations; reg_covar=0, since oneDAL adds nothing to its covariances."""
        start, case = problem.start, problem.case
        model = self._class(
            case.k,
            covariance_type=case.covariance_type,
            tol=0.0,
            reg_covar=0.0,
            max_iter=n_iter,
            init_params="random_from_data",  # should scikit-learn initialise all the same, it costs nothing
            random_state=0,
            weights_init=start.weights,
            means_init=start.means.astype(case.dtype),
            precisions_init=invert(start.covariances, case.covariance_type).astype(case.dtype),
            **({"n_jobs": self._threads, "accelerate": None} if self.name == "fastem" else {}),
        )
        with warnings.catch_warnings(), threadpool_limits(self._threads):
            warnings.simplefilter("ignore", ConvergenceWarning)
            begin = time.perf_counter()
            model.fit(problem.X)
            seconds = time.perf_counter() - begin
        parameters = arrived(case, model.weights_, model.means_, model.covariances_)
        return Fit(seconds, int(model.n_iter_), parameters)

    def close(self) -> None:
        """Nothing to end."""


class OneDal:
    """oneDAL in a process of its own, which stays alive between fits."""

    name = "onedal"

    def __init__(self, python: Path, threads: int = THREADS) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._threads = threads
        self._prepared: Problem | None = None
        worker = Path(__file__).with_name("onedal_worker.py")
        command, pipe = [str(python), str(worker)], subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        self.version = self._read()["version"]

    def supports(self, case: Case) -> bool:
        """Return whether oneDAL has such covariances: it knows neither tied nor spherical ones."""
        return case.covariance_type in ("full", "diag")

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the oneDAL worker ended: its message stands above")
        return json.loads(line)

    def _path(self, name: str) -> str:
        return str(Path(self._folder.name) / name)

    def _prepare(self, problem: Problem) -> None:
        """Write the data and the start once for each problem."""
        if self._prepared is problem:
            return
        for old in Path(self._folder.name).iterdir():
            old.unlink()
        np.save(self._path(f"{problem.case.name}.npy"), problem.X)
        np.savez(self._path("start.npz"), **problem.start._asdict())
        self._prepared = problem

    def fit(self, problem: Problem, n_iter: int) -> Fit:
        """Run `n_iter` iterations."""
        self._prepare(problem)
        request = {
            "data": self._path(f"{problem.case.name}.npy"),
            "start": self._path("start.npz"),
            "covariance_type": problem.case.covariance_type,
            "n_iter": n_iter,
            "threads": self._threads,
            "out": self._path("out.npz"),
        }
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._read()
        with np.load(request["out"]) as out:
            parameters = arrived(problem.case, out["weights"], out["means"], out["covariances"])
        return Fit(answer["seconds"], answer["n_iter"], parameters)

    def close(self) -> None:
        """End the worker."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._folder.cleanup()


def onedal_python() -> Path | None:
    """Return the Python of oneDAL's environment, if there is one: FASTEM_ONEDAL_PYTHON, or the script's."""
    default = Path(__file__).with_name(".venv-onedal") / "bin" / "python"
    python = Path(os.environ.get("FASTEM_ONEDAL_PYTHON", default))
    return python if python.exists() else None


def make_rivals(names: list[str]) -> list[Estimator | OneDal]:
    """Return the rivals of these names; oneDAL is left out, with a word, where it has no environment."""
    rivals: list[Estimator | OneDal] = []
    for name in names:
        if name == "onedal":
            python = onedal_python()
            if python is None:
                print("oneDAL is left out: bash bench/make_onedal_env.sh makes its environment", flush=True)
            else:
                rivals.append(OneDal(python))
        else:
            rivals.append(Estimator(name))
    return rivals
