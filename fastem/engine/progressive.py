"""When stepwise EM stops: by rows held out, or by each batch's log-likelihood before it is learned."""

import time
from typing import Any

import numpy as np

from fastem.engine.chunks import Chunk
from fastem.engine.monitor import UNFINISHED, Progress, Rules


class ProgressiveMonitor:
    """Scores the state of stepwise EM after every pass, or every few batches, and says when to stop and why.

    The steps of stepwise EM shrink, so its gains do so too, converged or not, and nothing is extrapolated from them: it
    has converged when `patience` scores in a row have not gained more than `rules.tol` nats per unit weight.

    Parameters
    ----------
    rules : Rules
        `max_iter` counts passes.
    held_out : Chunk, optional
        Rows that are scored and not learned. Without them a score is the log-likelihood of the batches since the last
        one, each under the parameters that had not yet seen it in this pass, and it costs nothing.
    every : int, optional
        Batches between scores; None for one each pass.
    patience : int
        Scores without a gain that end the fit.
    """

    fall = 0.0
    """By which the log-likelihood fell where that ended the fit: scores may fall, and end none."""

    def __init__(self, rules: Rules, held_out: Chunk | None = None, every: int | None = None, patience: int = 2):
        self.rules, self.held_out, self.every, self.patience = rules, held_out, every, patience
        self.started = time.perf_counter()
        self.history: list[tuple[float, float]] = []
        self.stop_reason: str | None = None
        self.weight = 1.0
        self.n_passes = 0
        self.best: Any = None
        self._state: Any = None
        self._best_score = self._mark = -np.inf
        self._stale = 0

    @property
    def n_iter(self) -> int:
        """Scores in the history."""
        return len(self.history)

    @property
    def converged(self) -> bool:
        """Whether the scores no longer gained more than the tolerance."""
        return self.stop_reason == "converged"

    def begin(self, state: Any) -> None:
        """The first batch begins."""
        self._state = state
        if self.stop_reason is None and self.n_passes >= self.rules.max_iter:
            self.stop_reason = "max_iter"

    def state(self) -> dict[str, Any]:
        """What `restore` needs to go on after a pass as if the fit had never stopped, but for `best`."""
        names = "history", "stop_reason", "weight", "n_passes", "_best_score", "_mark", "_stale"
        return {"seconds": time.perf_counter() - self.started, **{name: getattr(self, name) for name in names}}

    def restore(self, state: dict[str, Any], best: Any) -> None:
        """Go on from there; a fit that ended before it converged goes on too."""
        state = dict(state)
        self.started = time.perf_counter() - state.pop("seconds")
        vars(self).update(state, best=best)
        self.history = [(float(a), float(b)) for a, b in self.history]
        if self.stop_reason in UNFINISHED:
            self.stop_reason = None

    def after_batch(self) -> None:
        """Ask what ends a fit in the middle of a pass."""
        rules = self.rules
        if rules.interrupted():
            self.stop_reason = "interrupted"
        elif rules.max_time is not None and time.perf_counter() - self.started >= rules.max_time:
            self.stop_reason = "max_time"

    def due(self, state: Any) -> bool:
        """Whether a score is wanted in the middle of a pass."""
        return self.every is not None and state.t - self._state.t >= self.every

    def observe(self, model: Any, params: Any, state: Any) -> None:
        """Score `params`, the estimate of `state`, and decide."""
        seconds, last = time.perf_counter() - self.started, self._state
        speed = (state.weight - last.weight) / max(seconds - (self.history[-1][1] if self.history else 0.0), 1e-9)
        if self.held_out is not None:
            sums = model.e_step(params, [self.held_out])
            total, self.weight = sums.log_likelihood, sums.weight
        else:
            total, self.weight = state.log_likelihood - last.log_likelihood, state.weight - last.weight
            total += model.log_prior(params) * self.weight / state.rows_weight
        self._state = state
        score = total / self.weight
        gain = score - self._best_score
        if score > self._best_score:
            self._best_score = score
            self.best = state if self.held_out is not None else None
        self._stale = 0 if score > self._mark + self.rules.tol else self._stale + 1
        self._mark = max(score, self._mark) if self._stale == 0 else self._mark
        self.history.append((total, seconds))
        progress = Progress(len(self.history), total, self.weight, gain, np.inf, seconds, speed, params)
        wants_stop = self.rules.callback is not None and bool(self.rules.callback(progress))
        if self.stop_reason is None and self._stale >= self.patience:
            self.stop_reason = "converged"
        if self.stop_reason is None and wants_stop:
            self.stop_reason = "callback"

    def after_pass(self, last: bool) -> None:
        """A pass has ended; `last` if there can be no other."""
        self.n_passes += 1
        if self.stop_reason is None and last:
            self.stop_reason = "exhausted"
        if self.stop_reason is None and self.n_passes >= self.rules.max_iter:
            self.stop_reason = "max_iter"
