"""The command line, as a shell runs it; what needs no fit is tested in this process, which is quick."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import fastem
import fastem.__main__ as entry
from fastem.cli import app
from fastem.cli_jobs import _finite

FASTEM = [sys.executable, "-m", "fastem"]
# The package of these tests, wherever a command runs, and whether or not it is installed.
ENVIRONMENT = {**os.environ, "COLUMNS": "100", "PYTHONPATH": str(Path(fastem.__file__).parents[1])}


def data(rows=3000, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, 2)) + 6.0 * rng.integers(3, size=(rows, 1))


def shell(*arguments, cwd):
    command = [*FASTEM, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=ENVIRONMENT, check=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Data, a model fitted to it by the command line, and what the command said."""
    folder = tmp_path_factory.mktemp("cli")
    X = data()
    np.save(folder / "x.npy", X)
    np.savetxt(folder / "x.csv", X, delimiter=",", header="length,width", comments="")
    np.savetxt(folder / "w.csv", np.repeat([1.0, 2.0], len(X) // 2))
    fit = ["fit", "x.npy", "-k", 3, "--out", "model.npz", "--seed", 0, "--report", "report.json"]
    done = shell(*fit, "--threads", 1, cwd=folder)
    assert done.returncode == 0, done.stderr
    (folder / "said.txt").write_text(f"{done.stdout}\n---\n{done.stderr}")
    return folder


@pytest.fixture
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def run(here, capfd):
    """Run a command in this process: exit code, stdout, stderr."""

    def run_here(*arguments):
        with pytest.raises(SystemExit) as stopped:
            app([str(argument) for argument in arguments], prog_name="fastem")
        return stopped.value.code, *capfd.readouterr()

    return run_here


def assert_one_error(result, *words):
    code, _, err = result
    assert code == 1, result
    assert err.startswith("error: ") and err.count("\n") == 1 and "Traceback" not in err, err
    for word in words:
        assert word in err


def test_fit_says_what_it_does(folder):
    out, err = (folder / "said.txt").read_text().split("---")
    assert "converged after" in out and "model saved as model.npz" in out
    last = err.strip().splitlines()[-1]
    assert re.match(r"iteration +\d+ +log-likelihood -?\d+\.\d{6} per row +to gain .*rows/s$", last)


def test_fit_is_the_estimators_fit(folder):
    model = fastem.load(folder / "model.npz")
    again = fastem.GaussianMixture(3, random_state=0).fit(np.load(folder / "x.npy"))
    assert model.means_.tobytes() == again.means_.tobytes()
    assert model.random_state == 0 and model.callback is None and model.tol == again.tol


def test_report(folder):
    report = json.loads((folder / "report.json").read_text())
    model = fastem.load(folder / "model.npz")
    assert report["data"] == {
        "file": "x.npy",
        "weights": None,
        "rows": 3000,
        "columns": 2,
        "dtype": "float64",
    }
    assert report["settings"]["n_components"] == 3 and report["settings"]["random_state"] == 0
    assert report["result"]["converged"] is True and report["result"]["iterations"] == model.n_iter_
    assert report["result"]["mean_log_likelihood"] == model.lower_bound_
    assert report["result"]["weights"] == model.weights_.tolist()
    assert report["history"]["log_likelihood"] == model.history_["log_likelihood"].tolist()


def test_every_option_of_fit(folder, tmp_path):
    options = {
        "--covariance": "diag",
        "--weights": "w.csv",
        "--dtype": "float32",
        "--seed": 1,
        "--n-init": 2,
        "--init": "k-means++",
        "--tol": 1e-3,
        "--max-iter": 50,
        "--max-time": 100,
        "--reg-covar": 1e-5,
        "--threads": 2,
        "--on-collapse": "drop",
    }
    out = tmp_path / "other.npz"
    flat = [word for option in options.items() for word in option]
    done = shell("fit", "x.csv", "-k", 2, "-o", out, "--quiet", *flat, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "" and "iteration" not in done.stderr
    model = fastem.load(out)
    expected = fastem.GaussianMixture(
        2,
        covariance_type="diag",
        random_state=1,
        n_init=2,
        init_params="k-means++",
        tol=1e-3,
        max_iter=50,
        max_time=100.0,
        reg_covar=1e-5,
        n_jobs=2,
        on_collapse="drop",
    )
    assert model.get_params() == expected.get_params()
    X, weights = np.load(folder / "x.npy").astype(np.float32), np.loadtxt(folder / "w.csv")
    expected.fit(X, sample_weight=weights)
    assert model.means_.dtype == np.float32
    assert model.means_.tobytes() == expected.means_.tobytes()


def test_warnings_are_lines(folder, tmp_path):
    done = shell("fit", "x.npy", "-k", 4, "-o", tmp_path / "m.npz", "--max-iter", 1, "--seed", 0, cwd=folder)
    assert done.returncode == 0
    lines = done.stderr.splitlines()
    assert sum(line.startswith("warning: ") for line in lines) == 1, done.stderr
    assert all(line.startswith(("warning: ", "iteration ")) for line in lines), done.stderr
    assert fastem.load(tmp_path / "m.npz").stop_reason_ == "max_iter"


def test_predict(run, monkeypatch):
    model, X = fastem.load("model.npz"), np.load("x.npy")
    monkeypatch.setattr("fastem.data.PIECE", 2 * 700)  # the last piece is a short one
    code, out, err = run("predict", "model.npz", "x.csv", "--out", "labels.npy")
    assert (code, err) == (0, "") and "labels of 3000 rows saved as labels.npy" in out
    labels = np.load("labels.npy")
    assert labels.dtype == model.predict(X).dtype and (labels == model.predict(X)).all()
    assert run("predict", "model.npz", "x.npy", "--out", "p.npy", "--proba", "--quiet") == (0, "", "")
    probabilities = np.load("p.npy")
    assert probabilities.shape == (3000, 3)
    np.testing.assert_array_equal(probabilities, model.predict_proba(X))


def test_predict_refuses_before_it_writes(run, here):
    np.save("three.npy", np.zeros((5, 3)))
    bad = data()
    bad[2345, 1] = np.nan
    np.save("nan.npy", bad)
    before = sorted(os.listdir())
    predict = ["predict", "model.npz"]
    assert_one_error(run(*predict, "three.npy", "-o", "new.npy"), "three.npy has 3 columns", "fitted on 2")
    assert_one_error(
        run(*predict, "nan.npy", "-o", "new.npy"), "row 2345, column 1 (counted from 0): nan", "--complete"
    )
    assert_one_error(run(*predict, "x.npy", "-o", "x.npy"), "x.npy: it is also a file to read")
    assert_one_error(run(*predict, "x.npy", "-o", "../" + here.name + "/x.npy"), "also a file to read")
    assert_one_error(run(*predict, "x.npy", "-o", "model.npz"), "must end in .npy")
    assert_one_error(run(*predict, "x.npy", "-o", "none/new.npy"), "no folder")
    os.link("model.npz", "model.npy")
    assert_one_error(run(*predict, "x.npy", "-o", "model.npy"), "also a file to read")
    os.remove("model.npy")
    assert sorted(os.listdir()) == before


def test_columns_are_found_by_the_names_of_the_fit(run, here, tmp_path):
    model, named, X = fastem.load("model.npz"), fastem.load("model.npz"), np.load("x.npy")[:50]
    named.feature_names_in_ = np.array(["length", "width"], dtype=object)
    named.save(tmp_path / "named.npz")
    np.savetxt(
        tmp_path / "more.csv", np.c_[X[:, 1], np.ones(50), X[:, 0]], delimiter=",", header="width,n,length", comments=""
    )
    for file in ("x.csv", "x.npy", tmp_path / "more.csv"):
        code, _, err = run("predict", tmp_path / "named.npz", file, "--out", tmp_path / "labels.npy")
        assert (code, err) == (0, "")
        assert (np.load(tmp_path / "labels.npy")[:50] == model.predict(X)).all()
    by_names = json.loads(
        run("score", tmp_path / "named.npz", tmp_path / "more.csv", "--weights-column", "n", "--json")[1]
    )
    assert by_names["mean_log_likelihood"] == pytest.approx(model.score(X))
    chosen = "--columns", "width,length"
    wrong = run("predict", tmp_path / "named.npz", tmp_path / "more.csv", *chosen, "--out", tmp_path / "labels.npy")
    assert_one_error(wrong, "has columns width, length, and the model was fitted on length, width")
    (tmp_path / "other.csv").write_text("length,depth\n1,2\n3,4\n")
    wrong = run("predict", tmp_path / "named.npz", tmp_path / "other.csv", "--out", tmp_path / "labels.npy")
    assert_one_error(wrong, "other.csv has the column 'depth' where", "named.npz was fitted on 'width'", "order")


def test_score(run):
    model, X = fastem.load("model.npz"), np.load("x.npy")
    code, out, err = run("score", "model.npz", "x.npy", "--json")
    result = json.loads(out)
    assert (code, err) == (0, "") and result["rows"] == 3000
    assert result["mean_log_likelihood"] == pytest.approx(model.score(X), rel=1e-12)
    assert result["total_log_likelihood"] == pytest.approx(3000 * model.score(X), rel=1e-12)
    assert result["bic"] == pytest.approx(model.bic(X), rel=1e-12)
    assert result["aic"] == pytest.approx(model.aic(X), rel=1e-12)
    code, out, err = run("score", "model.npz", "x.csv", "--weights", "w.csv")
    mean = model.score(X, sample_weight=np.loadtxt("w.csv"))
    assert (code, err) == (0, "") and f"log-likelihood per row   {mean:.6f}"[:-1] in out
    assert "BIC (lower is better)" in out


def test_info(run):
    code, out, err = run("info", "model.npz")
    model = fastem.load("model.npz")
    assert (code, err) == (0, "")
    assert f"converged after {model.n_iter_} iterations" in out and "full, float64" in out
    for k, weight in enumerate(model.weights_):
        assert re.search(rf"{k} +\S +{weight:.4f} .*{model.means_[k, 0]:.4g} ± ", out)


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
def test_info_of_every_covariance_type(run, tmp_path, covariance_type):
    X = data(500) * [1.0, 100.0]
    model = fastem.GaussianMixture(2, covariance_type=covariance_type, max_iter=3, tol=1e3, random_state=0).fit(X)
    model.save(tmp_path / "m[red].npz")
    code, out, _ = run("info", tmp_path / "m[red].npz")
    assert code == 0 and "m[red].npz" in out  # not taken for a colour
    variance = np.broadcast_to(model.covariances_.T, (2, 2)).T if covariance_type == "spherical" else model.covariances_
    variance = variance[0] if covariance_type == "full" else variance
    second = {"full": (1, 1), "tied": (1, 1), "diag": (0, 1), "spherical": (0, 1)}[covariance_type]
    assert f"± {np.sqrt(variance[second]):.2g}" in out


def test_a_reader_that_leaves_and_a_terminal_without_signs(folder):
    command, options = [*FASTEM, "info", "model.npz"], {"cwd": folder, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=ENVIRONMENT, **options) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    ascii_only = {**ENVIRONMENT, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, stdout=subprocess.PIPE, env=ascii_only, check=True, **options)
    assert b" ? 0.9" in done.stdout and done.stderr == b""


def test_info_of_many_features(run, tmp_path):
    X = np.random.default_rng(0).normal(size=(300, 40))
    fastem.GaussianMixture(1, random_state=0).fit(X).save(tmp_path / "wide.npz")
    code, out, _ = run("info", tmp_path / "wide.npz")
    shown = len(re.findall(r"x\d+", out))
    assert code == 0 and 1 < shown < 40 and f"{40 - shown} more" in out
    assert max(map(len, out.splitlines())) <= 200


def test_wrong_files(run, tmp_path):
    np.savetxt("words.csv", np.array([["1", "2"], ["3", "x"]]), fmt="%s", delimiter=",")
    np.save("nan.npy", np.array([[1.0, np.nan], [2.0, 3.0], [4.0, 5.0]]))
    np.save("few.npy", np.zeros((2, 2)))
    np.save("complex.npy", data(50) * 1j)
    np.save("weights.npy", np.ones(7))
    np.savetxt("minus.csv", np.r_[1.0, -2.0, np.ones(2998)], header="weight", comments="")
    Path("twice.csv").write_text("a,a\n1,2\n3,4\n")
    fit = ["fit", "--out", tmp_path / "new.npz", "-k", 3]
    assert_one_error(run(*fit, "none.npy"), "none.npy", "No such file")
    assert_one_error(run(*fit, "x.xlsx"), "there is no file x.xlsx")
    assert_one_error(run(*fit, "."), ".: cannot read a folder")
    assert_one_error(run(*fit, "twice.csv"), "2 columns named 'a'", "choose columns by number, with --columns")
    assert_one_error(run(*fit, "words.csv"), "words.csv: row 1 (line 2 of the file), column 1 (number 2 of 2): 'x'")
    assert_one_error(run(*fit, "nan.npy"), "nan.npy: row 0, column 1 (counted from 0): nan, where a finite number")
    assert_one_error(run(*fit, "few.npy"), "few.npy has 2 rows and --components is 3", "Use --components <= 2")
    assert_one_error(run(*fit, "complex.npy"), "complex.npy holds complex numbers (complex128)")
    assert_one_error(run(*fit, "x.npy", "--weights", "weights.npy"), "weights.npy has 7 weights, and x.npy has 3000")
    assert_one_error(run(*fit, "x.npy", "--weights", "minus.csv"), "minus.csv: row 1 (line 3 of the file): -2, where")
    assert_one_error(run("score", "model.npz", "x.npy", "--weights", "minus.csv"), "minus.csv: row 1 (line 3")
    assert_one_error(run(*fit, "x.npy", "--weights", "x.npy"), "one weight a row")
    assert not list(tmp_path.iterdir())
    for command in (["info"], ["score"], ["predict", "-o", "new.npy"]):
        rest = [] if command == ["info"] else ["x.npy"]
        assert_one_error(run(*command, "none.npz", *rest), "none.npz", "No such file")
        assert_one_error(run(*command, "x.npy", *rest), "x.npy is a single array")
    assert_one_error(run("score", "model.npz", "few.csv"), "few.csv", "No such file")


def test_models_that_are_damaged_are_not_shown(run, folder, tmp_path):
    with np.load(folder / "model.npz") as file:
        entries = dict(file)
    for name, means in (("bare.npz", {}), ("nan.npz", {"means_": np.full_like(entries["means_"], np.nan)})):
        np.savez(tmp_path / name, **{key: entry for key, entry in entries.items() if key != "means_"} | means)
        for command in (["info"], ["score"]):
            done = run(*command, tmp_path / name, *(["x.npy"] if command == ["score"] else []))
            assert_one_error(done, f"{name} is truncated or damaged (", "means_")


def test_a_ridge_above_the_variances_is_a_line(folder, tmp_path):
    done = shell("fit", "x.npy", "-k", 2, "-o", tmp_path / "m.npz", "--reg-covar", 1e3, "-q", cwd=folder)
    assert done.stderr.startswith("warning: --reg-covar is 1000, more than the whole variance of columns 0, 1 (")
    assert done.stderr.count("\n") == 1 and "sklearn" not in done.stderr


def test_outputs_that_cannot_be_written(run, tmp_path):
    fit = ["fit", "x.npy", "-k", 3]
    assert_one_error(run(*fit, "--out", tmp_path / "none" / "m.npz"), "there is no folder")
    assert_one_error(run(*fit, "--out", tmp_path / "model.pkl"), "must end in .npz")
    report = tmp_path / "report.json"
    report.mkdir()
    assert_one_error(run(*fit, "--out", tmp_path / "m.npz", "--report", report), "it is a folder")
    assert os.listdir(tmp_path) == ["report.json"]


def test_wrong_usage(run):
    for arguments in (
        ["fit", "x.npy"],
        ["fit", "x.npy", "-k", 0, "-o", "m.npz"],
        ["fit", "x.npy", "-k", 2, "-o", "m.npz", "--covariance", "round"],
        ["fit", "x.npy", "-k", 2, "-o", "m.npz", "--seed", 2**32],
        ["frobnicate"],
        ["predict", "model.npz"],
    ):
        code, _, err = run(*arguments)
        assert code == 2 and "Traceback" not in err


def test_unexpected_errors_are_one_line_too(run, monkeypatch):
    def broken(path):
        raise KeyError("one\ntwo")

    monkeypatch.setattr("fastem.summary.read", broken)
    assert_one_error(run("info", "model.npz"), "unexpected KeyError", "fastem --debug")
    monkeypatch.setenv("FASTEM_DEBUG", "0")
    code, _, err = run("--debug", "info", "model.npz")
    assert code == 1 and "Traceback" in err and "def broken" not in err.splitlines()[-1]


def test_ctrl_c_outside_of_a_fit(run, monkeypatch):
    def interrupted(path):
        raise KeyboardInterrupt

    monkeypatch.setattr("fastem.summary.read", interrupted)
    assert run("info", "model.npz") == (130, "", "error: interrupted; nothing was saved\n")


def test_ctrl_c_while_the_command_line_is_imported(monkeypatch, capsys):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "fastem.cli", SimpleNamespace(main=interrupted))
    with pytest.raises(SystemExit) as caught:
        entry.main()
    assert caught.value.code == 130 and capsys.readouterr().err == "error: interrupted; nothing was saved\n"


def test_ctrl_c_before_a_command_begins(monkeypatch, capsys):
    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("typer.core.TyperGroup.make_context", interrupted)
    with pytest.raises(SystemExit) as caught:
        entry.main()
    assert caught.value.code == 130 and capsys.readouterr().err.endswith("error: interrupted; nothing was saved\n")


def test_version_and_help_are_quick(run):
    assert run("--version") == (0, f"fastem {fastem.__version__}\n", "")
    code, out, _ = run("--help")
    assert code == 0 and "130" in out and all(name in out for name in ("fit", "predict", "score", "info"))
    script = "import sys, fastem.cli; print(*{'numpy', 'numba', 'sklearn', 'scipy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=ENVIRONMENT)
    assert done.stdout.strip() == "", "the help waits for imports it does not need"


def test_help_is_whole_in_a_narrow_terminal(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for command, words in {
        "fit": ["full, tied, diag or", "spherical.", "random_from_data.", "restart,", "incremental, stepwise:"],
        "predict": ["Write -1, or NaN", "--missing"],
        "score": ["--missing", "--weights-column"],
        "impute": ["spherical.", "Others are", "float32."],
    }.items():
        code, out, _ = run(command, "--help")
        assert code == 0 and all(word in out for word in words) and max(map(len, out.splitlines())) <= 80


def test_json_has_no_numbers_that_json_has_not():
    assert _finite({"a": [float("nan"), 1.0], "b": (float("inf"), "x")}) == {
        "a": [None, 1.0],
        "b": [None, "x"],
    }
