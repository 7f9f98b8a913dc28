"""Stepwise and incremental EM against naive twins, batch EM and each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import reference
from cases import OVERLAPPING, SEPARATED, WEIGHTED, Case, assert_same, problem
from hypothesis import given
from hypothesis import strategies as st
from reference import COVARIANCE_TYPES, Parameters
from scipy.stats import multivariate_normal

import fastem
from fastem.engine import tree
from fastem.engine.batches import Batches, Shuffled
from fastem.engine.chunks import Chunk, chunk
from fastem.engine.collapse import Collapse
from fastem.engine.em import Position, em_step, fit_em
from fastem.engine.incremental import Incremental, Place, first_pass, fit_incremental, free_energy, next_pass, summed
from fastem.engine.model import Mixture, MixtureParams
from fastem.engine.monitor import ConvergenceMonitor, Rules
from fastem.engine.progressive import ProgressiveMonitor
from fastem.engine.records import Records
from fastem.engine.stepwise import Schedule, StepSize, begin, estimate, fit_stepwise, stepwise_step
from fastem.families.base import Scale
from fastem.families.gaussian import Gaussian, GaussianParams

EPS = float(np.finfo(float).eps)
ONE = StepSize(alpha=0.0)


def mixture(covariance_type: str, reg_covar: float = 0.0) -> Mixture:
    return Mixture(Gaussian(covariance_type, reg_covar))


def params_of(parameters: Parameters) -> MixtureParams:
    return MixtureParams(parameters.weights, GaussianParams(parameters.means, parameters.covariances))


def parameters_of(params: MixtureParams) -> Parameters:
    return Parameters(params.weights, *params.components)


def cut(X: Any, weight: Any, size: int) -> list[Chunk]:
    return [chunk(X[i : i + size], None if weight is None else weight[i : i + size]) for i in range(0, len(X), size)]


def assert_close(actual: Any, expected: Any, rtol: float) -> None:
    for a, b in zip(tree.leaves(actual), tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * max(np.abs(b).max(), 1e-300))


def naive_statistics(X: np.ndarray, resp: np.ndarray, means: np.ndarray, covariance_type: str) -> tuple:
    """Sums over the rows about given means, in the family's shapes."""
    sum_w, sum_x, sum_xx = [], [], []
    for k, mean in enumerate(means):
        y = X - mean
        sum_w.append(resp[:, k].sum())
        sum_x.append(resp[:, k] @ y)
        sum_xx.append((resp[:, k, None] * y).T @ y)
    if covariance_type == "tied":
        return np.array(sum_w), np.array(sum_x), sum(sum_xx)
    shaped = sum_xx if covariance_type == "full" else [np.diag(s) for s in sum_xx]
    return np.array(sum_w), np.array(sum_x), np.array(shaped)


def naive_stepwise(batches: list, start: Parameters, covariance_type: str, steps: list[float]) -> Parameters:
    """Stepwise EM that keeps the weight of every row of the past instead of statistics: (1 - g) of it is left."""
    parameters = start
    X, resp = np.zeros((0, start.means.shape[1])), np.zeros((0, len(start.weights)))
    for (rows, weight), g in zip(batches, steps, strict=True):
        new = reference.responsibilities(rows, parameters, covariance_type) * (weight / weight.sum())[:, None]
        X, resp = np.concatenate([X, rows]), np.concatenate([(1 - g) * resp, g * new])
        parameters = reference.m_step(X, resp, covariance_type)
    return parameters


