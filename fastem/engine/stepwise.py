"""Stepwise EM: parameters from statistics that forget, batch by batch, for streams and for few passes over much data.

After each batch the statistics per unit weight are blended, S = (1 - g_t) S + g_t s(batch), with a step g_t that falls
as t^-alpha, and an M-step follows. S and s are sums about different means; S is moved to the current ones exactly
before they are blended, so data far from the origin lose no digit.

Cappé and Moulines (2009), On-line expectation-maximization algorithm for latent data models, JRSS B 71; Liang and Klein
(2009), Online EM for unsupervised models, NAACL.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from fastem.engine import tree
from fastem.engine.chunks import Chunk
from fastem.engine.model import check_finite, expected_rows
from fastem.engine.progressive import ProgressiveMonitor


@dataclass(frozen=True)
class StepSize:
    """The step g_t = (t + t0)^-alpha of batch t = 1, 2, ...; batch 0 is taken whole.

    alpha in (1/2, 1] lets stepwise EM converge: the nearer to 1/2, the sooner the start is forgotten and the more of
    the batches' noise stays, which averaging then takes out. alpha = 0 is a step of 1, which remembers nothing.
    """

    alpha: float = 0.55
    t0: float = 2.0

    def __post_init__(self):
        if not (isinstance(self.alpha, Real) and 0 <= self.alpha <= 1):
            raise ValueError(f"the step size got alpha={self.alpha!r}: give one above 0.5, up to 1, such as 0.55")
        if not (isinstance(self.t0, Real) and self.t0 >= 0 and np.isfinite(self.t0)):
            raise ValueError(f"the step size got t0={self.t0!r}: give a finite number >= 0, such as 2")

    def __call__(self, t: int) -> float:
        """g_t, at most 1."""
        return min(1.0, (t + self.t0) ** -self.alpha) if t > 0 else 1.0


class Schedule(NamedTuple):
    """How statistics are blended and averaged; all counts are of batches.

    step: g_t. burn_in: the first M-step follows this batch (1: the first); until then the batches' statistics, all
    under the same parameters, are averaged plainly. average_from: from this batch on the running statistics are
    averaged too (Polyak), the m-th of them with a weight that grows as m^average_power; None for never.

    A plain average, of power 0, keeps the start for long where EM is slow. A power of 3 is nearly the average of the
    last quarter, whenever one stops, and still takes out the noise (Shamir and Zhang 2013, Stochastic gradient descent
    for non-smooth optimization, ICML).
    """

    step: Callable[[int], float] = StepSize()
    burn_in: int = 1
    average_from: int | None = 1
    average_power: float = 3.0


DEFAULT = Schedule()


class Online(NamedTuple):
    """Where stepwise EM stands: arrays and numbers only, so that it can be saved and continued.

    `statistics` and `average` are per unit weight and about the means of `params`; t batches of `rows` rows of total
    `weight` were seen, `averaged` of them are in the average. `log_likelihood` is the sum over batches, each under the
    parameters that had not yet seen it. `whole` is the weight of one pass over rows that come again, or 0.
    """

    params: Any
    statistics: Any
    average: Any
    t: int = 0
    rows: int = 0
    weight: float = 0.0
    averaged: int = 0
    log_likelihood: float = 0.0
    whole: float = 0.0

    @property
    def rows_weight(self) -> float:
        """Weight of the rows that the statistics stand for, beside which a prior counts: of one pass at most."""
        return min(self.weight, self.whole or self.weight)


def begin(model: Any, params: Any) -> Online:
    """The state before the first batch."""
    expected = model.expected_statistics(params)
    return Online(params, expected, expected)


def estimate(model: Any, state: Online) -> Any:
    """The parameters of the averaged statistics, or the last ones where nothing was averaged.

    Statistics are averaged, not parameters: they are the linear space in which the noise of the batches adds up to
    nothing. Each component's mean and covariance thus count by the weight that it had at the time, every average
    of statistics is one that rows could have (of loadings or correlations this is not true), and no
    family has to say how its parameters are averaged.
    """
    return _m_step(model, state, state.average) if state.averaged else state.params


def _m_step(model: Any, state: Online, statistics: Any) -> Any:
    """The M-step of sums over all rows: a prior, which counts as some rows, stands beside these."""
    return model.m_step(tree.scale(statistics, state.rows_weight), state.params)


def stepwise_step(
    model: Any,
    state: Online,
    batch: Chunk,
    schedule: Schedule = DEFAULT,
    repair: Callable[[Any, Any, int], tuple[Any, bool]] | None = None,
) -> Online:
    """One batch more; ``repair`` as in `fit_em`. A batch without weight changes nothing."""
    new = model.e_step(state.params, [batch])
    if new.weight == 0:
        return state
    check_finite(new, f"batch {state.t}")
    share = _share(schedule, state, new.weight)
    statistics = tree.blend(state.statistics, tree.scale(new, 1.0 / new.weight), share)
    state = state._replace(
        statistics=statistics,
        t=state.t + 1,
        rows=state.rows + len(batch.X),
        weight=state.weight + new.weight,
        log_likelihood=state.log_likelihood + new.log_likelihood,
    )
    if state.t < schedule.burn_in:
        return state
    return _averaged(schedule, _maximised(model, state, schedule, repair, batch.X.shape[1] + 1))


def _share(schedule: Schedule, state: Online, weight: float) -> float:
    """The step of a batch of that weight: two half batches move the statistics as far as a whole one."""
    if state.t < max(1, schedule.burn_in):
        return weight / (state.weight + weight)
    step, relative = schedule.step(state.t), weight / (state.weight / state.t)
    if not 0.0 <= step <= 1.0:
        raise ValueError(f"the step size of batch {state.t} is {step}; a number from 0 to 1 is wanted: try StepSize()")
    return 1.0 - (1.0 - step) ** relative


def _maximised(model: Any, state: Online, schedule: Schedule, repair: Callable | None, least: int) -> Online:
    """The M-step; the first one moves no component that has had fewer than `least` rows."""
    statistics, before = state.statistics, state.params
    params = _m_step(model, state, statistics)
    mask = model.collapsed(params, statistics)
    first = state.t <= schedule.burn_in
    if first:
        mask = mask | (expected_rows(statistics, state.rows) < least)
    if mask.any() and (first or repair is None):
        # Want of rows is no collapse yet: as many are added as the component should have had, distributed as it is.
        statistics = tree.add(statistics, model.expected_statistics(before, mask))
        statistics = tree.scale(statistics, 1.0 / statistics.weight)
        params = _m_step(model, state, statistics)
    elif mask.any() and repair:
        params, _ = repair(params, statistics, state.t)
        expected = model.expected_statistics(params)
        return state._replace(params=params, statistics=expected, average=expected, averaged=0)
    moved = model.recentre(statistics, before, params)
    average = model.recentre(state.average, before, params) if state.averaged else moved
    return state._replace(params=params, statistics=moved, average=average)


def _averaged(schedule: Schedule, state: Online) -> Online:
    if schedule.average_from is None or state.t < schedule.average_from:
        return state
    m, power = state.averaged + 1, schedule.average_power
    average = tree.blend(state.average, state.statistics, (power + 1) / (power + m))
    return state._replace(average=average, averaged=m)


def fit_stepwise(
    model: Any,
    state: Online,
    batches: Iterable[Chunk],
    monitor: ProgressiveMonitor,
    schedule: Schedule = DEFAULT,
    repair: Callable[[Any, Any, int], tuple[Any, bool]] | None = None,
    keep: Callable[[Online], None] = lambda state: None,
) -> Online:
    """Pass after pass over the batches until the monitor stops; the best state by the held-out rows, else the last.

    An iterator, which can be read only once, is read once. The batches should come in an order that says nothing of
    the components (`batches.Shuffled`), since what came last weighs most. T of them go about as
    far as sum_t g_t iterations of batch EM, whatever their size, so that small batches need fewer passes.
    """
    once = isinstance(batches, Iterator)
    monitor.begin(state)
    while monitor.stop_reason is None:
        seen, weight = state.t, state.weight
        for batch in batches:
            state = stepwise_step(model, state, batch, schedule, repair)
            monitor.after_batch()
            if monitor.stop_reason is None and monitor.due(state):
                monitor.observe(model, estimate(model, state), state)
            if monitor.stop_reason is not None:
                break
        else:
            if state.t == seen:
                raise ValueError("there are no rows of positive weight: give at least one")
            state = state._replace(whole=state.whole or state.weight - weight)
            if monitor.every is None:
                monitor.observe(model, estimate(model, state), state)
            monitor.after_pass(last=once)
            keep(state)
    return monitor.best or state
