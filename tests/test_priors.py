"""Priors of Gaussian mixtures: SciPy's densities, the paper's M-steps, and what must hold with them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import cases
import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp

import fastem
from fastem.families.gaussian import Gaussian, GaussianParams
from fastem.families.gaussian_prior import GaussianPrior

TYPES = ["full", "tied", "diag", "spherical"]
EACH = pytest.mark.parametrize("covariance_type", TYPES)
K, D = 3, 2


def matrices(covariances: np.ndarray, covariance_type: str) -> np.ndarray:
    """(K, d, d), whatever the shape."""
    shaped = {"full": lambda c: c, "tied": lambda c: np.stack([c] * K), "diag": lambda c: np.stack([*map(np.diag, c)])}
    return (shaped | {"spherical": lambda c: c[:, None, None] * np.eye(D)})[covariance_type](covariances)


def defaults(X: np.ndarray, covariance_type: str) -> GaussianPrior:
    """Those of mclust's manual: shrinkage 0.01, mean, dof d + 2, variance over K^(2 / d)."""
    scale = np.cov(X.T) / K ** (2 / D)
    return GaussianPrior(0.01, X.mean(axis=0), D + 2, scale if covariance_type in TYPES[:2] else np.trace(scale) / D)


def by_scipy(prior: GaussianPrior, params: GaussianParams, covariance_type: str) -> float:
    """Log-density of the prior, with its constant."""
    kappa, mean, dof, scale = prior
    full = matrices(params.covariances, covariance_type)
    total = sum(stats.multivariate_normal(mean, c / kappa).logpdf(m) for m, c in zip(params.means, full, strict=True))
    if covariance_type in TYPES[:2]:
        return total + sum(
            stats.invwishart(dof, scale).logpdf(c) for c in full[: None if covariance_type == "full" else 1]
        )
    return total + stats.invgamma(dof / 2, scale=scale / 2).logpdf(params.covariances).sum()


@EACH
def test_the_log_prior_is_scipys(covariance_type: str) -> None:
    family, rng = Gaussian(covariance_type), np.random.default_rng(0)
    scale = np.array([[2.0, 0.3], [0.3, 0.7]]) if covariance_type in TYPES[:2] else np.array(0.8)
    family.prior = GaussianPrior(0.4, np.array([1.0, -2.0]), 5.5, scale)
    ours, scipys = [], []
    for _ in range(3):
        A = rng.normal(size=(K, D, D))
        covariances = cases.in_shape_of(A @ np.swapaxes(A, 1, 2) + np.eye(D), covariance_type)
        params = GaussianParams(rng.normal(size=(K, D)), covariances)
        ours.append(family.log_prior(params))
        scipys.append(by_scipy(family.prior, params, covariance_type))
    np.testing.assert_allclose(np.diff(ours), np.diff(scipys), rtol=1e-10)


@EACH
def test_a_step_is_that_of_the_paper(covariance_type: str) -> None:
    """Fraley and Raftery's tables: shrunken means, and scatter with the prior's over more than the rows."""
    X, _, start = cases.problem(cases.SEPARATED, covariance_type)
    prior = defaults(X, covariance_type)
    model = cases.starting_from(start, covariance_type, max_iter=1, prior="default")
    cases.quietly(model.fit, X)
    np.testing.assert_allclose(model.prior_mean_, prior.mean, rtol=1e-10)
    np.testing.assert_allclose(model.prior_scale_, prior.scale, rtol=1e-10)
    full = zip(start.weights, start.means, matrices(start.covariances, covariance_type), strict=True)
    joint = np.stack([np.log(w) + stats.multivariate_normal(m, c).logpdf(X) for w, m, c in full], axis=1)
    resp = np.exp(joint - logsumexp(joint, axis=1, keepdims=True))
    n, kappa = resp.sum(axis=0), prior.shrinkage
    rows = resp.T @ X / n[:, None]
    np.testing.assert_allclose(model.means_, (n[:, None] * rows + kappa * prior.mean) / (n + kappa)[:, None], rtol=1e-9)
    W = np.stack([(r[:, None] * (X - m)).T @ (X - m) for r, m in zip(resp.T, rows, strict=True)])
    y = rows - prior.mean
    W += (kappa * n / (kappa + n))[:, None, None] * (y[:, :, None] * y[:, None, :])
    wanted = {
        "full": lambda: (prior.scale + W) / (prior.dof + n + D + 2)[:, None, None],
        "tied": lambda: (prior.scale + W.sum(axis=0)) / (prior.dof + len(X) + D + K + 1),
        "diag": lambda: (prior.scale + np.diagonal(W, axis1=1, axis2=2)) / (prior.dof + n + 3)[:, None],
        "spherical": lambda: (prior.scale + np.trace(W, axis1=1, axis2=2)) / (prior.dof + (n + 1) * D + 2),
    }[covariance_type]()
    np.testing.assert_allclose(model.covariances_, wanted, rtol=1e-9)


