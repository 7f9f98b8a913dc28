"""The contract of every family: SciPy's density, EM's promises, weights, chunks, dtypes, files, samples."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from family_cases import CASES, FamilyCase, K
from scipy.special import logsumexp
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

import fastem
from fastem.engine import tree

N = 331
EACH = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
PRIORS = [(case, 0.0) for case in CASES]
PRIORS += [(case, 2.0) for case in CASES if case.make(K).get_params().get("prior") is not None]  # those of numbers
PRIORS += [(case, "default") for case in CASES if case.name == "factors"]
DTYPES = pytest.mark.parametrize("dtype", ["float64", "float32"])


def rows(case: FamilyCase, n: int = N, seed: int = 0) -> np.ndarray:
    return np.ascontiguousarray(case.rows(np.random.default_rng(seed), n))


def fit(model: Any, X: Any, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(X, **options)


def params(model: Any) -> list[np.ndarray]:
    """Weights and parameters in float64, the weights first."""
    return [np.asarray(leaf, float) for leaf in (model.weights_, *tree.leaves(model._get_params_().components))]


def given(model: Any) -> dict[str, np.ndarray]:
    """Fitted parameters as `params_init` takes them."""
    if isinstance(model, fastem.ProductMixture):
        return {key: given(mixture) for key, mixture in model.components_.items()}
    names = model._holdable if isinstance(model, fastem.GaussianMixture) else model._fields
    return {name: getattr(model, f"{name}_") for name in names}


def identified(model: Any) -> list[np.ndarray]:
    """Weights and what of the parameters the data determine: not the rotations of factors."""
    if isinstance(model, fastem.FactorAnalyzerMixture):
        return [np.asarray(leaf, float) for leaf in (model.weights_, model.means_, model.covariances())]
    return params(model)


def start(case: FamilyCase, **options: Any) -> Any:
    """A model that begins where a short fit ended: all that is compared is EM."""
    few = fit(case.make(K, random_state=1, max_iter=2, init_params="kmeans"), rows(case))
    return case.make(K, weights_init=few.weights_, params_init=given(few), **{"tol": 0.0, "max_iter": 5} | options)


@EACH
@DTYPES
def test_densities_are_scipys(case: FamilyCase, dtype: str) -> None:
    X = rows(case).astype(dtype)
    model = fit(start(case), X)
    # Parameters are kept in the dtype of the data, and the density is that of what is kept.
    joint = case.density(X.astype(float), model) + np.log(np.asarray(model.weights_, float))
    tolerance = 1e-10 if dtype == "float64" else 2e-4
    np.testing.assert_allclose(model.score_samples(X), logsumexp(joint, axis=1), rtol=tolerance, atol=tolerance)
    resp = np.exp(joint - logsumexp(joint, axis=1, keepdims=True))
    np.testing.assert_allclose(model.predict_proba(X), resp, atol=tolerance)
    clear = np.sort(resp, axis=1)[:, -1] - np.sort(resp, axis=1)[:, -2] > 1e-3
    assert (model.predict(X)[clear] == resp.argmax(axis=1)[clear]).all()
    assert model.score_samples(X).dtype == dtype and model.weights_.dtype == dtype


@EACH
def test_a_step_is_that_of_the_textbook(case: FamilyCase) -> None:
    """One iteration: responsibilities by SciPy, then the family's M-step of the sums that NumPy takes."""
    X, weight = rows(case), np.random.default_rng(1).uniform(0.2, 3.0, N)
    model = start(case, max_iter=1)
    before = fit(start(case, max_iter=0), X, sample_weight=weight)
    after = fit(model, X, sample_weight=weight)
    joint = case.density(X, before) + np.log(before.weights_)
    resp = weight[:, None] * np.exp(joint - logsumexp(joint, axis=1, keepdims=True))
    assert after.history_["log_likelihood"][0] == pytest.approx(weight @ logsumexp(joint, axis=1), rel=1e-11)
    if case.step:
        components = case.step(X, resp, before)
    else:
        family = before._family()
        components = family.maximum(resp.T @ family.statistic(X) / resp.sum(axis=0)[:, None])
    for found, wanted in zip(params(after), [resp.sum(axis=0) / weight.sum(), *components], strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("case", "prior"), PRIORS, ids=lambda value: getattr(value, "name", str(value)))
@pytest.mark.parametrize("accelerate", [None, "squarem", "anderson"])
def test_the_objective_never_falls(case: FamilyCase, prior: Any, accelerate: str | None) -> None:
    X = rows(case)
    options = {"prior": prior} if prior else {}
    for seed in range(2):
        model = case.make(
            K, random_state=seed, init_params="random", tol=1e-9, accelerate=accelerate, max_iter=3000, **options
        )
        history = fit(model, X).history_["log_likelihood"]
        assert (np.diff(history) >= -1e-9 * abs(history[-1])).all()
        assert model.stop_reason_ == "converged"


