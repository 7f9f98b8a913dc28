"""Partly known labels, and parameters that are held."""

from __future__ import annotations

import warnings

import cases
import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fastem


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 600)
    return rng.normal(size=(600, 2)) + np.array([[-1.5, 0], [1.5, 0], [0, 2.0]])[truth], truth


def some(truth: np.ndarray, share: float, seed: int = 1) -> np.ndarray:
    return np.where(np.random.default_rng(seed).random(len(truth)) < share, truth, -1)


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
def test_a_step_with_known_rows_is_that_of_the_textbook(data, covariance_type: str) -> None:
    """Responsibilities of known rows are 1 and 0; the M-step is scikit-learn's of these responsibilities."""
    X, truth = data
    labels, weight = some(truth, 0.3), np.random.default_rng(2).uniform(0.5, 2.0, len(X))
    problem = cases.problem(cases.SEPARATED, covariance_type)
    start = problem.start._replace(means=np.array([[-1.0, 0.2], [1.0, 0.1], [0.0, 1.0]]))
    model = cases.starting_from(start, covariance_type, max_iter=1)
    cases.quietly(model.fit, X, sample_weight=weight, labels=labels)
    k, d = start.means.shape
    shaped = {"full": lambda c: c, "tied": lambda c: np.stack([c] * k)}
    shaped |= {"diag": lambda c: np.stack([np.diag(v) for v in c]), "spherical": lambda c: c[:, None, None] * np.eye(d)}
    matrices = shaped[covariance_type](start.covariances)
    joint = np.stack(
        [np.log(w) + multivariate_normal.logpdf(X, m, c) for w, m, c in zip(start.weights, start.means, matrices)],
        axis=1,
    )
    resp = np.exp(joint - logsumexp(joint, axis=1, keepdims=True))
    known = labels >= 0
    resp[known] = np.eye(3)[labels[known]]
    expected = weight[~known] @ logsumexp(joint[~known], axis=1) + weight[known] @ joint[known, labels[known]]
    assert model.history_["log_likelihood"][0] == pytest.approx(expected, rel=1e-12)
    resp *= weight[:, None]
    means = resp.T @ X / resp.sum(axis=0)[:, None]
    np.testing.assert_allclose(model.means_, means, rtol=1e-10)
    np.testing.assert_allclose(model.weights_, resp.sum(axis=0) / weight.sum(), rtol=1e-12)
    scatter = np.stack([(r[:, None] * (X - m)).T @ (X - m) for r, m in zip(resp.T, means)])
    full = scatter / resp.sum(axis=0)[:, None, None]
    wanted = {
        "full": full,
        "tied": scatter.sum(axis=0) / weight.sum(),
        "diag": np.diagonal(full, axis1=1, axis2=2),
        "spherical": np.diagonal(full, axis1=1, axis2=2).mean(axis=1),
    }[covariance_type]
    np.testing.assert_allclose(model.covariances_, wanted, rtol=1e-9, atol=1e-12)


def test_components_are_numbered_by_their_labels(data) -> None:
    X, truth = data
    for labels in (some(truth, 0.1), np.where(truth == 1, some(truth, 0.2), -1)):
        model = fastem.GaussianMixture(3, random_state=0).fit(X, labels=labels)
        shown = labels >= 0
        assert (np.diff(model.history_["log_likelihood"]) > -1e-7).all() and model.converged_
        for k in np.unique(labels[shown]):
            assert np.linalg.norm(model.means_[k] - X[truth == k].mean(axis=0)) < 0.7
    all_known = fastem.GaussianMixture(3, reg_covar=0).fit(X, labels=truth)
    np.testing.assert_allclose(all_known.means_, [X[truth == k].mean(axis=0) for k in range(3)], rtol=1e-10)
    none = fastem.GaussianMixture(3, random_state=0).fit(X)
    nothing = fastem.GaussianMixture(3, random_state=0, means_init=none.means_).fit(X, labels=np.full(len(X), -1))
    assert nothing.score(X) == pytest.approx(none.score(X), abs=1e-3)


def test_y_is_taken_for_labels_where_it_can_be_nothing_else(data) -> None:
    X, truth = data
    labels = some(truth, 0.2)
    known, free = (fastem.GaussianMixture(3, random_state=0).fit(X, labels=given) for given in (labels, None))
    for same in (labels, labels.tolist(), labels.astype(np.int8)):
        np.testing.assert_array_equal(fastem.GaussianMixture(3, random_state=0).fit(X, same).means_, known.means_)
    model = make_pipeline(StandardScaler(), fastem.GaussianMixture(3, random_state=0))
    assert (model.fit_predict(X, labels) == truth).mean() > 0.6
    # Responses, classes that are all known, numbers of other classes, and texts say nothing of components.
    for other in (X[:, 0], truth, np.where(truth == 0, -1, 3), truth.astype(str), labels.astype(float)):
        np.testing.assert_array_equal(fastem.GaussianMixture(3, random_state=0).fit(X, other).means_, free.means_)
    with pytest.raises(ValueError, match="leave y out"):
        fastem.GaussianMixture(3).fit(X, labels, labels=labels)
    np.testing.assert_array_equal(
        fastem.GaussianMixture(3, random_state=0).fit(X, truth, labels=labels).means_, known.means_
    )
    with pytest.raises(ValueError, match="choose 'batch'"):
        fastem.GaussianMixture(3).fit(X, labels, algorithm="stepwise")