@EACH
def test_rows_like_the_data(covariance_type: str) -> None:
    """The scatter of d + 2 rows with the data's covariance, variances, or mean variance."""
    X, _, start = cases.problem(cases.SEPARATED, covariance_type)
    named = cases.quietly(cases.starting_from(start, covariance_type, max_iter=5, prior="data").fit, X)
    covariance = np.cov(X.T)
    scale = {"diag": np.diagonal(covariance), "spherical": np.trace(covariance) / D}.get(covariance_type, covariance)
    scale = (D + 2) * scale
    np.testing.assert_allclose(named.prior_scale_, scale, rtol=1e-10)
    spelt = cases.quietly(cases.starting_from(start, covariance_type, max_iter=5, prior={"scale": scale}).fit, X)
    np.testing.assert_allclose(named.covariances_, spelt.covariances_, rtol=1e-9)


@EACH
def test_what_is_singular_without_a_prior_is_not_with_one(covariance_type: str) -> None:
    """Duplicated rows, more components than distinct rows, no ridge: proper, monotone and without a restart."""
    rng = np.random.default_rng(0)
    X = np.repeat(rng.normal(size=(6, D)), 20, axis=0)
    for accelerate in (None, "squarem"):
        model = fastem.GaussianMixture(
            K, covariance_type=covariance_type, reg_covar=0, prior="default", accelerate=accelerate, random_state=0
        ).fit(X)
        history = model.history_["log_likelihood"]
        assert model.converged_ and (np.diff(history) > -1e-9 * np.abs(history[0])).all()
        assert not model.diagnostics_["restarted"] and not model.diagnostics_["floored"]
        assert (np.linalg.eigvalsh(matrices(model.covariances_, covariance_type)) > 1e-3).all()
    many = fastem.GaussianMixture(9, covariance_type=covariance_type, reg_covar=0, prior="default", random_state=0)
    assert np.isfinite(cases.quietly(many.fit, X).score(X))


@EACH
def test_the_fit_is_a_maximum_of_the_posterior(covariance_type: str) -> None:
    """No small move of means or covariances raises the objective, with known rows and with means that are held."""
    X, weight, start = cases.problem(cases.WEIGHTED, covariance_type)
    nearest = ((X[:, None] - start.means) ** 2).sum(axis=2).argmin(axis=1)
    labels = np.where(np.arange(len(X)) % 9 == 0, nearest, -1)
    inits = {"means_init": start.means, "weights_init": start.weights}
    base = {"covariance_type": covariance_type, "reg_covar": 0, "prior": {"shrinkage": 3.0}, "tol": 1e-10}
    for more in ({}, {"labels": labels}, {"fixed": ("means",)}):
        model = fastem.GaussianMixture(K, **base, **inits).fit(X, sample_weight=weight, **more)
        history = model.history_["log_likelihood"]
        assert (np.diff(history) > -1e-8).all() and model.converged_
    params, family = model._get_params_(), model._family()  # the last: its means are held

    def objective(components: GaussianParams) -> float:
        moved = fastem.GaussianMixture(K, **base)
        vars(moved).update(vars(model))
        moved._set_params_(params._replace(components=components), X.dtype)
        return moved.score(X, sample_weight=weight) * weight.sum() + family.log_prior(components)

    best = objective(params.components)
    assert best == pytest.approx(history[-1], rel=1e-8)
    for factor in (0.99, 1.01):
        assert objective(params.components._replace(covariances=params.components.covariances * factor)) < best