# What the family says of its statistics.


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_recentred_statistics_are_those_of_the_rows(covariance_type: str, dtype: str) -> None:
    X, weight, start = problem(WEIGHTED, covariance_type, dtype)
    model, old = mixture(covariance_type), params_of(start)
    new = old._replace(components=old.components._replace(means=start.means + [[3.0, -1.0], [0.1, 0.2], [0.0, 9.0]]))
    statistics = model.e_step(old, [chunk(X, weight)])
    resp = reference.responsibilities(X, start, covariance_type) * weight[:, None]
    expected = naive_statistics(X.astype(float), resp, new.components.means, covariance_type)
    moved = model.recentre(statistics, old, new)
    sums = tuple(moved.components)
    if covariance_type == "spherical":  # of squares one number counts, their sum over the columns
        sums, expected = ((*some[:2], some[2].sum(axis=1)) for some in (sums, expected))
    assert_close(sums, expected, 1e-12 if dtype == "float64" else 1e-5)
    assert (moved.log_likelihood, moved.weight) == (statistics.log_likelihood, statistics.weight)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_recentring_knows_no_origin(covariance_type: str) -> None:
    X, weight, start = problem(WEIGHTED, covariance_type)
    far, model = 2.0**27, mixture(covariance_type)  # 1.3e8; a power of two moves what is rounded to 2^-25 exactly
    X, means = np.round(X * 2**20) / 2**20, np.round(start.means * 2**20) / 2**20
    there = []
    for offset in (0.0, far):
        old = params_of(start._replace(means=means + offset))
        statistics = model.e_step(old, [chunk(X + offset, weight)])
        after = model.m_step(statistics, old)
        after = after._replace(
            components=after.components._replace(means=np.round(after.components.means * 2**10) / 2**10)
        )
        there.append(model.recentre(statistics, old, after).components)
    assert_close(there[1], there[0], 1e-12)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_there_and_back(covariance_type: str) -> None:
    X, weight, start = problem(OVERLAPPING, covariance_type)
    model, old = mixture(covariance_type), params_of(start)
    statistics = model.e_step(old, [chunk(X, weight)])
    new = model.m_step(statistics, old)
    moved = model.recentre(statistics, old, new)
    np.testing.assert_allclose(moved.components.sum_x, 0, atol=1e-12 * np.abs(statistics.components.sum_x).max())
    assert_close(model.recentre(moved, new, old), statistics, 1e-12)
    assert_close(model.m_step(moved, new), new, 1e-12)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_expected_log_prob_is_that_of_the_densities(covariance_type: str) -> None:
    X, weight, start = problem(WEIGHTED, covariance_type)
    model, params = mixture(covariance_type), params_of(start)
    statistics = model.e_step(params, [chunk(X, weight)])
    resp = reference.responsibilities(X, start, covariance_type) * weight[:, None]
    joint = reference.joint_log_prob(X, start, covariance_type)
    np.testing.assert_allclose(model.expected_log_prob(statistics, params), (resp * joint).sum(), rtol=1e-12)
    after = model.m_step(statistics, params)
    best = parameters_of(after)
    densities = [
        multivariate_normal(mean, matrix).logpdf(X)
        for mean, matrix in zip(best.means, reference.matrices(best, covariance_type), strict=True)
    ]
    q = (resp * (np.log(best.weights) + np.stack(densities, axis=1))).sum()
    np.testing.assert_allclose(model.expected_log_prob(model.recentre(statistics, params, after), after), q, rtol=1e-12)


@pytest.mark.parametrize("reg_covar", [0.0, 0.5])
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_the_m_step_of_expected_statistics_gives_the_parameters_back(covariance_type: str, reg_covar: float) -> None:
    model, params = mixture(covariance_type, reg_covar), params_of(problem(OVERLAPPING, covariance_type).start)
    expected = model.expected_statistics(params)
    assert expected.weight == pytest.approx(1.0)
    assert_close(model.m_step(expected, params), params, 1e-12)


# Stepwise EM.


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_one_chunk_and_a_step_of_one_is_batch_em(covariance_type: str, dtype: str) -> None:
    X, weight, start = problem(WEIGHTED, covariance_type, dtype)
    model, params = mixture(covariance_type), params_of(start)
    state, data = begin(model, params), chunk(X, weight)
    for _ in range(4):
        state = stepwise_step(model, state, data, Schedule(ONE))
        _, params = em_step(model, params, [data])
        assert_close(state.params, params, 1e-11 if dtype == "float64" else 1e-5)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_stepwise_is_the_naive_twin(covariance_type: str) -> None:
    X, weight, start = problem(WEIGHTED, covariance_type)
    model, step = mixture(covariance_type), StepSize(0.6, 1.0)
    batches = cut(X[:200], weight[:200] / weight[:200].reshape(5, 40).sum(axis=1).repeat(40), 40)
    state = begin(model, params_of(start))
    for batch in batches:
        state = stepwise_step(model, state, batch, Schedule(step))
    naive = naive_stepwise(batches, start, covariance_type, [1.0, *((t + 1.0) ** -0.6 for t in range(1, 5))])
    assert_same(parameters_of(state.params), naive, 1e-10)


