"""The Dirichlet prior of the weights: its M-step, its maximum, and that every way to fit has it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cases
import numpy as np
import pytest
from family_cases import CASES, FamilyCase, K
from scipy import stats
from scipy.special import logsumexp
from sklearn.base import clone
from test_families import fit, params, rows

import fastem
from fastem.engine import tree
from fastem.engine.chunks import chunk
from fastem.engine.em import em_step
from fastem.engine.model import Mixture, MixtureParams
from fastem.engine.several import step_of_one, step_of_several
from fastem.engine.stepwise import Schedule, StepSize, begin, stepwise_step
from fastem.families.gaussian import Gaussian, GaussianParams

ALPHA = 8.5
NAMES = "poisson", "categorical", "product"
EACH = pytest.mark.parametrize("case", [c for c in CASES if c.name in NAMES], ids=lambda case: case.name)


class Exponentials:
    """A family of a user's own, in NumPy."""

    def log_prob(self, X: np.ndarray, rates: np.ndarray) -> np.ndarray:
        return np.log(rates) - X * rates

    def statistics(self, X: np.ndarray, resp: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return resp.sum(axis=0), resp.T @ X[:, 0]

    def m_step(self, statistics: Any, rates: Any) -> np.ndarray:
        return statistics[0] / statistics[1]


def log_prior(weights: np.ndarray) -> float:
    """Of SciPy's density, beside that of equal weights."""
    alpha = np.full(len(weights), ALPHA)
    return stats.dirichlet(alpha).logpdf(weights) - stats.dirichlet(alpha).logpdf(
        np.full(len(weights), 1 / len(weights))
    )


def gaussian(**options: Any) -> tuple[np.ndarray, Any]:
    """Rows, and a Gaussian mixture with the prior that starts at given parameters."""
    X, _, start = cases.problem(cases.SEPARATED, "full")
    return X, cases.starting_from(start, "full", **{"weight_concentration_prior": ALPHA, "tol": 1e-9} | options)


def engine() -> tuple[Mixture, MixtureParams, np.ndarray]:
    X, _, start = cases.problem(cases.SEPARATED, "full")
    components = GaussianParams(start.means, start.covariances)
    return Mixture(Gaussian("full"), concentration=ALPHA), MixtureParams(start.weights, components), X


@EACH
def test_a_step_is_the_formula(case: FamilyCase) -> None:
    """Weights (sum_w + alpha - 1) / (sum + K (alpha - 1)); all else is as without a prior."""
    X, weight = rows(case), np.random.default_rng(1).uniform(0.2, 3.0, 331)

    def after(max_iter: int, alpha: float | None) -> Any:
        options = {"init_params": "kmeans", "random_state": 0, "max_iter": max_iter}
        return fit(case.make(K, weight_concentration_prior=alpha, **options), X, sample_weight=weight)

    before, plain, ours = after(0, ALPHA), after(1, None), after(1, ALPHA)
    joint = case.density(X, before) + np.log(before.weights_)
    total = logsumexp(joint, axis=1)
    sum_w = weight @ np.exp(joint - total[:, None])
    wanted = (sum_w + ALPHA - 1) / (weight.sum() + K * (ALPHA - 1))
    np.testing.assert_allclose(ours.weights_, wanted, rtol=1e-11)
    for found, same in zip(params(ours)[1:], params(plain)[1:], strict=True):
        assert (found == same).all()
    assert ours.history_["log_likelihood"][0] == pytest.approx(weight @ total + log_prior(before.weights_), rel=1e-11)


@EACH
@pytest.mark.parametrize("accelerate", [None, "squarem", "anderson"])
def test_the_fit_climbs_to_a_maximum(case: FamilyCase, accelerate: str | None) -> None:
    X = rows(case)
    model = case.make(K, random_state=1, tol=1e-10, accelerate=accelerate, weight_concentration_prior=ALPHA)
    history = fit(model.set_params(init_params="random", max_iter=5000), X).history_["log_likelihood"]
    assert model.converged_ and (np.diff(history) >= -1e-9 * abs(history[-1])).all()
    density = case.density(X, model)

    def objective(weights: np.ndarray) -> float:
        return float(logsumexp(density + np.log(weights), axis=1).sum()) + log_prior(weights)

    best = objective(model.weights_)
    assert best == pytest.approx(history[-1], rel=1e-8)
    for k in range(K):
        for factor in (0.97, 1.03):
            moved = np.where(np.arange(K) == k, factor, 1.0) * model.weights_
            assert objective(moved / moved.sum()) < best
    # Criteria have the likelihood alone.
    total = logsumexp(density + np.log(model.weights_), axis=1).sum()
    assert model.aic(X) == pytest.approx(-2 * total + 2 * model._n_parameters())


@EACH
def test_none_and_1_are_maximum_likelihood_to_the_bit(case: FamilyCase) -> None:
    X = rows(case)
    for plan in ({}, {"algorithm": "incremental", "batch_size": 50}, {"algorithm": "stepwise", "batch_size": 50}):
        none, one = (
            fit(case.make(K, random_state=0, max_iter=6, weight_concentration_prior=alpha), X, **plan)
            for alpha in (None, 1)
        )
        assert (none.history_["log_likelihood"] == one.history_["log_likelihood"]).all()
        for a, b in zip(params(none), params(one), strict=True):
            assert (a == b).all()


def test_every_estimator_has_it() -> None:
    rng = np.random.default_rng(0)
    x = rng.exponential(size=(400, 1)) * np.where(rng.random((400, 1)) < 0.2, 9.0, 1.0)
    for make, y in (
        (fastem.GaussianMixture, None),
        (lambda *a, **o: fastem.StudentTMixture(*a, df=5.0, **o), None),
        (fastem.FactorAnalyzerMixture, None),
        (fastem.LinearRegressionMixture, x[:, 0] + rng.normal(size=400)),
        (lambda *a, **o: fastem.Mixture(Exponentials(), *a, **o), None),
    ):
        model = fit(make(2, random_state=0, weight_concentration_prior=1e7), x, y=y)
        np.testing.assert_allclose(model.weights_, 0.5, atol=1e-4)
    for name in (name for name in fastem.__all__ if name.endswith("Mixture")):
        assert "weight_concentration_prior" in getattr(fastem, name)._get_param_names(), name


def test_streams_checkpoints_and_incremental_em_have_it(tmp_path: Path) -> None:
    X, model = gaussian()
    whole = clone(model).fit(X)
    cut = clone(model).fit(lambda: iter([X[:100], X[100:]]))
    np.testing.assert_allclose(cut.weights_, whole.weights_, rtol=1e-10)
    np.testing.assert_allclose(cut.history_["log_likelihood"], whole.history_["log_likelihood"], rtol=1e-11)
    again = clone(model).fit(X, algorithm="incremental", batch_size=50)
    np.testing.assert_allclose(again.weights_, whole.weights_, rtol=1e-7)
    history = again.history_["log_likelihood"]
    assert (np.diff(history) >= -1e-9 * abs(history[-1])).all()
    assert history[-1] == pytest.approx(whole.history_["log_likelihood"][-1], rel=1e-9)
    few = {"init_params": "kmeans", "random_state": 0, "accelerate": "squarem", "tol": 0.0}
    longer = fastem.GaussianMixture(4, weight_concentration_prior=ALPHA, max_iter=9, **few)
    path = tmp_path / "run.npz"
    cases.quietly(clone(longer).set_params(max_iter=5).fit, X, checkpoint=path)
    resumed, unbroken = (cases.quietly(clone(longer).fit, X, **o) for o in ({"checkpoint": path, "resume": True}, {}))
    assert (resumed.weights_ == unbroken.weights_).all() and (resumed.means_ == unbroken.means_).all()
    with pytest.raises(ValueError, match=r"weight_concentration_prior=8\.5, and this one has .*=1\.0; resume"):
        clone(longer).set_params(weight_concentration_prior=None).fit(X, checkpoint=path, resume=True)


def test_one_batch_of_step_1_is_an_em_step() -> None:
    model, first, X = engine()
    data, params = chunk(X), first
    state = begin(model, first)._replace(whole=float(len(X)))  # the prior stands beside the rows of one pass
    for _ in range(3):
        state = stepwise_step(model, state, data, Schedule(StepSize(alpha=0.0), average_from=None))
        params = em_step(model, params, [data])[1]
        for a, b in zip(tree.leaves(state.params), tree.leaves(params), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9)


def test_the_first_batch_moves_no_component_without_rows() -> None:
    """However strong the prior: what counts are rows."""
    model, first, X = engine()
    model.concentration = 1e6
    mine = X[np.argsort(((X - first.components.means[0]) ** 2).sum(axis=1))[:40]]
    after = stepwise_step(model, begin(model, first), chunk(mine)).params.components
    np.testing.assert_allclose(after.means[1:], first.components.means[1:], rtol=1e-6)
    np.testing.assert_allclose(after.covariances[1:], first.components.covariances[1:], rtol=1e-6)


def test_stepwise_em_ends_near_it() -> None:
    X, model = gaussian(weight_concentration_prior=300.0)
    X = X[np.random.default_rng(0).permutation(len(X))]
    whole = cases.quietly(clone(model).fit, X).weights_
    plain = cases.quietly(clone(model).set_params(weight_concentration_prior=None).fit, X).weights_
    learner = clone(model)
    for batch in np.array_split(X, 3):
        learner.partial_fit(batch)
    for found in (cases.quietly(clone(model).fit, X, algorithm="stepwise", batch_size=60), learner):
        assert np.abs(found.weights_ - whole).max() < 0.1 * np.abs(plain - whole).max()


def test_starts_that_race_are_ranked_by_it() -> None:
    """Side by side as one by one."""
    model, first, X = engine()
    others = [first, first._replace(weights=np.array([0.8, 0.1, 0.1]))]
    together = step_of_several(model, chunk(X), lambda params: params)
    assert together is not None
    objectives, after = together(others)
    for other, value, stepped in zip(others, objectives, after, strict=True):
        (alone,), (wanted,) = step_of_one(model, chunk(X), lambda params: params)([other])
        assert value == pytest.approx(alone, rel=1e-12)
        assert alone == pytest.approx(model.e_step(other, [chunk(X)]).log_likelihood + log_prior(other.weights))
        np.testing.assert_allclose(stepped.weights, wanted.weights, rtol=1e-12)


def test_known_rows_and_weights_that_are_held() -> None:
    X, model = gaussian()
    labels = cases.quietly(clone(model).fit, X).predict(X)
    known = clone(model).fit(X, labels=labels)
    wanted = (np.bincount(labels) + ALPHA - 1) / (len(X) + K * (ALPHA - 1))
    np.testing.assert_allclose(known.weights_, wanted, rtol=1e-12)
    held, plain = (
        clone(model).set_params(weight_concentration_prior=alpha).fit(X, fixed=("weights",)) for alpha in (ALPHA, None)
    )
    assert (held.weights_ == model.weights_init).all()
    assert (held.history_["log_likelihood"] == plain.history_["log_likelihood"]).all()


def test_components_that_are_empty_or_dropped() -> None:
    """One distinct row and a start with a weight of 0: no weight becomes 0, and those that are left sum to 1."""
    X = np.repeat(np.array([[1e8, 2.0]]), 30, axis=0)
    options = {"weight_concentration_prior": ALPHA, "random_state": 0}
    many = cases.quietly(fastem.GaussianMixture(K, **options).fit, X)
    assert (many.weights_ > 0).all() and many.weights_.sum() == pytest.approx(1)
    X, model = gaussian()
    far = np.array([*model.means_init[:2], [1e3, 1e3]])
    for policy, k in (("drop", 2), ("restart", 3)):
        start = {"weights_init": np.array([0.5, 0.5, 0.0]), "means_init": far, "on_collapse": policy, "random_state": 0}
        found = cases.quietly(clone(model).set_params(**start).fit, X)
        history = found.history_["log_likelihood"]
        assert found.converged_ and len(found.weights_) == k and (found.weights_ > 0).all()
        assert history[-1] - log_prior(found.weights_) == pytest.approx(found.score(X) * len(X))


def test_saved_loaded_and_gone_on_with(tmp_path: Path) -> None:
    X, model = gaussian()
    assert clone(model).weight_concentration_prior == ALPHA
    model.fit(X).save(tmp_path / "model.npz")
    loaded = fastem.load(tmp_path / "model.npz")
    assert loaded.weight_concentration_prior == ALPHA and (loaded.weights_ == model.weights_).all()
    warm = cases.quietly(loaded.set_params(warm_start=True).fit, X)
    np.testing.assert_allclose(warm.weights_, model.weights_, rtol=1e-6)
    assert warm.history_["log_likelihood"][0] == pytest.approx(model.history_["log_likelihood"][-1], rel=1e-9)


@pytest.mark.parametrize("value", [0.5, 0, -1.0, np.nan, np.inf, True, "2", [2.0, 2.0]])
def test_bad_values_are_told(value: Any) -> None:
    X = np.arange(20.0).reshape(10, 2)
    for make in (fastem.GaussianMixture, fastem.PoissonMixture, fastem.FactorAnalyzerMixture):
        with pytest.raises(ValueError, match="weight_concentration_prior is .* at least 1, is wanted.* 0: try 2.0"):
            make(2, weight_concentration_prior=value).fit(X)


def test_a_group_of_a_product_has_none_of_its_own() -> None:
    with pytest.raises(ValueError, match="weight_concentration_prior is not of the family .* to ProductMixture"):
        fastem.Product({0: fastem.PoissonMixture(weight_concentration_prior=2.0)})