def test_sources_files_and_other_algorithms_have_the_prior_too(tmp_path: Path) -> None:
    X, _, start = cases.problem(cases.SEPARATED, "full")
    options: dict[str, Any] = {
        "prior": {"scale": 0.1 * np.eye(2), "dof": 99.0},
        "means_init": start.means,
        "random_state": 0,
    }
    whole = fastem.GaussianMixture(K, **options, tol=1e-8).fit(X)
    without = fastem.GaussianMixture(K, **options | {"prior": None}, tol=1e-8).fit(X)
    assert (np.linalg.det(whole.covariances_) < 0.5 * np.linalg.det(without.covariances_)).all()
    cut = fastem.GaussianMixture(K, **options, tol=1e-8).fit(lambda: iter([X[:100], X[100:]]))
    np.testing.assert_allclose(cut.covariances_, whole.covariances_, rtol=1e-8)
    for algorithm, tolerance in (("incremental", 1e-3), ("stepwise", 0.1)):
        again = cases.quietly(fastem.GaussianMixture(K, **options).fit, X, algorithm=algorithm, batch_size=50)
        gap = np.abs(again.covariances_ - whole.covariances_).max()
        assert gap < tolerance * np.abs(whole.covariances_).max()
    learner = fastem.GaussianMixture(K, **options)
    for batch in np.array_split(np.random.default_rng(1).permutation(X), 4):
        learner.partial_fit(batch)
    assert np.linalg.norm(learner.covariances_ - whole.covariances_) < 0.3 * np.linalg.norm(whole.covariances_)
    rates = [
        fastem.PoissonMixture(2, prior=2.0, random_state=0)
        .fit(np.floor(np.abs(X)), algorithm=algorithm, **batch)
        .rates_
        for algorithm, batch in (("batch", {}), ("stepwise", {"batch_size": 50}))
    ]
    np.testing.assert_allclose(*rates, rtol=0.1)
    whole.save(tmp_path / "model.npz")
    loaded = fastem.load(tmp_path / "model.npz")
    assert loaded.prior["dof"] == 99.0 and (loaded.prior_scale_ == whole.prior_scale_).all()
    assert loaded._family().log_prior(loaded._get_params_().components) == pytest.approx(
        whole._family().log_prior(whole._get_params_().components)
    )


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        ("flat", "prior is 'flat'; None, 'default', 'data', or a dict"),
        ({"kappa": 1}, "prior has 'kappa'; choose among 'shrinkage', 'mean', 'dof', 'scale'"),
        ({"dof": -1}, r"prior\['dof'\] is -1"),
        ({"mean": [0.0]}, r"prior\['mean'\] has shape \(1,\); \(2,\) is wanted"),
        ({"scale": np.zeros((2, 2))}, "not positive definite"),
    ],
)
def test_bad_priors_are_told(prior: Any, message: str) -> None:
    X = np.random.default_rng(0).normal(size=(50, 2))
    with pytest.raises(ValueError, match=message):
        fastem.GaussianMixture(2, prior=prior).fit(X)


@pytest.mark.parametrize("accelerate", [None, "squarem"])
@pytest.mark.parametrize("seed", [2, 7])
def test_what_a_ridge_takes_while_the_prior_loses_ends_no_fit(seed: int, accelerate: str | None) -> None:
    """The ridge may lower the sum of log-likelihood and log-prior by what it gains, also where the latter falls."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(300, 3)) @ rng.normal(size=(3, 3))
    prior = {"scale": 1e-3 * np.eye(3), "dof": 2000}
    model = fastem.GaussianMixture(2, prior=prior, accelerate=accelerate, random_state=0)
    assert cases.quietly(model.fit, X).stop_reason_ == "converged"
    family, params = model._family(), model._get_params_().components
    assert family.log_prior(params) != 0 and family.penalty(params, model.weights_) > 0
    family.reg_covar = 0.0
    assert family.penalty(params, model.weights_) == 0


def test_weights_that_were_normalised_are_told_where_there_is_a_prior() -> None:
    X, weight = np.random.default_rng(0).normal(size=(200, 2)), np.random.default_rng(1).uniform(0.5, 1.5, 200)
    strong = [{"prior": "default"}, {"prior": {"dof": 4}}, {"weight_concentration_prior": 2.0}]
    for options in strong:
        for normalised in (weight / weight.sum(), weight / 100):
            with pytest.warns(UserWarning, match=r"sample_weight sums to .* over 200 rows, and the prior is in units"):
                fastem.GaussianMixture(1, **options).fit(X, sample_weight=normalised)
    with pytest.warns(UserWarning, match="the prior is in units of rows"):
        fastem.ProductMixture({0: fastem.GaussianMixture(prior="default"), 1: "gaussian"}).fit(X, sample_weight=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        for options in strong:
            fastem.GaussianMixture(1, **options).fit(X, sample_weight=weight)
            fastem.GaussianMixture(1, **options).fit(X)
        fastem.GaussianMixture(1).fit(X, sample_weight=weight / weight.sum())
