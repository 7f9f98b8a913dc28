"""Faults that a reader found by thinking: each test is the least data that shows one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from cases import quietly
from scipy import stats

import fastem
from fastem.engine.chunks import chunk
from fastem.engine.collapse import Collapse
from fastem.engine.monitor import ConvergenceMonitor, Rules
from fastem.families.bernoulli import Bernoulli, BernoulliParams
from fastem.families.least_squares import RegressionStatistics
from fastem.families.linear_regression import LinearRegression
from fastem.families.logistic_regression import LogisticRegression
from fastem.families.multinomial import Multinomial, MultinomialParams
from fastem.families.poisson_regression import PoissonRegression
from fastem.families.regression import RegressionParams
from fastem.starts import scale_of

SINGLE = np.float32


def levels(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.integers(0, 3, (n, 2)).astype(float)


# Levels that the tables of a fit do not have.


def test_a_level_that_comes_late_is_refused(rng: np.random.Generator) -> None:
    def blocks() -> Iterator[np.ndarray]:
        yield levels(rng, 6000)
        yield np.full((2000, 2), 30000.0)

    with pytest.raises(ValueError, match="30000 in row 6000.* level"):
        fastem.CategoricalMixture(2, random_state=0).fit(blocks(), algorithm="stepwise")


def test_a_source_that_changes_between_passes_is_refused() -> None:
    passes = iter(range(100))

    def blocks() -> Iterator[np.ndarray]:
        yield levels(np.random.default_rng(0), 100) + (30000.0 if next(passes) > 2 else 0.0)

    with pytest.raises(ValueError, match="level that the model was fitted on"):
        fastem.CategoricalMixture(2, random_state=0).fit(blocks)


def test_a_new_fit_of_a_source_forgets_the_levels_of_the_last(rng: np.random.Generator) -> None:
    model = quietly(fastem.CategoricalMixture(1).fit, np.array([["a"], ["b"], ["c"], ["d"]] * 5))
    rows = levels(rng, 50)
    quietly(model.fit, lambda: iter([rows]))
    assert model.categories_ == [[0, 1, 2]] * 2


@pytest.mark.parametrize(
    ("model", "X", "held_out"),
    [
        (fastem.CategoricalMixture(1), np.array([[0, 1], [1, 0], [2, 2.0]] * 20), [[5e8, 1.0]]),
        (fastem.CategoricalMixture(1), lambda: iter([np.array([[0, 1], [1, 0], [2, 2.0]] * 20)]), [[5e8, 1.0]]),
        (fastem.CategoricalMixture(1), np.array([["a"], ["b"]] * 20), [["c"]]),
        (fastem.BernoulliMixture(1), np.eye(2)[[0, 1] * 20], [[-5.0, 1.0]]),
    ],
)
def test_rows_held_out_are_looked_at(model: Any, X: Any, held_out: list) -> None:
    with pytest.raises(ValueError, match=r"5e\+08|'c'|-5"):
        model.fit(X, algorithm="stepwise", held_out=np.array(held_out))


def test_texts_can_be_held_out() -> None:
    X = np.array([["a"], ["b"]] * 20)
    model = quietly(fastem.CategoricalMixture(1).fit, X, algorithm="stepwise", held_out=X[:4])
    assert model.lower_bound_ == pytest.approx(np.log(0.5), rel=1e-3)


# Components that are alike, and what is done about it.


def test_a_unit_of_exposure_is_no_measure_of_likeness() -> None:
    """Rates that differ by little count for much where exposures are large."""
    rng = np.random.default_rng(9)
    rates, component = 10 ** rng.uniform(-5, -3.5, (6, 2)), rng.integers(6, size=2000)
    X = np.column_stack([np.full(2000, 1e5), rng.poisson(rates[component] * 1e5)])
    model = fastem.PoissonMixture(6, exposure=0, random_state=9).fit(X)
    assert model.diagnostics_["parted"] == []
    assert model.lower_bound_ == max(model.lower_bounds_)


@pytest.mark.parametrize("size", [1.0, 1e4])
def test_likeness_is_measured_in_rows_of_the_data(size: float) -> None:
    half = np.array([0.5, 0.5])
    multinomial = Multinomial()
    multinomial.prior_mean = size * half
    near = np.array([[0.5, 0.5], [0.52, 0.48]])
    assert multinomial.alike(MultinomialParams(near), half) is (size == 1)
    for family in (LogisticRegression(size=0), PoissonRegression(size=0)):
        family.scale = scale_of(np.array([[size, 0.0, 1.0], [size, 1.0, 2.0]]), None)
        family.centre = family.centred_at(family.scale.mean)
        assert family.alike(RegressionParams(np.zeros((2, 2)), np.array([0.0, 0.1])), half) is (size == 1)


def test_a_parting_that_leads_to_less_is_taken_back(rng: np.random.Generator) -> None:
    collapse = Collapse("restart", chunk(np.zeros((1, 1))), None, rng)
    monitor = ConvergenceMonitor(Rules(), 1e-16)
    monitor.history, monitor.stop_reason = [(-9.0, 0.0), (-5.0, 0.1), (-8.0, 0.2), (-6.0, 0.3)], "max_iter"
    assert collapse.settled("now", monitor) == "now"
    collapse.parted, collapse.unparted = [2], "before"
    assert collapse.settled("now", monitor) == "before"
    assert (monitor.n_iter, monitor.converged) == (2, True)
    monitor.history = [(-9.0, 0.0), (-5.0, 0.1), (-4.0, 0.2)]
    assert collapse.settled("now", monitor) == "now"


# Batches.


def test_a_prior_weighs_the_same_in_every_algorithm(rng: np.random.Generator) -> None:
    X = (rng.random((8000, 6)) < np.where(rng.random((8000, 1)) < 0.5, 0.1, 0.9)).astype(float)

    def found(model: fastem.BernoulliMixture) -> np.ndarray:
        return np.sort(model.probabilities_.mean(axis=1))

    fits = [
        found(quietly(fastem.BernoulliMixture(2, prior=400.0, random_state=0).fit, X, algorithm=algorithm))
        for algorithm in ("batch", "stepwise", "incremental")
    ]
    np.testing.assert_allclose(fits[1:], [fits[0]] * 2, atol=0.01)
    model = fastem.BernoulliMixture(2, prior=400.0, random_state=0)
    for first in range(0, 8000, 1000):
        model.partial_fit(X[first : first + 1000])
    np.testing.assert_allclose(found(model), fits[0], atol=0.02)


@pytest.mark.parametrize("trials", [1, 500])
def test_a_small_batch_after_a_fit_moves_little_whatever_the_trials(trials: int, rng: np.random.Generator) -> None:
    model = fastem.MultinomialMixture(1).fit(rng.multinomial(trials, [0.7, 0.3], 2000).astype(float))
    before, batch = model.probabilities_.copy(), rng.multinomial(trials, [0.2, 0.8], 20).astype(float)
    model.partial_fit(batch)
    share = (model.probabilities_ - before) / (batch.sum(axis=0) / batch.sum() - before)
    assert (share > 0).all() and (share < 0.15).all()


@pytest.mark.parametrize("unit", [1.0, 1000.0])
def test_a_small_batch_after_a_fit_moves_little_in_any_unit(unit: float, rng: np.random.Generator) -> None:
    x = unit * rng.standard_normal((2000, 1))
    model = fastem.LinearRegressionMixture(1).fit(x, 2 * x[:, 0] + unit * rng.standard_normal(2000))
    before = model.coef_[0, 0]
    model.partial_fit(x[:20], 5 * x[:20, 0])
    assert 0 < model.coef_[0, 0] - before < 0.15 * 3


# The end of a fit.


@pytest.mark.parametrize("seed", [43, 47])
def test_the_last_newton_step_is_looked_at(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, z = rng.normal(size=(300, 1)), rng.random(300) < 0.5
    y = rng.poisson(np.exp(np.where(z, 3, -3) * x[:, 0]))
    model = fastem.PoissonRegressionMixture(2, max_iter=2, init_params="random_from_data", random_state=seed)
    quietly(model.fit, x, y)
    assert model.score(x, y) >= model.lower_bound_ - 1e-12


def test_a_fall_below_tol_is_no_convergence(rng: np.random.Generator) -> None:
    class Overshoot:
        def log_prob(self, X: np.ndarray, params: np.ndarray) -> np.ndarray:
            return stats.norm.logpdf(X, params)

        def statistics(self, X: np.ndarray, resp: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return resp.sum(axis=0), resp.T @ X[:, 0]

        def m_step(self, statistics: tuple[np.ndarray, np.ndarray], params: np.ndarray | None) -> np.ndarray:
            mean = statistics[1] / statistics[0]
            return mean if params is None else params + 2.02 * (mean - params)

    model = fastem.Mixture(Overshoot(), 1, accelerate=None, params_init=np.array([0.05]))
    quietly(model.fit, rng.standard_normal((10_000, 1)))
    assert (model.converged_, model.stop_reason_) == (False, "decreased")


def test_labels_of_rows_without_weight_are_none(rng: np.random.Generator) -> None:
    X = np.concatenate([rng.normal(-3, 1, (50, 2)), rng.normal(3, 1, (50, 2))])
    labels, weight = np.full(100, -1), np.ones(100)
    labels[-5:], weight[-5:] = 1, 0.0
    options: dict[str, Any] = {"weights_init": [1.0, 0.0], "means_init": [[-3, -3], [3, 3]], "random_state": 0}
    held = fastem.GaussianMixture(2, **options)
    quietly(held.fit, X, labels=labels, sample_weight=weight, fixed=("weights",))
    assert np.isfinite(held.lower_bound_) and held.stop_reason_ != "not_finite"
    labels[:5] = 0
    found = [
        quietly(fastem.GaussianMixture(2, random_state=0).fit, X, labels=given, sample_weight=weight).lower_bound_
        for given in (labels, np.where(weight > 0, labels, -1))
    ]
    assert found[0] == found[1]


def test_held_parameters_are_not_counted(rng: np.random.Generator) -> None:
    X, n = rng.poisson(3, (200, 2)).astype(float), 200

    def counted(model: Any, *fixed: str) -> float:
        quietly(model.fit, X, fixed=fixed)
        return (model.bic(X) + 2 * n * model.score(X)) / np.log(n)

    tails = {"means": [[3.0, 3.0]], "scales": [3 * np.eye(2)]}
    assert counted(fastem.PoissonMixture(1, params_init=[[3.0, 3.0]]), "rates") == pytest.approx(0)
    assert counted(fastem.StudentTMixture(1, df=5.0, params_init=tails), "means", "scales") == pytest.approx(0)
    assert counted(fastem.StudentTMixture(1, df=5.0, params_init=tails), "means") == pytest.approx(3)
    assert counted(fastem.GaussianMixture(1, means_init=[[3.0, 3.0]]), "means") == pytest.approx(3)
    given = tails | {"df": [4.0]}
    assert counted(fastem.StudentTMixture(1, params_init=given), "df") == pytest.approx(5)
    assert counted(fastem.StudentTMixture(1, params_init=given), "df", "scales") == pytest.approx(2)
    factor = {"means": [[3.0, 3.0]], "loadings": [[[1.0], [1.0]]], "noise_variances": [[2.0, 2.0]]}
    for names, free in ((("noise_variances",), 4), (("loadings",), 4), (("means", "loadings"), 2), (tuple(factor), 0)):
        assert counted(fastem.FactorAnalyzerMixture(1, params_init=factor), *names) == pytest.approx(free)
    two = {"sizes": [[2.0, 2.0]], "means": [[3.0, 3.0]]}
    assert counted(fastem.NegativeBinomialMixture(1, params_init=two), "sizes") == pytest.approx(2)
    halves = fastem.GaussianMixture(2, weights_init=[0.5, 0.5], random_state=0)
    assert counted(halves, "weights") == pytest.approx(10)
    assert counted(halves) == pytest.approx(11)


# Numbers.


@pytest.mark.parametrize("rate", [10.0, 1e3, 1e6])
def test_large_counts_have_their_density_in_float32(rate: float) -> None:
    x = np.round(rate + np.sqrt(rate) * np.array([[-1], [0], [2.0]])).astype(SINGLE)
    model = quietly(fastem.PoissonMixture(1, params_init=[[rate]], max_iter=0).fit, x)
    np.testing.assert_allclose(model.score_samples(x), stats.poisson.logpmf(x[:, 0].astype(float), rate), rtol=3e-6)


def test_large_counts_are_fitted_in_float32(rng: np.random.Generator) -> None:
    counts = rng.poisson(np.where(rng.random((2000, 1)) < 0.5, 1e6, 1.01e6)).astype(SINGLE)
    trials = np.concatenate([rng.multinomial(10**6, p, 300) for p in ([0.3, 0.7], [0.302, 0.698])]).astype(SINGLE)
    for kind, X in ((fastem.PoissonMixture, counts), (fastem.MultinomialMixture, trials)):
        single, double = (kind(2, random_state=0).fit(rows) for rows in (X, X.astype(float)))
        assert single.converged_ and double.converged_
        assert single.lower_bound_ == pytest.approx(double.lower_bound_, rel=1e-7)
    x = rng.normal(size=(500, 1)).astype(SINGLE)
    y = rng.poisson(4e6 * np.exp(np.where(rng.random(500) < 0.5, 0.1, -0.1) * x[:, 0])).astype(SINGLE)
    lines = fastem.PoissonRegressionMixture(2, random_state=0).fit(x, y)
    assert lines.converged_ and sorted(lines.coef_[:, 0]) == pytest.approx([-0.1, 0.1], abs=1e-3)


def test_features_that_hardly_vary_in_a_component_keep_float32_in_motion(rng: np.random.Generator) -> None:
    z = rng.random(1000) < 0.5
    x = (np.where(z, 0, 10) + rng.uniform(0, 0.01, 1000)).astype(SINGLE)
    y = (np.where(z, 100 * x, 5 - 100 * (x - 10)) + rng.normal(0, 0.05, 1000)).astype(SINGLE)
    start = {"coef": [[90.0], [-90.0]], "intercept": [0, 905.0], "variances": [0.01, 0.01]}
    single, double = (
        fastem.LinearRegressionMixture(2, params_init=start).fit(x[:, None].astype(dtype), y.astype(dtype))
        for dtype in (SINGLE, float)
    )
    np.testing.assert_allclose(single.coef_, double.coef_, rtol=1e-5)
    assert np.abs(double.coef_[:, 0] - [100, -100]).max() < 2


def test_only_what_hardly_varies_asks_for_float64() -> None:
    family = LinearRegression(eps=float(np.finfo(SINGLE).eps))
    for spread, wide in ((1.0, False), (1e-6, True), (1.0, False)):
        second = np.array([[[1 + spread, 0], [0, 1.0]]])
        sums = RegressionStatistics(np.ones(1), np.ones(1), np.array([[1.0, 0]]), second)
        family.watch(sums)
        assert family.wide(None) is wide


@pytest.mark.parametrize("dtype", [SINGLE, float])
def test_the_impossible_has_no_probability(dtype: type) -> None:
    P = np.array([[0.99] * 20 + [0.01] * 20, [0.01] * 20 + [0.99] * 20])
    P[:, 5] = 0.0, 0.99
    row = np.array([[1.0] * 20 + [0.0] * 20], dtype)
    model = quietly(fastem.BernoulliMixture(2, params_init=P, max_iter=0).fit, np.eye(40)[[0, 0]])
    assert (model.predict_proba(row) == [[0, 1]]).all()
    expected = np.log(0.5) + np.where(row[0], np.log(P[1]), np.log(1 - P[1])).sum()
    assert model.score_samples(row)[0] == pytest.approx(expected, rel=1e-6)


def test_rows_that_no_component_gives() -> None:
    X = np.array([[0, 0], [0, 1.0]] * 20)
    rows = np.array([[1.0, 0], [0, 1]])
    kinds = fastem.BernoulliMixture, fastem.PoissonMixture, fastem.NegativeBinomialMixture, fastem.MultinomialMixture
    for kind in kinds:
        model = quietly(kind(1).fit, X)
        found = model.score_samples(rows)
        assert found[0] == -np.inf and np.isfinite(found[1])
        assert model.score(rows) == -np.inf
        assert model.score(rows, sample_weight=[0, 1]) == pytest.approx(found[1])
    ones = quietly(fastem.BernoulliMixture(1).fit, 1 - X)
    assert (np.isinf(ones.score_samples(rows)) == [False, True]).all() and np.isfinite(ones.score(1 - X))
    apart = fastem.CategoricalMixture(2, params_init=[[1, 0, 1, 0], [0, 1, 0, 1]], random_state=0)
    quietly(apart.fit, np.array([[0, 0], [1, 1], [0, 1.0]]))
    assert np.isfinite(apart.lower_bounds_).all()


def test_a_component_may_exclude_what_another_wants() -> None:
    """Probabilities of 0 and 1 in one column: the density of one, and no row of the other."""
    family, half = Bernoulli(), np.array([0.5, 0.5])
    params = BernoulliParams(np.array([[0.0, 0.3], [1.0, 0.6]]))
    X = np.array([[0, 1], [1, 0.0]])
    for dtype in (SINGLE, float):
        prepared = family.prepare(params, np.dtype(dtype), half)
        log_prob = X @ prepared.slopes[:2, :2].T.astype(float) + prepared.constant[0, :2]
        np.testing.assert_allclose(np.diagonal(log_prob), np.log([0.3, 0.4]), rtol=1e-4)
        assert log_prob[0, 1] < -600 and log_prob[1, 0] < -600
    assert (family.excluded(X, params) == [[False, True], [True, False]]).all()


def test_given_probabilities_are_made_to_sum_to_one(rng: np.random.Generator) -> None:
    P = np.array([[0.16668] * 6, [0.3, 0.3, 0.1, 0.1, 0.1, 0.1]])
    X = np.concatenate([rng.multinomial(3000, p / p.sum(), 100) for p in P]).astype(float)
    model = quietly(fastem.MultinomialMixture(2, params_init=P).fit, X)
    assert model.converged_
    np.testing.assert_allclose(model.probabilities_.sum(axis=1), 1, rtol=1e-14)
    coin = fastem.CategoricalMixture(1, params_init=[[0.50004, 0.5]])
    held = quietly(coin.fit, X[:, :1] % 2, fixed=("probabilities",))
    np.testing.assert_allclose(held.probabilities_, [[0.50004 / 1.00004, 0.5 / 1.00004]])
