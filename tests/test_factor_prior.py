"""Priors of factor analysers: the naive M-step, SciPy's densities and optimizer, siblings, what must hold with them."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import quietly
from family_cases import factor_density, factor_rows
from reference import factor_log_posterior
from scipy import linalg, optimize
from scipy.special import logsumexp
from sklearn.base import clone

import fastem
from fastem.engine.chunks import chunk
from fastem.engine.model import Mixture, MixtureParams
from fastem.families.factor_analyzer import FactorAnalyzer
from fastem.families.factor_moments import FactorParams
from fastem.families.factor_prior import FactorPrior

K, D, N = 2, 5, 231
STRONG: dict[str, Any] = {
    "shrinkage": 3.0,
    "mean": np.array([1.0, -2.0, 0.0, 0.5, 3.0]),
    "dof": 7.0,
    "scale": np.array([0.5, 1.0, 2.0, 0.3, 4.0]),
    "loadings": 20.0,
}
"""A prior that moves everything, with all its numbers."""
NAMES = "means", "loadings", "noise_variances"
HELD = [held for n in range(3) for held in itertools.combinations(NAMES, n)]


def rows(n: int = N, seed: int = 0) -> np.ndarray:
    return factor_rows(np.random.default_rng(seed), n)


def beginning(m: int = 2, **options: Any) -> Any:
    """A model that starts somewhere, and makes plain EM steps."""
    rng = np.random.default_rng(5)
    start = {
        "means": 3 * rng.standard_normal((K, D)),
        "loadings": rng.standard_normal((K, D, m)),
        "noise_variances": rng.uniform(0.5, 2.0, (K, D)),
    }
    options = {"prior": STRONG, "tol": 0.0, "accelerate": None, "weights_init": [0.6, 0.4], **options}
    return fastem.FactorAnalyzerMixture(K, n_factors=m, params_init=start, **options)


def fitted(model: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return model.means_, model.loadings_, model.noise_variances_


def step(X: np.ndarray, resp: np.ndarray, model: Any, held: tuple[str, ...] = ()) -> list[tuple[np.ndarray, ...]]:
    """The M-step with full inverses, the prior's mean as a row more; the expansion solves a Riccati equation.

    Means that are held leave no intercept, and loadings no expansion of the factors but of their mean.
    """
    kappa, mean, dof, scale, pull = model.prior.values()
    after = []
    for r, mu, L, psi in zip(resp.T, *fitted(model), strict=True):
        m, n = L.shape[1], r.sum()
        w, y = np.append(r, kappa), np.vstack([X, mean]) - mu
        B = L.T @ np.linalg.inv(L @ L.T + np.diag(psi))
        f = y @ B.T
        middle, centre = (np.zeros(D), np.zeros(m)) if "means" in held else (w @ y / w.sum(), w @ f / w.sum())
        square = (w[:, None] * (f - centre)).T @ (f - centre) + (n + 1) * (np.eye(m) - B @ L)
        cross = (w[:, None] * (y - middle)).T @ (f - centre)
        loadings = L if "loadings" in held else cross @ np.linalg.inv(square + pull * np.eye(m))
        left = y - middle - (f - centre) @ loadings.T
        squares = w @ left**2 + (n + 1) * np.einsum("ja,ab,jb->j", loadings, np.eye(m) - B @ L, loadings)
        noise = (squares + scale + pull * (loadings**2).sum(axis=1)) / (n + dof + m + 3)
        noise = psi if "noise_variances" in held else np.maximum(noise, model.reg_covar)
        if "loadings" in held:
            after.append((mu + middle, loadings, noise))
            continue
        cost = pull / (n + 1) * loadings.T @ (loadings / noise[:, None])
        root = linalg.sqrtm(cost)
        expanded = linalg.solve_continuous_are(-np.eye(m) / 2, root, square / (n + 1), np.eye(m))
        after.append((mu + middle, loadings @ linalg.sqrtm(expanded), noise))
    return [np.array(leaf) for leaf in zip(*after, strict=True)]


@pytest.mark.parametrize(
    ("m", "reg_covar", "held"),
    [(1, 1e-6, ()), (2, 0.4, ()), (5, 1e-6, ()), *((2, 1e-6, held) for held in HELD if held)],
)
def test_a_step_is_the_naive_one(m: int, reg_covar: float, held: tuple[str, ...]) -> None:
    X, weight = rows(), np.random.default_rng(1).uniform(0.2, 3.0, N)
    before = quietly(beginning(m, max_iter=0, reg_covar=reg_covar).fit, X, sample_weight=weight)
    after = quietly(beginning(m, max_iter=1, reg_covar=reg_covar).fit, X, sample_weight=weight, fixed=held)
    joint = factor_density(X, before) + np.log(before.weights_)
    resp = weight[:, None] * np.exp(joint - logsumexp(joint, axis=1, keepdims=True))
    for found, wanted in zip(fitted(after), step(X, resp, before, held), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-8, atol=1e-9)
    assert m == 1 or reg_covar < 0.1 or (after.noise_variances_ == reg_covar).any()
    posteriors = [factor_log_posterior(X, weight, each.weights_, fitted(each), STRONG) for each in (before, after)]
    ours = [each.score(X, sample_weight=weight) * weight.sum() + log_prior(each) for each in (before, after)]
    assert posteriors[1] - posteriors[0] == pytest.approx(ours[1] - ours[0], rel=1e-9)
    assert after.history_["log_likelihood"][0] == pytest.approx(ours[0], rel=1e-11)


def log_prior(model: Any) -> float:
    """Of a fitted model, but for a constant."""
    return float(model._family().log_prior(model._get_params_().components))


def test_a_fit_is_a_maximum_of_the_posterior() -> None:
    """SciPy's optimizer, from near it, comes back to it; and every acceleration ends there."""
    X, d = rows()[:, :3], 3
    prior = {name: value[:d] if np.ndim(value) else value for name, value in STRONG.items()}
    start = {name: value[:, :d] for name, value in beginning(1).params_init.items()}
    ends = []
    for accelerate in (None, "squarem", "anderson"):
        options = {"params_init": start, "accelerate": accelerate, "tol": 1e-11, "max_iter": 20_000}
        model = beginning(1, prior=prior).set_params(**options).fit(X)
        assert model.converged_ and (np.diff(model.history_["log_likelihood"]) > -1e-9).all()
        ends.append(model.lower_bound_)
    assert ends == pytest.approx([ends[0]] * 3, abs=1e-9)

    def loss(vector: np.ndarray) -> float:
        odds = np.exp(np.array([0.0, vector[0]]))
        means, loadings, log_noise = vector[1:].reshape(3, K, d)
        parts = means, loadings[:, :, None], np.exp(log_noise)
        return -factor_log_posterior(X, None, odds / odds.sum(), parts, prior)

    means, loadings, noise = fitted(model)
    odds = np.log(model.weights_[1] / model.weights_[0])
    end = np.concatenate([[odds], *map(np.ravel, (means, loadings, np.log(noise)))])
    begin = end + 0.05 * np.random.default_rng(0).standard_normal(len(end))
    best = optimize.minimize(loss, begin, method="BFGS", options={"gtol": 1e-4})
    assert loss(begin) > loss(end) + 0.1 and best.fun == pytest.approx(loss(end), abs=1e-6)
    np.testing.assert_allclose(best.x, end, atol=2e-3)


