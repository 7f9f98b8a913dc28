"""Priors of mixtures of linear regressions: the naive M-step, SciPy's densities, ridge regression, what must hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import quietly
from scipy import stats
from scipy.special import logsumexp
from sklearn.linear_model import Ridge

import fastem

K, N = 2, 231
SHARED = pytest.mark.parametrize("shared", [False, True])
ACCELERATED = pytest.mark.parametrize("accelerate", [None, "squarem", "anderson"])


def rows(n: int = N, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Three features of different units, and y on one of two lines."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, (n, 3)) * [1.0, 10.0, 0.1] + [0.0, 5.0, 3.0]
    lines = X @ np.array([[1.5, -0.05, 3.0], [-1.0, 0.08, 3.0]]).T + [0.5, -2.0]
    return X, lines[np.arange(n), (rng.random(n) < 0.4).astype(int)] + 0.3 * rng.standard_normal(n)


def beginning(**options: Any) -> fastem.LinearRegressionMixture:
    """A model that starts near the lines, and makes plain EM steps."""
    near = {"coef": [[1.4, 0.0, 2.0], [-0.9, 0.0, 4.0]], "intercept": [3.0, -4.0], "variances": [0.2, 0.2]}
    if options.get("fit_intercept") is False:
        near["intercept"] = [0.0, 0.0]
    options = {"prior": 20.0, "tol": 0.0, "accelerate": None, "weights_init": [0.55, 0.45], **options}
    return fastem.LinearRegressionMixture(K, params_init=near, **options)


def joint(X: np.ndarray, y: np.ndarray, model: Any) -> np.ndarray:
    """Log(weight) + log p(y | x, k) by SciPy, (n, K)."""
    means, deviations = X @ model.coef_.T + model.intercept_, np.sqrt(model.variances_)
    return stats.norm.logpdf(y[:, None], means, deviations) + np.log(model.weights_)


def numbers(model: Any, X: np.ndarray, y: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, float]:
    """Variances of X times the prior, and the scale of the variances' prior: var(y) over K^2."""
    total = weight.sum()
    scale = np.cov(y, aweights=weight, bias=True) * min(2, total / (total - 1)) / K**2
    return model.prior * np.diagonal(np.cov(X.T, aweights=weight, bias=True)), scale


def log_prior(model: Any, pull: np.ndarray, scale: float) -> float:
    """SciPy's."""
    coef = stats.norm.logpdf(model.coef_, 0.0, np.sqrt(model.variances_[:, None] / pull)).sum()
    variances = model.variances_[: 1 if model.share_variance else None]
    return float(coef + stats.invgamma(1.5, scale=scale / 2).logpdf(variances).sum())


def ours(model: Any) -> float:
    """Log-prior of a fitted model, but for a constant."""
    return float(model._family().log_prior(model._get_params_().components))


