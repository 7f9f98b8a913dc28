"""What a person is told of a fit: the lines that `verbose` prints, and how it ended."""

import time
from typing import Any

from fastem.engine.monitor import Progress
from fastem.passes import Passes
from fastem.wording import plural

ENDINGS = {
    "converged": "converged",
    "max_iter": "stopped at the limit of iterations",
    "max_time": "stopped at the limit of time",
    "callback": "stopped by the callback",
    "interrupted": "interrupted",
    "decreased": "stopped where the log-likelihood fell",
    "not_finite": "stopped where the log-likelihood was not finite",
    "exhausted": "read all rows, once",
}
SECONDS = 3.0
"""Between two lines on a pass that is long."""

GO_ON = "go on from here with warm_start=True"
ADVICE = {
    "max_iter": f"increase max_iter, or tol (the predicted remaining gain), or {GO_ON}",
    "max_time": f"increase max_time, or {GO_ON}",
    "callback": GO_ON,
    "interrupted": GO_ON,
    "decreased": "the numbers lose too many digits: bring the columns to like scales (StandardScaler), or use float64",
    "not_finite": "scale the data down: their squares overflow",
}
TROUBLES = {"restarted": "restarted", "dropped": "dropped", "floored": "kept at the least variance"}


def reporting(estimator: Any) -> Any:
    """The estimator's callback, which with `verbose` prints the first iteration and every `verbose_interval`-th."""
    return _Report(estimator) if estimator.verbose else estimator.callback


class _Report:
    """A callback that prints, and calls the estimator's own; with ``verbose=2`` it tells of long passes, too."""

    def __init__(self, estimator: Any):
        self._estimator, self._told = estimator, getattr(estimator.callback, "on_rows", None)
        self.on_rows = self._on_rows if estimator.verbose > 1 else self._told
        self._passes = Passes()
        self._latest: Progress | None = None
        self._printed_at = time.monotonic()

    def __call__(self, progress: Progress) -> Any:
        estimator, self._latest = self._estimator, progress
        if progress.n_iter == 1 or progress.n_iter % estimator.verbose_interval == 0:
            mean = progress.log_likelihood / progress.weight
            line = f"iteration {progress.n_iter}: log-likelihood {mean:.6f}, {still_to_gain(progress.remaining)}"
            if estimator.verbose > 1:
                line += f", {progress.seconds:.2f} s, {progress.rows_per_second:.3g} rows/s"
            self._print(line)
        return estimator.callback(progress) if estimator.callback else None

    def _on_rows(self, done: int, n_rows: int | None) -> None:
        now = self._passes.update(done, n_rows)
        if not self._passes.ending and now - self._printed_at >= SECONDS:
            self._print(self._passes.line(self._latest))
        if self._told:
            self._told(done, n_rows)

    def _print(self, line: str) -> None:
        self._printed_at = time.monotonic()
        print(line)


def report_ending(estimator: Any) -> None:
    """With `verbose`, a line that says how the fit ended."""
    if estimator.verbose:
        after = plural(estimator.n_iter_, "iteration")
        print(f"{ENDINGS[estimator.stop_reason_]} after {after}: log-likelihood {estimator.lower_bound_:.6f}")


def warning_of_ending(estimator: Any, fall: float = 0.0, far: bool = False) -> str:
    """What to warn of after a fit: collapsed components, and no convergence; nothing where all went well.

    `fall` is that of the log-likelihood, in nats per unit weight, where one ended it; `far` where all components that
    collapsed hold rows far from the others.
    """
    parts, advice = [], ADVICE | getattr(estimator, "_advice", {})
    troubles = TROUBLES | getattr(estimator, "_troubles", {})
    counts = {words: len(estimator.diagnostics_[name]) for name, words in troubles.items()}
    if any(counts.values()):
        found = ", ".join(f"{number} {words}" for words, number in counts.items() if number)
        ridge = " or a larger reg_covar" if hasattr(estimator, "reg_covar") else ""
        advice_of = "they hold rows that are far from all others" if far else f"use fewer components{ridge}"
        parts.append(f"components collapsed ({found}; see diagnostics_): {advice_of}")
    if not estimator.converged_ and estimator.stop_reason_ != "exhausted":
        fell = (
            f", whose parameters are kept: iteration {estimator.n_iter_ + 1} had a log-likelihood a row lower by "
            f"{fall:.3g}"
        )
        parts.append(
            f"the fit did not converge: stop_reason_ is {estimator.stop_reason_!r} after "
            f"{plural(estimator.n_iter_, 'iteration')}{fell if fall else ''}; {advice[estimator.stop_reason_]}"
        )
    return "; ".join(parts)


def still_to_gain(remaining: float) -> str:
    """The predicted remaining gain, in words; the first iterations predict none."""
    return f"still to gain {remaining:.2g}" if remaining < float("inf") else "still to gain: unknown"