def test_no_step_lowers_the_objective() -> None:
    """Priors, rows and parameters of all sizes, where an expansion at no cost of the factors would go down."""
    for seed in range(40):
        rng = np.random.default_rng(seed)
        d, n = int(rng.integers(1, 7)), int(rng.integers(1, 60))
        m, large = int(rng.integers(1, d + 1)), float(rng.choice([0.1, 1.0, 10.0]))
        family = FactorAnalyzer(m, float(rng.choice([1e-6, 0.3])))
        shrinkage, dof, pull = (float(rng.choice(these)) for these in ([0, 0.01, 5], [0, 3, 9], [0, 0.01, 1, 50]))
        family.prior = FactorPrior(shrinkage, rng.standard_normal(d), dof, rng.uniform(0.1, 3, d), pull)
        chunks = [chunk(rng.standard_normal((n, d)) @ rng.standard_normal((d, d)) + 3, rng.uniform(0.01, 3, n))]
        means, loadings = rng.standard_normal((K, d)), large * rng.standard_normal((K, d, m))
        now = MixtureParams(np.full(K, 0.5), FactorParams(means, loadings, rng.uniform(0.3, 2.0, (K, d))))
        for held in ((), HELD[1 + seed % 6]):
            model, before, at = Mixture(family, fixed=frozenset(held)), -np.inf, now
            for _ in range(25):
                statistics = model.e_step(at, chunks)
                objective = model.objective(at, statistics)
                assert objective >= before - 1e-10 * abs(objective), (seed, held)
                before, at = objective, model.m_step(statistics, at)
            for name in held:
                np.testing.assert_array_equal(getattr(at.components, name), getattr(now.components, name))


