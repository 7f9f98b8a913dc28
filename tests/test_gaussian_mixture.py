"""The contract of GaussianMixture, for every covariance type and dtype: it is what the textbook says."""

from __future__ import annotations

import pickle
import tracemalloc

import cases
import numpy as np
import pytest
import reference
from cases import CASES, FLAVOURS, OVERLAPPING, SEPARATED, WEIGHTED, WITH_HOLES, Case, fit, fitted, starting_from
from hypothesis import given
from hypothesis import strategies as st
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture as SklearnMixture

import fastem

# float32 tiles carry about 1e-6 of log p(x|k) per unit of its size; responsibilities and sums inherit it.
RTOL = {"float64": 1e-9, "float32": 3e-4}
case_names = pytest.mark.parametrize("case", CASES + WITH_HOLES, ids=lambda case: case.name)
flavours = pytest.mark.parametrize(("kind", "dtype"), FLAVOURS)


@case_names
@flavours
def test_an_iteration_equals_the_reference(kind: str, dtype: str, case: Case) -> None:
    X, sample_weight, start = cases.problem(case, kind, dtype)
    expected, history = reference.em(X, start, kind, 1, sample_weight)
    estimator = fit(starting_from(start, kind, max_iter=1, **case.options), X, sample_weight)
    cases.assert_same(fitted(estimator), expected, RTOL[dtype])
    assert estimator.n_iter_ == 1
    np.testing.assert_allclose(estimator.history_["log_likelihood"], history, rtol=RTOL[dtype])


@case_names
@flavours
def test_rows_are_scored_as_by_the_reference(kind: str, dtype: str, case: Case) -> None:
    X, sample_weight, start = cases.problem(case, kind, dtype)
    estimator = fit(starting_from(start, kind, max_iter=1, **case.options), X, sample_weight)
    # Attributes have the data's dtype, and so what they say is what is scored.
    parameters = fitted(estimator)
    parameters = parameters._replace(weights=parameters.weights / parameters.weights.sum())
    log_prob = reference.score_samples(X, parameters, kind)
    resp = reference.responsibilities(X, parameters, kind)
    scale = np.abs(log_prob).max()
    atol = RTOL[dtype] * (1 if dtype == "float64" else scale)
    np.testing.assert_allclose(estimator.score_samples(X), log_prob, rtol=RTOL[dtype], atol=atol)
    np.testing.assert_allclose(estimator.predict_proba(X), resp, rtol=0, atol=atol)
    np.testing.assert_allclose(
        estimator.score(X, sample_weight=sample_weight),
        np.average(log_prob, weights=sample_weight),
        rtol=RTOL[dtype],
    )


@flavours
def test_predictions_hang_together(kind: str, dtype: str) -> None:
    X, _, start = cases.problem(OVERLAPPING, kind, dtype)
    estimator = fit(starting_from(start, kind, max_iter=3), X)
    proba, labels = estimator.predict_proba(X), estimator.predict(X)
    assert proba.shape == (len(X), len(start.weights)) and labels.shape == (len(X),)
    np.testing.assert_array_equal(labels, proba.argmax(axis=1))
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-6 if dtype == "float32" else 1e-12)
    assert (proba >= 0).all()
    again = starting_from(start, kind, max_iter=3)
    np.testing.assert_array_equal(cases.quietly(again.fit_predict, X), labels)


