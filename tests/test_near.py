"""Moments of near components about one shift: against the textbook, their digits, and what ends them."""

import numpy as np
import pytest
import reference
from scipy import stats

from fastem.engine.chunks import chunk
from fastem.engine.model import Mixture, MixtureParams
from fastem.families import covariance, gaussian_near
from fastem.families.gaussian import Gaussian, GaussianParams
from fastem.families.gaussian_slots import (
    DiagSlots,
    NearDiagPrepared,
    NearPrepared,
    NearSlots,
    NearSphericalPrepared,
    SphericalSlots,
)
from fastem.families.student_t import StudentT, StudentTParams
from fastem.kernels import mixture, softmax

RNG = np.random.default_rng(5)
DTYPES = [np.float64, np.float32]


def gaussian(d: int, k: int) -> tuple[Gaussian, GaussianParams]:
    """Components near each other."""
    a = RNG.standard_normal((k, d, d))
    return Gaussian("full", 0.0), GaussianParams(RNG.standard_normal((k, d)), a @ a.swapaxes(1, 2) + np.eye(d))


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Moments about one shift wherever digits allow it."""
    monkeypatch.setattr(gaussian_near, "worthwhile", lambda *shape: True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("d", "k"), [(4, 2), (5, 12), (8, 9), (17, 4)])
@pytest.mark.parametrize("covariance_type", ["full", "diag", "spherical"])
def test_moments_of_near_components_uncompiled(
    covariance_type: str, d: int, k: int, dtype: type, together: None
) -> None:
    n, lanes = 100, 128
    params = gaussian(d, k)[1]
    family = Gaussian(covariance_type, 0.0)
    params = GaussianParams(0.1 * params.means, covariance.reduce(params.covariances, covariance_type))
    X, weight = RNG.standard_normal((n, d)).astype(dtype), RNG.random(n)
    prepared = family.prepare(params, np.dtype(dtype), np.ones(k))
    by_products = covariance_type == "spherical" and dtype == np.float64
    kind, slots = (NearSphericalPrepared, SphericalSlots) if by_products else (NearDiagPrepared, DiagSlots)
    if covariance_type == "full":
        kind, slots = NearPrepared, NearSlots
    assert isinstance(prepared, kind)
    tile = mixture.make_tile(X.dtype, d, k, lanes)
    mixture.load_tile(X, weight, 0, n, prepared.shift, tile)
    tile.root[:] = np.nan  # not read
    # The rows of three tiles: they belong to all components, to one, and to one at random and in part to another.
    one = np.eye(k)[RNG.integers(0, k, n)]
    for live in (np.ones(k), np.arange(k) == 0, one + 1e-9 * np.roll(one, 1, axis=1)):
        resp = (RNG.uniform(0.5, 1.0, (n, k)) * live).astype(dtype)
        tile.resp[:k, :n] = resp.T
        tile.resp[:, n:] = 0
        statistics = family.zeros(params, 1, prepared)
        family.bricks(prepared)[1](tile, tile.resp, prepared, statistics, 0)
        assert isinstance(statistics, slots)
        sums = family.unpad(statistics, params, prepared)
        y = X.astype(float)[:, None] - params.means
        eps = 1e-12 if dtype == np.float64 else 1e-4
        wanted = "nk,nki,nkj->kij" if covariance_type == "full" else "nk,nki,nki->ki"
        squares = np.einsum(wanted, resp, y, y)
        if by_products:
            squares[:] = squares.mean(axis=1, keepdims=True)
        np.testing.assert_allclose(sums.sum_w, resp.astype(float).sum(axis=0), rtol=eps)
        np.testing.assert_allclose(sums.sum_x, np.einsum("nk,nkj->kj", resp, y), rtol=eps, atol=n * eps)
        np.testing.assert_allclose(sums.sum_xx, squares, rtol=eps, atol=n * eps)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("covariance_type", ["diag", "spherical"])
def test_densities_of_near_components(covariance_type: str, dtype: type, together: None) -> None:
    d, k, n, lanes = 5, 6, 64, 64
    variances = RNG.uniform(0.5, 2.0, (k, d) if covariance_type == "diag" else k)
    params = GaussianParams(RNG.standard_normal((k, d)), variances)
    X, family = (10 * RNG.standard_normal((n, d))).astype(dtype), Gaussian(covariance_type, 0.0)
    found = []
    for one in (family, family.careful()):
        prepared = one.prepare(params, np.dtype(dtype), np.ones(k))
        assert isinstance(prepared, NearDiagPrepared | NearSphericalPrepared) == (one is family)
        tile = mixture.make_tile(X.dtype, d, k, lanes)
        mixture.load_tile(X, np.zeros(0), 0, n, prepared.shift, tile)
        one.bricks(prepared)[0](tile, prepared, tile.resp)
        found.append(tile.resp[:k].copy())
    y = X.astype(float)[:, None] - params.means
    wanted = stats.norm.logpdf(y, scale=np.sqrt(variances.reshape(k, -1))).sum(axis=2).T
    for log_prob in found:
        np.testing.assert_allclose(log_prob, wanted, rtol=1e-13 if dtype == np.float64 else 1e-5)


def test_spherical_components_are_near_by_all_features_at_once() -> None:
    """Their densities are differences of whole squares, of which many features lose more than one."""
    for d, near in ((4, True), (400, False)):
        params = GaussianParams(np.repeat([0.0, 10.0], [d, 7 * d]).reshape(8, d), np.ones(8))
        prepared = Gaussian("spherical", 0.0).prepare(params, np.dtype(float), np.r_[2.0, np.ones(7)])
        assert isinstance(prepared, NearSphericalPrepared) == near


def test_sums_that_are_not_finite_are_taken_again() -> None:
    params = GaussianParams(RNG.standard_normal((8, 3)), np.ones(8))
    family = Gaussian("spherical", 0.0)
    prepared = family.prepare(params, np.dtype(float), np.ones(8))
    after = [params._replace(covariances=np.r_[value, np.ones(7)]) for value in (1.0, np.inf)]
    assert [family.blurred(params, one, prepared) for one in after] == [False, True]


def test_spherical_components_of_float32_are_no_differences_of_squares(rng: np.random.Generator) -> None:
    """A variance whose inverse float32 does not hold: rows of nothing but 0."""
    X = np.concatenate([np.zeros((32, 2)), rng.standard_normal((32, 2))]).astype(np.float32)
    params = GaussianParams(np.r_[[[0.0, 0.0]], 0.1 * rng.standard_normal((7, 2))], np.r_[1e-39, np.ones(7)])
    start = MixtureParams(np.full(8, 1 / 8), params)
    found, wanted = (
        Mixture(family).e_step(start, [chunk(X)]).log_likelihood
        for family in (Gaussian("spherical", 0.0), Gaussian("spherical", 0.0).careful())
    )
    assert found == wanted > 1000


@pytest.mark.parametrize(("spread", "near"), [(1.0, True), (4.0, True), (1e3, False)])
def test_moments_of_near_components_keep_their_digits(spread: float, near: bool) -> None:
    """Columns that nearly are one, in which means differ by `spread` standard deviations of what they do not share."""
    n, d, k = 5000, 8, 8
    factor = np.tril(np.ones((d, d))) * np.r_[10 * spread, np.ones(d - 1)]
    X = RNG.standard_normal((n, d)) @ factor.T
    means = RNG.standard_normal((k, 1)) * factor[:, 0] / 10
    start = MixtureParams(np.full(k, 1 / k), GaussianParams(means, np.stack([factor @ factor.T] * k)))
    model = Mixture(Gaussian("full", 0.0))
    assert isinstance(model.prepare(start, X.dtype)[1], NearPrepared) == near
    found = model.m_step(model.e_step(start, [chunk(X)]), start).components
    wanted = reference.m_step(X, model.rows(start, chunk(X), "responsibilities")["responsibilities"], "full")
    unit = np.linalg.inv(factor)
    # What rounding leaves of unshared parts where every sum is about its mean, and what may be lost beside.
    lost = 10 * np.finfo(float).eps * np.square(np.abs(unit) @ np.linalg.norm(factor, axis=1)).sum() + 1e-12
    np.testing.assert_allclose((found.means - wanted.means) @ unit.T, 0, atol=lost)
    np.testing.assert_allclose(unit @ (found.covariances - wanted.covariances) @ unit.T, 0, atol=lost)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_narrow_clusters_under_a_wide_start(dtype: str, together: None) -> None:
    """Digits that were lost beside the start's covariances are wanted after all."""
    d = k = 8
    wide = {"float32": 1e2, "float64": 1e6}[dtype]
    centres = wide * RNG.standard_normal((k, d))
    X = (centres[RNG.integers(0, k, 2000)] + 0.01 * wide**0.5 * RNG.standard_normal((2000, d))).astype(dtype)
    family = Gaussian("full", 0.0, eps=np.finfo(dtype).eps)
    start = MixtureParams(np.full(k, 1 / k), GaussianParams(centres, np.stack([wide**2 * np.eye(d)] * k)))
    assert isinstance(family.prepare(start.components, np.dtype(dtype), start.weights), NearPrepared)
    after = [
        model.m_step(model.e_step(start, [chunk(X)]), start).components
        for model in (Mixture(family), Mixture(family.careful()))
    ]
    np.testing.assert_array_equal(after[0].covariances, after[1].covariances)


