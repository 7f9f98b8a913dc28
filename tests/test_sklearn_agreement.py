"""GaussianMixture where scikit-learn's would stand: checks, pipelines, searches, inputs of every kind."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cases
import numpy as np
import pandas as pd
import polars as pl
import pytest
import reference
from cases import FLAVOURS, OVERLAPPING, SEPARATED, fit, fitted, starting_from
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture as SklearnMixture
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import fastem

flavours = pytest.mark.parametrize(("kind", "dtype"), FLAVOURS)
Loader = Callable[[str], NDArray[np.float64]]


# No check is expected to fail: scikit-learn's own class needs one exception, for mixed array-API input, which
# is only checked of estimators that claim array-API support.
@parametrize_with_checks([fastem.GaussianMixture(), fastem.GaussianMixture(covariance_type="diag", n_init=2)])
def test_check_estimator(estimator: Any, check: Callable[[Any], None]) -> None:
    check(estimator)


def test_the_constructor_is_sklearns_and_more() -> None:
    ours = inspect.signature(fastem.GaussianMixture.__init__).parameters
    theirs = inspect.signature(SklearnMixture.__init__).parameters
    assert [name for name in ours if name in theirs] == list(theirs)
    assert list(ours)[: len(theirs)] == list(theirs)
    for name in list(theirs)[1:]:
        assert ours[name].kind == theirs[name].kind, name
    for name in dir(SklearnMixture):
        if not name.startswith("_") and name != "set_fit_request":
            assert hasattr(fastem.GaussianMixture, name), name


def test_parameters_are_stored_as_given_and_cloned() -> None:
    X, _, start = cases.problem(OVERLAPPING, "full")
    estimator = starting_from(start, "full", max_iter=2, n_jobs=1, random_state=3)
    given = estimator.get_params()
    fit(estimator, X)
    assert all(estimator.get_params()[name] is value for name, value in given.items())
    copy = clone(estimator)
    assert not hasattr(copy, "means_")
    np.testing.assert_array_equal(fit(copy, X).means_, estimator.means_)
    assert copy.set_params(tol=0.5, covariance_type="diag", precisions_init=None) is copy
    assert (copy.tol, copy.covariance_type) == (0.5, "diag")
    assert "n_components=4" in repr(copy)


def test_at_the_end_of_a_pipeline(table: Loader) -> None:
    X = table("wine")
    pipeline = make_pipeline(StandardScaler(), PCA(3), fastem.GaussianMixture(3, random_state=0))
    labels = pipeline.fit_predict(X)
    np.testing.assert_array_equal(pipeline.predict(X), labels)
    assert pipeline.predict_proba(X).shape == (178, 3)
    assert pipeline.score_samples(X).mean() == pytest.approx(pipeline.score(X))


def test_in_a_pipeline_that_passes_frames(table: Loader) -> None:
    frame = pd.DataFrame(table("iris"), columns=["a", "b", "c", "d"])
    pipeline = make_pipeline(StandardScaler(), fastem.GaussianMixture(2, random_state=0))
    pipeline.set_output(transform="pandas").fit(frame)
    assert pipeline[-1].feature_names_in_.tolist() == ["a", "b", "c", "d"]
    assert pipeline.predict(frame).shape == (150,)


def test_in_a_grid_search(table: Loader) -> None:
    grid = {"n_components": [1, 2, 3], "covariance_type": ["full", "diag"]}
    search = GridSearchCV(fastem.GaussianMixture(random_state=0), grid, cv=3)
    X = np.random.default_rng(0).permutation(table("faithful"))
    search.fit(X)
    # Held out log-likelihood: two eruptions, long and short, are told by every covariance type.
    assert search.best_params_["n_components"] >= 2
    by_bic = GridSearchCV(
        fastem.GaussianMixture(random_state=0), grid, scoring=lambda estimator, X: -estimator.bic(X), cv=3
    )
    assert by_bic.fit(X).best_params_["n_components"] >= 2


def inputs(X: NDArray[Any], folder: Path) -> dict[str, Any]:
    """Return the same rows, small integers, in every guise that is accepted."""
    np.save(folder / "X.npy", X.astype(np.float64))
    np.save(folder / "X32.npy", X.astype(np.float32))
    wide = np.zeros((2 * len(X), 2 * X.shape[1]))
    wide[::2, ::2] = X
    reversed_rows = X[::-1].astype(np.float64)
    frozen = X.astype(np.float64)
    frozen.setflags(write=False)
    columns = [f"x{j}" for j in range(X.shape[1])]
    return {
        "float64": X.astype(np.float64),
        "float32": X.astype(np.float32),
        "float16": X.astype(np.float16),
        "long double": X.astype(np.longdouble),
        "int64": X.astype(np.int64),
        "int8": X.astype(np.int8),
        "big-endian": X.astype(">f8"),
        "list": X.tolist(),
        "Fortran": np.asfortranarray(X, dtype=np.float64),
        "Fortran float32": np.asfortranarray(X, dtype=np.float32),
        "strided": wide[::2, ::2],
        "reversed": reversed_rows[::-1],
        "read-only": frozen,
        "memmap": np.load(folder / "X.npy", mmap_mode="r"),
        "memmap float32": np.load(folder / "X32.npy", mmap_mode="r"),
        "pandas": pd.DataFrame(X.astype(np.float64), columns=columns),
        "pandas mixed": pd.DataFrame(X, columns=columns).astype({"x0": np.float32, "x1": np.int32}),
        "polars": pl.DataFrame(X.astype(np.float64), schema=columns),
    }


def test_rows_are_accepted_in_every_guise(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    # Whole numbers below 128 fit every type exactly, so that every guise is the same data.
    X = 10 * rng.standard_normal((203, 3)) + 60 * rng.integers(2, size=(203, 1)) + 20
    X = np.round(X).clip(-100, 120)
    start = reference.Parameters(np.full(2, 0.5), np.array([[20.0] * 3, [80.0] * 3]), np.stack([100 * np.eye(3)] * 2))
    expected = fit(starting_from(start, "full", max_iter=3), X)
    for name, rows in inputs(X, tmp_path).items():
        estimator = fit(starting_from(start, "full", max_iter=3), rows)
        single = "float32" in name
        assert estimator.means_.dtype == (np.float32 if single else np.float64), name
        rtol = 1e-4 if single else 1e-12
        cases.assert_same(fitted(estimator), fitted(expected), rtol)
        assert estimator.score_samples(rows).shape == (203,)
        proba = estimator.predict_proba(rows)
        np.testing.assert_allclose(proba, expected.predict_proba(X), atol=rtol, err_msg=name)
        assert estimator.n_features_in_ == 3
        assert hasattr(estimator, "feature_names_in_") == (name.startswith(("pandas", "polars"))), name


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame], ids=["pandas", "polars"])
def test_feature_names_are_kept_and_compared(frame: Any, table: Loader) -> None:
    X = table("iris")
    names = ["sepal length", "sepal width", "petal length", "petal width"]
    data = frame(dict(zip(names, X.T.copy())))
    estimator = fit(fastem.GaussianMixture(2, random_state=0), data)
    assert estimator.feature_names_in_.tolist() == names
    np.testing.assert_array_equal(estimator.predict(data), fit(clone(estimator), X).predict(X))
    with pytest.raises(ValueError, match="feature names"):
        estimator.predict(frame(dict(zip(names[::-1], X.T.copy()))))
    with pytest.warns(UserWarning, match="feature names"):
        estimator.predict(X)


@flavours
def test_to_sklearn_and_back_say_the_same(kind: str, dtype: str) -> None:
    X, _, start = cases.problem(OVERLAPPING, kind, dtype)
    ours = fit(starting_from(start, kind, max_iter=5, tol=1e-5), X)
    theirs = ours.to_sklearn()
    assert type(theirs) is SklearnMixture
    atol = 1e-10 if dtype == "float64" else 1e-4
    np.testing.assert_allclose(theirs.predict_proba(X), ours.predict_proba(X), atol=atol)
    np.testing.assert_allclose(theirs.score_samples(X), ours.score_samples(X), rtol=max(atol, 1e-9))
    assert (theirs.n_components, theirs.covariance_type, theirs.tol) == (4, kind, 1e-5)
    for name in ("converged_", "n_iter_", "lower_bound_", "n_features_in_"):
        assert getattr(theirs, name) == getattr(ours, name), name
    back = fastem.GaussianMixture.from_sklearn(theirs)
    assert type(back) is fastem.GaussianMixture
    np.testing.assert_allclose(back.predict_proba(X), ours.predict_proba(X), atol=atol)
    assert back.means_.dtype == X.dtype
    for name in ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_"):
        np.testing.assert_array_equal(getattr(back, name), getattr(ours, name), err_msg=name)


def test_to_sklearn_counts_the_components_that_are_left() -> None:
    X = np.random.default_rng(0).normal(size=(100, 2))
    means = [[-1, -1], [1, 1], [1e9, 1e9]]
    ours = cases.quietly(fastem.GaussianMixture(3, on_collapse="drop", means_init=means).fit, X)
    theirs = ours.to_sklearn()
    assert len(ours.weights_) == theirs.n_components == 2
    assert theirs.bic(X) == pytest.approx(ours.bic(X), rel=1e-10)


@pytest.mark.parametrize("kind", cases.COVARIANCE_TYPES)
def test_what_sklearn_fitted_can_be_taken_over(kind: str, table: Loader) -> None:
    frame = pd.DataFrame(table("iris"), columns=["a", "b", "c", "d"])
    theirs = cases.quietly(SklearnMixture(3, covariance_type=kind, random_state=0).fit, frame)
    ours = fastem.GaussianMixture.from_sklearn(theirs)
    np.testing.assert_allclose(ours.predict_proba(frame), theirs.predict_proba(frame), atol=1e-9)
    np.testing.assert_array_equal(ours.predict(frame), theirs.predict(frame))
    assert ours.feature_names_in_.tolist() == ["a", "b", "c", "d"]
    assert ours.bic(frame) == pytest.approx(theirs.bic(frame), rel=1e-10)
    with pytest.raises((TypeError, ValueError), match="PCA"):
        fastem.GaussianMixture.from_sklearn(PCA())


@pytest.mark.parametrize("init_params", ["kmeans", "k-means++", "random", "random_from_data", "race"])
@pytest.mark.parametrize("kind", cases.COVARIANCE_TYPES)
def test_every_start_ends_in_a_sensible_fit(kind: str, init_params: str) -> None:
    X, sample_weight, _ = cases.problem(SEPARATED, kind)
    estimator = fastem.GaussianMixture(3, covariance_type=kind, init_params=init_params, random_state=0)
    fit(estimator, X, converges=True)
    again = fit(clone(estimator), X)
    np.testing.assert_array_equal(estimator.means_, again.means_)
    assert estimator.weights_.sum() == pytest.approx(1)
    one = fit(fastem.GaussianMixture(1, covariance_type=kind), X)
    assert estimator.score(X) > one.score(X)


@pytest.mark.parametrize("init_params", ["kmeans", "k-means++", "random", "random_from_data"])
def test_a_start_is_a_distribution(init_params: str) -> None:
    """scikit-learn's k-means++ and random_from_data have weights of sum K / n and covariances of zero."""
    X, _, _ = cases.problem(SEPARATED, "full")
    estimator = fastem.GaussianMixture(3, init_params=init_params, random_state=0, max_iter=1)
    first = fit(estimator, X).lower_bounds_[0]
    one = fit(fastem.GaussianMixture(1), X).score(X)
    # A start worse than two nats a row below one Gaussian for everything is not one to begin from.
    assert first > one - 2


def test_the_data_are_left_as_they_are() -> None:
    X, sample_weight, start = cases.problem(cases.WEIGHTED, "full")
    before = X.copy(), np.copy(sample_weight), start.means.copy()
    fit(starting_from(start, "full", max_iter=3), X, sample_weight).predict(X)
    for now, then in zip((X, sample_weight, start.means), before):
        np.testing.assert_array_equal(now, then)


@pytest.mark.parametrize("kind", cases.COVARIANCE_TYPES)
def test_starting_values_are_accepted_in_every_guise(kind: str) -> None:
    X, _, start = cases.problem(OVERLAPPING, kind)
    expected = fitted(fit(starting_from(start, kind, max_iter=2), X))
    estimator = starting_from(start, kind, max_iter=2)
    for guise in (np.asfortranarray, np.ndarray.tolist, lambda a: a[::-1].copy()[::-1], tuple):
        inits = {name: guise(getattr(estimator, name)) for name in ("weights_init", "means_init", "precisions_init")}
        cases.assert_same(fitted(fit(clone(estimator).set_params(**inits), X)), expected, 1e-12)
