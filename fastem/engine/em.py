"""Expectation-maximization: the loop."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from fastem.engine import tree
from fastem.engine.accelerate import Acceleration
from fastem.engine.chunks import Chunk
from fastem.engine.monitor import ConvergenceMonitor


class Position(NamedTuple):
    """Where the loop stands between two iterations.

    `before` are the parameters before the last M-step, to which the fit returns where the log-likelihood falls by more
    than ``may_fall(params)``. Where `params` were extrapolated, `plain` are those of the M-step.
    """

    params: Any
    before: Any = None
    may_fall: Callable[[Any], float] = lambda params: 0.0
    plain: Any = None


def em_step(model: Any, params: Any, chunks: Iterable[Chunk]) -> tuple[Any, Any]:
    """One E-step and one M-step: the statistics under `params`, and the parameters that they give."""
    statistics = model.e_step(params, chunks)
    return statistics, model.m_step(statistics, params)


def fit_em(
    model: Any,
    begin: Position,
    chunks: Iterable[Chunk],
    monitor: ConvergenceMonitor,
    repair: Callable[[Any, Any, int, bool], tuple[Any, bool]] | None = None,
    keep: Callable[[Position], None] = lambda position: None,
    acceleration: Acceleration | None = None,
) -> Any:
    """Iterate until the monitor stops; returns the parameters of the last M-step, or those before a fall.

    ``repair(params, statistics, n_iter, converged)`` gives parameters whose components have a density, and whether one
    was moved, after which the gains so far predict nothing. ``keep(position)`` is called after every iteration; from
    that position and a monitor in the same state the fit goes on as if it had never stopped.

    A step that lowered the log-likelihood is halved up to ``model.halvings`` times: for M-steps that go uphill, but
    may go too far. Of these the last one is looked at once more where `max_iter` ends the fit.
    """
    params, before, may_fall, plain = begin
    before = params if before is None else before
    monitor.begin()
    halvings = 0
    while monitor.stop_reason is None:
        try:
            statistics = model.e_step(params, chunks)
        except ValueError:
            if plain is None or acceleration is None:
                raise
            acceleration.judged(False)  # an extrapolated point without a density
            params, plain = plain, None
            continue
        # Sums may overflow though the log-likelihood does not.
        log_likelihood = model.objective(params, statistics) if tree.is_finite(statistics) else np.nan
        if plain is not None and acceleration is not None:
            # Under a ridge EM may come from above: leaps may fall as far as the penalty, or must gain part of its rise.
            accepted = monitor.rises(log_likelihood, statistics.weight, partial(may_fall, params))
            acceleration.judged(accepted)
            if not accepted:
                params, plain = plain, None
                continue
            monitor.leapt()
        if halvings < getattr(model, "halvings", 0) and monitor.fell(log_likelihood, statistics.weight):
            params, halvings = tree.blend(before, params, 0.5), halvings + 1
            continue
        halvings = 0
        after = model.m_step(statistics, params)
        if not monitor.observe(log_likelihood, statistics.weight, params, partial(may_fall, params)):
            return before
        moved = False
        if repair:
            after, moved = repair(after, statistics, monitor.n_iter, monitor.converged)
        if moved:
            monitor.forget_gains()
            if monitor.stop_reason is not None:
                return params  # a component that has only just been moved explains nothing yet
        guess = None if acceleration is None else _guess(acceleration, model, params, after, monitor, moved)
        place = Position(after if guess is None else guess, params, plain=None if guess is None else after)
        if not moved:
            place = place._replace(may_fall=partial(_may_fall, model, params, statistics, guess))
        keep(place)
        params, before, may_fall, plain = place
    return _last(model, params if plain is None else plain, before, chunks, monitor)


def _last(model: Any, params: Any, before: Any, chunks: Iterable[Chunk], monitor: Any) -> Any:
    """The parameters of a fit that ended, where an M-step led from `before` to `params`."""
    if monitor.converged or not getattr(model, "halvings", 0):
        return params
    return _verified(model, params, before, chunks, monitor) if monitor.stop_reason == "max_iter" else before


def _may_fall(model: Any, before: Any, statistics: Any, guess: Any, params: Any) -> float:
    return model.may_fall(before, params, statistics, params is guess)


def _verified(model: Any, params: Any, before: Any, chunks: Iterable[Chunk], monitor: ConvergenceMonitor) -> Any:
    """The last step of a fit that did not end by itself, halved until the log-likelihood is no lower than before it."""
    for _ in range(model.halvings):
        statistics = model.e_step(params, chunks)
        if not monitor.fell(model.objective(params, statistics), statistics.weight):
            return params
        params = tree.blend(before, params, 0.5)
    return before


def _guess(acceleration: Acceleration, model: Any, params: Any, after: Any, monitor: Any, moved: bool) -> Any:
    """The point that the accelerator proposes, or None."""
    if moved:
        acceleration.reset()
        return None
    acceleration.watch(*monitor.last_gain())
    return None if monitor.converged else acceleration.next(model, params, after)  # also for those who go on later
