"""Factor analysers beside what the contract of all families asks: siblings, rivals, odd noise, refusals."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from family_cases import factor_density, factor_rows, factor_step
from scipy.special import logsumexp
from sklearn.datasets import load_digits
from sklearn.decomposition import FactorAnalysis
from sklearn.exceptions import ConvergenceWarning

import fastem
from fastem.engine import accumulate
from fastem.engine.chunks import chunk
from fastem.engine.model import Mixture, MixtureParams
from fastem.families.factor_analyzer import FactorAnalyzer
from fastem.families.factor_moments import Core, FactorParams, covariances
from fastem.kernels import mixture, softmax

RNG = np.random.default_rng(3)


def model_of(params: FactorParams, weights: np.ndarray, **options: Any) -> Any:
    """A model at given parameters."""
    k, _, m = params.loadings.shape
    given = {"weights_init": weights, "params_init": params._asdict(), "max_iter": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        X = np.repeat(params.means, 3, axis=0) + RNG.standard_normal((3 * k, params.means.shape[1]))
        return fastem.FactorAnalyzerMixture(k, n_factors=m, **given | options).fit(X)


def some(d: int, m: int, k: int, noise: float = 1.0) -> tuple[FactorParams, np.ndarray]:
    """Parameters and weights."""
    loadings, psi = RNG.standard_normal((k, d, m)), noise * RNG.uniform(0.2, 2.0, (k, d))
    return FactorParams(2 * RNG.standard_normal((k, d)), loadings, psi), RNG.dirichlet(np.full(k, 5.0))


def fit(model: Any, X: np.ndarray, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(X, **options)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    ("d", "m", "k"), [(1, 1, 2), (2, 1, 3), (3, 3, 2), (4, 4, 1), (7, 1, 10), (17, 5, 3), (40, 9, 2)]
)
def test_a_step_is_the_naive_one(d: int, m: int, k: int, dtype: str) -> None:
    params, weights = some(d, m, k)
    X = FactorAnalyzer(m).sample(params, np.full(k, 200), RNG)[:-3].astype(dtype)
    weight = RNG.uniform(0.2, 3.0, len(X))
    model = Mixture(FactorAnalyzer(m, eps=np.finfo(dtype).eps))
    statistics = model.e_step(MixtureParams(weights, params), [chunk(X, weight)])
    naive = model_of(params, weights)
    joint = factor_density(X.astype(float), naive).reshape(-1, k) + np.log(weights)
    log_p = logsumexp(joint, axis=1)
    exact = dtype == "float64"
    assert statistics.log_likelihood == pytest.approx(weight @ log_p, rel=1e-12 if exact else 1e-6)
    resp = weight[:, None] * np.exp(joint - log_p[:, None])
    after = model.m_step(statistics, MixtureParams(weights, params)).components
    tolerance = 1e-11 if exact else 2e-5
    for found, wanted in zip(after, factor_step(X.astype(float), resp, naive), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("d", "m"), [(2, 1), (5, 2), (9, 6)])
def test_bricks_run_uncompiled(d: int, m: int) -> None:
    params, weights = some(d, m, 3)
    family, X = FactorAnalyzer(m), RNG.standard_normal((90, d))
    wanted = Mixture(family).e_step(MixtureParams(weights, params), [chunk(X)]).components
    prepared = family.prepare(params, np.dtype(float), weights)
    log_prob, accumulate = family.bricks(prepared)
    tile = mixture.make_tile(X.dtype, d, 3, 128)._replace(extra=family.extra(X.dtype, d, 3, 128))
    mixture.load_tile(X, np.zeros(0), 0, 90, prepared.shift, tile)
    log_prob(tile, prepared, tile.resp)
    softmax.normalize(tile, np.log(weights)[None])
    statistics = family.zeros(params, 1, prepared)
    accumulate(tile, tile.resp, prepared, statistics, 0)
    for a, b in zip(family.unpad(statistics, params, prepared), wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)


def test_a_row_that_overflows_in_another_component_adds_nothing_there() -> None:
    """Its factors in units of that one's noise are no numbers."""
    loadings = np.array([np.full((6, 2), 1e-12), np.full((6, 2), 1e12)])
    loadings[:, :3, 1] *= -0.5
    params = FactorParams(np.zeros((2, 6)), loadings, np.array([[1e-24] * 6, [1e24] * 6]))
    X = (1e-12 * RNG.standard_normal((40, 6))).astype(np.float32)
    family = FactorAnalyzer(2, 0.0, np.finfo(np.float32).eps)
    sums = []
    for rows in (X, np.concatenate([X, np.full((1, 6), 1e30, np.float32)])):
        prepared = family.prepare(params, X.dtype, np.full(2, 0.5))
        log_prob, accumulate = family.bricks(prepared)
        tile = mixture.make_tile(X.dtype, 6, 2, 64)._replace(extra=family.extra(X.dtype, 6, 2, 64))
        mixture.load_tile(rows, np.zeros(0), 0, len(rows), prepared.shift, tile)
        with np.errstate(over="ignore", invalid="ignore"):
            log_prob(tile, prepared, tile.resp)
            softmax.normalize(tile, np.log(np.full((1, 2), 0.5, np.float32)))
            statistics = family.zeros(params, 1, prepared)
            accumulate(tile, tile.resp, prepared, statistics, 0)
        sums.append(family.unpad(statistics, params, prepared))
    assert not np.isfinite(tile.extra[:8, 40]).all()
    assert sums[1].sum_w == pytest.approx([40.0, 1.0])
    for without, found in zip(*sums, strict=True):
        np.testing.assert_array_equal(found[0], without[0])
        assert np.isfinite(found).all()


