"""What must not matter: order, threads, units, origin, how weights are written; models that must coincide."""

from __future__ import annotations

import itertools

import cases
import numpy as np
import pytest
import reference
from cases import FLAVOURS, OVERLAPPING, SEPARATED, WEIGHTED, fit, fitted, starting_from
from reference import Parameters

import fastem

# Two ways to the same sums differ by rounding: of float64 sums, or of log p(x|k) held in float32.
RTOL = {"float64": 1e-10, "float32": 1e-4}
flavours = pytest.mark.parametrize(("kind", "dtype"), FLAVOURS)
kinds = pytest.mark.parametrize("kind", cases.COVARIANCE_TYPES)


def permuted(parameters: Parameters, order: np.ndarray, kind: str) -> Parameters:
    """Return the parameters with their components in another order."""
    weights, means, covariances = parameters
    return Parameters(weights[order], means[order], covariances if kind == "tied" else covariances[order])


@flavours
def test_components_have_no_order(kind: str, dtype: str) -> None:
    X, _, start = cases.problem(OVERLAPPING, kind, dtype)
    order = np.array([2, 0, 3, 1])
    plain = fitted(fit(starting_from(start, kind, max_iter=5), X))
    other = fitted(fit(starting_from(permuted(start, order, kind), kind, max_iter=5), X))
    cases.assert_same(other, permuted(plain, order, kind), RTOL[dtype])


@flavours
def test_rows_have_no_order(kind: str, dtype: str, rng: np.random.Generator) -> None:
    X, sample_weight, start = cases.problem(WEIGHTED, kind, dtype)
    assert sample_weight is not None
    order = rng.permutation(len(X))
    plain = fit(starting_from(start, kind, max_iter=5), X, sample_weight)
    other = fit(starting_from(start, kind, max_iter=5), X[order], sample_weight[order])
    cases.assert_same(fitted(other), fitted(plain), RTOL[dtype])
    np.testing.assert_allclose(other.lower_bounds_, plain.lower_bounds_, rtol=RTOL[dtype])


@flavours
def test_any_number_of_threads_gives_the_same_bits(kind: str, dtype: str, rng: np.random.Generator) -> None:
    _, _, start = cases.problem(OVERLAPPING, kind)
    X = rng.standard_normal((20_011, 3)).astype(dtype)  # enough rows for several slots
    sample_weight = rng.uniform(size=len(X))
    one, two = (fit(starting_from(start, kind, max_iter=4, n_jobs=n_jobs), X, sample_weight) for n_jobs in (1, 2))
    for name in ("weights_", "means_", "covariances_", "lower_bounds_"):
        assert np.array_equal(getattr(one, name), getattr(two, name)), name
    assert np.array_equal(one.history_["log_likelihood"], two.history_["log_likelihood"])
    assert np.array_equal(one.score_samples(X), two.score_samples(X))
    assert one.score(X, sample_weight=sample_weight) == two.score(X, sample_weight=sample_weight)


@pytest.mark.parametrize("init_params", ["race", "kmeans", "k-means++", "random", "random_from_data"])
def test_a_seed_and_any_number_of_threads_give_the_same_start(init_params: str) -> None:
    X, _, _ = cases.problem(OVERLAPPING, "full")
    before = np.random.get_state()[1].copy()
    fits = [
        fit(fastem.GaussianMixture(3, init_params=init_params, random_state=5, max_iter=4, n_jobs=n_jobs), X)
        for n_jobs in (1, 2)
    ]
    assert np.array_equal(fits[0].means_, fits[1].means_)
    assert np.array_equal(np.random.get_state()[1], before), "NumPy's global random state was moved"


@flavours
def test_weight_two_is_the_row_twice_and_weight_zero_the_row_absent(
    kind: str, dtype: str, rng: np.random.Generator
) -> None:
    X, _, start = cases.problem(OVERLAPPING, kind, dtype)
    times = rng.choice([0, 1, 2], size=len(X))
    repeated = np.repeat(X, times, axis=0)
    weighted = fit(starting_from(start, kind, max_iter=6), X, times.astype(float))
    written_out = fit(starting_from(start, kind, max_iter=6), repeated)
    cases.assert_same(fitted(weighted), fitted(written_out), RTOL[dtype])
    np.testing.assert_allclose(weighted.lower_bounds_, written_out.lower_bounds_, rtol=RTOL[dtype])
    for criterion in (weighted.bic, weighted.aic, weighted.icl):
        assert criterion(X, sample_weight=times) == pytest.approx(criterion(repeated), rel=RTOL[dtype])
    score = weighted.score(X, sample_weight=times)
    assert score == pytest.approx(weighted.score(repeated), rel=RTOL[dtype])


