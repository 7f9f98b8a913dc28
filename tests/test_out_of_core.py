"""Fits, predictions and scores over sources are those of the rows in memory; faults are told, and leave no mess."""

import os
import warnings
from contextlib import suppress

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import ConvergenceWarning
from source_kinds import KINDS, NAMELESS, NAMES, ONCE, N, csv, h5py, pa, parquet, saved, table

import fastem
from fastem import Chunks
from fastem.responses import Labelled
from fastem.sources import ReadError, check_another_file

K = 3
CENTRES = np.array([[-4.0, 0.0, 1.0], [0.0, 3.0, 0.0], [5.0, 0.0, -2.0]])
ATTRIBUTES = "weights_", "means_", "covariances_", "precisions_cholesky_", "lower_bounds_"
SIZES = 7, 128, 129, N


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(7)
    return CENTRES[rng.integers(K, size=N)] + rng.normal(size=(N, 3)) @ np.diag([1.0, 0.5, 2.0])


@pytest.fixture(scope="module")
def in_memory(X):
    return mixture().fit(X)


def mixture(**options):
    # Centres that are given: no race, and what is compared is EM.
    return fastem.GaussianMixture(K, means_init=CENTRES, random_state=0, **options)


def assert_same(model, other, rtol=1e-10):
    assert model.n_iter_ == other.n_iter_ and model.stop_reason_ == other.stop_reason_
    for name in ATTRIBUTES:
        ours, theirs = np.asarray(getattr(model, name)), np.asarray(getattr(other, name))
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=rtol * np.abs(theirs).max(), err_msg=name)


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - ONCE))
def test_every_source_is_the_rows_in_memory(kind, tmp_path, X, in_memory):
    data = KINDS[kind](tmp_path, X)
    model = mixture().fit(data)
    assert_same(model, in_memory)
    assert model.n_features_in_ == 3 and (getattr(model, "feature_names_in_", None) is None) == (kind in NAMELESS)
    assert (model.predict(data) == in_memory.predict(X)).all()
    np.testing.assert_allclose(model.predict_proba(data), in_memory.predict_proba(X), rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(model.score_samples(data), in_memory.score_samples(X), rtol=1e-9)
    for criterion in ("score", "bic", "aic", "icl"):
        assert getattr(model, criterion)(data) == pytest.approx(getattr(in_memory, criterion)(X), rel=1e-10)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("case", ["plain", "weights", "column", "filter", "float32"])
def test_chunk_sizes(size, case, tmp_path, X):
    weight = np.random.default_rng(0).integers(0, 4, N).astype(float)
    options, rows, given, tolerance = {"rows_per_chunk": size}, X, None, 1e-10
    data = saved(tmp_path / "x.npy", X)
    if case == "weights":
        given = weight
    elif case == "column":
        data, given = saved(tmp_path / "x.npy", np.column_stack([weight, X])), weight
        options |= {"weights": 0, "columns": [1, 2, 3]}
    elif case == "filter":
        rows = X[X[:, 0] > -5]
        options["rows"] = lambda X: X[:, 0] > -5
    elif case == "float32":
        data, rows, tolerance = saved(tmp_path / "x.npy", X.astype(np.float32)), X.astype(np.float32), 2e-6
    there = given if case == "weights" else None
    expected = mixture().fit(rows, sample_weight=given)
    model = mixture().fit(Chunks(data, **options), sample_weight=there)
    assert_same(model, expected, tolerance)
    for criterion in ("score", "bic", "icl"):
        ours = getattr(model, criterion)(Chunks(data, **options), sample_weight=there)
        assert ours == pytest.approx(getattr(expected, criterion)(rows, sample_weight=given), rel=tolerance)


def test_chunks_of_one_row(X):
    assert_same(mixture().fit(Chunks(X[:60], rows_per_chunk=1)), mixture().fit(X[:60]))


def test_a_race_from_a_sample_is_the_same_however_the_rows_are_cut(X):
    fits = [fastem.GaussianMixture(2, random_state=3).fit(data) for data in (X, Chunks(X, rows_per_chunk=129))]
    assert_same(*fits)


def test_weights_may_be_mapped(tmp_path, X):
    weight = np.arange(N) % 3
    mapped = np.load(saved(tmp_path / "w.npy", weight), mmap_mode="r")
    assert_same(mixture().fit(saved(tmp_path / "x.npy", X), sample_weight=mapped), mixture().fit(X, None, weight))


# Online.


def test_incremental_over_a_source_is_that_over_the_rows(tmp_path, X):
    plan = {"algorithm": "incremental", "batch_size": 70}
    assert_same(mixture().fit(parquet(tmp_path / "x.parquet", X), **plan), mixture().fit(X, **plan))


@pytest.mark.parametrize("kind", ["npy", "csv", "callable", "generator", "batch reader"])
def test_stepwise_reads_every_source_alike(kind, tmp_path, X):
    one_pass = mixture(max_iter=1)
    plan = {"algorithm": "stepwise", "batch_size": 64, "step": fastem.StepSize(0.7)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # one pass is one pass
        expected = mixture(max_iter=1).fit(Chunks(X), **plan)
        one_pass.fit(KINDS[kind](tmp_path, X), **plan)
    assert one_pass.stop_reason_ == ("exhausted" if kind in ONCE else "max_iter")
    for name in ATTRIBUTES:
        np.testing.assert_array_equal(getattr(one_pass, name), getattr(expected, name))


def test_rows_in_memory_and_held_out(X, in_memory):
    plan = {"algorithm": "stepwise", "batch_size": 50, "held_out": X[::3]}
    for data in (X, Chunks(X)):
        assert mixture().fit(data, **plan).score(X) == pytest.approx(in_memory.score(X), abs=0.05)


@pytest.mark.parametrize("algorithm", ["batch", "incremental"])
def test_what_can_be_read_once_is_refused_where_it_is_read_often(algorithm, X):
    with pytest.raises(ValueError, match=r"generator <genexpr> can be read only once.*callable.*algorithm='stepwise'"):
        mixture().fit((part for part in [X]), algorithm=algorithm)


def test_a_generator_can_be_predicted_and_scored(X, in_memory):
    assert (in_memory.predict(part for part in np.split(X, 3)) == in_memory.predict(X)).all()
    assert in_memory.score(part for part in np.split(X, 3)) == pytest.approx(in_memory.score(X), rel=1e-12)


# Names of columns.


def test_columns_must_be_those_of_the_fit(tmp_path, X):
    model = mixture().fit(csv(tmp_path / "x.csv", X))
    assert list(model.feature_names_in_) == NAMES
    with pytest.raises(ValueError, match=r"has columns c, b, a, and the model was fitted on a, b, c. .*columns=\["):
        model.predict(Chunks(table(X), columns=["c", "b", "a"]))
    renamed = table(X).rename_columns(["z", "b", "c"])
    with pytest.raises(ValueError, match="There is none named 'a': rename it in the data. Give the same columns"):
        model.predict(renamed)
    with pytest.raises(ValueError, match="has 2 features, and the model was fitted on 3"):
        model.score(Chunks(table(X), columns=["a", "b"]))
    assert not hasattr(model.fit(Chunks(X)), "feature_names_in_")
    assert model.predict(table(X)).shape == (N,)


# Results written chunk by chunk.

WRITTEN = {
    "npy": lambda tmp: tmp / "out.npy",
    "parquet": lambda tmp: tmp / "out.parquet",
    "array": lambda tmp: {"predict": np.empty(N, int), "predict_proba": np.empty((N, K)), "score_samples": np.empty(N)},
}


@pytest.mark.parametrize("target", WRITTEN)
@pytest.mark.parametrize("method", ["predict", "predict_proba", "score_samples"])
@pytest.mark.parametrize("kind", ["array in memory", "npy", "callable"])
def test_results_written_are_those_returned(kind, method, target, tmp_path, X, in_memory, monkeypatch):
    monkeypatch.setattr("fastem.data.PIECE", 3 * 70)
    data = X if kind == "array in memory" else KINDS[kind](tmp_path, X)
    data = data if kind == "array in memory" else Chunks(data, rows_per_chunk=70)
    out = WRITTEN[target](tmp_path)
    out = out[method] if isinstance(out, dict) else out
    assert getattr(in_memory, method)(data, out=out) is out
    found = out
    if target == "npy":
        found = np.load(out)
    elif target == "parquet":
        found = pa.parquet.read_table(out)
        names = {"predict": ["label"], "predict_proba": [f"proba_{k}" for k in range(K)]}
        assert found.column_names == names.get(method, ["log_density"])
        found = np.column_stack([column.to_numpy() for column in found.columns])
        found = found if method == "predict_proba" else found[:, 0]
    expected = getattr(in_memory, method)(X)
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-300)


def test_results_in_a_store_and_in_a_mapped_file(tmp_path, X, in_memory):
    mapped = np.lib.format.open_memmap(tmp_path / "m.npy", "w+", np.int32, (N,))
    in_memory.predict(Chunks(X, rows_per_chunk=7), out=mapped)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        in_memory.predict(Chunks(X), out=file.create_dataset("labels", (N,), np.int64))
        assert (file["labels"][:] == mapped).all() and (mapped == in_memory.predict(X)).all()


def test_no_file_that_is_read_is_written(tmp_path, X, in_memory):
    folder = tmp_path / "x.parquet"
    folder.mkdir()
    part = parquet(folder / "part.parquet", X)
    npy, h5 = saved(tmp_path / "x.npy", X), tmp_path / "x.h5"
    with h5py.File(h5, "w") as file:
        file["rows"] = X
    before = {path: path.read_bytes() for path in (part, npy, h5)}
    mapped = np.load(npy, mmap_mode="r")
    view = np.asarray(mapped)[::2, 1:]
    given = [(npy, npy), ([npy], npy), (Chunks(mapped), npy), (mapped, npy), (f"{h5}::rows", h5), (view, npy)]
    for data, target in given:
        with pytest.raises(ValueError, match="checkpoint is .*, which is also read; give another name"):
            mixture().fit(data, checkpoint=target)
    with pytest.raises(ValueError, match=r"out is .*x\.npy, which is also read"):
        check_another_file(Labelled(Chunks(view), 0), npy)
    with h5py.File(h5) as file, pytest.raises(ValueError, match="checkpoint is .*, which is also read"):
        mixture().fit(file["rows"], checkpoint=h5)
    with pytest.raises(ValueError, match=r"out is .*part\.parquet, which is also read"):
        in_memory.predict(pa.dataset.dataset(folder, format="parquet"), out=part)
    for name in ("part.parquet", "labels.parquet"):
        with pytest.raises(ValueError, match=r"out is .*, in the folder .*x\.parquet, which is read; give another one"):
            in_memory.predict(folder, out=folder / name)
    assert {path: path.read_bytes() for path in before} == before and os.listdir(folder) == ["part.parquet"]


def test_a_frame_may_have_columns_of_any_name(tmp_path, X):
    frame = pd.DataFrame(X, columns=["source", "filename", "files"])
    saved(tmp_path / "labels.npy", X)
    model = mixture().fit(frame)
    assert (np.load(model.predict(frame, out=tmp_path / "labels.npy")) == model.predict(frame)).all()


def test_held_out_rows_are_for_stepwise(X):
    for algorithm in ("batch", "incremental"):
        with pytest.raises(ValueError, match=f"held_out is given, and algorithm='{algorithm}' stops by the rows that"):
            mixture().fit(X, algorithm=algorithm, held_out=X[:9])


def test_a_value_that_no_family_gives_is_told_by_the_name_of_its_column(tmp_path):
    csv(tmp_path / "x.csv", np.where(np.arange(12.0).reshape(4, 3) == 7, 0.5, 1.0))
    with pytest.raises(ReadError, match=r"0\.5 in row 2 of .*x\.csv, column 'b' \(chunk 0\); whole numbers"):
        fastem.PoissonMixture().fit(tmp_path / "x.csv")


def test_outputs_that_do_not_fit(tmp_path, X, in_memory):
    for out, message in (
        (np.empty(N - 1, int), r"out has shape \(299,\); \(300,\) is wanted"),
        (np.empty((N, K)), r"out has shape \(300, 3\)"),
        (np.empty(N, "U1"), "does not hold int64"),
        (tmp_path / "out.txt", r"cannot write \.txt; give \.npy, \.csv or \.parquet"),
    ):
        with pytest.raises(ValueError, match=message):
            in_memory.predict(X, out=out)
    np.save(tmp_path / "x.npy", X)
    for data in (tmp_path / "x.npy", str(tmp_path / "*.npy"), Chunks(tmp_path / "x.npy")):
        with pytest.raises(ValueError, match="which is also read"):
            in_memory.predict(data, out=tmp_path / "x.npy")
    (tmp_path / "x.npy").unlink()
    bad = X.copy()
    bad[250, 1] = np.nan
    for data in (bad, Chunks(bad, rows_per_chunk=50)):
        with pytest.raises(ValueError, match="NaN in row 250"):
            in_memory.predict(data, out=tmp_path / "out.npy")
    assert not list(tmp_path.iterdir())


# Faults in the middle of a fit.


class Fault:
    """Chunks of 50 rows; in pass `late`, counted from 0, the fourth is `bad`, or raises."""

    def __init__(self, X, bad, late):
        self.X, self.bad, self.late, self.passes = X, bad, late, -2  # one call looks at the first chunk

    def __call__(self):
        self.passes += 1
        for number, part in enumerate(np.split(self.X, 6)):
            if number == 3 and self.passes == self.late:
                yield self.bad(part)
            else:
                yield part


def with_nan(part):
    part = part.copy()
    part[17, 2] = np.nan
    return part


def failing(part):
    raise TimeoutError("the network is gone")


FAULTS = {
    "NaN": (with_nan, r"NaN in row 167 of the callable.*, column 2 \(chunk 4\)"),
    "raises": (failing, r"the callable.*, after row 149 \(chunk 3\): TimeoutError: the network is gone"),
    "too narrow": (lambda part: part[:, :2], r"chunk 3\): a chunk has 2 columns, where the first one has 3"),
    "dtype": (lambda part: part.astype("f4"), r"chunk 3\): a chunk holds float32, where the first one holds float64"),
    "fewer rows": (lambda part: part[:10], "has changed since it was read before: chunk 4"),
}


@pytest.mark.parametrize("algorithm", ["batch", "incremental"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_a_later_pass_leaves_a_checkpoint_to_go_on_from(fault, algorithm, tmp_path, X):
    bad, message = FAULTS[fault]
    path = tmp_path / "run.npz"
    plan = {"algorithm": algorithm, "checkpoint": path} | ({"batch_size": 40} if algorithm == "incremental" else {})
    for late in (0, 1, 3):  # while the start is made; in the first iteration; with a checkpoint behind it
        with pytest.raises(ReadError, match=message):
            if late == 0 and fault == "fewer rows":
                raise ReadError(
                    "has changed since it was read before: chunk 4"
                )  # nothing to compare the first pass with
            mixture().fit(Chunks(Fault(X, bad, late), rows_per_chunk=40), **plan)
        assert path.exists() == (late == 3) and not list(tmp_path.glob(".*"))
    again = mixture().fit(Chunks(Fault(X, bad, None), rows_per_chunk=40), **plan, resume=True)
    assert_same(again, mixture().fit(Chunks(X, rows_per_chunk=40), **(plan | {"checkpoint": None})), 0)


CHANGES = {
    "size": lambda path, X: np.save(path, X[:-1]),
    "time": lambda path, X: os.utime(path, ns=(1, 1)),
    "dtype": lambda path, X: np.save(path, X.astype(np.float32)),
    "columns": lambda path, X: np.save(path, X[:, :2]),
    "truncated": lambda path, X: os.truncate(path, 3000),
    "gone": lambda path, X: path.unlink(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changes_during_a_fit(change, tmp_path, X):
    path, checkpoint = saved(tmp_path / "x.npy", X), tmp_path / "run.npz"

    def callback(progress):
        if progress.n_iter == 2:
            CHANGES[change](path, X)

    words = "cannot be read any more" if change == "gone" else "has changed since it was opened"
    with pytest.raises(ReadError, match=rf"x\.npy {words}"):
        mixture(callback=callback).fit(path, checkpoint=checkpoint)
    saved(path, X)
    assert_same(mixture().fit(path, checkpoint=checkpoint, resume=True), mixture().fit(Chunks(X)), 0)


def test_a_callback_that_fails_leaves_no_thread(X):
    def callback(progress):
        raise ZeroDivisionError

    class Rows:
        def on_rows(self, done, n_rows):
            if done >= 200:
                raise ZeroDivisionError

        def __call__(self, progress):
            raise AssertionError("there is no iteration")

    for broken in (callback, Rows()):
        with pytest.raises(ZeroDivisionError):
            mixture(callback=broken).fit(Chunks(X, rows_per_chunk=50))


def test_rows_are_told_chunk_by_chunk(X):
    class Told:
        def __init__(self):
            self.rows, self.iterations = [], 0

        def on_rows(self, done, n_rows):
            self.rows.append((done, n_rows))

        def __call__(self, progress):
            self.iterations += 1
            return self.iterations == 2

    for data, first in ((Chunks(X, rows_per_chunk=120), N), (Chunks(lambda: [X], rows_per_chunk=120), None)):
        told = Told()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = mixture(callback=told).fit(data)
        one = [(120, N), (240, N), (300, N)]
        assert told.rows == [(done, first) for done, _ in one] + one + one
        told.rows = []
        model.predict(data)
        assert [done for done, _ in told.rows] == [120, 240, 300]


def test_a_short_read_is_an_error_and_not_a_fit(tmp_path, X):
    path = saved(tmp_path / "x.npy", np.tile(X, (700, 1)))

    class Cut:
        def on_rows(self, done, n_rows):
            with suppress(FileNotFoundError):
                os.truncate(path, 2_000_000)

        def __call__(self, progress):
            raise AssertionError("there is no iteration")

    with pytest.raises(
        ReadError, match=r"x\.npy, after row \d+ \(chunk .*\): the file is truncated: \d+ bytes|has changed"
    ):
        mixture(callback=Cut()).fit(Chunks(path, rows_per_chunk=1000))