def test_y_of_two_classes_that_are_called_as_labels_are_is_told(data) -> None:
    X, truth = data
    two = np.where(truth == 1, 1, -1)
    with pytest.warns(UserWarning, match="y holds -1 and 1 alone, and is taken for labels: .* labels=y says so"):
        fastem.GaussianMixture(2, random_state=0, tol=1e-2).fit(X, two)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        for y, labels in ((some(truth, 0.3), None), (None, two), (np.where(truth == 1, 0, -1), None)):
            fastem.GaussianMixture(3, random_state=0, tol=1e-2).fit(X, y, labels=labels)


def test_y_of_a_regression_is_its_response(data) -> None:
    X, truth = data
    y = some(truth, 0.5)
    one, other = (fastem.LinearRegressionMixture(2, random_state=0).fit(X, given) for given in (y, y + 0.0))
    np.testing.assert_allclose(one.coef_, other.coef_)


def test_labels_help_other_families() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 500)
    X = rng.poisson(np.array([[2.0, 6.0], [6.0, 2.0]])[truth]).astype(float)
    model = fastem.PoissonMixture(2, random_state=0).fit(X, labels=some(truth, 0.05))
    np.testing.assert_allclose(model.rates_, [[2, 6], [6, 2]], rtol=0.15)


@pytest.mark.parametrize("accelerate", [None, "squarem"])
def test_what_is_held_stays(data, accelerate: str | None) -> None:
    X, _ = data
    means = np.array([[-1.5, 0], [1.5, 0], [0, 2.0]])
    model = fastem.GaussianMixture(3, means_init=means, weights_init=[0.3, 0.3, 0.4], accelerate=accelerate, tol=1e-8)
    model.fit(X, fixed=("means", "weights"))
    assert (model.means_ == means).all() and (model.weights_ == [0.3, 0.3, 0.4]).all()
    assert (np.diff(model.history_["log_likelihood"]) > -1e-7).all()
    # The covariances are a fixed point: about the means that are held.
    resp = model.predict_proba(X)
    y = X[:, None] - means
    expected = np.einsum("nk,nki,nkj->kij", resp, y, y) / resp.sum(axis=0)[:, None, None] + 1e-6 * np.eye(2)
    np.testing.assert_allclose(model.covariances_, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("changed", [{"n_components": 3}, {"covariance_type": "diag"}])
def test_nothing_is_held_at_the_values_of_another_mixture(data, changed: dict) -> None:
    model = fastem.GaussianMixture(2, random_state=0, warm_start=True, tol=1e-2).fit(data[0])
    held = model.means_.copy()
    np.testing.assert_array_equal(model.fit(data[0] + 0.5, fixed=("means",)).means_, held)
    with pytest.raises(ValueError, match="no value to hold it at: give means_init, or go on from a fit with the same"):
        model.set_params(**changed).fit(data[0], fixed=("means",))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": [0, 1]}, r"labels has shape \(2,\)"),
        ({"labels": "labels.npy"}, r"labels is 'labels.npy'; an array \(600,\) .*Read the file first"),
        ({"labels": np.full(600, 3)}, "labels has 3 in rows 0, 1"),
        ({"labels": np.full(600, "a")}, "Number the classes"),
        ({"labels": np.zeros(600), "algorithm": "stepwise"}, "choose 'batch'"),
        ({"fixed": "means"}, r"fixed=\('means',\)"),
        ({"fixed": ("centres",)}, "'weights', 'means', 'covariances'"),
        ({"fixed": ("means",)}, "give means_init"),
    ],
)
def test_bad_labels_and_names_are_told(data, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fastem.GaussianMixture(3, random_state=0).fit(data[0], **options)
    with pytest.raises(ValueError, match="on_collapse='drop' may renumber"):
        fastem.GaussianMixture(3, on_collapse="drop").fit(data[0], labels=np.zeros(600))
    with pytest.raises(ValueError, match="X is read in chunks from the callable.*; rows in memory are wanted"):
        fastem.GaussianMixture(3).fit(lambda: iter([data[0]]), labels=np.zeros(600))