@SHARED
@pytest.mark.parametrize("options", [{}, {"reg_covar": 0.5}, {"fit_intercept": False}])
def test_a_step_is_the_naive_one(options: dict[str, Any], shared: bool) -> None:
    (X, y), weight = rows(), np.random.default_rng(1).uniform(0.2, 3.0, N)
    options = options | {"share_variance": shared}
    before = quietly(beginning(max_iter=0, **options).fit, X, y, sample_weight=weight)
    after = quietly(beginning(max_iter=1, **options).fit, X, y, sample_weight=weight)
    each = joint(X, y, before)
    resp = weight[:, None] * np.exp(each - logsumexp(each, axis=1, keepdims=True))
    pull, scale = numbers(after, X, y, weight)
    assert after.prior_scale_ == pytest.approx(scale, rel=1e-10)
    design = np.column_stack([np.full(N, float(after.fit_intercept)), X])
    ridge = np.diag([0.0 if after.fit_intercept else 1.0, *pull])
    lines = np.stack([np.linalg.solve((design.T * r) @ design + ridge, design.T @ (r * y)) for r in resp.T])
    squares = (resp * (y[:, None] - design @ lines.T) ** 2).sum(axis=0) + lines[:, 1:] ** 2 @ pull
    if shared:
        variances = np.full(K, (squares.sum() + scale) / (weight.sum() + 3 * K + 5))
    else:
        variances = (squares + scale) / (resp.sum(axis=0) + 3 + 5)
    np.testing.assert_allclose(after.weights_, resp.sum(axis=0) / weight.sum(), rtol=1e-9)
    np.testing.assert_allclose(after.coef_, lines[:, 1:], rtol=1e-9)
    np.testing.assert_allclose(after.intercept_, lines[:, 0], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(after.variances_, variances + after.reg_covar, rtol=1e-9)
    total = float(weight @ logsumexp(each, axis=1))
    assert after.history_["log_likelihood"][0] == pytest.approx(total + ours(before), rel=1e-11)
    constants = [log_prior(model, pull, scale) - ours(model) for model in (before, after)]
    assert constants[0] == pytest.approx(constants[1], abs=1e-9)


@SHARED
@ACCELERATED
def test_a_fit_is_a_maximum_of_the_posterior(shared: bool, accelerate: str | None) -> None:
    """No small move of any parameter raises SciPy's log-likelihood and log-prior."""
    X, y = rows()
    model = beginning(tol=1e-10, reg_covar=0.0, share_variance=shared, accelerate=accelerate).fit(X, y)
    history = model.history_["log_likelihood"]
    assert model.converged_ and (np.diff(history) > -1e-9 * abs(history[0])).all()
    pull, scale = numbers(model, X, y, np.ones(N))

    def objective() -> float:
        return float(logsumexp(joint(X, y, model), axis=1).sum()) + log_prior(model, pull, scale)

    top = objective()
    assert log_prior(model, pull, scale) - ours(model) == pytest.approx(top - history[-1], rel=1e-7)
    for name in ("coef_", "intercept_", "variances_"):
        best = getattr(model, name)
        for place in [...] if shared and name == "variances_" else np.ndindex(*best.shape):
            for step in (0.98, 1.02):
                moved = best.copy()
                moved[place] *= step
                setattr(model, name, moved)
                assert objective() <= top + 1e-6, (name, place, step)
        setattr(model, name, best)


@pytest.mark.parametrize("prior", [0.01, 1.0, 300.0])
def test_one_component_is_ridge_regression(prior: float) -> None:
    (X, y), weight = rows(), np.random.default_rng(2).uniform(0.2, 3.0, N)
    model = fastem.LinearRegressionMixture(1, prior=prior, reg_covar=0.0).fit(X, y, sample_weight=weight)
    mean = weight @ X / weight.sum()
    deviation = np.sqrt(weight @ (X - mean) ** 2 / weight.sum())
    ridge = Ridge(alpha=prior).fit((X - mean) / deviation, y, sample_weight=weight)
    np.testing.assert_allclose(model.coef_[0] * deviation, ridge.coef_, rtol=1e-8)
    np.testing.assert_allclose(model.intercept_, ridge.intercept_ - model.coef_[0] @ mean, rtol=1e-8)


def test_without_a_prior_it_is_maximum_likelihood() -> None:
    X, y = rows()
    plain, none, weak = (quietly(beginning(prior=prior, tol=1e-9).fit, X, y) for prior in (0, 0.0, 1e-12))
    assert (plain.coef_ == none.coef_).all() and not hasattr(plain, "prior_scale_") and plain._family().prior is None
    np.testing.assert_allclose(weak.coef_, none.coef_, rtol=0.1)
    assert (weak.variances_ < none.variances_ * 1.5).all()


@SHARED
@pytest.mark.parametrize("accelerate", [None, "anderson"])
def test_what_is_singular_without_a_prior_is_not_with_one(shared: bool, accelerate: str | None) -> None:
    """Few rows repeated, equal columns, no noise, no ridge: proper, monotone, never moved; also with too many lines."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(6, 3)), rng.normal(size=6)
    few = np.repeat(X, 20, axis=0), np.repeat(y, 20)
    twice = np.column_stack([X[:, 0], X[:, 0], np.ones(6)]).repeat(20, axis=0), np.repeat(y, 20)
    straight = (many := rng.normal(size=(200, 3))), np.where(rng.random(200) < 0.4, many[:, 0], 5 - many[:, 1])
    shape: dict[str, Any] = {"prior": 0.01, "reg_covar": 0.0, "share_variance": shared}
    for data in (few, twice, straight):
        for k in (2, 9):
            model = fastem.LinearRegressionMixture(k, accelerate=accelerate, random_state=0, max_iter=200, **shape)
            quietly(model.fit, *data)
            history, diagnostics = model.history_["log_likelihood"], model.diagnostics_
            moved = {event["iteration"] for event in diagnostics["restarted"]} | set(diagnostics["parted"])
            falls = set((np.flatnonzero(np.diff(history) < -1e-9 * abs(history[0])) + 1).tolist())
            assert falls <= moved and np.isfinite(model.score(*data))
            assert (model.variances_ > 1e-6 * data[1].var()).all() and np.abs(model.coef_).max() < 2
            if k == 2:
                assert model.converged_ and not moved and not diagnostics["floored"]


@ACCELERATED
def test_the_objective_never_falls(accelerate: str | None) -> None:
    X, y = rows()
    for prior, reg_covar in ((1.0, 1e-6), (500.0, 0.5), (1e-3, 2.0)):
        for seed in range(2):
            options = {"prior": prior, "reg_covar": reg_covar, "fit_intercept": seed > 0, "share_variance": seed > 0}
            model = fastem.LinearRegressionMixture(
                3, init_params="random", random_state=seed, accelerate=accelerate, tol=1e-6, max_iter=5000, **options
            )
            assert quietly(model.fit, X, y).stop_reason_ == "converged"
            assert seed or reg_covar > 0.1 or (np.diff(model.history_["log_likelihood"]) > -1e-7).all()


def test_every_way_to_fit_has_the_prior() -> None:
    X, y = rows()
    plain = beginning(tol=1e-9)
    whole = fastem.LinearRegressionMixture(**plain.get_params()).fit(X, y)
    without = fastem.LinearRegressionMixture(**plain.get_params() | {"prior": 0.0}).fit(X, y)
    assert (np.abs(whole.coef_[:, 0]) < 0.95 * np.abs(without.coef_[:, 0])).all()
    table = np.column_stack([X, y])
    cut = fastem.LinearRegressionMixture(**plain.get_params()).fit(lambda: iter([table[:100], table[100:]]), 3)
    np.testing.assert_allclose(cut.coef_, whole.coef_, rtol=1e-8)
    single = fastem.LinearRegressionMixture(**plain.get_params() | {"tol": 1e-5})
    single.fit(X.astype(np.float32), y.astype(np.float32))
    np.testing.assert_allclose(single.coef_ * X.std(axis=0), whole.coef_ * X.std(axis=0), atol=0.02)
    far = fastem.LinearRegressionMixture(**plain.get_params())
    far.params_init = far.params_init | {"intercept": [3.0, -4.0] - np.array(far.params_init["coef"]).sum(axis=1) * 1e8}
    far.fit(X + 1e8, y)
    np.testing.assert_allclose(far.coef_ * X.std(axis=0), whole.coef_ * X.std(axis=0), atol=1e-5)
    counts = np.random.default_rng(3).integers(0, 3, N)
    weighted = quietly(beginning(max_iter=5).fit, X, y, sample_weight=counts)
    repeated = quietly(beginning(max_iter=5).fit, X.repeat(counts, axis=0), y.repeat(counts))
    np.testing.assert_allclose(weighted.coef_, repeated.coef_, rtol=1e-9)
    for algorithm, tolerance in (("incremental", 1e-3), ("stepwise", 0.1)):
        again = fastem.LinearRegressionMixture(**plain.get_params() | {"tol": 1e-4})
        quietly(again.fit, X, y, algorithm=algorithm, batch_size=40)
        np.testing.assert_allclose(again.coef_[:, 0], whole.coef_[:, 0], rtol=tolerance)
        np.testing.assert_allclose(again.variances_, whole.variances_, rtol=4 * tolerance)
    learner = fastem.LinearRegressionMixture(**plain.get_params())
    for _ in range(5):
        learner.partial_fit(X, y)
    assert learner.prior_scale_ == pytest.approx(whole.prior_scale_)


def test_files_and_warm_starts(tmp_path: Path) -> None:
    X, y = rows()
    model = fastem.LinearRegressionMixture(K, prior=5.0, tol=1e-9, random_state=0).fit(X, y)
    model.save(tmp_path / "model.npz")
    loaded = fastem.load(tmp_path / "model.npz")
    assert loaded.prior == 5.0 and loaded.prior_scale_ == model.prior_scale_
    assert ours(model) == ours(loaded) != 0
    loaded.set_params(warm_start=True, tol=1e-6).fit(X, y)
    assert loaded.n_iter_ < 10 and loaded.lower_bound_ == pytest.approx(model.lower_bound_, abs=1e-6)
    loaded.set_params(prior=0.0).fit(X, y)
    assert not hasattr(loaded, "prior_scale_") and loaded._family().prior is None


@pytest.mark.parametrize("prior", [-1.0, "default", np.inf, np.nan, None, True])
def test_bad_priors_are_told(prior: Any) -> None:
    with pytest.raises(ValueError, match=r"prior is .*; a number of at least 0 is wanted: try prior=0.0"):
        fastem.LinearRegressionMixture(2, prior=prior).fit(*rows(50))