@pytest.mark.parametrize("init_params", ["race", "kmeans", "k-means++", "random", "random_from_data"])
def test_rows_of_weight_zero_are_absent_from_every_start(init_params: str) -> None:
    X, _, _ = cases.problem(SEPARATED, "full")
    far = np.vstack([X, X[:40] * 1e6])
    sample_weight = np.r_[np.ones(len(X)), np.zeros(40)]
    options = {"init_params": init_params, "random_state": 1, "n_init": 5}
    plain = fit(fastem.GaussianMixture(3, **options), X)
    weighted = fit(fastem.GaussianMixture(3, **options), far, sample_weight)
    assert weighted.lower_bound_ == pytest.approx(plain.lower_bound_, abs=1e-3)
    assert weighted.score(far, sample_weight=sample_weight) == pytest.approx(plain.score(X), abs=1e-3)


OFFSETS = [("float64", 1e3), ("float64", 1e6), ("float64", 1e8), ("float32", 1e2), ("float32", 1e4)]


def on_a_lattice(X: np.ndarray, dtype: str) -> np.ndarray:
    """Round so coarsely that adding any of the offsets is exact: what then differs is the library's doing."""
    steps = 2.0**20 if dtype == "float64" else 2.0**8
    return (np.round(X.astype(np.float64) * steps) / steps).astype(dtype)


@pytest.mark.parametrize(("dtype", "offset"), OFFSETS)
@kinds
def test_moving_the_data_moves_the_means_only(kind: str, dtype: str, offset: float) -> None:
    X, _, start = cases.problem(OVERLAPPING, kind, "float64")
    X = on_a_lattice(X, dtype)
    # A mean cannot be told more finely than the spacing of numbers of its size; the standard deviation is 1.
    spacing = float(np.spacing(np.dtype(dtype).type(offset)))
    tolerance = RTOL[dtype] + 4 * spacing
    near = fit(starting_from(start, kind, max_iter=20), X)
    far_start = start._replace(means=start.means + offset)
    moved = X + X.dtype.type(offset)
    assert moved.dtype == X.dtype
    np.testing.assert_array_equal(moved.astype(float) - offset, X)
    far = fit(starting_from(far_start, kind, max_iter=20), moved)
    weights, means, covariances = fitted(far)
    cases.assert_same(Parameters(weights, means - offset, covariances), fitted(near), tolerance)
    np.testing.assert_allclose(far.lower_bounds_, near.lower_bounds_, atol=tolerance)
    np.testing.assert_allclose(far.score_samples(moved), near.score_samples(X), atol=20 * tolerance)


@pytest.mark.parametrize(("dtype", "offset"), OFFSETS)
@kinds
def test_the_default_start_finds_the_same_optimum_anywhere(kind: str, dtype: str, offset: float) -> None:
    X = on_a_lattice(cases.problem(SEPARATED, kind)[0], dtype)
    moved = X + X.dtype.type(offset)
    near, far = (
        fit(fastem.GaussianMixture(3, covariance_type=kind, random_state=0), rows, converges=True)
        for rows in (X, moved)
    )
    assert far.lower_bound_ == pytest.approx(near.lower_bound_, abs=0.01 if dtype == "float32" else 1e-4)
    # Clusters twelve standard deviations apart: no row changes its company.
    assert len(set(zip(near.predict(X).tolist(), far.predict(moved).tolist()))) == 3


@pytest.mark.parametrize("scale", [1e-12, 1e12])
@flavours
def test_units_do_not_matter(kind: str, dtype: str, scale: float) -> None:
    X, _, start = cases.problem(OVERLAPPING, kind, dtype)
    scaled_start = Parameters(start.weights, start.means * scale, start.covariances * scale**2)
    plain = fit(starting_from(start, kind, max_iter=10), X)
    scaled = fit(starting_from(scaled_start, kind, max_iter=10), (X * scale).astype(dtype))
    weights, means, covariances = fitted(scaled)
    rtol = {"float64": 1e-9, "float32": 1e-3}[dtype]
    cases.assert_same(Parameters(weights, means / scale, covariances / scale**2), fitted(plain), rtol)
    shift = X.shape[1] * np.log(scale)
    np.testing.assert_allclose(np.add(scaled.lower_bounds_, shift), plain.lower_bounds_, atol=100 * rtol)