@pytest.mark.parametrize("power", [0.0, 3.0])
def test_the_average_weighs_the_iterates_by_a_power(power: float) -> None:
    X, weight, start = problem(WEIGHTED, "full")
    model, schedule = mixture("full"), Schedule(average_from=2, average_power=power)
    state, origin, iterates = begin(model, params_of(start)), params_of(start), []
    for batch in cut(X, weight, 25):
        state = stepwise_step(model, state, batch, schedule)
        iterates.append(model.recentre(state.statistics, state.params, origin))
    kept = iterates[1:]
    # (p + 1) / (p + m) gives the m-th of M iterates a weight in proportion to m (m + 1) ... (m + p - 1).
    shares = np.array([np.prod([m + i for i in range(int(power))]) for m in range(1, len(kept) + 1)], float)
    total = tree.scale(kept[0], 0.0)
    for share, iterate in zip(shares / shares.sum(), kept, strict=True):
        total = tree.add(total, tree.scale(iterate, share))
    assert state.averaged == len(kept)
    assert_close(estimate(model, state), model.m_step(total, origin), 1e-10)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_far_from_the_origin_only_the_means_move(covariance_type: str) -> None:
    X, weight, start = problem(WEIGHTED, covariance_type)
    model, far = mixture(covariance_type), 1e8
    X = np.round(X * 2**20) / 2**20
    ends = []
    for offset in (0.0, far):
        state = begin(model, params_of(start._replace(means=np.round(start.means * 2**20) / 2**20 + offset)))
        for batch in cut(X + offset, weight, 50):
            state = stepwise_step(model, state, batch, Schedule())
        ends.append(parameters_of(estimate(model, state)))
    near, there = ends
    # The means themselves are rounded to 1.5e-8 there, and the covariances about them hardly know.
    assert_same(there._replace(means=there.means - far), near, 1e-6)


def test_a_burn_in_is_one_batch_and_half_batches_make_a_whole() -> None:
    X, _, start = problem(SEPARATED, "full")
    model, params = mixture("full"), params_of(start)
    burnt = begin(model, params)
    for batch in cut(X, None, 70):
        burnt = stepwise_step(model, burnt, batch, Schedule(burn_in=5))
    assert burnt.t == 5
    _, once = em_step(model, params, [chunk(X)])
    assert_close(burnt.params, once, 1e-11)
    first = stepwise_step(model, begin(model, params), chunk(X[:200]))
    held = first._replace(params=first.params)
    g = StepSize()(1)
    half = stepwise_step(model, held, chunk(X[200:300]))
    share = 1 - (1 - g) ** 0.5
    expected = tree.blend(first.statistics, tree.scale(model.e_step(first.params, [chunk(X[200:300])]), 0.01), share)
    assert_close(half.params, model.m_step(expected, first.params), 1e-11)


def test_a_component_without_rows_in_a_batch_lives() -> None:
    X, _, start = problem(SEPARATED, "full")
    zero = reference.responsibilities(X, start, "full")[:, 0] > 0.5
    X[zero] -= 500.0  # so far away that the other rows belong to it with a weight of exactly 0
    start.means[0] -= 500.0
    model, params = mixture("full"), params_of(start)
    without = np.ascontiguousarray(X[~zero])
    state = begin(model, params)
    for batch in cut(without, None, 50):  # ordered so that component 0 comes last
        state = stepwise_step(model, state, batch)
        assert state.params.weights[0] > 0
        np.testing.assert_allclose(state.params.components.means[0], start.means[0], rtol=1e-12)
        np.testing.assert_allclose(state.params.components.covariances[0], start.covariances[0], rtol=1e-12)
    few = stepwise_step(
        model, begin(model, params), chunk(X[:2])
    )  # fewer rows than features: no covariance of their own
    assert not model.collapsed(few.params, few.statistics).any()
    whole = [*cut(without, None, 50), chunk(X[zero])]
    monitor = ProgressiveMonitor(Rules(max_iter=40, tol=0.0))
    end = fit_stepwise(model, begin(model, params), whole, monitor)
    assert 0.2 < end.params.weights[0]


