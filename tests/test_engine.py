"""The engine with chunks, threads and a toy model; nothing here names a Gaussian but the first test."""

import threading
from typing import NamedTuple

import numpy as np
import pytest

from fastem.engine import accumulate, tree
from fastem.engine.chunks import chunk
from fastem.engine.em import Position, fit_em
from fastem.engine.initialize import race, subsample
from fastem.engine.model import Mixture, MixtureParams
from fastem.engine.monitor import ConvergenceMonitor, Progress, Rules
from fastem.engine.several import step_of_one, step_of_several
from fastem.engine.threads import run_slots
from fastem.families.base import Scale
from fastem.families.gaussian import Gaussian, GaussianParams
from fastem.families.gaussian_missing import GaussianMissing
from fastem.families.gaussian_prior import GaussianPrior

RNG = np.random.default_rng(3)


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
@pytest.mark.parametrize("size", [1, 7, 128, 129, 500])
def test_chunked_is_whole(covariance_type: str, size: int) -> None:
    X, weight = RNG.standard_normal((500, 3)), RNG.random(500)
    shape = {"full": np.stack([np.eye(3)] * 2), "tied": np.eye(3), "diag": np.ones((2, 3)), "spherical": np.ones(2)}
    params = MixtureParams(np.array([0.3, 0.7]), GaussianParams(RNG.standard_normal((2, 3)), shape[covariance_type]))
    model = Mixture(Gaussian(covariance_type, 0.0))
    whole = model.e_step(params, [chunk(X, weight)])
    parts = model.e_step(params, [chunk(X[i : i + size], weight[i : i + size]) for i in range(0, 500, size)])
    np.testing.assert_allclose(parts.log_likelihood, whole.log_likelihood, rtol=1e-12)
    for a, b in zip(model.m_step(parts, params).components, model.m_step(whole, params).components, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10)


class Sums(NamedTuple):
    log_likelihood: float
    weight: float
    ones: float


class Coins:
    """Two coins of known bias, thrown equally often unless `share` says otherwise: EM for the share."""

    bias = np.array([0.9, 0.2])

    def e_step(self, share, chunks):
        total = Sums(0.0, 0.0, 0.0)
        for part in chunks:
            heads = part.X[:, 0]
            p = np.where(heads[:, None] == 1, self.bias, 1 - self.bias) * [share, 1 - share]
            sums = Sums(float(np.log(p.sum(axis=1)).sum()), float(len(heads)), float((p[:, 0] / p.sum(axis=1)).sum()))
            total = tree.add(total, sums)
        return total

    def m_step(self, sums, share):
        return sums.ones / sums.weight

    def objective(self, share, sums):
        return sums.log_likelihood

    def may_fall(self, before, after, sums, leap=False):
        return 0.0


def coin_data() -> list:
    return [chunk((RNG.random((n, 1)) < 0.55).astype(float)) for n in (300, 700)]


def test_the_loop_fits_any_model_and_climbs() -> None:
    data = coin_data()
    monitor = ConvergenceMonitor(Rules(tol=1e-12, max_iter=5000), 2e-16)
    share = fit_em(Coins(), Position(0.9), data, monitor)
    heads = np.concatenate([c.X for c in data]).mean()
    assert monitor.converged
    assert share == pytest.approx((heads - 0.2) / 0.7, abs=1e-4)
    assert np.all(np.diff([entry[0] for entry in monitor.history]) >= -1e-9)


def test_the_predicted_remaining_gain_is_what_remains() -> None:
    data, seen = coin_data(), []
    best = ConvergenceMonitor(Rules(tol=0.0, max_iter=3000), 2e-16)
    fit_em(Coins(), Position(0.9), data, best)
    rules = Rules(tol=1e-6, max_iter=3000, callback=seen.append)
    fit_em(Coins(), Position(0.9), data, ConvergenceMonitor(rules, 2e-16))
    last: Progress = seen[-1]
    remains = (best.history[-1][0] - last.log_likelihood) / last.weight
    assert last.remaining < 1e-6
    assert remains < 2e-6


