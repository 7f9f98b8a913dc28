"""What rounding and a ridge may do to a fit, and what they may not."""

from __future__ import annotations

import cases
import numpy as np
import pytest
import reference
from cases import FLAVOURS, OVERLAPPING, fit, fitted, starting_from
from hypothesis import given
from hypothesis import strategies as st
from reference import Parameters

import fastem
from fastem.engine.chunks import chunk
from fastem.engine.em import Position, em_step, fit_em
from fastem.engine.model import Mixture, MixtureParams
from fastem.engine.monitor import ConvergenceMonitor, Rules
from fastem.families.gaussian import Gaussian, GaussianParams

kinds = pytest.mark.parametrize("kind", cases.COVARIANCE_TYPES)


@pytest.mark.parametrize("distance", [1e3, 1e5, 1e7])
@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_tied_components_far_apart_keep_their_digits(dtype: str, distance: float, rng: np.random.Generator) -> None:
    """`distance` in standard deviations; one centre of all sums would lose its square."""
    factor = np.eye(3) + 0.3 * rng.standard_normal((3, 3))
    centres = distance * np.array([[0.0, 0, 0], [0.6, -0.6, 0.5], [-0.4, 0.5, 0.8]])
    X = (centres[rng.integers(3, size=700)] + rng.standard_normal((700, 3)) @ factor.T).astype(dtype)
    means = (centres + rng.uniform(-0.5, 0.5, (3, 3))).astype(dtype)
    start = Parameters(np.full(3, 1 / 3), means.astype(float), 1.5 * factor @ factor.T)
    expected, history = reference.em(X, start, "tied", 2)
    estimator = fit(starting_from(start, "tied", max_iter=2), X)
    rtol, spacing = {"float64": 1e-9, "float32": 1e-5}[dtype], float(np.spacing(X.max()))
    actual = fitted(estimator)
    np.testing.assert_allclose(actual.covariances, expected.covariances, rtol=rtol + spacing, atol=rtol)
    np.testing.assert_allclose(actual.means, expected.means, atol=4 * spacing)
    np.testing.assert_allclose(actual.weights, expected.weights, rtol=1e-6)
    np.testing.assert_allclose(estimator.lower_bounds_[0], history[0] / 700, rtol=rtol, atol=10 * spacing)


def in_model(start: Parameters, kind: str, reg_covar: float, dtype: str = "float64") -> tuple[Mixture, MixtureParams]:
    family = Gaussian(kind, reg_covar, float(np.finfo(dtype).eps))
    return Mixture(family), MixtureParams(start.weights, GaussianParams(start.means, start.covariances))


@kinds
def test_the_penalty_is_the_ridge_over_the_covariances(kind: str) -> None:
    _, _, start = cases.problem(OVERLAPPING, kind)
    family, sum_w = Gaussian(kind, 0.3), np.array([1.0, 2.0, 0.5, 4.0])
    traces = [np.trace(np.linalg.inv(matrix)) for matrix in reference.matrices(start, kind)]
    penalty = family.penalty(GaussianParams(start.means, start.covariances), sum_w)
    assert penalty == pytest.approx(0.15 * sum_w @ traces, rel=1e-12)
    assert Gaussian(kind, 0.0).penalty(GaussianParams(start.means, start.covariances), sum_w) == 0


@kinds
@pytest.mark.parametrize("reg_covar", [1e-6, 0.1, 10.0])
def test_a_ridge_lowers_the_likelihood_no_further_than_it_explains(kind: str, reg_covar: float) -> None:
    X, sample_weight, start = cases.problem(OVERLAPPING, kind)
    model, params = in_model(start, kind, reg_covar)
    data, falls = [chunk(X, sample_weight)], 0
    statistics, after = em_step(model, params, data)
    for _ in range(30):
        before, last, params = params, statistics, after
        statistics, after = em_step(model, params, data)
        gain = statistics.log_likelihood - last.log_likelihood
        assert gain >= -model.may_fall(before, params, last) - 1e-9
        falls += gain < -1e-6
    assert falls or reg_covar < 10  # else nothing was shown


class Broken(Gaussian):
    """Forgets, in the tenth M-step, what it has learnt about the means."""

    steps = 0

    def m_step(self, statistics, params):
        self.steps += 1
        right = super().m_step(statistics, params)
        return right._replace(means=right.means + 0.5) if self.steps == 10 else right


@kinds
@pytest.mark.parametrize("reg_covar", [0.0, 1e-6])
def test_a_fall_that_the_ridge_does_not_explain_is_seen(kind: str, reg_covar: float) -> None:
    X, _, start = cases.problem(OVERLAPPING, kind)
    _, params = in_model(start, kind, reg_covar)
    monitor = ConvergenceMonitor(Rules(tol=0.0, max_iter=50), 2e-16)
    fit_em(Mixture(Broken(kind, reg_covar)), Position(params), [chunk(X)], monitor)
    assert (monitor.stop_reason, monitor.n_iter) == ("decreased", 10)


@st.composite
def awkward(draw: st.DrawFn) -> tuple[np.ndarray, fastem.GaussianMixture]:
    """Draw plain, repeated, rounded or partly constant rows of some scale, and an estimator with a ridge."""
    kind, dtype = draw(st.sampled_from(FLAVOURS))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, d = draw(st.integers(5, 200)), draw(st.integers(1, 4))
    n_components = draw(st.integers(1, min(5, n)))
    centres = draw(st.sampled_from([0.1, 1.0, 5.0, 100.0])) * rng.standard_normal((n_components, d))
    X = centres[rng.integers(n_components, size=n)] + rng.standard_normal((n, d))
    X *= draw(st.sampled_from([1e-3, 1.0, 1e3]))
    shape = draw(st.sampled_from(["plain", "repeated", "rounded", "constant"]))
    if shape == "repeated":
        X = X[rng.integers(max(1, n // 10), size=n)]
    elif shape == "rounded":
        X = np.round(X)
    elif shape == "constant":
        X[:, 0] = draw(st.sampled_from([0.0, 7.0, 1e6]))
    options = {
        "covariance_type": kind,
        "reg_covar": draw(st.sampled_from([1e-12, 1e-6, 1e-2, 1.0, 100.0])),
        "init_params": draw(st.sampled_from(["kmeans", "random_from_data"])),
        "tol": draw(st.sampled_from([1e-4, 1e-7, 0.0])),
    }
    return X.astype(dtype), fastem.GaussianMixture(n_components, max_iter=60, random_state=0, **options)


@given(awkward())
def test_no_fit_with_a_ridge_decreases(drawn: tuple[np.ndarray, fastem.GaussianMixture]) -> None:
    X, estimator = drawn
    assert fit(estimator, X).stop_reason_ in ("converged", "max_iter")
