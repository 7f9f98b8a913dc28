"""What the estimator says of parameters, attributes and arrays, the command line says of options and files."""

import re
from types import SimpleNamespace

import numpy as np
import pytest

import fastem
from fastem.cli_data import DataFiles
from fastem.cli_words import errors_in_options, in_options
from fastem.verbose import ADVICE, warning_of_ending


@pytest.mark.parametrize("reason", [*ADVICE])
def test_warnings_of_a_fit_speak_of_options(reason):
    diagnostics = {"restarted": [1], "dropped": [], "floored": []}
    ended = SimpleNamespace(stop_reason_=reason, converged_=False, n_iter_=1, diagnostics_=diagnostics, reg_covar=1e-6)
    text = in_options(warning_of_ending(ended), "x.npy")
    assert text.startswith("components collapsed (1 restarted): use fewer components or a larger --reg-covar")
    assert not re.search(r"_|warm|sklearn|\bX\b|[;,] *$", text), text
    ended.diagnostics_ = dict.fromkeys(diagnostics, [])
    alone = in_options(warning_of_ending(ended), "x.npy")
    assert (alone == "") == (reason == "interrupted")  # which the command says itself


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"reg_covar": np.inf}, "--reg-covar is inf; a number of at least 0 is wanted: try --reg-covar 1e-06"),
        ({"max_time": -1}, "--max-time is -1"),
        ({"random_state": -1}, "--seed is -1"),
        ({"n_components": 3001}, "x.npy has 3000 rows and --components is 3001"),
    ],
)
def test_errors_of_a_fit_speak_of_options(settings, words):
    with pytest.raises(ValueError, match=re.escape(words)), errors_in_options(DataFiles(["x.npy"])):
        fastem.GaussianMixture(**{"n_components": 2} | settings).fit(np.zeros((3000, 2)))


def test_names_of_files_are_not_reworded():
    assert in_options("X and tol, fix; X_tol", "X tol.npy") == "X tol.npy and --tol, fix; X_tol"
    text = in_options("X.npy has changed and X has not: tol; X.npy", "X.npy", ["X.npy"])
    assert text == "X.npy has changed and X.npy has not: --tol; X.npy"


def test_choices_of_chunks_are_options():
    text = in_options("Drop them with fastem.Chunks(source, rows='finite'); algorithm='stepwise'", "x.npy")
    assert text == "Drop them with --complete; --algorithm 'stepwise'"
    text = in_options("Give those of the fit, e.g. with fastem.Chunks(source, columns=[...])", "x.npy")
    assert text == "Give those of the fit, e.g. with --columns"
    assert in_options("fill them in first, e.g. with fastem.GaussianImputer", "x.npy") == "fill them in first"


def test_columns_go_by_their_names():
    text = "columns 0, 2 (0.1 in column 0), 1 and 2: columns 0 and 1, 1 and 2"
    said = "columns 'a', 'c' (0.1 in column 'a'), 1 and 2: columns 'a' and 'b', 'b' and 'c'"
    assert in_options(text, "x.csv", columns=["a", "b", "c"]) == said
    assert in_options(text, "x.npy") == text
