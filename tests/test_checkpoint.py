"""A fit that is killed at any moment and resumed is the fit that was never killed; and what a checkpoint refuses."""

import errno
import os
import pickle
import subprocess
import sys
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

import fastem
from fastem import Chunks

ROOT = Path(fastem.__file__).parents[1]
ATTRIBUTES = "weights_", "means_", "covariances_", "lower_bounds_"


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    """Power cuts are not tested, and without them the file system keeps what was written."""
    monkeypatch.setattr("fastem.files._sync", lambda path: None)


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(3)
    return rng.normal(size=(400, 3)) + 2.0 * rng.integers(3, size=(400, 1))


def mixture(**options):
    return fastem.GaussianMixture(3, **{"random_state": 0, "init_params": "random_from_data", **options})


def fitted(data, model=None, **plan):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return (model or mixture()).fit(data, **plan)


def assert_equal(model, other):
    assert (model.n_iter_, model.stop_reason_) == (other.n_iter_, other.stop_reason_)
    for name in ATTRIBUTES:
        np.testing.assert_array_equal(getattr(model, name), getattr(other, name))
    assert model.diagnostics_ == other.diagnostics_


# Killed.

KILLED = """
import os, random, signal, sys, time, warnings
import numpy as np, sklearn.cluster
import fastem, fastem.files, fastem.mixture, fastem.persistence, fastem.sources

fastem.files._sync = lambda path: None  # not the power is cut, and the disk may be slow

warnings.simplefilter("ignore")
rng = np.random.default_rng(3)
X = rng.normal(size=(400, 3)) + 2.0 * rng.integers(3, size=(400, 1))
np.save("x.npy", X)

class Slow:
    def __call__(self, progress):
        time.sleep(0.003)

def fit(name, callback=None, **checkpoint):
    data, n_init, plan = {
        "batch": ("x.npy", 1, {}),
        "incremental": ("x.npy", 1, {"algorithm": "incremental", "batch_size": 150}),
        "stepwise": (X, 1, {"algorithm": "stepwise", "batch_size": 100, "held_out": X[::5]}),
        "starts": (X, 2, {}),
    }[name]
    options = dict(tol=0, max_iter=60 if n_init == 2 else 100, init_params="random_from_data", n_jobs=1)
    model = fastem.GaussianMixture(3, random_state=0, n_init=n_init, callback=callback, **options)
    model.fit(data, **plan, **checkpoint)
    model.callback = None
    return model

def in_child(job):
    child = os.fork()
    if child == 0:
        code = 1
        try:
            job()
            code = 0
        finally:
            os._exit(code)
    return child

def mark(path):
    return (os.stat(path).st_ino, os.stat(path).st_mtime_ns) if os.path.exists(path) else None

random.seed(sys.argv[1])
for name in sys.argv[2:]:
    fit(name).save(name + "-whole.npz")  # in this process, whose forks then have the kernels; it starts no threads
    path, resumed = name + ".npz", {"checkpoint": name + ".npz", "resume": True}
    for kill in range(5):
        before = mark(path)
        child = in_child(lambda: fit(name, Slow(), **resumed))
        while kill and mark(path) == before:
            time.sleep(0.001)
        time.sleep(random.uniform(0, 0.04))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), (name, kill, status)
    _, status = os.waitpid(in_child(lambda: fit(name, **resumed).save(name + "-resumed.npz")), 0)
    assert status == 0, name
print("done")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_killed_twenty_times_and_resumed(tmp_path):
    """Forks of one process that has imported everything, so that each of them is quick."""
    names = "batch", "stepwise", "incremental", "starts"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", KILLED, "17", *names]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.stdout == "done\n", done.stderr
    for name in names:
        whole, resumed = (fastem.load(tmp_path / f"{name}-{which}.npz") for which in ("whole", "resumed"))
        assert_equal(resumed, whole)
        assert whole.n_iter_ > 20 or name == "stepwise"
    assert not list(tmp_path.glob(".*")), "what the killed ones left beside was not removed"


# Ended otherwise.

PLANS = {
    "batch": {},
    "stepwise": {"algorithm": "stepwise", "batch_size": 100},
    "incremental": {"algorithm": "incremental", "batch_size": 100},
}


@pytest.mark.parametrize("algorithm", PLANS)
def test_more_iterations_go_on_where_the_fit_ended(algorithm, tmp_path, X):
    plan = {**PLANS[algorithm], "checkpoint": tmp_path / "run.npz", "resume": True}
    for max_iter in (2, 2, 5, 30):
        model = fitted(X, mixture(max_iter=max_iter), **plan)
        assert model.n_iter_ == max_iter or model.converged_
    assert_equal(model, fitted(X, mixture(max_iter=30), **PLANS[algorithm]))


@pytest.mark.parametrize("algorithm", PLANS)
def test_broken_off_just_before_the_end(algorithm, tmp_path, X):
    """The monitor stops after several small predictions in a row, and these are counted across the break."""
    plan = PLANS[algorithm]
    whole = fitted(X, **plan)
    assert whole.converged_ and whole.n_iter_ > 4
    for max_iter in range(whole.n_iter_ - 4, whole.n_iter_):
        path = tmp_path / f"{max_iter}.npz"
        fitted(X, mixture(max_iter=max_iter), checkpoint=path, **plan)
        assert_equal(fitted(X, checkpoint=path, resume=True, **plan), whole)


def test_the_records_of_many_chunks(tmp_path, X, monkeypatch):
    monkeypatch.setattr("fastem.engine.records.BLOCK", 1000)  # a few records each
    plan = {"algorithm": "incremental", "batch_size": 10}
    fitted(X, mixture(max_iter=3), checkpoint=tmp_path / "run.npz", **plan)
    assert_equal(fitted(X, checkpoint=tmp_path / "run.npz", resume=True, **plan), fitted(X, **plan))


@pytest.mark.parametrize("algorithm", PLANS)
def test_a_finished_fit_is_returned_at_once(algorithm, tmp_path, X):
    plan = {**PLANS[algorithm], "checkpoint": tmp_path / "run.npz"}
    whole = fitted(X, **plan)
    assert whole.converged_

    def callback(progress):
        raise AssertionError("there is nothing to do")

    assert_equal(mixture(callback=callback).fit(X, **plan, resume=True), whole)


@pytest.mark.parametrize("stop", [1, 4])
def test_a_start_that_was_broken_off_is_not_the_last(stop, tmp_path, X):
    """Of two fits the first or the second is broken off by the callback."""
    calls, path = [], tmp_path / "run.npz"
    options = {"n_init": 2, "max_iter": 3, "random_state": 1}

    def callback(progress):
        calls.append(progress)
        return len(calls) == stop

    broken = fitted(X, mixture(callback=callback, **options), checkpoint=path)
    assert broken.stop_reason_ == ("callback" if stop == 1 else "max_iter") and len(calls) == stop
    assert_equal(fitted(X, mixture(**options), checkpoint=path, resume=True), fitted(X, mixture(**options)))


def test_the_same_rows_from_elsewhere(tmp_path, X):
    path = tmp_path / "run.npz"
    np.save(tmp_path / "x.npy", X)
    fitted(X, mixture(max_iter=3), checkpoint=path)
    model = fitted(tmp_path / "x.npy", checkpoint=path, resume=True)
    assert_equal(model, fitted(X))


def test_without_resume_the_fit_begins_anew(tmp_path, X):
    path = tmp_path / "run.npz"
    fitted(X + 1, checkpoint=path)
    (tmp_path / ".run.npz.0123abcd.tmp").touch()
    assert_equal(fitted(X, checkpoint=path), fitted(X))
    assert os.listdir(tmp_path) == ["run.npz"]


def test_no_file_yet(tmp_path, X):
    assert_equal(fitted(X, checkpoint=str(tmp_path / "run.npz"), resume=True), fitted(X))


# What is refused.

OTHER = {
    "rows": (lambda X: X[:-1], {}, {}, "n_rows=400, and this one has n_rows=399"),
    "values": (lambda X: X + 1e-9, {}, {}, "to other rows or weights, though as many"),
    "weights": (lambda X: X, {}, {"sample_weight": np.full(400, 2.0)}, "to other rows or weights"),
    "rows of a source": (lambda X: Chunks(lambda: [X[::-1]]), {}, {}, "to other rows or weights"),
    "columns": (lambda X: X[:, :2], {}, {}, "n_features=3, and this one has n_features=2"),
    "dtype": (lambda X: X.astype(np.float32), {}, {}, "dtype='float64', and this one has dtype='float32'"),
    "components": (lambda X: X, {"n_components": 2}, {}, "n_components=3, and this one has n_components=2"),
    "covariances": (lambda X: X, {"covariance_type": "diag"}, {}, "covariance_type='full', and"),
    "seed": (lambda X: X, {"random_state": 1}, {}, "random_state=0, and this one has random_state=1"),
    "starts": (lambda X: X, {"n_init": 5}, {}, "n_init=1, and this one has n_init=5"),
    "algorithm": (lambda X: X, {}, {"algorithm": "stepwise"}, "algorithm='batch', and"),
    "prior": (lambda X: X, {"prior": "default"}, {}, "prior=None, and this one has prior='default'"),
    "known rows": (lambda X: X, {}, {"labels": np.full(400, -1)}, "labels="),
}


@pytest.mark.parametrize("other", OTHER)
def test_another_fit_is_refused(other, tmp_path, X):
    change, options, plan, message = OTHER[other]
    path = tmp_path / "run.npz"
    fitted(X, mixture(max_iter=2), checkpoint=path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=rf"run\.npz .*{message}.*; resume with the same data.* another checkpoint"):
        fitted(change(X), mixture().set_params(**options), checkpoint=path, resume=True, **plan)
    assert path.read_bytes() == before


def test_other_weights_of_rows_that_are_sampled_are_told_by_their_sum(tmp_path):
    """The sample is drawn by weight, and then counts alike: it is the same for twice the weights."""
    rows, path = np.random.default_rng(0).normal(size=(6000, 3)), tmp_path / "run.npz"
    weights = np.random.default_rng(1).uniform(1, 2, 6000)
    fitted(rows, mixture(max_iter=1), checkpoint=path, sample_weight=weights)
    message = rf"other rows or weights, of weight {weights.sum():.12g} in all, and here it is {2 * weights.sum():.12g};"
    with pytest.raises(ValueError, match=message):
        fitted(rows, checkpoint=path, resume=True, sample_weight=2 * weights)
    cut = Chunks(lambda: zip(np.split(rows, [1, 4000]), np.split(weights, [1, 4000]), strict=True))
    assert fitted(cut, mixture(max_iter=2), checkpoint=path, resume=True).n_iter_ == 2


def test_another_family_is_refused(tmp_path, X):
    path = tmp_path / "run.npz"
    fitted(X, mixture(max_iter=2), checkpoint=path)
    with pytest.raises(ValueError, match="estimator='GaussianMixture', and this one has estimator='StudentTMixture'"):
        fastem.StudentTMixture(3, random_state=0).fit(X, checkpoint=path, resume=True)


@pytest.mark.parametrize("plan", [{"batch_size": 50}, {"step": fastem.StepSize(0.9)}, {"held_out": [[0.0, 0.0, 0.0]]}])
def test_another_plan_is_refused(plan, tmp_path, X):
    path, stepwise = tmp_path / "run.npz", {"algorithm": "stepwise"}
    fitted(X, mixture(max_iter=2), checkpoint=path, **stepwise)
    with pytest.raises(ValueError, match=rf"run\.npz was written by a fit with {next(iter(plan))}="):
        fitted(X, checkpoint=path, resume=True, **stepwise, **plan)


class Dangerous:
    def __reduce__(self):
        return os.abort, ()


def damaged(path, X):
    fitted(X, mixture(max_iter=2), checkpoint=path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


WRONG = {
    "pickle": lambda path, X: path.write_bytes(pickle.dumps(Dangerous())),
    "objects": lambda path, X: np.savez(path, format=np.array([Dangerous()])),
    "model": lambda path, X: fitted(X).save(path),
    "text": lambda path, X: path.write_text("log-likelihood -3.1"),
    "empty": lambda path, X: path.touch(),
    "damaged": damaged,
    "array": lambda path, X: path.write_bytes(b"\x93NUMPY\x01\x00"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_file_that_is_no_checkpoint(wrong, tmp_path, X):
    path = tmp_path / "run.npz"
    WRONG[wrong](path, X)
    with pytest.raises(
        ValueError, match=r"run\.npz is no checkpoint that this fastem wrote \(.+\); give .*, or remove"
    ):
        fitted(X, checkpoint=path, resume=True)
    if wrong == "damaged":
        return  # it was one, and may be replaced
    kept = path.read_bytes()
    with pytest.raises(ValueError, match=r"run\.npz is there and is no checkpoint: .* Give another name"):
        fitted(X, checkpoint=path)
    assert path.read_bytes() == kept


def test_every_truncation_is_told(tmp_path, X):
    path = tmp_path / "run.npz"
    fitted(X, mixture(max_iter=2), checkpoint=path)
    whole = path.read_bytes()
    for length in range(0, len(whole), 997):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="is no checkpoint that this fastem wrote"):
            fitted(X, checkpoint=path, resume=True)


def test_where_nothing_can_be_written(tmp_path, X):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        fitted(X, checkpoint=tmp_path / "none" / "run.npz")
    with pytest.raises(IsADirectoryError, match="it is a folder"):
        fitted(X, checkpoint=tmp_path, resume=True)
    with pytest.raises(TypeError, match="3 is a int; the name of a file is wanted"):
        fitted(X, checkpoint=3)
    with pytest.raises(ValueError, match="resume=True, and no checkpoint was given"):
        fitted(X, resume=True)


# A disk that fills up.


@contextmanager
def full_after(writes, monkeypatch):
    from fastem import files

    done, whole = [], files.written_beside

    @contextmanager
    def written_beside(path):
        with whole(path) as temporary:
            done.append(path)
            if len(done) > writes:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            yield temporary

    monkeypatch.setattr("fastem.checkpoint.written_beside", written_beside)
    yield done
    monkeypatch.undo()


@pytest.mark.parametrize("algorithm", PLANS)
def test_on_a_full_disk_the_fit_goes_on(algorithm, tmp_path, X, monkeypatch):
    path, plan = tmp_path / "run.npz", PLANS[algorithm]
    model, whole = mixture(), fitted(X, **plan)
    with full_after(2, monkeypatch) as done, pytest.warns(RuntimeWarning) as caught:
        model.fit(X, checkpoint=path, **plan)
    assert len(done) > 3 and len([w for w in caught if "checkpoint" in str(w.message)]) == 1
    assert "was not written" in str(caught[0].message) and "No space left" in str(caught[0].message)
    assert_equal(model, whole)
    assert os.listdir(tmp_path) == ["run.npz"]
    assert_equal(fitted(X, checkpoint=path, resume=True, **plan), whole)  # from the second pass


LIMITED = """
import resource, signal, warnings
import numpy as np, fastem
rng = np.random.default_rng(3)
X = rng.normal(size=(400, 3)) + 2.0 * rng.integers(3, size=(400, 1))
def fit(**checkpoint):
    model = fastem.GaussianMixture(3, random_state=0, init_params="random_from_data", n_jobs=1)
    return model.fit(X, **checkpoint)