@pytest.mark.parametrize("covariance_type", ["full", "diag", "spherical"])
def test_huge_numbers_without_weight(covariance_type: str, together: None) -> None:
    d, k, lanes = 8, 8, 128
    means, matrices = gaussian(d, k)[1]
    family = Gaussian(covariance_type, 0.0)
    params = GaussianParams(means, covariance.reduce(matrices, covariance_type))
    X, weight = RNG.standard_normal((lanes, d)), np.ones(lanes)
    X[3], weight[3] = 1e200, 0.0
    prepared = family.prepare(params, X.dtype, np.ones(k))
    tile = mixture.make_tile(X.dtype, d, k, lanes)
    mixture.load_tile(X, weight, 0, lanes, prepared.shift, tile)
    tile.resp[:k] = weight
    statistics = family.zeros(params, 1, prepared)
    with np.errstate(over="ignore", invalid="ignore"):
        family.bricks(prepared)[1](tile, tile.resp, prepared, statistics, 0)
    sums = family.unpad(statistics, params, prepared)
    y = np.delete(X, 3, axis=0) - params.means[:, None]
    squares = np.einsum("kni,knj->kij", y, y)
    if covariance_type != "full":
        squares = np.einsum("kii->ki", squares)
    if covariance_type == "spherical":
        squares = np.repeat(squares.mean(axis=1, keepdims=True), d, axis=1)
    np.testing.assert_allclose(sums.sum_xx, squares, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("dtype", DTYPES)
def test_moments_of_t_distributions_uncompiled(dtype: type, together: None) -> None:
    d, k, n, lanes = 5, 9, 100, 128
    gaussians = gaussian(d, k)[1]
    params = StudentTParams(0.1 * gaussians.means, gaussians.covariances, RNG.uniform(0.0, 0.5, k))
    X = RNG.standard_normal((n, d)).astype(dtype)
    sums = []
    for family in (StudentT("full", 0.0), StudentT("full", 0.0).careful()):
        prepared = family.prepare(params, np.dtype(dtype), np.ones(k))
        tile = mixture.make_tile(np.dtype(dtype), d, k, lanes)
        mixture.load_tile(X, np.zeros(0), 0, n, prepared.shift, tile)
        log_prob, accumulate = family.bricks(prepared)
        log_prob(tile, prepared, tile.resp)
        softmax.normalize(tile, np.log(np.full((1, k), 1 / k)).astype(dtype))
        statistics = family.zeros(params, 1, prepared)
        accumulate(tile, tile.resp, prepared, statistics, 0)
        assert hasattr(statistics, "segments") == (len(sums) == 0) and (sums or statistics.segments.any())
        sums.append(family.unpad(statistics, params, prepared))
    eps = 1e-12 if dtype == np.float64 else 1e-4
    for near, wanted in zip(*sums, strict=True):
        np.testing.assert_allclose(near, wanted, rtol=eps, atol=eps * np.abs(wanted).max())


def test_an_m_step_that_nothing_can_blur_is_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Gaussian, "m_step", None)
    start = MixtureParams(np.full(2, 0.5), gaussian(4, 2)[1])
    assert np.isfinite(
        Mixture(Gaussian("full", 0.0)).e_step(start, [chunk(RNG.standard_normal((50, 4)))]).log_likelihood
    )
