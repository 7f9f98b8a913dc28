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
from fastem.scoring import FittedMixture
from fastem.starts import Start, sample_size, scale_of, starting_params
from fastem.validation import (
    check_data,
    check_enough_rows,
    check_reg_covar,
    check_seed,
    check_weights,
    distinct_rows,
)
from fastem.verbose import report_ending, reporting, warning_of_ending
from fastem.wording import plural


class MixtureEstimator(FittedMixture, DensityMixin, BaseEstimator):
    """Base of the mixture estimators. A subclass gives its family, and its attributes from and to Params."""

    def _validate_parameters(self) -> None:
        raise NotImplementedError

    def _apply_inits(self, params: MixtureParams | None, start: Start) -> MixtureParams | None:
        """`params` with what the user gave in its place; with None, the parameters if the user gave them all."""
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
        sample_weight = check_weights(sample_weight, len(X))
        check_enough_rows(len(X), sample_weight, self.n_components)
        with interruptible() as interrupted, np.errstate(over="ignore", under="ignore"):
            self._fit_chunks([chunk(X, sample_weight)], X.shape, X.dtype, interrupted)
        return X

    def _fit_chunks(
        self, chunks: Iterable[Chunk], shape: tuple[int, int], dtype: np.dtype, interrupted: Callable[[], bool]
    ) -> None:
        """Fit to chunks of `dtype` that can be gone through again and again, `shape` (n, d) in all."""
        random_state = check_seed(self.random_state)
        rng = np.random.default_rng(random_state.randint(np.iinfo(np.int32).max))
        model = Mixture(self._family(dtype), self.n_jobs)
        sample = subsample(chunks, sample_size(self.n_components, shape[1]), rng)
        start = Start(model, self.n_components, sample, scale_of(sample))
        self._warn_of_data(start)
        rules = Rules(self.tol, self.max_iter, self.max_time, reporting(self), interrupted)
        best: tuple[float, Any, Any, Any] | None = None
        started = time.perf_counter()
        for _ in range(self.n_init):
            collapse = Collapse(self.on_collapse, sample, start.scale, rng)
            monitor = ConvergenceMonitor(rules, np.finfo(dtype).eps, shape[0], started)
            params = self._start(start, random_state)
            params = fit_em(model, params, chunks, monitor, collapse.bind(model))
            score = monitor.history[-1][0] if monitor.history else -np.inf
            if best is None or score > best[0]:
                best = score, params, monitor, collapse
            if monitor.stop_reason in ("interrupted", "callback", "max_time"):
                break
        assert best is not None
        _, params, monitor, collapse = best
        self._record(params, monitor, collapse, dtype)

    def _start(self, start: Start, random_state: np.random.RandomState) -> MixtureParams:
        if self.warm_start and hasattr(self, "weights_"):
            params = self._get_params_()
            wanted = start.model.family.spread_about(np.zeros((start.k, len(start.scale.mean))), start.scale)
            if tree.shapes(params.components) == tree.shapes(wanted):
                return params
        given = self._apply_inits(None, start)
        if given is not None:
            return given
        repair = _Floor(start)
        params = starting_params(self.init_params, start, random_state, repair)
        return repair(self._apply_inits(params, start) or params, None)

    def _warn_of_data(self, start: Start) -> None:
        names = getattr(self, "feature_names_in_", None)
        if ridge := check_reg_covar(self.reg_covar, start.scale.mean, start.scale.covariance, names):
            warnings.warn(ridge, UserWarning, stacklevel=5)
        rows = start.sample.X
        distinct = distinct_rows(rows, self.n_components)
        if distinct < self.n_components:
            whole = len(rows) < sample_size(self.n_components, rows.shape[1])
            which = "X has" if whole else f"a sample of {len(rows)} rows of X has"
            warnings.warn(
                f"n_components is {self.n_components} and {which} {plural(distinct, 'distinct row')}: some components "
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
        }
        report_ending(self)
        if words := warning_of_ending(self):
            warnings.warn(words, ConvergenceWarning, stacklevel=5)


class _Floor:
    """Makes starting parameters proper: components without a density get the least one. Nothing is restarted."""

    def __init__(self, start: Start):
        self.start = start

    def __call__(self, params: MixtureParams, statistics: Any) -> MixtureParams:
        family = self.start.model.family
        mask = family.singular(params.components)
        if not mask.any():
            return params
        return params._replace(components=family.floored(params.components, mask, self.start.scale))