def test_a_fall_is_no_convergence() -> None:
    monitor = ConvergenceMonitor(Rules(tol=1e-3), 2e-16)
    assert monitor.observe(-100.0, 10.0, "a")
    assert not monitor.observe(-200.0, 10.0, "b")
    assert monitor.stop_reason == "decreased"
    assert not monitor.converged
    assert not ConvergenceMonitor(Rules(), 2e-16).observe(np.nan, 1.0, "c")
    penalised = ConvergenceMonitor(Rules(tol=1e-3), 2e-16)
    assert penalised.observe(-100.0, 10.0, "a") and penalised.observe(-200.0, 10.0, "b", lambda: 100.0)
    assert not penalised.observe(-300.0, 10.0, "c", lambda: 99.0)


def test_slots_are_visited_once_whatever_the_threads() -> None:
    for slots in (1, 2, 5, 64):
        for n_jobs in (None, 1, 2, 7):
            visits = np.zeros(slots, int)

            def visit(first: int, last: int, visits=visits) -> None:
                visits[first:last] += 1

            run_slots(visit, slots, n_jobs)
            assert (visits == 1).all()


def test_an_error_in_a_thread_reaches_the_caller() -> None:
    def fail(first: int, last: int) -> None:
        if threading.current_thread() is not threading.main_thread() or first > 0:
            raise OSError("in a thread")

    with pytest.raises(OSError, match="in a thread"):
        run_slots(fail, 8, 2)


def test_slots_added_up_by_several_threads_have_the_bits_of_one_sum() -> None:
    for shape in ((5, 3), (16, 40, 20, 64), (64, 8, 4099), (256, 515)):
        slots = RNG.standard_normal(shape)
        for n_jobs in (1, 2, 3):
            np.testing.assert_array_equal(accumulate.summed(slots, n_jobs), slots.sum(axis=0, keepdims=True))


def test_a_sample_leaves_out_rows_of_weight_zero_and_follows_the_weights() -> None:
    X = np.arange(1000.0)[:, None]
    weight = np.where(X[:, 0] < 500, 0.0, 1.0)
    few = subsample([chunk(X, weight)], 100, np.random.default_rng(0))
    assert few.X.shape == (100, 1) and few.sample_weight.size == 0
    assert few.X.min() >= 500 and (np.diff(few.X[:, 0]) > 0).all()
    weight[500:] = np.arange(1, 501)
    for size in (500, 900):  # all rows, with their weights
        everything = subsample([chunk(X, weight)], size, np.random.default_rng(0))
        np.testing.assert_array_equal(everything.X, X[500:])
        np.testing.assert_array_equal(everything.sample_weight, weight[500:])
    with pytest.raises(ValueError, match="no rows"):
        subsample([chunk(X[:0])], 5, np.random.default_rng(0))
    # Of a hundredth of the rows each is drawn nearly in proportion to its weight: the mean is that of the weights.
    X, weight = np.arange(20_000.0)[:, None], np.arange(1.0, 20_001)
    means = [subsample([chunk(X, weight)], 200, np.random.default_rng(seed)).X.mean() for seed in range(50)]
    assert np.mean(means) == pytest.approx(np.average(X[:, 0], weights=weight), abs=4 * 4714 / np.sqrt(50 * 200))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("unit", [1.0, 1e-300, 1e300])
def test_a_sample_does_not_know_how_the_rows_are_cut(weighted: bool, unit: float) -> None:
    X = RNG.standard_normal((1000, 2)).astype(np.float32)
    weight = unit * RNG.choice([0.0, 0.5, 1.0, 7.0], 1000) if weighted else None

    def cut(ends: list) -> list:
        parts = zip([0, *ends], [*ends, 1000], strict=True)
        return [chunk(X[a:b], None if weight is None else weight[a:b]) for a, b in parts]

    whole = subsample(cut([]), 60, np.random.default_rng(1))
    assert whole.X.dtype == np.float32 and len(np.unique(whole.X, axis=0)) == 60
    for ends in ([1], [0, 0, 7, 500], list(range(1, 1000)), list(range(61, 1000, 61))):
        np.testing.assert_array_equal(subsample(cut(ends), 60, np.random.default_rng(1)).X, whole.X)
    if weight is None:
        ones = subsample([chunk(X, np.full(1000, unit))], 60, np.random.default_rng(1))
        np.testing.assert_array_equal(ones.X, whole.X)