whole = fit()
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    model = fit(checkpoint="run.npz")
print(model.n_iter_ == whole.n_iter_, (model.means_ == whole.means_).all())
print([str(w.message) for w in caught])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits of resources")
def test_where_a_file_may_not_grow_the_fit_goes_on(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", LIMITED]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and lines[0] == "True True", done.stderr
    assert lines[1].count("the checkpoint was not written") == 1 and "File too large" in lines[1]
    assert os.listdir(tmp_path) == []


def test_components_that_are_dropped_and_kept(tmp_path):
    rows = np.concatenate(
        [np.random.default_rng(0).normal(size=(400, 2)) + c for c in (0, 9)] + [np.full((50, 2), 4.0)]
    )
    options = {"reg_covar": 0, "on_collapse": "drop", "means_init": [[0, 0], [9, 9], [4, 4]]}
    with pytest.warns(ConvergenceWarning, match="dropped"):
        whole = mixture(**options).fit(rows)
        kept = mixture(**options).fit(rows, checkpoint=tmp_path / "run.npz")
        resumed = mixture(**options).fit(rows, checkpoint=tmp_path / "run.npz", resume=True)
    assert len(whole.weights_) == 2
    assert_equal(kept, whole)
    assert_equal(resumed, whole)


def test_resuming_leaves_other_streams_of_random_numbers_alone(tmp_path, X):
    path = tmp_path / "run.npz"
    for state in (None, np.random.RandomState(0)):
        estimator = mixture(random_state=state, max_iter=2)
        with pytest.warns(ConvergenceWarning):
            estimator.fit(X, checkpoint=path)
        stream = np.random if state is None else state
        drawn = stream.rand()
        with pytest.warns(ConvergenceWarning):
            estimator.fit(X, checkpoint=path, resume=True)
        assert stream.rand() != drawn
