"""The lines that `verbose` prints."""

from typing import Any

from fastem.engine.monitor import Progress


def reporting(estimator: Any) -> Any:
    """The estimator's callback, which with `verbose` prints a line every `verbose_interval` iterations first."""
    if not estimator.verbose:
        return estimator.callback

    def report(progress: Progress) -> Any:
        if progress.n_iter % max(1, estimator.verbose_interval) == 0:
            mean = progress.log_likelihood / progress.weight
            print(f"iteration {progress.n_iter}: log-likelihood {mean:.6f}, still to gain {progress.remaining:.2g}")
        return estimator.callback(progress) if estimator.callback else None

    return report
