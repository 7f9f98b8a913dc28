"""In processes of their own: interrupted, in threads on every threading layer, without a cache folder."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import threadpoolctl

import fastem
from fastem.engine.threads import one_library_thread

PACKAGE = Path(fastem.__file__).parent

DATA = """
import warnings
import numpy as np
import fastem
rng = np.random.default_rng(0)
X = np.vstack([rng.normal(0, 1, (20_000, 2)), rng.normal(1, 2, (20_000, 2))])
def mixture(**options):
    start = dict(weights_init=[0.5, 0.5], means_init=[[0, 0], [1, 1]], precisions_init=[[1, 1], [1, 1]])
    return fastem.GaussianMixture(2, covariance_type="diag", **start, **options)
"""


def environment(**variables: str) -> dict[str, str]:
    """Return an environment in which `import fastem` finds this package."""
    path = os.pathsep.join(filter(None, [str(PACKAGE.parent), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, **variables}


def run(script: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a script to its end."""
    return subprocess.run(
        [sys.executable, "-P", "-c", DATA + script],
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


INTERRUPTED = """
def callback(progress):
    if progress.n_iter == 3:
        print("running", flush=True)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    estimator = mixture(tol=0, max_iter=10**9, callback=callback).fit(X)
print(estimator.stop_reason_, estimator.converged_, estimator.n_iter_ == len(estimator.history_))
print(sorted({w.category.__name__ for w in caught}), estimator.predict(X[:1]).shape)
import signal
print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)
"""


def test_ctrl_c_ends_after_the_iteration_and_leaves_a_fit() -> None:
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", DATA + INTERRUPTED],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "running\n", process.communicate(timeout=60)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, err
    assert out.splitlines() == ["interrupted False True", "['ConvergenceWarning'] (1,)", "True"]


def test_ctrl_c_in_the_race_goes_on_with_its_leader() -> None:
    script = """
import signal
from fastem import starts
made, starts._from_responsibilities = starts._from_responsibilities, None
def from_responsibilities(*arguments):
    print("start", flush=True)
    signal.raise_signal(signal.SIGINT)
    return made(*arguments)
starts._from_responsibilities = from_responsibilities
warnings.simplefilter("ignore")
estimator = fastem.GaussianMixture(2, covariance_type="diag", n_init=3, random_state=0).fit(X)
print(estimator.stop_reason_, estimator.n_iter_, estimator.predict(X[:1]).shape)
"""
    result = run(script)
    assert result.stdout.splitlines() == ["start", "interrupted 1 (1,)"], result.stderr


def test_a_second_ctrl_c_is_not_held_back() -> None:
    script = """
import signal
def callback(progress):
    if progress.n_iter == 3:
        signal.raise_signal(signal.SIGINT)
        print("once", flush=True)
        signal.raise_signal(signal.SIGINT)
        print("never", flush=True)
try:
    mixture(tol=0, max_iter=10**9, callback=callback).fit(X)
except KeyboardInterrupt:
    print("KeyboardInterrupt", signal.getsignal(signal.SIGINT) is signal.default_int_handler)
"""
    result = run(script)
    assert result.stdout.splitlines() == ["once", "KeyboardInterrupt True"], result.stderr


def test_a_ctrl_c_that_was_swallowed_is_remembered() -> None:
    script = """
import signal
from fastem import terminal
from fastem.engine.interrupt import came, remember
remember()
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    pass
print(came(), mixture(tol=0, max_iter=10**9).fit(X).stop_reason_)
@terminal.plain_errors
def command():
    raise ImportError("initialization failed")
command()
"""
    result = run(script)
    assert result.stdout == "True interrupted\n", result.stderr
    assert "error: interrupted; nothing was saved" in result.stderr and "Exit" in result.stderr.splitlines()[-1]


def test_a_callers_own_handler_is_put_back() -> None:
    script = """
import signal
signal.signal(signal.SIGINT, mine := lambda *_: None)
mixture(tol=1e-3).fit(X)
print(signal.getsignal(signal.SIGINT) is mine)
"""
    result = run(script)
    assert result.stdout == "True\n", result.stderr


@pytest.mark.parametrize("layer", ["workqueue", "omp", "tbb"])
def test_several_threads_may_fit_at_once(layer: str) -> None:
    script = """
import sys, threading
from concurrent.futures import ThreadPoolExecutor
import numba
from numba.np.ufunc import parallel
try:
    parallel._launch_threads()
except ValueError as error:
    print("absent", error)
    sys.exit()
warnings.simplefilter("ignore")
barrier = threading.Barrier(4)
def fit(_):
    barrier.wait()
    estimator = mixture(tol=0, max_iter=60).fit(X)
    return estimator.means_, estimator.predict(X), estimator.score_samples(X)
alone = mixture(tol=0, max_iter=60).fit(X)
with ThreadPoolExecutor(4) as pool:
    results = list(pool.map(fit, range(4)))
for means, labels, log_prob in results:
    assert np.array_equal(means, alone.means_)
    assert np.array_equal(labels, alone.predict(X)) and np.array_equal(log_prob, alone.score_samples(X))
print("done", numba.threading_layer())
"""
    result = run(script, NUMBA_THREADING_LAYER=layer)
    assert result.returncode == 0, f"exit {result.returncode}: {result.stderr}"
    if result.stdout.startswith("absent"):
        pytest.skip(result.stdout)
    assert result.stdout == f"done {layer}\n"


def test_no_folder_for_the_cache_is_a_warning_at_most(tmp_path: Path) -> None:
    """A file in the place of every folder that numba would cache in: not even root can write there."""
    copy = tmp_path / "site" / "fastem"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for folder in [copy, *(path for path in copy.rglob("*") if path.is_dir())]:
        (folder / "__pycache__").write_text("")
    blocked = tmp_path / "blocked"
    blocked.write_text("")
    nowhere = str(blocked / "nowhere")
    script = """
from fastem.kernels.triangles import inverter
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    estimator = mixture(tol=1e-3).fit(X)
    inverter()  # another kernel, of which no more is said
print(fastem.__file__)
print(estimator.converged_, sum("cache" in str(w.message) for w in caught))
"""
    result = run(
        script,
        PYTHONPATH=str(copy.parent),
        HOME=nowhere,
        XDG_CACHE_HOME=nowhere,
        LOCALAPPDATA=nowhere,
        NUMBA_CACHE_DIR=nowhere,
        PYTHONDONTWRITEBYTECODE="1",
    )
    assert result.returncode == 0, result.stderr
    where, said = result.stdout.splitlines()
    assert where == str(copy / "__init__.py")
    assert said in ("True 0", "True 1"), result.stdout + result.stderr


def test_the_threads_of_blas_are_put_back_by_the_last_of_several_fits() -> None:
    def threads() -> set[int]:
        return {pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"}

    before, inside, barrier = threads(), [], threading.Barrier(3)

    def fit(rank: int) -> None:
        barrier.wait()
        with one_library_thread():
            time.sleep(0.01 * rank)
            inside.append(threads())
            time.sleep(0.01 * (3 - rank))

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(fit, range(3)))
    assert inside == [{1}] * 3 and threads() == before