@EACH
def test_weights_count_rows(case: FamilyCase) -> None:
    X = rows(case)
    counts = np.random.default_rng(2).integers(0, 3, N)
    weighted = fit(start(case), X, sample_weight=counts)
    repeated = fit(start(case), np.repeat(X, counts, axis=0))
    for a, b in zip(params(weighted), params(repeated), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)
    assert weighted.bic(X, sample_weight=counts) == pytest.approx(repeated.bic(np.repeat(X, counts, axis=0)))


@EACH
@pytest.mark.parametrize("size", [1, 7, 128, N])
def test_chunks_are_the_whole(case: FamilyCase, size: int) -> None:
    X = rows(case)
    whole = fit(start(case), X)
    cut = fit(start(case), fastem.Chunks(lambda: (X[i : i + 50] for i in range(0, N, 50)), rows_per_chunk=size))
    for a, b in zip(params(whole), params(cut), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(cut.history_["log_likelihood"], whole.history_["log_likelihood"], rtol=1e-11)


@EACH
def test_same_bits_for_any_number_of_threads_and_row_order(case: FamilyCase) -> None:
    X = np.tile(rows(case), (9, 1))
    one, two = (fit(start(case, n_jobs=n), X) for n in (1, 2))
    for a, b in zip(params(one), params(two), strict=True):
        assert (a == b).all()
    mixed = fit(start(case), X[np.random.default_rng(0).permutation(len(X))])
    for a, b in zip(params(one), params(mixed), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


@EACH
def test_a_fit_of_a_sample_recovers_the_parameters(case: FamilyCase) -> None:
    model = fit(case.make(K, random_state=0, tol=1e-7, init_params="kmeans"), rows(case, 4000))
    X, labels = model.sample(40_000, random_state=3)
    assert X.shape == (40_000, model.n_features_in_) and set(labels) == set(range(K))
    again = fit(clone(model).set_params(max_iter=500, n_init=3), X)  # of one k-means in six the end is another optimum
    order, other = np.argsort(model.weights_), np.argsort(again.weights_)
    for a, b in zip(identified(model), identified(again), strict=True):
        np.testing.assert_allclose(b[other], a[order], rtol=0.15, atol=0.05)
    assert again.score(X) >= model.score(X)


@EACH
def test_a_file_holds_all_of_it(case: FamilyCase, tmp_path: Any) -> None:
    X = rows(case)
    model = fit(start(case), X)
    model.save(tmp_path / "model.npz")
    loaded = fastem.load(tmp_path / "model.npz")
    assert type(loaded) is type(model)
    assert (loaded.score_samples(X) == model.score_samples(X)).all() and (loaded.predict(X) == model.predict(X)).all()
    assert loaded.bic(X) == model.bic(X)


@EACH
@pytest.mark.parametrize("algorithm", ["stepwise", "incremental"])
def test_online_algorithms_end_near_the_optimum(case: FamilyCase, algorithm: str) -> None:
    if algorithm not in case.make()._algorithms:
        with pytest.raises(ValueError, match=f"algorithm is '{algorithm}'.*algorithm='batch'"):
            case.make(K).fit(rows(case), algorithm=algorithm)
        return
    X = rows(case, 6000)
    batch = fit(case.make(K, random_state=0, tol=1e-7, init_params="kmeans"), X)
    nearby = case.make(K, weights_init=np.full(K, 1 / K), params_init=given(batch), random_state=0)
    model = fit(nearby, X, algorithm=algorithm, batch_size=300)
    assert model.score(X) == pytest.approx(batch.score(X), abs=5e-3)


@EACH
def test_partial_fit_learns(case: FamilyCase) -> None:
    X = rows(case, 8000)
    model = case.make(K, random_state=0)
    if "stepwise" not in model._algorithms:
        with pytest.raises(ValueError, match="algorithm is 'stepwise'"):
            model.partial_fit(X)
        return
    for i in range(0, len(X), 1000):
        model.partial_fit(X[i : i + 1000])
    assert model.score(X) == pytest.approx(fit(case.make(K, random_state=0), X).score(X), abs=0.05)


@EACH
def test_a_killed_fit_goes_on_where_it_was(case: FamilyCase, tmp_path: Any) -> None:
    X = rows(case)
    for accelerate in (None, "squarem", "anderson"):
        options = {"accelerate": accelerate, "max_iter": 12}
        path = tmp_path / f"{accelerate}.npz"
        whole = fit(start(case, **options), X)
        fit(start(case, **options | {"max_iter": 7}), X, checkpoint=path)
        again = fit(start(case, **options), X, checkpoint=path, resume=True)
        for a, b in zip(params(whole), params(again), strict=True):
            assert (a == b).all()


@EACH
def test_odd_data(case: FamilyCase) -> None:
    """One row, constant columns, more components than distinct rows."""
    X = rows(case)
    for data, k in ((X[:1], 1), (np.repeat(X[:1], 20, axis=0), 3), (X[:, :2], 2)):
        if case.name in ("exposure", "product") and data.shape[1] < X.shape[1]:
            data = X
        model = fit(case.make(k, random_state=0), data)
        assert np.isfinite(model.score(data)) and np.isfinite(model.weights_).all()
