"""A saved model comes back bit for bit; whatever else is given to load is refused, and nothing in it runs."""

import errno
import io
import json
import os
import pickle
import signal
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

import fastem
from fastem.persistence import load, read, save
from fastem.summary import show_model

X = np.random.default_rng(0).normal(size=(200, 2)) + np.repeat([[0.0], [8.0]], 100, axis=0)


def fitted(dtype=np.float64, **parameters):
    model = fastem.GaussianMixture(2, random_state=0, max_iter=20, **parameters)
    return model.fit(X.astype(dtype))


@pytest.fixture(scope="module")
def model():
    return fitted()


@pytest.fixture
def saved(model, tmp_path):
    path = tmp_path / "model.npz"
    save(model, path)
    return path


def assert_same(a, b):
    """Equal to the last bit, and of the same type."""
    assert type(a) is type(b)
    if isinstance(a, np.ndarray):
        assert a.dtype == b.dtype and a.shape == b.shape
        assert a.tolist() == b.tolist() if a.dtype.hasobject else a.tobytes() == b.tobytes()
    else:
        assert a == b


def rewritten(path, **changes):
    """`path` with some entries of the archive replaced, and those that are None removed."""
    with np.load(path) as file:
        entries = {**file, **changes}
    np.savez(path, **{name: entry for name, entry in entries.items() if entry is not None})
    return path


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
def test_every_attribute_returns_bit_for_bit(dtype, covariance_type, tmp_path):
    one = fitted(dtype, covariance_type=covariance_type)
    one.save(tmp_path / "model.npz")
    other = fastem.load(tmp_path / "model.npz")
    assert type(other) is type(one)
    attributes = {name for name in vars(one) if name.endswith("_") and not name.startswith("_")}
    assert attributes == {name for name in vars(other) if name.endswith("_")}
    assert {"weights_", "means_", "covariances_", "history_", "diagnostics_", "stop_reason_"} <= attributes
    for name in attributes:
        assert_same(getattr(one, name), getattr(other, name))
    assert one.get_params() == other.get_params()
    assert_same(one.predict_proba(X.astype(dtype)), other.predict_proba(X.astype(dtype)))


def test_arguments_return(tmp_path):
    def ignored(progress):
        return None

    precisions = np.array([np.eye(2)] * 2)
    one = fitted(
        weights_init=np.array([0.25, 0.75]),
        means_init=X[[0, 150]],
        precisions_init=precisions,
        tol=np.float64(1e-3),
        callback=ignored,
    )
    one.random_state = np.random.RandomState(3)
    save(one, tmp_path / "model.npz")
    other = load(tmp_path / "model.npz")
    for name in ("weights_init", "means_init", "precisions_init"):
        assert_same(getattr(one, name), getattr(other, name))
    assert other.tol == 1e-3
    assert other.callback is None and other.random_state is None
    assert one.callback is ignored
    one.set_params(means_init=X[[0, 150]].tolist(), random_state=None)
    save(one, tmp_path / "model.npz")
    assert load(tmp_path / "model.npz").means_init == one.means_init


def test_feature_names_return(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=["length", "Länge"])
    one = fastem.GaussianMixture(2, random_state=0, max_iter=5, tol=1e3).fit(frame)
    save(one, tmp_path / "model.npz")
    other = load(tmp_path / "model.npz")
    assert_same(one.feature_names_in_, other.feature_names_in_)
    other.predict(frame)  # compares the names, and warns or raises where they differ


def test_scalars_keep_their_type_and_nan(model, tmp_path):
    one = fastem.GaussianMixture(2)
    vars(one).update(vars(model))
    one.converged_, one.lower_bound_ = np.bool_(True), np.float32(0.1)
    one.diagnostics_ = {"x": float("nan"), "y": float("-inf"), "k": np.int64(3)}
    save(one, tmp_path / "model.npz")
    other = load(tmp_path / "model.npz")
    assert_same(one.converged_, other.converged_)
    assert_same(one.lower_bound_, other.lower_bound_)
    assert np.isnan(other.diagnostics_["x"]) and other.diagnostics_["y"] == -np.inf
    assert other.diagnostics_["k"] == 3


