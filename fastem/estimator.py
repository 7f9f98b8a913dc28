"""What the estimators share: parameters in, engine, fitted attributes out."""

import time
import warnings
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted

from fastem.engine import tree
from fastem.engine.chunks import Chunk, chunk, total_weight
from fastem.engine.collapse import Collapse
from fastem.engine.em import fit_em
from fastem.engine.initialize import subsample
from fastem.engine.interrupt import interruptible
from fastem.engine.model import Mixture, MixtureParams
from fastem.engine.monitor import HISTORY, ConvergenceMonitor, Rules
from fastem.starts import Start, sample_size, scale_of, starting_params
from fastem.validation import (
    check_data,
    check_enough_rows,
    check_number,
    check_reg_covar,
    check_seed,
    check_weights,
    distinct_rows,
)
from fastem.verbose import report_ending, reporting, warning_of_ending
from fastem.wording import plural


class MixtureEstimator(DensityMixin, BaseEstimator):
    """Base of the mixture estimators. A subclass gives its family, and its attributes from and to Params."""

    def _validate_parameters(self) -> None:
        raise NotImplementedError

    def _family(self, dtype: Any = np.float64) -> Any:
        raise NotImplementedError

    def _apply_inits(self, params: MixtureParams | None, start: Start) -> MixtureParams | None:
        """`params` with what the user gave in its place; with None, the parameters if the user gave them all."""
        raise NotImplementedError

    def _set_params_(self, params: MixtureParams, dtype: np.dtype) -> None:
        raise NotImplementedError

    def _get_params_(self) -> MixtureParams:
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
        data = chunk(X, sample_weight)
        with interruptible() as interrupted, np.errstate(over="ignore", under="ignore"):
            self._fit_chunk(data, interrupted)
        return X

    def _fit_chunk(self, data: Chunk, interrupted: Any) -> None:
        random_state = check_seed(self.random_state)
        rng = np.random.default_rng(random_state.randint(np.iinfo(np.int32).max))
        model = Mixture(self._family(data.X.dtype), self.n_jobs)
        sample = subsample(data, sample_size(self.n_components, data.X.shape[1]), rng)
        start = Start(model, self.n_components, data, sample, scale_of(sample))
        self._warn_of_data(start)
        may_fall = getattr(model.family, "reg_covar", 0) > 0
        rules = Rules(self.tol, self.max_iter, self.max_time, reporting(self), interrupted, may_fall)
        best: tuple[float, Any, Any, Any] | None = None
        started = time.perf_counter()
        for _ in range(self.n_init):
            collapse = Collapse(self.on_collapse, sample, start.scale, rng)
            monitor = ConvergenceMonitor(rules, np.finfo(data.X.dtype).eps, len(data.X), started)
            params = self._start(start, random_state)
            params = fit_em(model, params, [data], monitor, collapse.bind(model))
            score = monitor.history[-1][0] if monitor.history else -np.inf
            if best is None or score > best[0]:
                best = score, params, monitor, collapse
            if monitor.stop_reason in ("interrupted", "callback", "max_time"):
                break
        assert best is not None
        _, params, monitor, collapse = best
        self._record(params, monitor, collapse, data)

    def _start(self, start: Start, random_state: np.random.RandomState) -> MixtureParams:
        if self.warm_start and hasattr(self, "weights_"):
            params = self._get_params_()
            wanted = start.model.family.spread_about(np.zeros((start.k, start.data.X.shape[1])), start.scale)
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
        distinct = distinct_rows(start.data.X, self.n_components)
        if distinct < self.n_components:
            warnings.warn(
                f"n_components is {self.n_components} and X has {plural(distinct, 'distinct row')}: some components "
                f"coincide or hold no row. Use n_components <= {distinct}",
                ConvergenceWarning,
                stacklevel=5,
            )

    def _record(self, params: MixtureParams, monitor: ConvergenceMonitor, collapse: Collapse, data: Chunk) -> None:
        dtype = data.X.dtype
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

    def _rows(self, X: np.ndarray, wanted: str) -> np.ndarray:
        model = Mixture(self._family(), self.n_jobs)
        return model.rows(self._get_params_(), chunk(X), wanted)[wanted]

    def _checked(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        return check_data(self, X, reset=False)

    def predict(self, X):
        """Most probable component of each row, (n,) int64."""
        return self._rows(self._checked(X), "labels")

    def predict_proba(self, X):
        """Probability of each component given the row, (n, K)."""
        return self._rows(self._checked(X), "responsibilities")

    def score_samples(self, X):
        """Log-density log p(x) of each row in nats, (n,)."""
        return self._rows(self._checked(X), "log_prob")

    def score(self, X, y=None, sample_weight=None):
        """Mean log-density of the rows, in nats per unit weight."""
        total, weight = self._log_likelihood(X, sample_weight)
        return total / weight

    def _log_likelihood(self, X: Any, sample_weight: Any) -> tuple[float, float]:
        X = self._checked(X)
        sample_weight = check_weights(sample_weight, len(X))
        log_prob = self._rows(X, "log_prob").astype(np.float64, copy=False)
        total = log_prob.sum() if sample_weight is None else log_prob @ sample_weight
        return float(total), total_weight([chunk(X, sample_weight)])

    def _n_parameters(self) -> int:
        params = self._get_params_()
        return self._family().n_parameters(params.components) + len(params.weights) - 1

    def bic(self, X, sample_weight=None):
        """Bayesian information criterion, -2 log L + p log n; the lower the better."""
        total, weight = self._log_likelihood(X, sample_weight)
        return -2 * total + self._n_parameters() * np.log(weight)

    def aic(self, X, sample_weight=None):
        """Akaike information criterion, -2 log L + 2 p; the lower the better."""
        return -2 * self._log_likelihood(X, sample_weight)[0] + 2 * self._n_parameters()

    def icl(self, X, sample_weight=None):
        """Integrated completed likelihood: BIC plus twice the entropy of the responsibilities; lower is better.

        Biernacki, Celeux and Govaert (2000), IEEE Transactions on Pattern Analysis and Machine Intelligence 22.
        """
        X = self._checked(X)
        weight = check_weights(sample_weight, len(X))
        entropy = 0.0
        for first in range(0, len(X), 1 << 16):
            rows = slice(first, first + (1 << 16))
            resp = self._rows(X[rows], "responsibilities").astype(np.float64, copy=False)
            terms = -(resp * np.log(np.where(resp > 0, resp, 1.0))).sum(axis=1)
            entropy += float(terms.sum() if weight is None else terms @ weight[rows])
        return self.bic(X, sample_weight) + 2 * entropy

    def sample(self, n_samples=1, random_state=None):
        """Rows drawn from the fitted density, and the component of each.

        Parameters
        ----------
        n_samples : int
        random_state : int, Generator, RandomState or None
            None goes on in one stream that began at the estimator's own `random_state`: two calls differ.

        Returns
        -------
        X (n_samples, d), labels (n_samples,) : rows ordered by component.
        """
        check_is_fitted(self)
        check_number("n_samples", n_samples, Integral, 1, 100)
        if random_state is None:
            if not hasattr(self, "_sampler"):
                seed = check_seed(self.random_state).randint(np.iinfo(np.int32).max)
                self._sampler = np.random.default_rng(seed)
            rng = self._sampler
        elif isinstance(random_state, np.random.Generator):
            rng = random_state
        else:
            rng = np.random.default_rng(check_seed(random_state).randint(np.iinfo(np.int32).max))
        params = self._get_params_()
        counts = rng.multinomial(n_samples, params.weights / params.weights.sum())
        X = self._family().sample(params.components, counts, rng)
        return X.astype(self.means_.dtype, copy=False), np.repeat(np.arange(len(counts)), counts)

    def save(self, path):
        """Write the fitted model to one `.npz` file; `fastem.load` reads it. See `fastem.persistence.save`."""
        from fastem.persistence import save

        save(self, path)


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