def guarded(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of NaN around a copy of an array, and the copy in the midst of them."""
    whole = np.full((a.size // a.shape[-1] + 2, a.shape[-1]), np.nan, a.dtype)
    whole[1:-1] = a.reshape(-1, a.shape[-1])
    return whole, whole[1:-1].reshape(a.shape)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("d", "m", "k"), [(1, 1, 1), (3, 2, 3), (8, 4, 5), (9, 9, 2), (17, 6, 9)])
def test_kernels_stay_within_bounds(d: int, m: int, k: int, dtype: type, either: None) -> None:
    """Statistics between NaN, and Python checks the indices."""
    n, family, rng = 261, FactorAnalyzer(m), np.random.default_rng(0)
    params = FactorParams(rng.standard_normal((k, d)), rng.standard_normal((k, d, m)), np.ones((k, d)))
    prepared = family.prepare(params, np.dtype(dtype), np.ones(k))
    data, zeros = chunk(rng.standard_normal((n, d)).astype(dtype)), family.zeros(params, 2, prepared)
    arrays = [guarded(a) for a in (*zeros, family.extra(np.dtype(dtype), d, k, 128))]
    *sums, extra = (inside for _, inside in arrays)
    statistics, log_weights = type(zeros)(*sums), np.full((1, k), -np.log(k), dtype)
    tile = mixture.make_tile(np.dtype(dtype), d, k, 128)._replace(extra=extra)
    kernel = accumulate.from_factory(mixture.mixture_e_step, *family.bricks(prepared))
    kernel(0, 2, *data, log_weights, prepared, statistics, np.zeros(2), tile)
    for whole, inside in arrays:
        assert np.isnan(whole[[0, -1]]).all() and np.isfinite(inside).all()
    assert statistics.sum_w.sum() == pytest.approx(n, rel=1e-5)


@pytest.mark.parametrize("m", [1, 3])
def test_one_component_is_scikit_learns_factor_analysis(m: int) -> None:
    X = load_digits().data
    X = X[:, X.std(axis=0) > 1.0]
    theirs = FactorAnalysis(m, tol=1e-7, max_iter=20_000, svd_method="lapack").fit(X)
    ours = fit(fastem.FactorAnalyzerMixture(n_factors=m, tol=1e-8, max_iter=20_000, init_params="kmeans"), X)
    assert ours.score(X) == pytest.approx(theirs.score(X), abs=1e-6)
    np.testing.assert_allclose(ours.covariances()[0], theirs.get_covariance(), rtol=2e-3, atol=2e-3)


def test_saturated_factors_are_full_gaussians() -> None:
    """One factor of three columns makes every covariance whose correlations a factor can have."""
    loadings = np.array([[[1.0], [0.8], [1.2]], [[1.0], [-1.0], [0.7]]])
    params = FactorParams(np.array([[0.0] * 3, [9.0] * 3]), loadings, np.full((2, 3), 0.5))
    X = FactorAnalyzer(1).sample(params, np.array([600, 400]), np.random.default_rng(0))
    options: dict[str, Any] = {"tol": 1e-9, "max_iter": 20_000, "random_state": 0}
    ours = fit(fastem.FactorAnalyzerMixture(2, reg_covar=0.0, **options), X)
    full = fit(fastem.GaussianMixture(2, reg_covar=0.0, **options), X)
    assert ours.score(X) == pytest.approx(full.score(X), abs=1e-8)
    assert ours.bic(X) == pytest.approx(full.bic(X), abs=1e-4)
    order, other = np.argsort(ours.weights_), np.argsort(full.weights_)
    np.testing.assert_allclose(ours.covariances()[order], full.covariances_[other], rtol=1e-3, atol=1e-3)


def test_rotated_factors_are_the_same_model() -> None:
    params, weights = some(6, 3, 2)
    rotation = np.linalg.qr(RNG.standard_normal((3, 3)))[0]
    X = FactorAnalyzer(3).sample(params, np.array([150, 150]), RNG)
    one, two = (
        fit(model_of(p, weights).set_params(max_iter=7, tol=0.0), X)
        for p in (params, params._replace(loadings=params.loadings @ rotation))
    )
    np.testing.assert_allclose(one.covariances(), two.covariances(), rtol=1e-10, atol=1e-11)
    np.testing.assert_allclose(one.loadings_ @ rotation, two.loadings_, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(("offset", "dtype"), [(1e8, "float64"), (1e3, "float32")])
def test_an_offset_moves_the_means_alone(offset: float, dtype: str) -> None:
    # Rows that both places can hold exactly.
    grid = 2.0**-20 if dtype == "float64" else 2.0**-10
    X = (np.round(factor_rows(np.random.default_rng(0), 400) / grid) * grid).astype(dtype)
    near, far = (
        fit(fastem.FactorAnalyzerMixture(3, n_factors=2, random_state=0, init_params="kmeans", max_iter=5), rows)
        for rows in (X, X + np.asarray(offset, dtype))
    )
    tolerance = 1e-6 if dtype == "float64" else 1e-3
    np.testing.assert_allclose(far.covariances(), near.covariances(), rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(far.means_ - offset, near.means_, rtol=tolerance, atol=tolerance)


def test_noise_far_below_the_factors_is_kept_in_float32() -> None:
    """Deviations a thousandth of the factors': their squares are beyond what a float32 adds to those of the rows."""
    params, weights = some(8, 2, 1, noise=1e-6)
    params = params._replace(means=np.zeros((1, 8)))
    X = FactorAnalyzer(2).sample(params, np.array([5000]), RNG).astype(np.float32)
    start = FactorParams(params.means + 1e-3, params.loadings * 1.1, params.noise_variances * 1.5)
    after = {}
    for dtype in ("float32", "float64"):
        model, now = Mixture(FactorAnalyzer(2, 1e-12, np.finfo(dtype).eps)), MixtureParams(weights, start)
        for _ in range(5):
            now = model.m_step(model.e_step(now, [chunk(X.astype(dtype))]), now)
        after[dtype] = now.components
    np.testing.assert_allclose(after["float32"].noise_variances, after["float64"].noise_variances, rtol=1e-3)
    np.testing.assert_allclose(after["float32"].loadings, after["float64"].loadings, rtol=1e-4, atol=1e-5)


def test_noise_far_below_the_factors_is_found() -> None:
    params, _ = some(8, 2, 1, noise=1e-6)
    X = FactorAnalyzer(2).sample(params, np.array([5000]), RNG)
    model = fit(
        fastem.FactorAnalyzerMixture(n_factors=2, reg_covar=1e-12, accelerate="squarem", tol=1e-7, max_iter=5000), X
    )
    # The maximum is above the truth; a column on which the factors hinge has noise that is known less well than that.
    assert model.score(X) >= model_of(params, np.ones(1), reg_covar=1e-12).score(X)


@pytest.mark.parametrize("accelerate", [None, "squarem", "anderson"])
def test_noise_at_its_floor(accelerate: str | None) -> None:
    """A column that is a factor itself: its noise goes to the floor, and the log-likelihood never falls."""
    X = np.random.default_rng(0).standard_normal((500, 5))
    X[:, 1:] += X[:, :1]
    X[:, 4] = 2.0 * X[:, 0]
    model = fit(
        fastem.FactorAnalyzerMixture(
            n_factors=1, reg_covar=1e-4, tol=1e-7, accelerate=accelerate, max_iter=400, init_params="kmeans"
        ),
        X,
    )
    assert not model.diagnostics_["floored"]
    history = model.history_["log_likelihood"]
    assert (np.diff(history) >= -1e-9 * abs(history[-1])).all()
    if accelerate:  # plain EM comes near a floor ever more slowly
        np.testing.assert_allclose(model.noise_variances_[0, [0, 4]], 1e-4, rtol=1e-2)
    assert (model.noise_variances_ >= 1e-4).all()


def test_components_without_volume() -> None:
    X = np.random.default_rng(0).standard_normal((200, 4))
    X[:60] = 7.0
    for policy in ("restart", "drop"):
        model = fit(fastem.FactorAnalyzerMixture(3, random_state=0, reg_covar=0.0, on_collapse=policy), X)
        assert np.isfinite(model.score(X)) and (model.noise_variances_ > 0).all()
    with pytest.raises(ValueError, match="collapsed"):
        fastem.FactorAnalyzerMixture(3, random_state=0, reg_covar=0.0, on_collapse="raise").fit(X)


def test_parameters_are_counted_up_to_a_full_covariance() -> None:
    for d, m, one in ((6, 2, 6 + 6 + 12 - 1), (3, 1, 9), (2, 1, 5), (3, 3, 9)):
        params, _ = some(d, m, 4)
        assert FactorAnalyzer(m).n_parameters(params) == 4 * one


def test_precisions_without_a_matrix() -> None:
    params, _ = some(6, 2, 3)
    inverse, core, y = np.linalg.inv(covariances(params)), Core.of(params), RNG.standard_normal((4, 6))
    np.testing.assert_allclose(core.precisions(), np.diagonal(inverse, axis1=1, axis2=2), rtol=1e-10)
    np.testing.assert_allclose(core.squares(1, y), np.einsum("ni,ij,nj->n", y, inverse[1], y), rtol=1e-10)


def test_equal_components_are_parted() -> None:
    X = factor_rows(np.random.default_rng(0), 300)
    model = fit(fastem.FactorAnalyzerMixture(2, n_factors=1, init_params="random", random_state=0), X)
    assert model.score(X) > fit(fastem.FactorAnalyzerMixture(1, n_factors=1), X).score(X) + 0.3


def test_refusals() -> None:
    X = factor_rows(np.random.default_rng(0), 100)
    with pytest.raises(ValueError, match="n_factors is 6 and X has 5 columns"):
        fastem.FactorAnalyzerMixture(2, n_factors=6).fit(X)
    for bad in (0, 1.5, "2"):
        with pytest.raises(ValueError, match="n_factors"):
            fastem.FactorAnalyzerMixture(2, n_factors=bad).fit(X)
    with pytest.raises(ValueError, match="reg_covar"):
        fastem.FactorAnalyzerMixture(2, reg_covar=-1.0).fit(X)
    given = {"means": X[:2], "loadings": np.ones((2, 5, 1)), "noise_variances": np.ones((2, 5))}
    with pytest.raises(ValueError, match="least noise variance is 0"):
        fastem.FactorAnalyzerMixture(2, params_init=given | {"noise_variances": np.zeros((2, 5))}).fit(X)
    with pytest.raises(ValueError, match=r"noise variances are as low as 1, and reg_covar, .* is 2"):
        fastem.FactorAnalyzerMixture(2, params_init=given, reg_covar=2.0).fit(X)
    with pytest.raises(ValueError, match="loadings"):
        fastem.FactorAnalyzerMixture(2, params_init=given | {"loadings": np.ones((2, 5, 2))}).fit(X)


def test_a_fitted_model_has_the_factors_that_it_was_fitted_with() -> None:
    X = RNG.standard_normal((200, 7))
    model = fastem.FactorAnalyzerMixture(2, n_factors=5, max_iter=5, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        scores = model.fit(X).score_samples(X)
        np.testing.assert_array_equal(model.set_params(n_factors=1).score_samples(X), scores)
        assert model.fit(X).loadings_.shape == (2, 7, 1)
    params = FactorParams(np.zeros((2, 7)), np.ones((2, 7, 3)), np.ones((2, 7)))
    with pytest.raises(ValueError, match="loadings have 3 factors, and n_factors is 1"):
        FactorAnalyzer(1).prepare(params, np.dtype(float), np.full(2, 0.5))
