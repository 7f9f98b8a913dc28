"""What the estimators share: parameters in, engine, fitted attributes out."""

import time
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.exceptions import ConvergenceWarning

from fastem.engine import tree
from fastem.engine.chunks import Chunk, chunk
from fastem.engine.collapse import Collapse
from fastem.engine.em import fit_em
from fastem.engine.initialize import subsample
from fastem.engine.interrupt import interruptible
from fastem.engine.model import Mixture, MixtureParams
from fastem.engine.monitor import HISTORY, ConvergenceMonitor, Rules
from fastem.ranges import check_scale, check_weight_range
from fastem.scoring import FittedMixture
from fastem.starts import Start, sample_size, scale_of, starting_params
from fastem.validation import check_data, check_enough_rows, check_seed, check_weights, distinct_rows
from fastem.verbose import reporting


class MixtureEstimator(FittedMixture, DensityMixin, BaseEstimator):
    """Base of the mixture estimators. A subclass gives its family, and its attributes from and to Params."""

    def _validate_parameters(self) -> None:
        raise NotImplementedError

    def _apply_inits(self, params: MixtureParams | None, start: Start) -> MixtureParams | None:
        """`params` with what the user gave in its place; with None, the start if what the user gave settles it."""
        raise NotImplementedError

    def _set_params_(self, params: MixtureParams, dtype: np.dtype) -> None:
        raise NotImplementedError

    # Fitting.

    def fit(self, X, y=None, sample_weight=None):
        """Estimate the parameters by expectation-maximization.

        Parameters
        ----------
        X : array-like (n, d)
            Rows are observations. A C-contiguous float32 or float64 array, memory-mapped or not, is not copied.
        y : ignored
        sample_weight : array-like (n,), optional
            Weight 2 counts a row twice, weight 0 leaves it out.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the data, weights, parameters or starting values are not what they should be, and with
            ``on_collapse='raise'`` if a component collapses.

        Warns
        -----
        ConvergenceWarning
            If the fit stopped before it converged, or components collapsed.
        """
        self._fit(X, sample_weight)
        return self

    def fit_predict(self, X, y=None, sample_weight=None):
        """Fit, then the most probable component of each row; the same labels as ``fit(X).predict(X)``."""
        X = self._fit(X, sample_weight)
        return self._rows(X, "labels")

    def _fit(self, X: Any, sample_weight: Any) -> np.ndarray:
        self._validate_parameters()
        X = check_data(self, X, reset=True)
        sample_weight = check_weight_range(check_weights(sample_weight, len(X)), X.dtype)
        check_enough_rows(len(X), sample_weight, self.n_components)
        with interruptible() as interrupted, np.errstate(over="ignore", under="ignore"):
            self._fit_chunks([chunk(X, sample_weight)], X.shape, X.dtype, interrupted)
        return X

    def _fit_chunks(
        self, chunks: Iterable[Chunk], shape: tuple[int, int], dtype: np.dtype, interrupted: Callable[[], bool]
    ) -> None:
        """Fit to chunks of `dtype` that can be gone through again and again, `shape` (n, d) in all."""
        started = time.perf_counter()

        def stop() -> bool:
            return interrupted() or (self.max_time is not None and time.perf_counter() - started >= self.max_time)

        random_state = check_seed(self.random_state)
        rng = np.random.default_rng(random_state.randint(np.iinfo(np.int32).max))
        model = Mixture(self._family(dtype), self.n_jobs)
        sample = subsample(chunks, sample_size(self.n_components, shape[1]), rng)
        check_scale(sample.X)
        start = Start(model, self.n_components, sample, scale_of(sample), stop)
        self._warn_of_duplicates(start)
        rules = Rules(self.tol, self.max_iter, self.max_time, reporting(self), interrupted)
        best: tuple[float, Any, Any, Any] | None = None
        fixed = self._fixed_start(start)
        for _ in range(self.n_init if fixed is None else 1):
            collapse = Collapse(self.on_collapse, sample, start.scale, rng)
            monitor = ConvergenceMonitor(rules, np.finfo(dtype).eps, shape[0], started)
            params = self._start(start, random_state) if fixed is None else fixed
            params = fit_em(model, params, chunks, monitor, collapse.bind(model))
            score = monitor.history[-1][0] if monitor.history else -np.inf
            if best is None or score > best[0]:
                best = score, params, monitor, collapse
            if monitor.stop_reason in ("interrupted", "callback", "max_time"):
                break
        assert best is not None
        _, params, monitor, collapse = best
        self._record(params, monitor, collapse, dtype)

    def _fixed_start(self, start: Start) -> MixtureParams | None:
        """The one start that a warm start or starting values leave, or None."""
        if self.warm_start and hasattr(self, "weights_"):
            params = self._get_params_()
            wanted = start.model.family.spread_about(np.zeros((start.k, len(start.scale.mean))), start.scale)
            if tree.shapes(params.components) == tree.shapes(wanted):
                return params
        return self._apply_inits(None, start)

    def _start(self, start: Start, random_state: np.random.RandomState) -> MixtureParams:
        params = starting_params(self.init_params, start, random_state)
        return start.floored(self._apply_inits(params, start) or params)

    def _warn_of_duplicates(self, start: Start) -> None:
        rows = start.sample.X
        distinct = distinct_rows(rows, self.n_components)
        if distinct < self.n_components:
            whole = len(rows) < sample_size(self.n_components, rows.shape[1])
            which = "X has" if whole else f"a sample of {len(rows)} rows of X has"
            warnings.warn(
                f"n_components is {self.n_components} and {which} {distinct} distinct row(s): some components "
                f"coincide or hold no row. Use n_components <= {distinct}",
                ConvergenceWarning,
                stacklevel=5,
            )

    def _record(self, params: MixtureParams, monitor: ConvergenceMonitor, collapse: Collapse, dtype: np.dtype) -> None:
        self._set_params_(params, dtype)
        self.history_ = np.array(monitor.history, HISTORY)
        self.lower_bounds_ = [float(v) for v in self.history_["log_likelihood"] / monitor.weight]
        self.lower_bound_ = self.lower_bounds_[-1] if self.lower_bounds_ else -np.inf
        self.n_iter_ = monitor.n_iter
        self.converged_ = monitor.converged
        self.stop_reason_ = monitor.stop_reason
        self.diagnostics_ = {
            "start": self.init_params,
            "restarted": collapse.restarted,
            "dropped": collapse.dropped,
            "floored": sorted(collapse.floored),
            "parted": collapse.parted,
        }
        self._warn(collapse)

    def _warn(self, collapse: Collapse) -> None:
        parts = []
        if collapse:
            found = [
                f"{len(events)} {what}"
                for what, events in (
                    ("restarted", collapse.restarted),
                    ("dropped", collapse.dropped),
                    ("kept at the least variance", collapse.floored),
                )
                if events
            ]
            parts.append(
                f"components collapsed ({', '.join(found)}; see diagnostics_): use fewer components or a "
                "larger reg_covar"
            )
        if not self.converged_:
            parts.append(
                f"the fit did not converge: stop_reason_ is {self.stop_reason_!r} after {self.n_iter_} iteration(s); "
                + ADVICE[str(self.stop_reason_)]
            )
        if parts:
            warnings.warn("; ".join(parts), ConvergenceWarning, stacklevel=6)


ADVICE = {
    "max_iter": "increase max_iter, or tol (the predicted remaining gain)",
    "max_time": "increase max_time, or go on from here with warm_start=True",
    "callback": "go on from here with warm_start=True",
    "interrupted": "go on from here with warm_start=True",
    "decreased": "its numbers lose too many digits: bring the columns to like scales (StandardScaler), or use float64",
    "not_finite": "scale the data down: their squares overflow",
}