def test_a_batch_without_weight_changes_nothing() -> None:
    X, weight, start = problem(WEIGHTED, "full")
    model = mixture("full")
    state = stepwise_step(model, begin(model, params_of(start)), chunk(X, weight))
    assert stepwise_step(model, state, chunk(X[:5], np.zeros(5))) is state
    assert stepwise_step(model, state, chunk(X[:0])) is state
    with pytest.raises(ValueError, match="no rows of positive weight"):
        fit_stepwise(model, state, [chunk(X[:5], np.zeros(5))], ProgressiveMonitor(Rules()))


@pytest.mark.parametrize("policy", ["restart", "drop", "raise"])
def test_a_collapsed_component_is_repaired(policy: str) -> None:
    rng = np.random.default_rng(5)
    X = rng.standard_normal((400, 2))
    X[::2] = [20.0, 20.0]  # half of the rows in one point
    scale = Scale(X.mean(axis=0), np.cov(X.T), X.std(axis=0))
    model = mixture("full")
    collapse = Collapse(policy, chunk(X), scale, rng)
    start = MixtureParams(
        np.array([0.5, 0.5]), GaussianParams(np.array([[0.0, 0.0], [20.0, 20.0]]), np.stack([np.eye(2)] * 2))
    )
    repair, chunks = collapse.bind(model), cut(X, None, 100)
    for fit in (stepwise_fit, incremental_fit):
        monitor = ConvergenceMonitor(Rules(max_iter=6), EPS)
        if policy == "raise":
            with pytest.raises(ValueError, match="collapsed"):
                fit(model, start, chunks, monitor, repair)
            continue
        params = fit(model, start, chunks, monitor, repair)
        assert len(params.weights) == (1 if policy == "drop" else 2)
        assert np.isfinite(model.e_step(params, chunks).log_likelihood)
    assert policy == "raise" or collapse


def stepwise_fit(model: Any, params: Any, chunks: Any, monitor: ConvergenceMonitor, repair: Any) -> Any:
    monitor = ProgressiveMonitor(monitor.rules)
    return fit_stepwise(model, begin(model, params), chunks, monitor, Schedule(ONE), repair).params


def incremental_fit(model: Any, params: Any, chunks: Any, monitor: ConvergenceMonitor, repair: Any) -> Any:
    return fit_incremental(model, Place(params), chunks, monitor, repair)


def test_shuffled_batches_approach_the_batch_fit() -> None:
    case = Case("stream", 6001, 2, 3, separation=4.0)
    X, _, start = problem(case, "full")
    model, params = mixture("full"), params_of(start)
    best = fit_em(model, Position(params), [chunk(X)], ConvergenceMonitor(Rules(tol=1e-9), EPS))
    top = model.e_step(best, [chunk(X)]).log_likelihood / len(X)
    gaps = []
    for passes in (1, 20):
        monitor = ProgressiveMonitor(Rules(tol=-np.inf, max_iter=passes))
        state = fit_stepwise(model, begin(model, params), cut(X, None, 100), monitor)
        gaps.append(top - model.e_step(estimate(model, state), [chunk(X)]).log_likelihood / len(X))
    assert gaps[0] < 0.01
    assert 0 <= gaps[1] < 1e-4


def test_a_state_comes_back_from_arrays() -> None:
    X, weight, start = problem(WEIGHTED, "tied")
    model, schedule = mixture("tied"), Schedule(average_from=2)
    batches = cut(X, weight, 40)
    state = begin(model, params_of(start))
    for batch in batches[:3]:
        state = stepwise_step(model, state, batch, schedule)
    arrays = [np.asarray(leaf) for leaf in tree.leaves(state)]
    again = tree.rebuild(begin(model, params_of(start)), arrays)
    assert isinstance(again.t, int)
    for batch in batches[3:]:
        state, again = (stepwise_step(model, s, batch, schedule) for s in (state, again))
    for a, b in zip(tree.leaves(state), tree.leaves(again), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="arrays were given"):
        tree.rebuild(state, arrays[:-1])


