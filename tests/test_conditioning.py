"""A fitted Gaussian mixture alone in some columns, and given others: against SciPy's densities and the formulas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conditional_cases import fitted, given_row, moments, parameters
from reference import COVARIANCE_TYPES, Parameters, joint_log_prob, matrices, score_samples

import fastem
from fastem.families import gaussian_conditional


def of(model: fastem.GaussianMixture) -> Parameters:
    return Parameters(model.weights_, model.means_, model.covariances_)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_marginal(covariance_type: str) -> None:
    truth = parameters(covariance_type)
    model = fitted(truth, covariance_type)
    part = model.marginal(["c", 0])
    assert part.covariance_type == covariance_type and list(part.feature_names_in_) == ["c", "a"]
    assert part.n_features_in_ == 2 and part.n_components == 3 and part.converged_
    # The density of two columns is that of four, summed over a fine grid of the others.
    axis = np.linspace(-16, 16, 161)
    b, d = (grid.ravel() for grid in np.meshgrid(axis, axis))
    for c, a in ((0.3, -1.0), (2.0, 1.5)):
        rows = np.stack([np.full_like(b, a), b, np.full_like(b, c), d], axis=1)
        total = np.exp(model_log_density(truth, covariance_type, rows)).sum() * (axis[1] - axis[0]) ** 2
        alone = score_samples([[c, a]], of(part), covariance_type)[0]
        assert np.exp(alone) == pytest.approx(total, rel=1e-6)


def model_log_density(truth: Parameters, covariance_type: str, rows: np.ndarray) -> np.ndarray:
    return np.logaddexp.reduce(joint_log_prob(rows, truth, covariance_type), axis=1)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_conditional_is_the_joint_over_the_marginal(covariance_type: str) -> None:
    truth = parameters(covariance_type)
    model = fitted(truth, covariance_type)
    rest = model.conditional({"d": 0.7, 1: -1.2})
    assert list(rest.feature_names_in_) == ["a", "c"] and rest.covariance_type == covariance_type
    found = score_samples(grid := np.random.default_rng(1).standard_normal((20, 2)) * 3, of(rest), covariance_type)
    rows = np.stack([grid[:, 0], np.full(20, -1.2), grid[:, 1], np.full(20, 0.7)], axis=1)
    seen = score_samples([[-1.2, 0.7]], of(model.marginal(["b", "d"])), covariance_type)
    np.testing.assert_allclose(found, score_samples(rows, truth, covariance_type) - seen, rtol=1e-11)
    weights, means, covariances = given_row(truth, covariance_type, np.array([np.nan, -1.2, np.nan, 0.7]))
    np.testing.assert_allclose(rest.weights_, weights, rtol=1e-11)
    np.testing.assert_allclose(rest.means_, means, rtol=1e-11)
    np.testing.assert_allclose(matrices(of(rest), covariance_type), covariances, rtol=1e-10, atol=1e-12)


def test_what_is_given_step_by_step_is_given_at_once() -> None:
    model = fitted(parameters("full"), "full")
    at_once, in_steps = model.conditional({"a": 1.0, "c": -1.0}), model.conditional({"a": 1.0}).conditional({"c": -1.0})
    for name in ("weights_", "means_", "covariances_", "precisions_"):
        np.testing.assert_allclose(getattr(in_steps, name), getattr(at_once, name), rtol=1e-10)
    X, labels = at_once.sample(5, random_state=0)
    assert X.shape == (5, 2) and labels.shape == (5,)


def test_what_is_far_from_all_components() -> None:
    truth = parameters("diag")._replace(weights=np.array([0.5, 0.5, 0.0]))
    for value in (50.0, 1e8, 1e300):
        rest = fitted(truth, "diag").conditional({0: value})
        assert rest.weights_.sum() == pytest.approx(1) and rest.weights_[2] == 0 and np.isfinite(rest.means_).all()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_predicted_columns(covariance_type: str, dtype: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gaussian_conditional, "BLOCK", 200)
    truth = parameters(covariance_type)
    model = fitted(truth, covariance_type, dtype)
    X = (2 * np.random.default_rng(2).standard_normal((40, 4))).astype(dtype)
    found, covariances = model.predict_columns(X, targets=["d", "a"], return_cov=True)
    _, variances = model.predict_columns(X, targets=["d", "a"], return_var=True)
    assert found.dtype == covariances.dtype == variances.dtype == dtype
    rtol = 1e-9 if dtype == np.float64 else 2e-3
    for i, row in enumerate(X.astype(float)):
        row[[0, 3]] = np.nan
        mean, covariance = moments(*given_row(truth, covariance_type, row))
        np.testing.assert_allclose(found[i, ::-1], mean, rtol=rtol, atol=rtol)
        np.testing.assert_allclose(covariances[i, ::-1, ::-1], covariance, rtol=rtol, atol=rtol)
        np.testing.assert_allclose(variances[i, ::-1], np.diag(covariance), rtol=rtol, atol=rtol)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_columns_that_are_given_may_have_gaps(covariance_type: str) -> None:
    truth = parameters(covariance_type)
    model, rng = fitted(truth, covariance_type).set_params(missing="nan"), np.random.default_rng(5)
    X = np.where(rng.random((30, 4)) < 0.4, np.nan, 2 * rng.standard_normal((30, 4)))
    X[0] = np.nan
    given = {"given": ["c", "b"], "targets": ["d", "a"]}
    found, covariances = model.predict_columns(X, **given, return_cov=True)
    _, variances = model.predict_columns(np.ma.masked_invalid(X), **given, return_var=True)
    X[:, [0, 3]] = np.nan
    for i, row in enumerate(X):
        mean, covariance = moments(*given_row(truth, covariance_type, row))
        at = np.searchsorted(np.flatnonzero(np.isnan(row)), [3, 0])
        np.testing.assert_allclose(found[i], mean[at], rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(covariances[i], covariance[np.ix_(at, at)], rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(variances[i], np.diag(covariance)[at], rtol=1e-9, atol=1e-9)
    objects = pytest.importorskip("pandas").DataFrame(X, columns=list("abcd")).convert_dtypes()  # with pandas.NA
    np.testing.assert_array_equal(model.predict_columns(objects, **given), found)
    with pytest.raises(ValueError, match="NaN in rows 0.*GaussianImputer; or .*missing='nan'"):
        model.set_params(missing="error").predict_columns(X, **given)


def test_which_columns_rows_may_have() -> None:
    pandas = pytest.importorskip("pandas")
    model, X = fitted(parameters("full"), "full"), np.random.default_rng(3).standard_normal((7, 4))
    wanted = model.predict_columns(X, given=[3, "b"], targets=["a"])
    np.testing.assert_array_equal(model.predict_columns(X[:, [3, 1]], given=["d", 1], targets=["a"]), wanted)
    frame = pandas.DataFrame({"d": X[:, 3], "text": "x", "b": X[:, 1]})
    np.testing.assert_array_equal(model.predict_columns(frame, given=["d", "b"], targets=["a"]), wanted)
    X[:, [0, 2]] = np.nan  # what is not given is not looked at
    np.testing.assert_array_equal(model.predict_columns(X, given=["d", "b"], targets=["a"]), wanted)
    np.testing.assert_allclose(model.predict_columns(X, given=["d", "b"])[:, :1], wanted, rtol=1e-12)


def test_far_from_the_origin_and_in_other_units() -> None:
    truth, X = parameters("full"), 2 * np.random.default_rng(4).standard_normal((30, 4))
    scale, offset = np.array([1e-6, 1.0, 1e6, 10.0]), np.array([0.0, 1e8, -1e8, 0.0])
    moved = Parameters(truth.weights, truth.means * scale + offset, truth.covariances * np.outer(scale, scale))
    found = fitted(moved, "full").predict_columns(X * scale + offset, given=[0, 1])
    wanted = fitted(truth, "full").predict_columns(X, given=[0, 1])
    np.testing.assert_allclose((found - offset[2:]) / scale[2:], wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.marginal([0, "z"]), "columns has 'z'; columns of the fit are wanted: choose of 0 to 3, or 'a'"),
        (lambda m: m.marginal([0, "a"]), "columns has the column 'a' twice"),
        (lambda m: m.marginal([]), "columns is empty"),
        (lambda m: m.marginal([4]), "columns has 4"),
        (lambda m: m.marginal(None), "columns has None; columns of the fit are wanted"),
        (lambda m: m.conditional([0]), "a dict is wanted"),
        (lambda m: m.conditional({0: np.nan}), "given holds NaN"),
        (lambda m: m.conditional(dict.fromkeys(range(4), 0.0)), "all 4 columns of the fit; leave at least one out"),
        (lambda m: m.predict_columns(np.ones((3, 2))), "name the columns of one"),
        (lambda m: m.predict_columns(np.ones((3, 3)), given=["a", "b"]), r"X has shape \(3, 3\); \(n, 2\) is wanted"),
        (
            lambda m: m.predict_columns(np.ones((3, 2)), given=[0, 1], targets=[1]),
            "column 1 is in given and in targets",
        ),
        (lambda m: m.predict_columns([[1.0, np.inf]], given=[0, 1]), r"infinity in row 0 \(column 'b'\)"),
        (lambda m: m.predict_columns([[1.0]], given=0, return_var=True, return_cov=True), "choose one"),
        (lambda m: m.predict_columns(Path("rows.npy"), given=0), "read in chunks, and here rows in memory are wanted"),
        (lambda m: m.predict_columns([["x"]], given=0), "X is no array of numbers .*'x'.*Give an array"),
        (lambda m: m.predict_columns(None, given=0), r"X has shape \(\); \(n, 1\) is wanted"),
    ],
)
def test_bad_input(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(fitted(parameters("full"), "full"))
    with pytest.raises(ValueError, match="not fitted"):
        fastem.GaussianMixture().marginal([0])