@pytest.mark.parametrize("scale", [1e-12, 1e12])
@flavours
def test_the_default_start_knows_no_units(kind: str, dtype: str, scale: float) -> None:
    X, _, _ = cases.problem(SEPARATED, kind, dtype)
    options = {"covariance_type": kind, "random_state": 0, "reg_covar": 0}
    plain = fit(fastem.GaussianMixture(3, **options), X, converges=True)
    scaled = fit(fastem.GaussianMixture(3, **options), (X * scale).astype(dtype), converges=True)
    shift = X.shape[1] * np.log(scale)
    assert scaled.lower_bound_ + shift == pytest.approx(plain.lower_bound_, abs=1e-3)


@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_one_tied_component_is_one_full_component(dtype: str) -> None:
    X, sample_weight, _ = cases.problem(WEIGHTED, "full", dtype)
    full, tied = (fit(fastem.GaussianMixture(1, covariance_type=kind), X, sample_weight) for kind in ("full", "tied"))
    np.testing.assert_allclose(full.covariances_[0], tied.covariances_, rtol=RTOL[dtype])
    np.testing.assert_allclose(full.means_, tied.means_, rtol=RTOL[dtype])
    np.testing.assert_allclose(full.score_samples(X), tied.score_samples(X), rtol=RTOL[dtype])


@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_full_on_mirrored_data_is_diag(dtype: str, rng: np.random.Generator) -> None:
    """Two concentric components on rows mirrored in every axis: no product of two columns can survive."""
    quadrant = np.abs(rng.standard_normal((60, 3))) * np.where(rng.random((60, 1)) < 0.5, [1, 2, 1], [4, 5, 6])
    mirrors = np.array(list(itertools.product([-1, 1], repeat=3)))
    X = (quadrant[None] * mirrors[:, None]).reshape(-1, 3).astype(dtype)
    variances = np.array([[1.0, 3.0, 1.0], [16.0, 20.0, 30.0]])
    matrices = np.stack([np.diag(v) for v in variances])
    full, diag = (
        fitted(fit(starting_from(Parameters(np.full(2, 0.5), np.zeros((2, 3)), start), kind, max_iter=8), X))
        for kind, start in (("full", matrices), ("diag", variances))
    )
    expected = Parameters(diag.weights, np.zeros((2, 3)), reference.matrices(diag, "diag"))
    np.testing.assert_allclose(full.means, 0, atol=10 * RTOL[dtype])
    cases.assert_same(full._replace(means=expected.means), expected, RTOL[dtype])


@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_in_one_dimension_spherical_diag_and_full_coincide(dtype: str) -> None:
    line = next(case for case in cases.CASES if case.name == "line")
    results = []
    for kind in ("full", "diag", "spherical"):
        X, _, start = cases.problem(line, kind, dtype)
        estimator = fit(starting_from(start, kind, max_iter=8), X)
        results.append((fitted(estimator), estimator.score_samples(X)))
    for parameters, log_prob in results[1:]:
        flat = parameters._replace(covariances=parameters.covariances.reshape(-1, 1, 1))
        cases.assert_same(flat, results[0][0], RTOL[dtype])
        np.testing.assert_allclose(log_prob, results[0][1], rtol=RTOL[dtype], atol=RTOL[dtype])


@pytest.mark.parametrize("scale", [1e-9, 1e9])
@kinds
def test_weights_have_no_unit(kind: str, scale: float) -> None:
    """Weights may be probabilities or counts of millions: only what they are to one another matters."""
    X, sample_weight, start = cases.problem(WEIGHTED, kind)
    assert sample_weight is not None
    plain = fit(starting_from(start, kind, max_iter=200, tol=1e-4), X, sample_weight)
    scaled = fit(starting_from(start, kind, max_iter=200, tol=1e-4), X, scale * sample_weight)
    cases.assert_same(fitted(scaled), fitted(plain), 1e-9)
    assert scaled.n_iter_ == plain.n_iter_ and scaled.stop_reason_ == plain.stop_reason_
    by_race = [
        fit(fastem.GaussianMixture(3, covariance_type=kind, random_state=0), X, unit * sample_weight)
        for unit in (1.0, scale)
    ]
    assert by_race[0].lower_bound_ == pytest.approx(by_race[1].lower_bound_, abs=1e-6)
    assert by_race[0].diagnostics_ == by_race[1].diagnostics_