def test_held_out_rows_end_the_fit_at_its_best() -> None:
    X, _, start = problem(Case("held", 3001, 2, 3), "full")
    model, held_out = mixture("full"), chunk(X[2000:])
    monitor = ProgressiveMonitor(Rules(tol=1e-4, max_iter=200), held_out, every=4, patience=3)
    state = fit_stepwise(model, begin(model, params_of(start)), cut(X[:2000], None, 100), monitor)
    assert monitor.converged
    assert monitor.n_passes < 200
    score = model.e_step(estimate(model, state), [held_out]).log_likelihood
    assert score == max(entry[0] for entry in monitor.history)


def test_a_stream_is_read_once_and_stops_when_asked() -> None:
    X, _, start = problem(WEIGHTED, "full")
    model, first = mixture("full"), begin(mixture("full"), params_of(start))
    batches = cut(X, None, 50)
    stream = ProgressiveMonitor(Rules(tol=0.0, max_iter=9))
    assert fit_stepwise(model, first, iter(batches), stream).t == len(batches)
    assert stream.stop_reason == "exhausted"
    asked = ProgressiveMonitor(Rules(callback=lambda progress: progress.n_iter == 2))
    assert fit_stepwise(model, first, batches, asked).t == 2 * len(batches)
    assert asked.stop_reason == "callback"
    interrupted = ProgressiveMonitor(Rules(interrupted=lambda: True))
    assert fit_stepwise(model, first, batches, interrupted).t == 1
    assert interrupted.stop_reason == "interrupted"
    none = ProgressiveMonitor(Rules(max_iter=0))
    assert fit_stepwise(model, first, batches, none) is first
    broken = [batches[0], chunk(np.full((3, 2), np.inf))]
    with np.errstate(invalid="ignore"), pytest.raises(ValueError, match="batch 1 gave sums that are no finite numbers"):
        fit_stepwise(model, first, broken, ProgressiveMonitor(Rules()))


@pytest.mark.parametrize(
    "step", [{"alpha": 1.5}, {"alpha": -0.1}, {"alpha": np.nan}, {"t0": -1.0}, {"t0": np.inf}, {"alpha": "1"}]
)
def test_a_step_size_must_be_one(step: dict) -> None:
    with pytest.raises(ValueError, match="the step size got"):
        StepSize(**step)


@pytest.mark.parametrize("step", [2.0, -0.5, np.nan])
def test_a_step_must_be_a_share(step: float) -> None:
    X = np.arange(30.0).reshape(10, 3) % 7
    with pytest.raises(ValueError, match=f"the step size of batch 1 is {step}; a number from 0 to 1"):
        fastem.GaussianMixture().fit(X, algorithm="stepwise", batch_size=5, step=lambda t: step)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("size", [1, 7, 60, 1000])
def test_batches_are_the_rows_in_their_order(size: int, weighted: bool) -> None:
    X, weight = np.arange(200.0).reshape(100, 2), np.arange(100.0)
    edges = [0, 0, 3, 50, 50, 93, 100]
    parts = [chunk(X[a:b], weight[a:b] if weighted else None) for a, b in zip(edges, edges[1:], strict=False)]
    batches = Batches(parts, size)
    for _ in range(2):
        found = list(batches)
        assert [len(b.X) for b in found[:-1]] == [size] * (len(found) - 1)
        np.testing.assert_array_equal(np.concatenate([b.X for b in found]), X)
        np.testing.assert_array_equal(np.concatenate([b.sample_weight for b in found]), weight if weighted else [])


def test_shuffled_batches_are_the_rows_in_another_order() -> None:
    X, weight = np.arange(100.0)[:, None], np.arange(100.0) + 1
    batches = Shuffled(chunk(X, weight), 30, seed=0)
    first, second = (list(batches) for _ in range(2))
    again = list(Shuffled(chunk(X, weight), 30, seed=0, passes=1))
    assert all((a.X == b.X).all() for a, b in zip(again, second))
    for found in (first, second):
        assert [len(b.X) for b in found] == [30, 30, 30, 10]
        np.testing.assert_array_equal(np.sort(np.concatenate([b.X for b in found]), axis=0), X)
        for batch in found:
            np.testing.assert_array_equal(batch.sample_weight, batch.X[:, 0] + 1)
    assert (first[0].X != second[0].X).any()