def test_what_is_singular_without_a_prior_is_not_with_one() -> None:
    """A column that is a factor itself, equal rows, and more components than rows."""
    rng = np.random.default_rng(0)
    hinge = rng.standard_normal((400, 5))
    hinge[:, 1:] += hinge[:, :1]
    hinge[:, 4] = 2.0 * hinge[:, 0]
    options: dict[str, Any] = {"reg_covar": 1e-10, "max_iter": 3000, "random_state": 0}
    without = quietly(fastem.FactorAnalyzerMixture(1, **options).fit, hinge)
    model = fastem.FactorAnalyzerMixture(1, prior="default", **options).fit(hinge)
    assert without.noise_variances_.min() < 1e-7 < 1e-4 < model.noise_variances_.min()
    few = np.repeat(rng.standard_normal((6, 5)), 20, axis=0)
    for k in (2, 9):
        for accelerate in (None, "squarem"):
            many = fastem.FactorAnalyzerMixture(k, prior="default", accelerate=accelerate, **options)
            quietly(many.fit, few)
            assert np.isfinite(many.score(few)) and many.noise_variances_.min() > 1e-5
            moved = {event["iteration"] for event in many.diagnostics_["restarted"]} | set(many.diagnostics_["parted"])
            history = many.history_["log_likelihood"]
            falls = set((np.flatnonzero(np.diff(history) < -1e-9 * abs(history[0])) + 1).tolist())
            assert falls <= moved and (k == 9 or many.converged_ and not many.diagnostics_["floored"])


def test_a_strong_prior_of_the_loadings_leaves_diagonal_gaussians() -> None:
    """Their inverse gamma prior has as many degrees of freedom more as there are factors."""
    X, m, alike = rows(), 2, {"shrinkage": 2.0, "mean": STRONG["mean"], "scale": STRONG["scale"]}
    options: dict[str, Any] = {"tol": 1e-10, "accelerate": None}
    factors = quietly(beginning(m, **options, prior=alike | {"dof": 4.0, "loadings": 1e10}).fit, X)
    start = beginning(m).params_init
    gaussian = fastem.GaussianMixture(
        K,
        covariance_type="diag",
        reg_covar=0.0,
        prior=alike | {"dof": 4.0 + m},
        weights_init=[0.6, 0.4],
        means_init=start["means"],
        precisions_init=1 / start["noise_variances"],
        **options,
    ).fit(X)
    order, other = np.argsort(factors.weights_), np.argsort(gaussian.weights_)
    np.testing.assert_allclose(factors.means_[order], gaussian.means_[other], rtol=1e-5)
    np.testing.assert_allclose(factors.noise_variances_[order], gaussian.covariances_[other], rtol=1e-5)
    assert np.abs(factors.loadings_).max() < 1e-3


