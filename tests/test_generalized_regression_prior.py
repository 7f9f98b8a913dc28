"""Priors of mixtures of Poisson and logistic regressions: naive steps, SciPy's optimizer, separated rows."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import quietly
from reference import regression_log_prior
from scipy import optimize
from scipy.special import expit, logsumexp
from sklearn.base import clone
from test_regression import CASES, Case, eta, falls, joint, rows, start

import fastem

N = 231
COUNTED = [case for case in CASES if case.name not in ("linear", "shared")]
EACH = pytest.mark.parametrize("case", COUNTED, ids=lambda case: case.name)
ACCELERATED = pytest.mark.parametrize("accelerate", [None, "squarem", "anderson"])


def kind(case: Case) -> str:
    return "poisson" if case.name in ("poisson", "exposure") else "logistic"


class Middle:
    """What a prior knows of the data: where they lie, and how they spread."""

    def __init__(self, case: Case, X: np.ndarray, y: np.ndarray, weight: np.ndarray):
        self.centre = weight @ X / weight.sum()
        self.variances = weight @ (X - self.centre) ** 2 / weight.sum()
        self.size = 1.0 if case.size is None else self.centre[case.size]
        self.mean = weight @ y / weight.sum()
        if case.size is not None:
            self.centre[case.size] = self.variances[case.size] = 0.0

    def levels(self, model: Any) -> np.ndarray:
        return model.intercept_ + model.coef_ @ self.centre

    def log_prior(self, case: Case, model: Any) -> float:
        """SciPy's."""
        numbers = model.prior, self.mean, self.size, self.variances
        return regression_log_prior(model.coef_, self.levels(model), *numbers, kind(case))


def ours(model: Any) -> float:
    """Log-prior of a fitted model, but for a constant."""
    return float(model._family().log_prior(model._get_params_().components))


@EACH
@pytest.mark.parametrize(
    ("fit_intercept", "held"), [(True, ()), (False, ()), (True, ("coef",)), (True, ("intercept",))]
)
def test_a_step_is_the_naive_one(case: Case, fit_intercept: bool, held: tuple[str, ...]) -> None:
    """Newton's, of the expected log-likelihood and the log-prior, component by component, where it is short."""
    (X, y), weight = rows(case, N), np.random.default_rng(1).uniform(0.2, 3.0, N)
    begun = start(case, prior=8.0, fit_intercept=fit_intercept, accelerate=None)
    if not fit_intercept:
        begun.params_init = begun.params_init | {"intercept": [0.0, 0.0]}
    before = quietly(clone(begun).set_params(max_iter=3).fit, X, y, sample_weight=weight, fixed=held)
    after = quietly(clone(begun).set_params(max_iter=4).fit, X, y, sample_weight=weight, fixed=held)
    middle, each = Middle(case, X, y, weight), joint(case, X, y, before)
    resp = weight[:, None] * np.exp(each - logsumexp(each, axis=1, keepdims=True))
    used = [c for c in range(3) if c != case.size]
    design = np.column_stack([np.full(N, float(fit_intercept)), X[:, used]])
    at_centre = np.r_[1.0, middle.centre[used]] * fit_intercept
    m = np.ones(N) if case.size is None else X[:, case.size]

    def mean_and_variance(line: Any, size: Any) -> tuple[Any, Any]:
        p = np.exp(line) if kind(case) == "poisson" else expit(line)
        return size * p, size * p * (1.0 if kind(case) == "poisson" else 1 - p)

    rate = 1.0 if kind(case) == "poisson" else 1 - middle.mean / middle.size
    free = [0] if held == ("coef",) else np.arange(len(held), len(used) + 1)
    pull = np.diag(np.r_[float(not fit_intercept), 8.0 * middle.mean * rate * middle.variances[used]])
    for k in range(2):
        beta = np.r_[before.intercept_[k], before.coef_[k, used]]
        mu, v = mean_and_variance(eta(X, before)[:, k], m)
        prior_mu, prior_v = mean_and_variance(middle.levels(before)[k], middle.size)
        information = (design.T * (resp[:, k] * v)) @ design + pull + 8 * prior_v * np.outer(at_centre, at_centre)
        gradient = design.T @ (resp[:, k] * (y - mu)) - pull @ beta + 8 * (middle.mean - prior_mu) * at_centre
        beta[free] += np.linalg.solve(information[np.ix_(free, free)], gradient[free])
        np.testing.assert_allclose(np.r_[after.intercept_[k], after.coef_[k, used]], beta, rtol=1e-8, atol=1e-10)
    assert after.prior_mean_ == pytest.approx(middle.mean, rel=1e-12)
    total = float(weight @ logsumexp(each, axis=1))
    assert after.history_["log_likelihood"][3] == pytest.approx(total + ours(before), rel=1e-11)
    if fit_intercept:
        constants = [middle.log_prior(case, model) - ours(model) for model in (before, after)]
        assert constants[0] == pytest.approx(constants[1], abs=1e-9)