# Incremental EM.


def passes_of(
    model: Mixture, params: Any, chunks: list[Chunk], n: int, memory: int = 1 << 20, eager: bool = True
) -> list:
    """Every state of n passes, each pass as a list."""
    out = []
    with Records(len(tree.to_vector(model.expected_statistics(params))), memory) as records:
        for i in range(n):
            visits = (
                next_pass(model, out[-1][-1], chunks, records)
                if i
                else first_pass(model, params, chunks, records, eager)
            )
            states: list[Incremental] = list(visits)
            states[-1] = summed(model, states[-1], records)
            out.append(states)
    return out


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_incremental_with_one_chunk_is_batch_em(covariance_type: str) -> None:
    X, weight, start = problem(WEIGHTED, covariance_type)
    model, params = mixture(covariance_type), params_of(start)
    data = chunk(X, weight)
    for states in passes_of(model, params, [data], 4):
        before = model.e_step(params, [data]).log_likelihood
        _, params = em_step(model, params, [data])
        assert_close(states[-1].params, params, 1e-10)
        assert before - 1e-9 <= free_energy(model, states[-1]) <= model.e_step(params, [data]).log_likelihood + 1e-9


@given(
    seed=st.integers(0, 2**32 - 1),
    covariance_type=st.sampled_from(COVARIANCE_TYPES),
    n_chunks=st.integers(1, 9),
    weighted=st.booleans(),
)
def test_the_free_energy_never_falls(seed: int, covariance_type: str, n_chunks: int, weighted: bool) -> None:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((150, 2)) + rng.normal(scale=2.0, size=(3, 2))[rng.integers(3, size=150)]
    weight = rng.uniform(0.1, 2.0, size=150) if weighted else None
    matrices = {"full": np.stack([np.eye(2)] * 3), "tied": np.eye(2), "diag": np.ones((3, 2)), "spherical": np.ones(3)}
    params = MixtureParams(rng.dirichlet(np.ones(3)), GaussianParams(X[:3].copy(), matrices[covariance_type]))
    edges = [0, *sorted(rng.choice(150, size=n_chunks - 1)), 150]  # some chunks may be empty
    chunks = [chunk(X[a:b], None if weight is None else weight[a:b]) for a, b in zip(edges, edges[1:], strict=False)]
    model = mixture(covariance_type)
    passes = passes_of(model, params, chunks, 4)
    energies = [free_energy(model, passes[0][-1]), *(free_energy(model, s) for states in passes[1:] for s in states)]
    assert np.diff(energies).min(initial=0.0) >= -1e-10 * abs(energies[0])
    assert energies[-1] <= model.e_step(passes[-1][-1].params, chunks).log_likelihood + 1e-8


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_incremental_is_the_naive_twin(covariance_type: str) -> None:
    X, weight, start = problem(WEIGHTED, covariance_type)
    model, chunks = mixture(covariance_type), cut(X, weight, 60)
    rows = [slice(i, i + 60) for i in range(0, len(X), 60)]
    resp = reference.responsibilities(X, start, covariance_type)  # a first pass that is one of batch EM
    naive = reference.m_step(X, resp, covariance_type, weight)
    passes = passes_of(model, params_of(start), chunks, 3, eager=False)
    assert_same(parameters_of(passes[0][-1].params), naive, 1e-10)
    for states in passes[1:]:
        for part, state in zip(rows, states, strict=True):
            resp[part] = reference.responsibilities(X[part], naive, covariance_type)
            naive = reference.m_step(X, resp, covariance_type, weight)
            assert_same(parameters_of(state.params), naive, 1e-10)