def test_the_race_is_won_by_the_likelier_start() -> None:
    data = chunk(np.concatenate(coin_data_rows()))
    winner = race(Coins(), [0.999, 0.001, 0.5], data, lambda params: params, rounds=(1, 1))
    assert 0.3 < winner < 0.7


def test_a_race_that_is_stopped_is_led_by_the_best_so_far() -> None:
    data, steps = chunk(np.concatenate(coin_data_rows())), []

    def repair(share):
        steps.append(share)
        return share

    made = iter([0.999, 0.5, 0.001])
    winner = race(Coins(), made, data, repair, stop=lambda: len(steps) >= 3, rounds=(2, 50))
    assert 0.3 < winner < 0.7 and len(steps) == 3 and list(made) == []
    assert race(Coins(), made := iter([0.25, 0.5]), data, repair, stop=lambda: True) == 0.25
    assert list(made) == [0.5]


def test_starts_at_one_log_likelihood_are_stepped_once_a_round() -> None:
    data, steps = chunk(np.concatenate(coin_data_rows())), []

    def repair(share):
        steps.append(share)
        return share

    alone = race(Coins(), [0.5, 0.001], data, repair, rounds=(3, 40))
    taken = len(steps)
    assert race(Coins(), [0.5, 0.5, 0.5, 0.001], data, repair, rounds=(3, 40)) == alone
    assert len(steps) - taken == taken + 6


@pytest.mark.parametrize(
    ("covariance_type", "holes", "k", "d", "prior"),
    [(kind, holes, 2, 3, False) for kind in ("full", "diag", "spherical") for holes in (False, True)]
    + [("full", False, k, 8, False) for k in (2, 8)]
    + [(kind, False, 2, 3, True) for kind in ("full", "diag")],
)
def test_several_mixtures_stepped_at_once_are_where_each_is_alone(
    covariance_type: str, holes: bool, k: int, d: int, prior: bool
) -> None:
    X, resp = 1e3 + RNG.standard_normal((200, d)), RNG.random((5, 200, k))
    weight, family = RNG.random(200), (GaussianMissing if holes else Gaussian)(covariance_type, 1e-3)
    scale = Scale(X.mean(axis=0), np.cov(X.T), X.std(axis=0))
    starts = [MixtureParams(np.full(k, 1 / k), family.from_responsibilities(X, r, scale)[1]) for r in resp]
    X[::3, 1] = np.nan if holes else 0.0
    model, data = Mixture(family), chunk(X, weight)
    if prior:
        family.prior = GaussianPrior(
            0.5, X.mean(axis=0) + 3.0, d + 2.0, np.eye(d) if covariance_type == "full" else 1.0
        )
    arguments = model, data, lambda params: params._replace(components=params.components)
    at_once, alone = step_of_several(*arguments), step_of_one(*arguments)
    assert at_once is not None
    log_likelihoods, after = at_once(starts)
    for start, value, params in zip(starts, log_likelihoods, after, strict=True):
        (wanted_value,), (wanted,) = alone([start])
        assert value == pytest.approx(wanted_value, rel=1e-12)
        statistics = model.e_step(start, [data])
        assert value == pytest.approx(model.objective(start, statistics), rel=1e-12)
        assert (value != pytest.approx(statistics.log_likelihood, rel=1e-3)) == prior
        for a, b in zip(tree.leaves(params), tree.leaves(wanted), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9 * np.abs(b).max())
    many = chunk(RNG.standard_normal((20_000, 3)))
    for other in (Mixture(Gaussian("tied")), Mixture(family, fixed=frozenset({"means"}))):
        assert step_of_several(other, *arguments[1:]) is None
    assert step_of_several(model, many, arguments[2]) is None


