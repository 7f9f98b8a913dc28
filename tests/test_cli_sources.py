"""The command line on data that are read in chunks: the same paths as the estimator, choices, checkpoints, progress."""

import json
import os
import re

import numpy as np
import pytest
from source_kinds import pa
from test_cli import assert_one_error, data, run, shell  # noqa: F401

import fastem
from fastem.cli_data import DataFiles
from fastem.passes import Passes
from fastem.terminal import FitProgress

FIT = "fit", "-k", 3, "--seed", 0, "--rows-per-chunk", 700
ATTRIBUTES = "weights_", "means_", "covariances_"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The same rows in several forms, and a model fitted to them in memory."""
    folder = tmp_path_factory.mktemp("sources")
    X = data()
    np.save(folder / "x.npy", X)
    for part in range(3):
        np.save(folder / f"part-{part}.npy", X[part * 1000 : part * 1000 + 1000])
    named = {"name": ["a"] * len(X), "length": X[:, 0], "n": np.repeat([1.0, 2.0], len(X) // 2), "width": X[:, 1]}
    pa.parquet.write_table(pa.table(named), folder / "x.parquet")
    np.savetxt(folder / "x.csv", X, delimiter=";", header="length;width", comments="")
    fastem.GaussianMixture(3, random_state=0).fit(X).save(folder / "model.npz")
    return folder


@pytest.fixture
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    return folder


def assert_close(model, other):
    assert (model.n_iter_, model.stop_reason_) == (other.n_iter_, other.stop_reason_)
    for name in ATTRIBUTES:
        np.testing.assert_allclose(getattr(model, name), getattr(other, name), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(
    "given",
    [
        ["x.npy"],
        ["x.csv"],
        ["part-0.npy", "part-1.npy", "part-2.npy"],
        ["part-*.npy"],
        ["x.parquet", "--columns", "length,width"],
        ["x.parquet", "--columns", "1, -1"],
        ["x.parquet", "--columns", "numeric", "--weights-column", "n"],
    ],
)
def test_fit_of_every_path(given, run, tmp_path):  # noqa: F811
    out, report = tmp_path / "m.npz", tmp_path / "r.json"
    code, said, err = run(*FIT, *given, "--out", out, "--report", report)
    assert code == 0 and "converged after" in said, err
    weight = np.repeat([1.0, 2.0], 1500) if "n" in given else None
    expected = fastem.GaussianMixture(3, random_state=0).fit(np.load("x.npy"), None, weight)
    model, found = fastem.load(out), json.loads(report.read_text())
    assert_close(model, expected)
    assert found["data"]["rows"] == 3000 and found["data"]["columns"] == 2
    named = given[0] in ("x.csv", "x.parquet")
    assert list(getattr(model, "feature_names_in_", [])) == (["length", "width"] if named else [])


def test_the_same_from_a_shell(folder, tmp_path):
    done = shell("fit", "part-*.npy", "-k", 3, "--seed", 0, "--out", tmp_path / "m.npz", cwd=folder)
    assert done.returncode == 0 and "rows/s" in done.stderr, done.stderr
    assert_close(fastem.load(tmp_path / "m.npz"), fastem.load(folder / "model.npz"))


def test_labels_as_text(run, tmp_path):  # noqa: F811
    run("predict", "model.npz", "x.npy", "--out", tmp_path / "labels.csv")
    header, *labels = (tmp_path / "labels.csv").read_text().split()
    assert header == "label" and (np.array(labels, int) == fastem.load("model.npz").predict(np.load("x.npy"))).all()


@pytest.mark.parametrize("ending", [".npy", ".parquet"])
def test_predict_streams(ending, run, tmp_path):  # noqa: F811
    out, model, X = tmp_path / f"out{ending}", fastem.load("model.npz"), np.load("x.npy")
    given = ["part-*.npy", "--rows-per-chunk", 128, "--out", out]
    code, said, err = run("predict", "model.npz", *given)
    assert (code, err) == (0, "") and f"labels of 3000 rows saved as {out}" in said
    found = np.load(out) if ending == ".npy" else pa.parquet.read_table(out)["label"].to_numpy()
    assert (found == model.predict(X)).all()
    assert run("predict", "model.npz", *given, "--proba", "--quiet") == (0, "", "")
    found = np.load(out) if ending == ".npy" else np.column_stack(pa.parquet.read_table(out).columns)
    np.testing.assert_allclose(found, model.predict_proba(X), rtol=1e-12)


def test_score_of_sources(run):  # noqa: F811
    model, X = fastem.load("model.npz"), np.load("x.npy")
    columns = "x.parquet", "--columns", "length,width"
    result = json.loads(run("score", "model.npz", *columns, "--json")[1])
    assert result["rows"] == 3000 and result["bic"] == pytest.approx(model.bic(X), rel=1e-12)
    result = json.loads(run("score", "model.npz", *columns, "--weights-column", "n", "--json")[1])
    weight = np.repeat([1.0, 2.0], 1500)
    assert result["rows"] == 3000 and result["aic"] == pytest.approx(model.aic(X, weight), rel=1e-12)


def test_complete_rows_only(run, tmp_path):  # noqa: F811
    X = np.load("x.npy")
    X[[3, 2000]] = np.nan, np.inf
    np.save(tmp_path / "holes.npy", X)
    wrong = run(*FIT, tmp_path / "holes.npy", "-o", tmp_path / "m.npz")
    assert_one_error(wrong, "NaN in row 3 of", "column 0 (chunk 0)", "Drop incomplete rows with --complete")
    code, _, err = run(*FIT, tmp_path / "holes.npy", "-o", tmp_path / "m.npz", "--complete", "--dtype", "float32")
    assert code == 0, err
    rows = np.delete(X, [3, 2000], axis=0).astype(np.float32)
    model, expected = fastem.load(tmp_path / "m.npz"), fastem.GaussianMixture(3, random_state=0).fit(rows)
    assert model.means_.dtype == np.float32
    np.testing.assert_allclose(model.means_, expected.means_, rtol=1e-4)
    assert run("score", "model.npz", tmp_path / "holes.npy", "--complete")[1].splitlines()[0].split() == [
        "rows",
        "2998",
    ]


@pytest.mark.parametrize("size", [64, 700, 3000])
def test_results_of_incomplete_rows_stay_in_line(size, run, tmp_path):  # noqa: F811
    X, model = np.load("x.npy"), fastem.load("model.npz")
    bad = np.r_[0, 1, 5, 700:1500, 2999]
    X[bad, 1] = np.nan
    np.save(tmp_path / "holes.npy", X)
    predict = "predict", "model.npz", tmp_path / "holes.npy", "--complete", "--rows-per-chunk", size, "--out"
    code, said, err = run(*predict, tmp_path / "labels.npy")
    assert code == 0 and "labels of 3000 rows, 804 of them incomplete, saved" in said
    whole, found = np.delete(np.arange(3000), bad), np.load(tmp_path / "labels.npy")
    assert (found[bad] == -1).all() and (found[whole] == model.predict(X[whole])).all()
    assert run(*predict, tmp_path / "proba.parquet", "--proba", "--quiet") == (0, "", "")
    found = np.column_stack(pa.parquet.read_table(tmp_path / "proba.parquet").columns)
    assert np.isnan(found[bad]).all() and np.allclose(found[whole], model.predict_proba(X[whole]), rtol=1e-12)


def test_incomplete_rows_by_what_there_is_of_them(run, tmp_path):  # noqa: F811
    X, model = np.load("x.npy"), fastem.load("model.npz").set_params(missing="nan")
    X[::3, 1] = np.nan
    np.save(tmp_path / "holes.npy", X)
    for options in ((), ("--rows-per-chunk", 700)):
        wrong = run("score", "model.npz", tmp_path / "holes.npy", *options)
        assert_one_error(wrong, "row 0", "--complete", "take what there is of", "--missing")
        score = json.loads(run("score", "model.npz", tmp_path / "holes.npy", "--missing", "--json", *options)[1])
        assert score["rows"] == 3000 and score["mean_log_likelihood"] == pytest.approx(model.score(X))
    code, _, err = run("predict", "model.npz", tmp_path / "holes.npy", "--missing", "-o", tmp_path / "labels.npy")
    assert (code, err) == (0, "") and (np.load(tmp_path / "labels.npy") == model.predict(X)).all()
    code, _, err = run("score", "model.npz", tmp_path / "holes.npy", "--missing", "--complete")
    assert code == 2 and "the rows that --missing takes" in " ".join(err.split())


def test_checkpoint_and_resume(run, tmp_path):  # noqa: F811
    fit = [*FIT, "x.npy", "--out", tmp_path / "m.npz", "--checkpoint", tmp_path / "run.npz"]
    assert run(*fit, "--max-iter", 2)[0] == 0
    code, _, err = run(*fit, "--resume", "--quiet")
    assert (code, err) == (0, "")
    assert_close(fastem.load(tmp_path / "m.npz"), fastem.load("model.npz"))
    assert_one_error(run(*fit, "--resume", "--covariance", "diag"), "--covariance 'full'", "--covariance 'diag'")
    assert_one_error(run(*fit[:-1], tmp_path / "m.npz"), "would hold the model and the checkpoint")
    assert_one_error(run(*fit[:-1], "model.ckpt"), "must end in .npz")
    code, _, err = run(*fit[:-2], "--resume")
    assert code == 2 and "--checkpoint" in err


def test_algorithms(run, tmp_path):  # noqa: F811
    for algorithm in ("stepwise", "incremental"):
        fit = [*FIT, "x.npy", "--out", tmp_path / "m.npz", "--algorithm", algorithm, "--batch-size", 500]
        code, _, err = run(*fit)
        assert code == 0, err
        expected = fastem.GaussianMixture(3, random_state=0)
        expected.fit(fastem.Chunks("x.npy"), algorithm=algorithm, batch_size=500)
        assert_close(fastem.load(tmp_path / "m.npz"), expected)
    code, _, err = run(*FIT, "x.npy", "-o", tmp_path / "m.npz", "--batch-size", 5)
    assert code == 2 and "--batch-size is for --algorithm stepwise or incremental" in " ".join(err.split())
    code, _, err = run(*FIT, "x.npy", "-o", tmp_path / "m.npz", "--missing", "--complete")
    assert code == 2 and "--complete leaves out the rows that --missing takes" in " ".join(err.split())


def test_wrong_sources(run, tmp_path):  # noqa: F811
    fit, new = [*FIT, "-o", tmp_path / "new.npz"], tmp_path / "new.npy"
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n3,x\n")
    assert_one_error(run(*fit, "none-*.npy"), "no file matches none-*.npy")
    assert_one_error(run(*fit, "x.xlsx"), "there is no file x.xlsx")
    assert_one_error(run(*fit, "x.parquet"), "column 'name' of x.parquet holds string", "Choose others with --columns")
    assert_one_error(run(*fit, "x.parquet", "--columns", "length,depth"), "has no column 'depth'")
    assert_one_error(run(*fit, "x.npy", "--weights-column", 7), "has no column 7")
    (tmp_path / "other.csv").write_text("c,b\n1,2\n-,4\n5,6\n")
    (tmp_path / "twice.csv").write_text("a,a\n1,2\n3,4\n")
    assert_one_error(run(*fit, tmp_path / "twice.csv"), "has 2 columns named 'a'")
    assert_one_error(run(*fit, tmp_path / "bad.csv", "--columns", "a,b"), "column 'b': 'x', where a", "with --columns")
    assert_one_error(
        run("predict", "model.npz", "x.parquet", "--columns", "1", "-o", new), "has 1 features, and the model"
    )
    assert_one_error(run("predict", "model.npz", "part-0.npy", "part-1.npy", "-o", "part-1.npy"), "also a file to read")
    assert_one_error(run("predict", "model.npz", "part-*.npy", "-o", "part-1.npy"), "also a file to read")
    assert_one_error(
        run("predict", "model.npz", "x.npy", "-o", tmp_path / "x.txt"), "must end in .npy, .csv or .parquet"
    )
    other = run("score", "model.npz", tmp_path / "other.csv", "--columns", "c")
    assert_one_error(other, "Give the columns that the model was fitted on, e.g. with --columns")
    np.save(tmp_path / "w.npy", np.ones(7))
    weights = run(*fit, "part-*.npy", "--weights", tmp_path / "w.npy")
    assert_one_error(weights, "--weights has shape (7,); (3000,) is wanted")
    assert sorted(os.listdir(tmp_path)) == ["bad.csv", "other.csv", "twice.csv", "w.npy"]


def test_a_small_table_is_read_into_memory(here, monkeypatch):
    assert DataFiles(["x.csv"]).table and isinstance(DataFiles(["x.npy"]).read()[0], np.ndarray)
    for other in (DataFiles(["x.npy"], rows_per_chunk=7), DataFiles(["x.csv"] * 2), DataFiles(["part-?.npy"])):
        assert other.table is None and isinstance(other.read()[0], fastem.Chunks)
    monkeypatch.setattr("fastem.cli_data.SMALL", 1000)
    assert DataFiles(["x.csv"]).table is None


# Progress.


def test_a_pass_in_words(monkeypatch):
    clock = iter([0.0, 1.0, 2.0, 10.0, 20.0, 1e4])
    monkeypatch.setattr("fastem.passes.time.monotonic", lambda: next(clock))
    passes, said = Passes(), []
    for done, n_rows in ((100, None), (200, None), (300, None), (100, 300), (200, 300)):
        passes.update(done, n_rows)
        said.append(passes.line())
    assert said == [
        "pass 1: 100 rows",
        "pass 1: 200 rows",
        "pass 1: 300 rows",
        "pass 2: 100 of 300 rows",
        "pass 2: 200 of 300 rows, 10 s to the end of the pass",
    ]
    assert not passes.ending
    passes.update(300, 300)
    assert passes.ending and passes.number == 2


def test_long_passes_are_told(capfd, monkeypatch):
    monkeypatch.setattr("fastem.terminal._SECONDS_PLAIN", 0.0)
    monkeypatch.setattr("fastem.verbose.SECONDS", 0.0)
    X = data()
    chunks = fastem.Chunks(X, rows_per_chunk=1000)
    with FitProgress() as progress:
        model = fastem.GaussianMixture(3, random_state=0, callback=progress, verbose=2).fit(chunks)
    assert progress.passes.n_rows == 3000
    out, err = capfd.readouterr()
    for text in (out, err):
        lines = text.splitlines()
        assert lines[0] == "pass 1: 1 k of 3 k rows" and lines[1].startswith("pass 1: 2 k of 3 k rows, ")
        follows = [
            line for line in lines if re.match(r"iteration 2: 2 k of 3 k rows, \d+ s to .*, log-likelihood -\d", line)
        ]
        assert len(follows) == 1 and not any("3 k of 3 k" in line for line in lines)
    with FitProgress() as progress:
        model.callback = progress
        model.score(chunks)
    assert capfd.readouterr().err.splitlines()[-1].startswith("pass 1: 2 k of 3 k rows")
    with FitProgress(quiet=True) as progress:
        model.set_params(callback=progress, verbose=0).fit(chunks)
    assert capfd.readouterr() == ("", "") and progress.passes.n_rows == 3000


def test_entries_that_are_missing(here, run, tmp_path):  # noqa: F811
    X = data()[:600]
    X[::3, 1] = np.nan
    rows = [",".join("" if np.isnan(x) else repr(float(x)) for x in row) for row in X]
    (tmp_path / "gaps.csv").write_text("length,width\n" + "\n".join(rows) + "\n")
    model, gaps = tmp_path / "model.npz", tmp_path / "gaps.csv"
    options = "-k", 2, "--seed", 0, "--out", model
    assert_one_error(run("fit", gaps, *options), "take what there is of them with --missing")
    assert run("fit", gaps, *options, "--missing", "--quiet")[0] == 0
    assert fastem.load(model).means_ == pytest.approx(
        fastem.GaussianMixture(2, random_state=0, missing="nan").fit(X).means_
    )
    run("predict", model, gaps, "--out", tmp_path / "labels.npy")
    assert np.load(tmp_path / "labels.npy").shape == (600,)
    assert json.loads(run("score", model, gaps, "--json")[1])["rows"] == 600
