"""Gamma and negative binomial components: published fits, siblings, extremes, and their M-steps."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import brentq
from scipy.special import gammaln, logsumexp, psi

import fastem
from fastem.engine.chunks import chunk
from fastem.families import gamma, negative_binomial, negative_binomial_size
from fastem.kernels import counts
from fastem.kernels.mixture import load_tile, make_tile, mixture_e_step
from fastem.kernels.softmax import normalize

DATA = Path(__file__).parent / "data"
LEAVES = np.array([70.0, 38, 17, 10, 9, 3, 2, 1])


def quietly(model: Any, X: np.ndarray, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(X, **options)


def test_waiting_times_of_old_faithful() -> None:
    """gammamixEM of mixtools 2.0.0: its fit is a fixed point, and a start by k-means arrives there."""
    X = np.genfromtxt(DATA / "faithful.csv", delimiter=",", skip_header=1)[:, [1]]
    given = {
        "shapes": [[199.704338209462], [79.7062752495068]],
        "scales": [[0.402035630019992], [0.689653531569455]],
    }
    weights = [0.629078190463535, 0.370921809536465]
    model = quietly(fastem.GammaMixture(2, weights_init=weights, params_init=given, tol=0, max_iter=5), X)
    assert model.lower_bound_ * len(X) == pytest.approx(-1033.05821248518, abs=1e-8)
    np.testing.assert_allclose(model.shapes_, given["shapes"], rtol=1e-4)
    np.testing.assert_allclose(model.scales_, given["scales"], rtol=1e-4)
    found = fastem.GammaMixture(2, random_state=0, tol=1e-10, max_iter=5000).fit(X)
    assert found.score(X) * len(X) == pytest.approx(-1033.05821248518, abs=1e-6)


def test_red_mites_on_apple_leaves() -> None:
    """Bliss and Fisher (1953), Biometrics 9: k = 1.0246 by maximum likelihood."""
    model = fastem.NegativeBinomialMixture(tol=1e-10).fit(np.arange(8.0)[:, None], sample_weight=LEAVES)
    assert model.sizes_[0, 0] == pytest.approx(1.0246, abs=5e-5)
    assert model.means_[0, 0] == pytest.approx(172 / 150)


# Siblings.


def test_gammas_of_shape_one_are_exponential() -> None:
    X = np.random.default_rng(0).exponential([1.0, 30.0], (200, 2))
    means = np.array([[1.0, 20.0], [3.0, 40.0]])
    gammas = quietly(fastem.GammaMixture(2, params_init=[np.ones((2, 2)), means], max_iter=0), X)
    times = quietly(fastem.ExponentialMixture(2, params_init=means, max_iter=0), X)
    np.testing.assert_allclose(gammas.score_samples(X), times.score_samples(X), rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_negative_binomials_of_huge_sizes_are_poisson(dtype: str) -> None:
    X = np.random.default_rng(0).poisson([2.0, 40.0, 900.0], (300, 3)).astype(dtype)
    rates = np.array([[1.0, 30.0, 880.0], [4.0, 45.0, 910.0]])
    dispersed = quietly(fastem.NegativeBinomialMixture(2, params_init=[np.full((2, 3), 1e15), rates], max_iter=0), X)
    poisson = quietly(fastem.PoissonMixture(2, params_init=rates, max_iter=0), X.astype(float))
    rtol = 1e-9 if dtype == "float64" else 1e-5
    np.testing.assert_allclose(dispersed.score_samples(X), poisson.score_samples(X.astype(float)), rtol=rtol)


def test_poisson_counts_get_the_largest_size() -> None:
    X = stats.binom.rvs(20, 0.4, size=(500, 1), random_state=0).astype(float)
    model = fastem.NegativeBinomialMixture().fit(X)
    assert model.sizes_[0, 0] == pytest.approx(1e8 * X.mean()) and model.means_[0, 0] == pytest.approx(X.mean())
    assert model.score(X) == pytest.approx(fastem.PoissonMixture().fit(X).score(X), abs=1e-6)


def test_the_size_is_found_from_either_side() -> None:
    """All counts are large, and the score is rounding from sizes of 1e9 on."""
    for size in (0.05, 3.0, 100.0):
        rng = np.random.default_rng(0)
        X = rng.poisson(rng.gamma(size, 1e6 / size, (4000, 1))).astype(float) + 600
        for begin in (0.1, 10.0, 1e3):
            start = [[[begin]], [[1e6]]]
            model = quietly(fastem.NegativeBinomialMixture(params_init=start, tol=1e-10, max_iter=200), X)
            m = X.mean()
            exact = brentq(lambda r, m=m, X=X: (psi(X + r) - psi(r)).mean() - np.log1p(m / r), 1e-3, 1e7)
            assert model.sizes_[0, 0] == pytest.approx(exact, rel=1e-4)


def test_no_counts_at_all() -> None:
    X = np.zeros((30, 2))
    X[:10, 1] = 3
    model = quietly(fastem.NegativeBinomialMixture(2, random_state=0), X)
    assert (model.means_[:, 0] == 0).all() and np.isfinite(model.score(X)) and np.isfinite(model.sizes_).all()


# Large counts, which are in no table.


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_densities_of_counts_of_any_size(dtype: str) -> None:
    sizes = np.array([[1e-3, 1e5, 3.0], [2.0, 0.1, 1e8]])
    means = np.array([[1e-3, 1e5, 700.0], [600.0, 20.0, 1e6]])
    x = np.concatenate([np.arange(0, 520, 13), np.geomspace(500, 1.6e7, 60).round()])
    X = np.stack([x, np.roll(x, 7), np.roll(x, 31)], axis=1).astype(dtype)
    model = quietly(fastem.NegativeBinomialMixture(2, params_init=[sizes, means], max_iter=0), X)
    model.sizes_, model.means_ = sizes, means  # not in the dtype of the data
    joint = np.stack([exact_nbinom(X.astype(float), r, m).sum(axis=1) for r, m in zip(sizes, means, strict=True)], 1)
    rtol = 1e-11 if dtype == "float64" else 2e-6
    np.testing.assert_allclose(model.score_samples(X), logsumexp(joint, axis=1) - np.log(2), rtol=rtol, atol=10 * rtol)


def exact_nbinom(x: np.ndarray, r: np.ndarray, m: np.ndarray) -> np.ndarray:
    """log p(x) in extended precision: differences of lgamma cancel in float64."""
    mpmath = pytest.importorskip("mpmath")
    mpmath.mp.dps = 40

    def one(x: float, r: float, m: float) -> float:
        x, r, m = map(mpmath.mpf, (x, r, m))
        terms = mpmath.loggamma(x + r) - mpmath.loggamma(r) - mpmath.loggamma(x + 1)
        return float(terms + r * mpmath.log(r / (r + m)) + x * mpmath.log(m / (r + m)))

    return np.vectorize(one)(x, r, m)


def large_rows() -> np.ndarray:
    rng = np.random.default_rng(0)
    k = rng.random((800, 1)) < 0.4
    sizes, means = np.where(k, [3.0, 20.0], [8.0, 1.5]), np.where(k, [400.0, 3000.0], [900.0, 20_000.0])
    return rng.poisson(rng.gamma(sizes, means / sizes)).astype(float)


@pytest.mark.parametrize("levels", [16, 512, 100_000])
def test_the_length_of_the_table_changes_no_optimum(levels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    X = large_rows()
    monkeypatch.setattr(negative_binomial, "levels_of", lambda d: levels)
    start = {"sizes": np.full((2, 2), 2.0), "means": np.array([[300.0, 4000.0], [1000.0, 15_000.0]])}
    model = quietly(fastem.NegativeBinomialMixture(2, params_init=start, tol=1e-11, max_iter=500), X)
    history = model.history_["log_likelihood"]
    assert (np.diff(history) >= -1e-9 * abs(history[-1])).all() and model.stop_reason_ == "converged"
    resp = model.predict_proba(X)
    for k, j in np.ndindex(2, 2):
        w, x, m = resp[:, k] / resp[:, k].sum(), X[:, j], model.means_[k, j]
        size = brentq(lambda r, w=w, x=x, m=m: w @ (psi(x + r) - psi(r)) - np.log1p(m / r), 1e-3, 1e5, xtol=1e-12)
        assert model.sizes_[k, j] == pytest.approx(size, rel=1e-4)
    assert model.n_iter_ < 60


def test_series_are_scipys() -> None:
    z = np.geomspace(16, 1e9, 300)
    stirling = np.array([counts.stirling(v) for v in z]) + (z - 0.5) * np.log(z) - z + 0.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(stirling, gammaln(z), rtol=1e-14)
    np.testing.assert_allclose([counts.digamma(v) for v in z], psi(z), rtol=1e-14)
    np.testing.assert_allclose(counts.digammas(z), psi(z), rtol=1e-14)
    np.testing.assert_allclose(counts.stirlings(z), [counts.stirling(v) for v in z], rtol=1e-14)


# The M-steps.


def test_shapes_solve_their_equation() -> None:
    shapes = np.geomspace(1e-3, 9e9, 200)
    delta, slope = gamma.excess(shapes)
    np.testing.assert_allclose(gamma.shape_of(delta, 1e10), shapes, rtol=1e-13)
    near = shapes < 1e3
    np.testing.assert_allclose(delta[near], (np.log(shapes) - psi(shapes))[near], rtol=1e-10)
    np.testing.assert_allclose(slope, (gamma.excess(shapes * 1.0001)[0] - delta) / (shapes * 1e-4), rtol=1e-3)
    assert gamma.shape_of(np.array([0.0, -1e-9, 1e-40]), 1e10).tolist() == [1e10] * 3


def test_statistics_that_are_expected_give_their_parameters() -> None:
    rng = np.random.default_rng(0)
    sizes, means = np.exp(rng.uniform(-1, 4, (4, 3))), np.exp(rng.uniform(-1, 8, (4, 3)))
    params = negative_binomial.NegativeBinomialParams(sizes, means)
    family = negative_binomial.NegativeBinomial()
    again = family.m_step(family.expected_statistics(params, np.full(4, 0.25)), params)
    np.testing.assert_allclose(again.means, means, rtol=1e-10)
    np.testing.assert_allclose(again.sizes, sizes, rtol=1e-8)


@pytest.mark.parametrize("x", [0.0, 0.3, 50.0])
def test_the_rise_of_digamma(x: float) -> None:
    r = np.geomspace(1e-3, 1e5, 100)
    value, slope = negative_binomial_size.digamma_rise(np.full(100, x), r)
    np.testing.assert_allclose(value, psi(x + r) - psi(r), rtol=1e-9, atol=1e-14)
    after = negative_binomial_size.digamma_rise(np.full(100, x), r * 1.00001)[0]
    np.testing.assert_allclose(slope, (after - value) / (r * 1e-5), rtol=1e-3, atol=1e-9)


# Kernels.


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("d", [1, 2, 5])
@pytest.mark.parametrize("name", ["gamma", "negative_binomial"])
def test_compiled_bricks_are_the_python_ones(name: str, d: int, dtype: type) -> None:
    rng = np.random.default_rng(0)
    k, n, lanes = 3, 300, 256
    if name == "gamma":
        family: Any = gamma.Gamma(dtype=dtype)
        X = rng.gamma(2.0, 3.0, (n, d)).astype(dtype)
        params: Any = gamma.GammaParams(rng.uniform(0.5, 4, (k, d)), rng.uniform(1, 4, (k, d)))
    else:
        family = negative_binomial.NegativeBinomial()
        X = rng.poisson(rng.gamma(0.5, 800, (n, d))).astype(dtype)
        params = negative_binomial.NegativeBinomialParams(rng.uniform(0.5, 4, (k, d)), rng.uniform(100, 900, (k, d)))
    log_weights = np.log(np.full((1, k), 1 / k, dtype))
    prepared = family.prepare(params, np.dtype(dtype), np.full(k, 1 / k))
    log_prob, accumulate = family.bricks(prepared)
    plain, compiled = (family.zeros(params, 1, prepared) for _ in range(2))
    X, weight = chunk(X, rng.uniform(0, 2, n))
    tile, total = make_tile(np.dtype(dtype), d, k, lanes), 0.0
    for first in range(0, n, lanes):
        load_tile(X, weight, first, min(lanes, n - first), prepared.shift, tile)
        log_prob(tile, prepared, tile.resp)
        total += normalize(tile, log_weights)
        accumulate(tile, tile.resp, prepared, plain, 0)
    out = np.zeros(1)
    tile = make_tile(np.dtype(dtype), d, k, lanes)
    mixture_e_step(log_prob, accumulate)(0, 1, X, weight, log_weights, prepared, compiled, out, tile)
    rtol = 1e-12 if dtype is np.float64 else 2e-4
    assert out[0] == pytest.approx(total, rel=rtol)
    a, b = (family.unpad(sums, params, prepared) for sums in (plain, compiled))
    for left, right in zip(a, b, strict=True):
        np.testing.assert_allclose(right, left, rtol=rtol, atol=rtol * np.abs(left).max())


# Extremes of amounts.


@pytest.mark.parametrize("unit", [1e-100, 1e100])
def test_amounts_in_any_unit(unit: float) -> None:
    X = np.random.default_rng(0).gamma([[0.3, 5.0]], [[2.0, 1.0]], (400, 2))
    shapes, scales = np.array([[0.5, 4.0], [2.0, 9.0]]), np.array([[1.0, 1.0], [0.3, 0.7]])
    plain, scaled = (
        quietly(fastem.GammaMixture(2, params_init=[shapes, scales * u], tol=0, max_iter=20), X * u)
        for u in (1.0, unit)
    )
    np.testing.assert_allclose(scaled.score_samples(X * unit) + 2 * np.log(unit), plain.score_samples(X), atol=1e-9)
    np.testing.assert_allclose(scaled.shapes_, plain.shapes_, rtol=1e-9)


def test_tiny_amounts_have_the_density_of_scipy() -> None:
    X = np.concatenate([np.geomspace(1e-300, 1e10, 300), [1.0]])[:, None]
    model = quietly(fastem.GammaMixture(1, params_init=[[[0.05]], [[3.0]]], max_iter=0), X)
    np.testing.assert_allclose(model.score_samples(X), stats.gamma.logpdf(X[:, 0], 0.05, scale=3.0), rtol=1e-12)


@pytest.mark.parametrize(("dtype", "spread", "rtol"), [("float64", 1e-4, 1e-4), ("float32", 3e-3, 5e-3)])
def test_amounts_that_hardly_vary(dtype: str, spread: float, rtol: float) -> None:
    """Shapes of 1e8 and 1e5: what Gaussian moments say of them."""
    X = (1000.0 * (1 + spread * np.random.default_rng(0).standard_normal((20_000, 1)))).astype(dtype)
    model = fastem.GammaMixture().fit(X)
    exact = X.astype(float)
    assert model.shapes_[0, 0] == pytest.approx((exact.mean() / exact.std()) ** 2, rel=rtol)
    gaussian = stats.norm.logpdf(exact, exact.mean(), exact.std()).mean()
    assert model.score(X) == pytest.approx(gaussian, abs=1e-3)


@pytest.mark.parametrize("policy", ["restart", "drop", "raise"])
def test_a_component_of_equal_amounts_collapses(policy: str) -> None:
    X = np.concatenate([np.full(50, 7.25), np.random.default_rng(0).gamma(2.0, 50.0, 300)])[:, None]
    start = {"shapes": [[5000.0], [2.0]], "scales": [[7.25 / 5000], [50.0]]}
    model = fastem.GammaMixture(2, params_init=start, on_collapse=policy, random_state=0, max_iter=300)
    if policy == "raise":
        with pytest.raises(ValueError, match="collapsed"):
            quietly(model, X)
        return
    quietly(model, X)
    assert np.isfinite(model.score(X)) and (model.shapes_ < 1e10).all()
    assert model.diagnostics_["dropped" if policy == "drop" else "restarted"]


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_amounts_are_above_zero(value: float) -> None:
    X = np.ones((20, 2))
    X[3, 1] = value
    with pytest.raises(ValueError, match=r"column 1.*row 3.*above 0"):
        fastem.GammaMixture().fit(X)


@pytest.mark.parametrize("value", [-1.0, 0.5])
def test_counts_are_whole(value: float) -> None:
    X = np.ones((20, 2))
    X[3, 1] = value
    with pytest.raises(ValueError, match=r"column 1.*row 3.*whole numbers"):
        fastem.NegativeBinomialMixture().fit(X)


def test_bad_starts_are_told() -> None:
    X = np.ones((20, 1))
    with pytest.raises(ValueError, match="shapes are as low as -1"):
        fastem.GammaMixture(params_init=[[[-1.0]], [[1.0]]]).fit(X)
    with pytest.raises(ValueError, match="sizes are as low as 0"):
        fastem.NegativeBinomialMixture(params_init=[[[0.0]], [[1.0]]]).fit(X)


def test_numbers_whose_squares_are_none() -> None:
    """A column so small that it seems constant is one all the same; of numbers too large no start can be made."""
    X = np.random.default_rng(0).gamma(np.repeat([[0.5], [9.0]], 100, axis=0), size=(200, 1))
    shapes = [np.sort(fastem.GammaMixture(2, random_state=0).fit(X * unit).shapes_[:, 0]) for unit in (1.0, 1e-300)]
    np.testing.assert_allclose(shapes[0], shapes[1], rtol=0.1)
    for model, rows in (
        (fastem.PoissonMixture(2), np.floor(X) * 1e200),
        (fastem.GammaMixture(2), X * 1e200),
        (fastem.ExponentialMixture(2), X * 1e-300),
    ):
        with pytest.raises(ValueError, match="since their squares must be float64 numbers"):
            model.fit(rows)
    with pytest.raises(ValueError, match="exposure is 0, and X has 1 column alone"):
        fastem.PoissonMixture(2, exposure=0).fit(np.ones((9, 1)))