def test_unfitted_and_unknown_are_not_saved(tmp_path):
    with pytest.raises(NotFittedError):
        save(fastem.GaussianMixture(2), tmp_path / "model.npz")
    with pytest.raises(ValueError, match="cannot save a dict"):
        save({}, tmp_path / "model.npz")
    assert not list(tmp_path.iterdir())


def test_an_object_in_an_attribute_is_not_saved(model, tmp_path):
    one = fastem.GaussianMixture(2)
    vars(one).update(vars(model))
    one.diagnostics_ = {"what": object()}
    with pytest.raises(ValueError, match="diagnostics_: a object is neither"):
        save(one, tmp_path / "model.npz")
    assert not list(tmp_path.iterdir())


def test_truncated_at_any_length(saved):
    whole = saved.read_bytes()
    for length in [*range(0, 40), *range(40, len(whole), 97), len(whole) - 1]:
        saved.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"model\.npz is .*wanted a file written by fastem"):
            load(saved)


def test_damaged_bytes_never_give_another_exception(saved):
    """Bits flipped anywhere: either the checksums notice, or the bytes meant nothing."""
    whole = bytearray(saved.read_bytes())
    for position in np.random.default_rng(0).choice(len(whole), 300, replace=False):
        damaged = whole.copy()
        damaged[position] ^= 0xFF
        saved.write_bytes(damaged)
        try:
            load(saved)
        except ValueError as error:
            assert "model.npz" in str(error)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, "has version 2 of the format, and this fastem reads version 1"),
        ({"version": None}, "has version missing"),
        ({"kind": "Nonsense"}, "kind Nonsense, and this fastem knows BernoulliMixture, "),
        ({"format": "other"}, "no model of fastem"),
        ({"format": None}, "no model of fastem"),
        ({"parameters": "{"}, "truncated or damaged"),
        ({"parameters": "[]"}, "truncated or damaged"),
        ({"parameters": json.dumps({"colour": "red"})}, "unknown arguments"),
        ({"attributes": None}, "truncated or damaged"),
        ({"attributes": json.dumps({"__class___": 1})}, "no name of ours"),
        ({"attributes": json.dumps({"predict": 1})}, "no name of ours"),
        ({"weights_": np.ones(9) / 9}, "weights_ has shape"),
        ({"weights_": np.array([-1.0, 2.0])}, "weights_ is .* numbers of at least 0"),
        ({"means_": None}, r"\(it has no means_\)"),
        ({"means_": np.full((2, 2), np.nan)}, r"\(means_ holds NaN or infinity"),
    ],
)
def test_other_files_of_the_format(saved, changes, message):
    with pytest.raises(ValueError, match=message):
        load(rewritten(saved, **changes))


class Bomb:
    """An object whose unpickling leaves a trace."""

    def __init__(self, trace):
        self.trace = str(trace)

    def __reduce__(self):
        return open, (self.trace, "w")


def test_nothing_is_unpickled(saved, tmp_path):
    trace = tmp_path / "trace"
    bomb = np.array([Bomb(trace)], dtype=object)
    whole = saved.read_bytes()
    for changes in ({"means_": bomb}, {"format": bomb}, {"extra": bomb}):
        saved.write_bytes(whole)
        malicious = rewritten(saved, **changes)
        with pytest.raises(ValueError, match="pickled objects, which may run code"):
            load(malicious)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        saved.write_bytes(pickle.dumps(Bomb(trace), protocol=protocol))
        with pytest.raises(ValueError, match="a pickle|not a model of fastem"):
            load(saved)
    assert not trace.exists()