@EACH
def test_a_fit_is_a_maximum_of_the_posterior(case: Case) -> None:
    """SciPy's optimizer, from there, finds nothing higher."""
    X, y = rows(case, N)
    model = quietly(start(case, prior=5.0, tol=1e-10, max_iter=5000).fit, X, y)
    assert model.converged_ and falls(model) == 0
    middle, other = Middle(case, X, y, np.ones(N)), clone(model)
    used = [c for c in range(3) if c != case.size]
    free = 2 * len(used)

    def loss(vector: np.ndarray) -> float:
        odds = np.exp(np.array([0.0, vector[0]]))
        other.weights_, other.intercept_, other.coef_ = odds / odds.sum(), vector[1:3], np.zeros((2, 3))
        other.coef_[:, used] = vector[3 : 3 + free].reshape(2, -1)
        return -float(logsumexp(joint(case, X, y, other), axis=1).sum()) - middle.log_prior(case, other)

    end = np.r_[np.log(model.weights_[1] / model.weights_[0]), model.intercept_, model.coef_[:, used].ravel()]
    best = optimize.minimize(loss, end, method="BFGS", options={"gtol": 1e-6})
    assert best.fun >= loss(end) - 1e-6
    assert loss(end + 0.05 * np.random.default_rng(0).standard_normal(len(end))) > loss(end) + 1e-3


@EACH
@ACCELERATED
def test_the_objective_never_falls(case: Case, accelerate: str | None) -> None:
    X, y = rows(case, 150)
    for seed, prior in enumerate((0.01, 1.0, 300.0)):
        options = {"random_state": seed, "init_params": "random", "tol": 1e-5, "max_iter": 3000}
        model = case.make(2, prior=prior, accelerate=accelerate, fit_intercept=seed < 2, **options)
        assert falls(quietly(model.fit, X, y)) == 0
        assert model.stop_reason_ == "converged"


def test_separated_responses_end_with_finite_coefficients() -> None:
    x = np.random.default_rng(0).normal(size=(N, 1))
    y = (x[:, 0] > 0).astype(float)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        models = [
            fastem.LogisticRegressionMixture(1, prior=prior, tol=1e-10, max_iter=1000).fit(x, y)
            for prior in (0.1, 1.0, 10.0)
        ]
    for model, prior in zip(models, (0.1, 1.0, 10.0), strict=True):
        precision = prior * y.mean() * (1 - y.mean()) * x.var()

        def loss(beta: np.ndarray, precision: float = precision, prior: float = prior) -> float:
            line, level = beta[0] + x[:, 0] * beta[1], beta[0] + x.mean() * beta[1]
            rest = prior * (y.mean() * level - np.logaddexp(0, level)) - precision * beta[1] ** 2 / 2
            return -float(y @ line - np.logaddexp(0, line).sum() + rest)

        best = optimize.minimize(loss, np.zeros(2), method="BFGS", options={"gtol": 1e-9})
        np.testing.assert_allclose([model.intercept_[0], model.coef_[0, 0]], best.x, rtol=1e-4, atol=1e-5)
    assert models[0].coef_[0, 0] > models[1].coef_[0, 0] > models[2].coef_[0, 0] > 1
    one, two = np.random.default_rng(1).random((2, N)) < 0.5
    X = np.column_stack([one, two]).astype(float)
    counts = np.where(one, 0, np.random.default_rng(2).poisson(4.0, N)).astype(float)  # an empty cell
    cells = fastem.PoissonRegressionMixture(1, prior=1.0, tol=1e-9).fit(X, counts)
    assert cells.converged_ and -20 < cells.coef_[0, 0] < -3
    np.testing.assert_allclose(cells.predict(X)[~one].mean(), counts[~one].mean(), rtol=0.05)


@EACH
def test_responses_that_are_all_the_same(case: Case) -> None:
    """No successes, or all; components that hold nothing."""
    X, y = rows(case, N)
    full = np.ones(N) if case.size is None else X[:, case.size]
    for response in (np.zeros(N), full) if kind(case) == "logistic" else (np.zeros(N),):
        model = quietly(case.make(3, prior=1.0, random_state=0).fit, X, response)
        assert falls(model) == 0 and np.abs(model.coef_).max() < 10 and np.abs(model.intercept_).max() < 30
        assert 0 < model.prior_mean_ < full.mean()