def test_of_many_rows_a_prior_changes_nothing_and_none_is_none() -> None:
    X = rows()
    many = np.full(N, 1e7)
    with_one, without = (
        quietly(beginning(1, prior=prior, max_iter=30).fit, X, sample_weight=many) for prior in (STRONG, None)
    )
    for found, wanted in zip(fitted(with_one), fitted(without), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    assert without._family().prior is None and not hasattr(without, "prior_mean_")


def test_the_default_is_in_the_units_of_the_columns() -> None:
    X, units = rows(), 4.0 ** np.array([-6, 3, 0, 8, 1])
    near, far = (
        quietly(fastem.FactorAnalyzerMixture(K, prior="default", reg_covar=0.0, random_state=0, max_iter=0).fit, Z)
        for Z in (X, X * units)
    )
    np.testing.assert_allclose(near.prior_scale_, X.var(axis=0, ddof=1) / K ** (2 / D), rtol=1e-10)
    np.testing.assert_allclose(far.prior_scale_, near.prior_scale_ * units**2, rtol=1e-10)
    np.testing.assert_allclose(far.prior_mean_, near.prior_mean_ * units, rtol=1e-10)


def test_every_way_to_fit_has_the_prior(tmp_path: Path) -> None:
    X, given = rows(), {"prior": {"shrinkage": 5.0, "loadings": 3.0}, "max_iter": 8}
    whole = quietly(beginning(**given).fit, X)
    cut = quietly(beginning(**given).fit, lambda: iter([X[:100], X[100:]]))
    np.testing.assert_allclose(cut.loadings_, whole.loadings_, rtol=1e-9, atol=1e-11)
    single = quietly(beginning(**given).fit, X.astype(np.float32))
    np.testing.assert_allclose(single.covariances(), whole.covariances(), rtol=1e-2, atol=1e-2)
    copied = quietly(clone(whole).fit, X)
    assert (copied.loadings_ == whole.loadings_).all()
    quietly(beginning(**given | {"max_iter": 5}).fit, X, checkpoint=tmp_path / "half.npz")
    again = quietly(beginning(**given).fit, X, checkpoint=tmp_path / "half.npz", resume=True)
    assert (again.loadings_ == whole.loadings_).all()
    whole.save(tmp_path / "model.npz")
    loaded = fastem.load(tmp_path / "model.npz")
    assert loaded.prior == given["prior"] and log_prior(loaded) == log_prior(whole) != 0
    loaded.set_params(warm_start=True, max_iter=1)
    quietly(loaded.fit, X)
    assert loaded.history_["log_likelihood"][0] >= whole.history_["log_likelihood"][-1]
    quietly(loaded.set_params(prior=None).fit, X)
    assert not hasattr(loaded, "prior_scale_") and loaded._family().prior is None


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        ("data", "prior is 'data'; None, 'default', or a dict with some of 'shrinkage', .*'loadings' is wanted"),
        (1.0, "prior is 1.0"),
        ({"shrinkage": -1}, r"prior\['shrinkage'\] is -1"),
        ({"loadings": None}, r"prior\['loadings'\] is None; a number of at least 0 is wanted"),
        ({"scale": np.eye(D)}, r"prior\['scale'\] has shape"),
        ({"scale": -1.0}, r"prior\['scale'\] is not positive definite"),
        ({"mean": [0.0]}, r"prior\['mean'\] has shape"),
        ({"kappa": 1}, "prior has 'kappa'; choose among"),
    ],
)
def test_bad_priors_are_told(prior: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fastem.FactorAnalyzerMixture(2, prior=prior).fit(rows(50))
    with pytest.raises(ValueError, match="prior has 'loadings'; choose among"):
        fastem.GaussianMixture(2, prior={"loadings": 1.0}).fit(rows(50))