def test_files_given_by_mistake(tmp_path):
    path = tmp_path / "x"
    np.save(tmp_path / "x.npy", X)
    with pytest.raises(ValueError, match="a single array"):
        load(tmp_path / "x.npy")
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="not a model of fastem"):
        load(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mimetype", "application/x")
    with pytest.raises(ValueError, match="no model of fastem"):
        load(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("format", "not an array")
    with pytest.raises(ValueError, match="no model of fastem"):
        load(path)
    with pytest.raises(ValueError, match="is a folder"):
        load(tmp_path)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none.npz")


@pytest.mark.parametrize("path", [3, None, True, b"model.npz", ["model.npz"]])
def test_what_is_no_path(model, path):
    for act in (load, model.save):
        with pytest.raises(TypeError, match="the name of a file is wanted, such as 'model.npz'"):
            act(path)


def test_an_empty_name(model):
    for act in (load, model.save):
        with pytest.raises(ValueError, match="name of the file is empty"):
            act("")


def test_a_full_disk_is_told_with_the_name(saved, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    before = saved.read_bytes()
    with pytest.raises(OSError, match="No space left on device") as caught:
        save(load(saved), saved)
    assert caught.value.errno == errno.ENOSPC and caught.value.filename == str(saved)
    assert saved.read_bytes() == before and os.listdir(saved.parent) == [saved.name]


def test_read_makes_no_estimator(saved, model):
    contents = read(saved)
    assert contents.kind == "GaussianMixture"
    assert contents.parameters["n_components"] == 2
    assert contents.attributes["means_"].tobytes() == model.means_.tobytes()


def test_no_ending_is_appended_and_permissions_are_the_users(model, tmp_path):
    path = tmp_path / "model"
    before = os.umask(0o027)
    try:
        save(model, path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    path.chmod(0o604)
    save(model, str(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o604
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_a_link_stays_a_link(model, tmp_path):
    (tmp_path / "real").mkdir()
    link = tmp_path / "model.npz"
    link.symlink_to(tmp_path / "real" / "model.npz")
    save(model, link)
    assert link.is_symlink() and (tmp_path / "real" / "model.npz").is_file()


def test_a_failed_write_leaves_the_old_file(model, saved, monkeypatch):
    before = saved.read_bytes()

    def full(file, **entries):
        file.write(b"PK\x03\x04half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space"):
        save(model, saved)
    assert saved.read_bytes() == before
    assert [p.name for p in saved.parent.iterdir()] == ["model.npz"]


def test_places_that_cannot_be_written(model, tmp_path):
    with pytest.raises(OSError, match="no folder"):
        save(model, tmp_path / "none" / "model.npz")
    with pytest.raises(OSError, match="is a folder"):
        save(model, tmp_path)
    if os.path.exists("/dev/null"):
        with pytest.raises(OSError, match="not a regular file"):
            save(model, "/dev/null")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_folder(model, tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(PermissionError, match="cannot write"):
            save(model, tmp_path / "model.npz")
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_killed_before_the_renaming_leaves_the_old_file_whole(saved):
    """The process dies where the new file is complete, and where it is half written."""
    before = saved.read_bytes()
    environment = {**os.environ, "PYTHONPATH": str(Path(fastem.__file__).parents[1])}
    kill = "lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)"
    for where in ("os.replace", "os.fsync"):
        script = (
            "import os, signal, sys; from fastem.persistence import load, save; "
            f"model = load(sys.argv[1]); {where} = {kill}; save(model, sys.argv[1])"
        )
        done = subprocess.run([sys.executable, "-c", script, str(saved)], check=False, env=environment)
        assert done.returncode == -signal.SIGKILL
        assert saved.read_bytes() == before
    load(saved)


def test_a_file_object_of_the_same_bytes_is_plain_numpy(saved):
    """The promise of the format: numpy alone reads it, and without pickle."""
    with np.load(io.BytesIO(saved.read_bytes()), allow_pickle=False) as file:
        assert file["format"] == "fastem" and file["version"] == 1 and file["kind"] == "GaussianMixture"
        assert json.loads(str(file["parameters"]))["n_components"] == 2
        assert file["means_"].shape == (2, 2)


def test_a_family_is_for_a_mixture_of_the_users_own(saved):
    with pytest.raises(ValueError, match="family is given, and .* holds a GaussianMixture, .* leave it out"):
        load(saved, family=object())


def test_no_other_mixture_is_shown(saved):
    with pytest.raises(ValueError, match="holds a PoissonMixture; one of GaussianMixture, .* with fastem.load"):
        show_model(rewritten(saved, kind="PoissonMixture"))