@pytest.mark.parametrize(("d", "dtype", "lanes"), [(2, np.float64, 256), (13, np.float64, 128), (13, np.float32, 256)])
def test_tiles_of_few_rows_are_no_larger_than_these_ask_for(d: int, dtype: type, lanes: int) -> None:
    assert accumulate.grid(10**6, d, np.dtype(dtype))[0] == lanes
    for n in (1, 60, lanes, lanes + 1, 3 * lanes - 70):
        size, tiles = accumulate.grid(n, d, np.dtype(dtype))[0], -(-n // lanes)
        assert n <= size * tiles <= n + tiles * 64 and size <= lanes and size % 32 == 0


def test_pieces_of_the_rows_have_slots_of_many_rows() -> None:
    """The sums of each slot come from afar once for every piece."""
    model, data = Mixture(Gaussian("diag")), chunk(RNG.standard_normal((40_000, 2)))
    params = MixtureParams(np.full(2, 0.5), GaussianParams(np.array([[0.0, 1.0], [1.0, 0.0]]), np.ones((2, 2))))
    slots = [accumulate.Fold(model, params, pieces)._grid(chunk(data.X[:20_000]))[1] for pieces in (False, True)]
    assert slots == [20, 2]
    pieces = tuple(chunk(data.X[i : i + 20_000]) for i in (0, 20_000))
    for a, b in zip(*(tree.leaves(model.e_step(params, rows)) for rows in (pieces, [data])), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-10)


def test_gains_that_slow_down_and_grow_again_are_no_convergence() -> None:
    gains = 1e-3 * 0.5 ** np.arange(20) + 5e-6 * 1.2 ** np.arange(20)  # two rates alone would stop at the fifth
    monitor = ConvergenceMonitor(Rules(tol=1e-4), 2e-16)
    for log_likelihood in np.cumsum([0.0, *gains]):
        assert monitor.observe(log_likelihood, 1.0, None) and monitor.stop_reason is None
    steady = ConvergenceMonitor(Rules(tol=1e-4), 2e-16)
    for log_likelihood in np.cumsum([0.0, *1e-3 * 0.5 ** np.arange(20)]):
        if steady.stop_reason is None:
            steady.observe(log_likelihood, 1.0, None)
    assert steady.converged and steady.n_iter <= 9


def coin_data_rows() -> list:
    return [c.X for c in coin_data()]


def leaping(monitor: ConvergenceMonitor, log_likelihoods: np.ndarray) -> None:
    """Every second iteration is a leap."""
    for t, value in enumerate(log_likelihoods):
        if monitor.stop_reason is None:
            if t % 2 and monitor.n_iter:
                monitor.leapt()
            monitor.observe(value, 1.0, None)


def test_leaps_are_judged_by_the_later_half() -> None:
    t = np.arange(1.0, 1000)
    seen: list[Progress] = []
    monitor = ConvergenceMonitor(Rules(tol=4e-3, callback=seen.append), 2e-16)
    leaping(monitor, -1 / t)
    assert monitor.converged and monitor.n_iter == pytest.approx(250, abs=3)
    remaining = [progress.remaining for progress in seen]
    np.testing.assert_allclose(remaining[20:], 1 / t[20 : monitor.n_iter], rtol=0.1)
    assert np.isfinite(remaining[2:]).all()
    plain = ConvergenceMonitor(Rules(tol=1e-6), 2e-16)
    for value in -(0.999**t):
        assert plain.observe(value, 1.0, None) and plain.stop_reason is None


def test_a_repair_begins_the_later_half_anew() -> None:
    """A short later half ends nothing, be it short because the fit is or because a component has been moved."""
    flat = np.log(np.arange(1, 400)) * 1e-9
    monitor = ConvergenceMonitor(Rules(tol=1e-6), 2e-16)
    leaping(monitor, flat[:90])
    assert monitor.stop_reason is None
    monitor.forget_gains()
    saved = monitor.state()
    leaping(monitor, flat)
    assert monitor.converged and monitor.n_iter == 90 + monitor.HALF + 1
    again = ConvergenceMonitor(Rules(tol=1e-6), 2e-16)
    again.restore(saved)
    leaping(again, flat)
    assert again.n_iter == monitor.n_iter