@pytest.mark.parametrize("case", [c for c in COUNTED if c.size is None], ids=lambda case: case.name)
def test_regressions_on_a_constant_have_the_prior_of_distributions(case: Case) -> None:
    """Their siblings have `prior` rows at the mean of the data, too."""
    y = rows(case, N)[1]
    if kind(case) == "poisson":
        means = np.array([[1.0], [8.0]])
        link, sibling = np.log(means), fastem.PoissonMixture(2, params_init=means, prior=20.0, tol=1e-11, max_iter=9999)
    else:
        means = np.array([[0.4], [0.7]])
        link = np.log(means / (1 - means))
        sibling = fastem.BernoulliMixture(2, params_init=means, prior=20.0, tol=1e-11, max_iter=9999)
    given = {"coef": np.zeros((2, 1)), "intercept": link[:, 0]}
    model = quietly(case.make(2, params_init=given, prior=20.0, tol=1e-11, max_iter=9999).fit, np.full((N, 1), 3.0), y)
    quietly(sibling.fit, y[:, None])
    assert model.lower_bound_ == pytest.approx(sibling.lower_bound_, abs=1e-8)
    wanted = sibling.rates_ if kind(case) == "poisson" else sibling.probabilities_
    np.testing.assert_allclose(np.sort(model.predict_components(np.full((1, 1), 3.0))[0]), np.sort(wanted[:, 0]), 1e-3)


@EACH
def test_without_a_prior_it_is_maximum_likelihood(case: Case) -> None:
    X, y = rows(case, N)
    plain, none, weak = (quietly(start(case, max_iter=30, prior=prior).fit, X, y) for prior in (0, 0.0, 1e-9))
    assert (plain.coef_ == none.coef_).all() and not hasattr(plain, "prior_mean_") and plain._family().prior is None
    np.testing.assert_allclose(weak.coef_, none.coef_, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(weak.intercept_, none.intercept_, rtol=1e-4, atol=1e-6)


@EACH
def test_every_way_to_fit_has_the_prior(case: Case, tmp_path: Path) -> None:
    X, y = rows(case, N)
    options: dict[str, Any] = {"prior": 30.0, "max_iter": 12}
    whole = quietly(start(case, **options).fit, X, y)
    without = quietly(start(case, **options | {"prior": 0.0}).fit, X, y)
    assert (np.abs(whole.coef_[:, 0]) < 0.97 * np.abs(without.coef_[:, 0])).all()
    table = np.column_stack([X, y])
    cut = quietly(start(case, **options).fit, lambda: iter([table[:100], table[100:]]), 3)
    np.testing.assert_allclose(cut.coef_, whole.coef_, rtol=1e-8)
    single = quietly(start(case, **options).fit, X.astype(np.float32), y.astype(np.float32))
    np.testing.assert_allclose(single.coef_, whole.coef_, rtol=1e-3, atol=1e-3)
    counts = np.random.default_rng(3).integers(0, 3, N)
    weighted = quietly(start(case, **options).fit, X, y, sample_weight=counts)
    repeated = quietly(start(case, **options).fit, X.repeat(counts, axis=0), y.repeat(counts))
    np.testing.assert_allclose(weighted.coef_, repeated.coef_, rtol=1e-8)
    assert (quietly(clone(whole).fit, X, y).coef_ == whole.coef_).all()
    quietly(start(case, **options | {"max_iter": 5}).fit, X, y, checkpoint=tmp_path / "half.npz")
    again = quietly(start(case, **options).fit, X, y, checkpoint=tmp_path / "half.npz", resume=True)
    assert (again.coef_ == whole.coef_).all()
    whole.save(tmp_path / "model.npz")
    loaded = fastem.load(tmp_path / "model.npz")
    assert loaded.prior == 30.0 and loaded.prior_mean_ == whole.prior_mean_ and ours(loaded) == ours(whole) != 0
    quietly(loaded.set_params(warm_start=True, max_iter=1).fit, X, y)
    assert loaded.history_["log_likelihood"][0] >= whole.history_["log_likelihood"][-1] - 1e-9
    quietly(loaded.set_params(prior=0.0).fit, X, y)
    assert not hasattr(loaded, "prior_mean_") and loaded._family().prior is None


@pytest.mark.parametrize("prior", [-1.0, "default", np.inf, np.nan, None, True])
def test_bad_priors_are_told(prior: Any) -> None:
    for make in (fastem.PoissonRegressionMixture, fastem.LogisticRegressionMixture):
        with pytest.raises(ValueError, match=r"prior is .*; a number of at least 0 is wanted: try prior=0.0"):
            make(2, prior=prior).fit(np.ones((9, 1)), np.ones(9))