def test_incremental_ends_where_batch_em_does() -> None:
    X, _, start = problem(SEPARATED, "full")
    model, params = mixture("full"), params_of(start)
    ends = []
    for fit, place, data in ((fit_em, Position, [chunk(X)]), (fit_incremental, Place, cut(X, None, 30))):
        monitor = ConvergenceMonitor(Rules(tol=1e-10), EPS)
        ends.append((fit(model, place(params), data, monitor), monitor))
        assert monitor.converged
    assert_close(ends[1][0], ends[0][0], 1e-4)
    np.testing.assert_allclose(ends[1][1].history[-1][0], ends[0][1].history[-1][0], rtol=1e-9)


def test_statistics_beyond_the_budget_are_in_a_file() -> None:
    X, weight, start = problem(WEIGHTED, "full")
    model, chunks = mixture("full"), cut(X, weight, 7)
    inside, outside = (passes_of(model, params_of(start), chunks, 3, memory) for memory in (1 << 30, 0))
    for a, b in zip(tree.leaves(inside[-1][-1]), tree.leaves(outside[-1][-1]), strict=True):
        np.testing.assert_array_equal(a, b)


def test_records_grow_from_memory_into_a_file_that_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastem.engine.records.BLOCK", 8 * 5 * 3)
    records = Records(5, memory=2 * 8 * 5 * 3)
    with pytest.raises(OSError, match="in the middle"), records:
        for i in range(20):
            records.append(np.full(5, float(i)))
        records[13] = np.full(5, -1.0)
        assert [records[i][0] for i in (0, 5, 6, 13, 19)] == [0, 5, 6, -1, 19]
        with pytest.raises(IndexError):
            records[20]
        file = records.file
        assert not file.closed
        raise OSError("in the middle")
    assert file.closed
    assert len(records) == 0


def test_incremental_wants_the_same_chunks_in_every_pass() -> None:
    X, _, start = problem(WEIGHTED, "full")
    model, params, chunks = mixture("full"), params_of(start), cut(X, None, 50)

    class Changing:
        passes = 0

        def __init__(self, *passes: list[Chunk]):
            self.given = passes

        def __iter__(self):
            self.passes += 1
            return iter(self.given[min(self.passes - 1, 1)])

    def fit(source: Any) -> Any:
        return fit_incremental(model, Place(params), source, ConvergenceMonitor(Rules(tol=0.0, max_iter=3), EPS))

    with pytest.raises(ValueError, match="read only once"):
        fit(iter(chunks))
    with pytest.raises(ValueError, match="this pass gave 4 chunks and the one before 5"):
        fit(Changing(chunks, chunks[:-1]))
    with pytest.raises(ValueError, match="chunk 5 was not there"):
        fit(Changing(chunks, [*chunks, chunks[0]]))
    with pytest.raises(ValueError, match="chunk 4 had weight 3"):
        fit(Changing(chunks, [*chunks[:-1], chunks[0]]))
    with pytest.raises(ValueError, match="no rows"):
        fit([])


@pytest.mark.parametrize("reg_covar", [0.1, 1.0])
@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag"])
def test_incremental_with_a_ridge_ends_where_batch_em_does(covariance_type: str, reg_covar: float) -> None:
    rng = np.random.default_rng(1)
    X = np.concatenate([rng.normal(m, s, (n, 2)) for m, s, n in ((0, 1, 2000), (2.5, 1, 2000), (-1, 2, 1000))])
    rng.shuffle(X)
    options = {
        "covariance_type": covariance_type,
        "reg_covar": reg_covar,
        "tol": 1e-6,
        "means_init": X[:3],
        "random_state": 0,
    }
    batch = fastem.GaussianMixture(3, **options).fit(X)
    model = fastem.GaussianMixture(3, **options).fit(X, algorithm="incremental", batch_size=500)
    assert model.converged_
    assert model.score(X) == pytest.approx(batch.score(X), abs=1e-4)


@pytest.mark.parametrize("size", [1, 10, 100])
def test_small_batches_do_not_throw_a_good_start_away(size: int) -> None:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(3, 6)) * 2
    X = rng.standard_normal((600, 6)) + centres[rng.integers(0, 3, 600)]
    batch = fastem.GaussianMixture(3, means_init=centres).fit(X)
    model = fastem.GaussianMixture(3, means_init=centres).fit(X, algorithm="incremental", batch_size=size)
    assert model.score(X) == pytest.approx(batch.score(X), abs=1e-3)
