"""Expectation-maximization: the loop."""

from collections.abc import Callable, Iterable
from typing import Any

from fastem.engine.chunks import Chunk
from fastem.engine.monitor import ConvergenceMonitor


def em_step(model: Any, params: Any, chunks: Iterable[Chunk]) -> tuple[Any, Any]:
    """One E-step and one M-step: the statistics under `params`, and the parameters that they give."""
    statistics = model.e_step(params, chunks)
    return statistics, model.m_step(statistics, params)


def fit_em(
    model: Any,
    params: Any,
    chunks: Iterable[Chunk],
    monitor: ConvergenceMonitor,
    repair: Callable[[Any, Any, int, bool], tuple[Any, bool]] | None = None,
) -> Any:
    """Iterate until the monitor stops; returns the parameters of the last M-step, or those before a fall.

    ``repair(params, statistics, n_iter, converged)`` gives parameters whose components have a density, and whether one
    was moved, after which the gains so far predict nothing.
    """
    if monitor.rules.max_iter == 0:
        monitor.stop_reason = "max_iter"
    before, last = params, None

    def may_fall() -> float:
        return model.may_fall(before, params, last)

    monitor.begin()
    while monitor.stop_reason is None:
        statistics, after = em_step(model, params, chunks)
        if not monitor.observe(statistics.log_likelihood, statistics.weight, params, may_fall):
            return before
        if repair:
            after, moved = repair(after, statistics, monitor.n_iter, monitor.converged)
            if moved:
                monitor.forget_gains()
                if monitor.stop_reason is not None:
                    return params  # a component that has only just been moved explains nothing yet
        before, params, last = params, after, statistics
    return params