@pytest.mark.parametrize("case", [c for c in CASES if not c.weighted], ids=lambda case: case.name)
@pytest.mark.parametrize("kind", cases.COVARIANCE_TYPES)
def test_ten_iterations_equal_sklearns(kind: str, case: Case) -> None:
    X, _, start = cases.problem(case, kind)
    ours = fit(starting_from(start, kind, max_iter=10), X)
    theirs = SklearnMixture(
        len(start.weights),
        covariance_type=kind,
        weights_init=start.weights,
        means_init=start.means,
        precisions_init=reference.precisions(start, kind),
        reg_covar=0,
        tol=0,
        max_iter=10,
    )
    cases.quietly(theirs.fit, X)
    assert ours.n_iter_ == theirs.n_iter_ == 10
    cases.assert_same(fitted(ours), fitted(theirs), 1e-9)
    np.testing.assert_allclose(ours.lower_bounds_, theirs.lower_bounds_, rtol=1e-9)
    np.testing.assert_allclose(ours.score_samples(X), theirs.score_samples(X), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("reg_covar", [1e-6, 0.5])
@pytest.mark.parametrize("kind", cases.COVARIANCE_TYPES)
def test_reg_covar_is_added_to_the_diagonal(kind: str, reg_covar: float) -> None:
    X, sample_weight, start = cases.problem(WEIGHTED, kind)
    expected, _ = reference.em(X, start, kind, 3, sample_weight, reg_covar)
    estimator = fit(starting_from(start, kind, max_iter=3, reg_covar=reg_covar), X, sample_weight)
    cases.assert_same(fitted(estimator), expected, 1e-9)


@st.composite
def small_problems(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, reference.Parameters, str, str]:
    """Draw rows, weights and a start that no component collapses from at once."""
    kind, dtype = draw(st.sampled_from(FLAVOURS))
    n_components, n_features = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    n_samples = draw(st.integers(20 * n_components * n_features, 40 * n_components * n_features + 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    spread = draw(st.sampled_from([0.1, 1.0, 5.0]))
    centres = spread * rng.standard_normal((n_components, n_features))
    X = centres[rng.integers(n_components, size=n_samples)] + rng.standard_normal((n_samples, n_features))
    sample_weight = rng.choice([0.0, 0.5, 1.0, 3.0], size=n_samples)
    matrices = np.stack([draw(st.sampled_from([0.5, 1.0, 4.0])) * np.eye(n_features)] * n_components)
    means = X[rng.choice(n_samples, n_components, replace=False)]
    weights = np.full(n_components, 1 / n_components)
    start = reference.Parameters(weights, means, cases.in_shape_of(matrices, kind))
    return X.astype(dtype), sample_weight, start, kind, dtype


@given(small_problems(), st.sampled_from([None, "squarem", "anderson"]))
def test_the_log_likelihood_never_falls(
    drawn: tuple[np.ndarray, np.ndarray, reference.Parameters, str, str], accelerate: str | None
) -> None:
    X, sample_weight, start, kind, dtype = drawn
    estimator = fit(starting_from(start, kind, max_iter=30, accelerate=accelerate), X, sample_weight)
    history = estimator.history_["log_likelihood"]
    assert len(history) == estimator.n_iter_ == len(estimator.lower_bounds_)
    if not estimator.diagnostics_["restarted"]:
        slack = {"float64": 1e-11, "float32": 1e-6}[dtype] * (sample_weight.sum() + np.abs(history).max())
        assert np.diff(history).min(initial=0) >= -slack
    assert np.isfinite(history).all()
    assert (np.diff(estimator.history_["seconds"]) >= 0).all()


@flavours
def test_a_fixed_point_stays_fixed(kind: str, dtype: str) -> None:
    X, _, start = cases.problem(SEPARATED, kind, dtype)
    fixed, _ = reference.em(X, start, kind, 60)
    moved = fitted(fit(starting_from(fixed, kind, max_iter=5), X))
    cases.assert_same(moved, fixed, 1e-9 if dtype == "float64" else 1e-5)


@flavours
def test_attributes_have_sklearns_shapes_and_the_datas_dtype(kind: str, dtype: str) -> None:
    X, _, start = cases.problem(OVERLAPPING, kind, dtype)
    estimator = fit(starting_from(start, kind, max_iter=2), X)
    theirs = SklearnMixture(len(start.weights), covariance_type=kind, max_iter=2, random_state=0)
    cases.quietly(theirs.fit, X)
    for name in ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_"):
        ours = getattr(estimator, name)
        assert ours.shape == getattr(theirs, name).shape, name
        assert ours.dtype == np.dtype(dtype), name
    parameters = fitted(estimator)
    precisions = reference.precisions(parameters, kind)
    cholesky = np.asarray(estimator.precisions_cholesky_, dtype=np.float64)
    product = cholesky @ np.swapaxes(cholesky, -1, -2) if kind in ("full", "tied") else cholesky**2
    rtol = 1e-9 if dtype == "float64" else 1e-4
    atol = rtol * np.abs(precisions).max()
    np.testing.assert_allclose(estimator.precisions_, precisions, rtol=rtol, atol=atol)
    np.testing.assert_allclose(product, precisions, rtol=rtol, atol=atol)
    assert isinstance(estimator.n_iter_, int) and isinstance(estimator.lower_bounds_, list)


@flavours
def test_samples_recover_the_mixture(kind: str, dtype: str) -> None:
    X, _, start = cases.problem(SEPARATED, kind, dtype)
    truth = fit(starting_from(start, kind, max_iter=20), X)
    rows, labels = truth.sample(20_000, random_state=3)
    assert rows.shape == (20_000, X.shape[1]) and labels.shape == (20_000,)
    assert (np.bincount(labels, minlength=3) > 0).all()
    estimator = fastem.GaussianMixture(3, covariance_type=kind, random_state=0)
    estimator = fit(estimator, rows.astype(dtype), converges=True)
    order = np.argsort(estimator.means_[:, 0])[np.argsort(np.argsort(truth.means_[:, 0]))]
    # Standard errors: sigma / sqrt(n pi_k) of a mean, relative sqrt(2 / (n pi_k)) of a variance: about 0.02.
    np.testing.assert_allclose(estimator.means_[order], truth.means_, atol=0.1)
    np.testing.assert_allclose(estimator.weights_[order], truth.weights_, atol=0.02)
    covariances = estimator.covariances_ if kind == "tied" else estimator.covariances_[order]
    np.testing.assert_allclose(covariances, truth.covariances_, rtol=0.1, atol=0.1)


def test_sampling_repeats_itself_only_when_asked() -> None:
    X, _, start = cases.problem(SEPARATED, "full")
    estimator = fit(starting_from(start, "full", max_iter=2, random_state=0), X)
    first, labels = estimator.sample(50, random_state=7)
    again, _ = estimator.sample(50, random_state=7)
    np.testing.assert_array_equal(first, again)
    # scikit-learn draws the same rows at every call once the estimator has an integer seed.
    assert not np.array_equal(estimator.sample(50)[0], estimator.sample(50)[0])
    assert estimator.sample()[0].shape == (1, 2)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", cases.COVARIANCE_TYPES)
def test_criteria_by_hand(kind: str, weighted: bool) -> None:
    X, sample_weight, start = cases.problem(WEIGHTED, kind)
    sample_weight = sample_weight if weighted else None
    estimator = fit(starting_from(start, kind, max_iter=4), X, sample_weight)
    parameters = fitted(estimator)
    total = reference.log_likelihood(X, parameters, kind, sample_weight)
    row_weights = np.ones(len(X)) if sample_weight is None else sample_weight
    resp = reference.responsibilities(X, parameters, kind)
    entropy = -np.sum(row_weights[:, None] * resp * np.log(np.maximum(resp, 1e-300)))
    p = reference.n_parameters(*parameters.means.shape, kind)
    bic = -2 * total + p * np.log(row_weights.sum())
    assert estimator.aic(X, sample_weight=sample_weight) == pytest.approx(-2 * total + 2 * p, rel=1e-10)
    assert estimator.bic(X, sample_weight=sample_weight) == pytest.approx(bic, rel=1e-10)
    assert estimator.icl(X, sample_weight=sample_weight) == pytest.approx(bic + 2 * entropy, rel=1e-10)
    if not weighted:
        assert estimator.bic(X) == pytest.approx(estimator.to_sklearn().bic(X), rel=1e-10)


def test_no_array_of_rows_times_components_is_made() -> None:
    """Responsibilities would be four times the size of these data; all that is allocated is less."""
    rng = np.random.default_rng(0)
    n_components, n_features, n_samples = 16, 4, 300_000
    X = rng.standard_normal((n_samples, n_features)) + 5 * rng.integers(4, size=(n_samples, 1))
    small = fastem.GaussianMixture(n_components, random_state=0, max_iter=3)
    fit(small, X[:2000]).predict(X[:2000])  # compiles, which allocates
    small.score(X[:2000])
    for work, output in [(small.score, 0), (lambda X: fit(small, X), 0), (small.predict, 8 * n_samples)]:
        tracemalloc.start()
        work(X)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak - output < X.nbytes, f"{peak / 1e6:.1f} MB beside {X.nbytes / 1e6:.1f} MB of data"


def test_a_fitted_estimator_can_be_pickled() -> None:
    X, _, start = cases.problem(SEPARATED, "full")
    estimator = fit(starting_from(start, "full", max_iter=2), X)
    copy = pickle.loads(pickle.dumps(estimator))
    np.testing.assert_array_equal(copy.predict_proba(X), estimator.predict_proba(X))


def test_numbers_of_numpy_are_numbers() -> None:
    X = np.random.default_rng(0).normal(size=(60, 2))
    plain = fastem.GaussianMixture(2, n_init=2, reg_covar=0.5, tol=0.5, random_state=3).fit(X)
    numpy = fastem.GaussianMixture(
        np.int64(2), n_init=np.int32(2), reg_covar=np.float32(0.5), tol=np.float64(0.5), random_state=np.int64(3)
    ).fit(X)
    assert (numpy.means_ == plain.means_).all()


def test_a_warning_is_of_the_line_that_fits() -> None:
    X = np.random.default_rng(0).normal(size=(60, 2))
    with pytest.warns(ConvergenceWarning) as caught:
        fastem.GaussianMixture(2, max_iter=1, random_state=0).fit(X)
    assert {warning.filename for warning in caught} == {__file__}


def test_where_no_race_is_run_none_is_named() -> None:
    X = np.random.default_rng(0).normal(size=(60, 2))
    model = fastem.GaussianMixture(2, means_init=X[:2], tol=0.5, random_state=0).fit(X)
    assert model.diagnostics_["start"] == "given"
    assert model.set_params(means_init=None).fit(X).diagnostics_["start"] == "race"
