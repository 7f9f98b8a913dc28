"""Learning from batches as they come: one step of stepwise EM a call."""

import time
import warnings
from typing import Any

import numpy as np

from fastem.data import in_memory
from fastem.engine import stepwise, tree
from fastem.engine.chunks import Chunk, chunk
from fastem.engine.collapse import Collapse
from fastem.engine.initialize import subsample
from fastem.engine.interrupt import interruptible
from fastem.engine.model import Mixture
from fastem.engine.monitor import HISTORY
from fastem.engine.threads import one_library_thread
from fastem.far_rows import warning_of_far_rows
from fastem.starts import Start, sample_size
from fastem.validation import check_enough_rows, check_plan, check_seed


class OnlineMixture:
    """`partial_fit` of the mixture estimators; `online_` is the state of stepwise EM as a vector."""

    def partial_fit(self: Any, X, y=None, sample_weight=None, *, step=None):
        """Learn one batch of rows, and forget a little of those before: a step of stepwise EM.

        The first call starts from the batch, which must have rows of every component, a few thousand better; after
        `fit` or `fastem.load` it goes on from the fitted parameters, which count as the rows that they were fitted to.
        The batches should come in an order that says nothing of the components. Parameters are those of the averaged
        statistics, and `history_` has each batch's log-likelihood before it was learned. Cappé and Moulines (2009),
        JRSS B 71.

        Parameters
        ----------
        X : array-like (n, d), or a source
            A batch; of a source every `rows_per_chunk` rows are one, see :class:`fastem.Chunks`.
        y : ignored
        sample_weight : array-like (n,), optional
            Two batches of half the weight count as one.
        step : callable, optional
            Step size of batch t, by default :class:`fastem.StepSize`.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the rows are not what they should be, the first batch has fewer rows than components, or the family has
            no sums that could be kept while its parameters move on.
        """
        check_plan("stepwise", None, step, None, None, False)
        self._check_algorithm("stepwise")
        first = not hasattr(self, "weights_")
        if first:
            self._validate_parameters()
        schedule = stepwise.Schedule(step or stepwise.StepSize())
        with self._opened(X, sample_weight, y, reset=first, on_rows=None) as data, interruptible() as interrupted:
            for batch in data.chunks:
                with one_library_thread(), np.errstate(over="ignore", under="ignore", invalid="ignore"):
                    self._learn(batch, schedule, interrupted)
                data.settle()
                if interrupted():
                    break
        return self

    def _held_out(self: Any, X: Any, dtype: np.dtype) -> Chunk | None:
        """Rows in memory, checked as those of a fitted model."""
        if X is None:
            return None
        if not in_memory(X):
            raise ValueError("held_out is a source; rows in memory are wanted: give an array or a frame")
        with self._opened(X) as held:
            (whole,) = held.chunks
            return chunk(whole.X.astype(dtype, copy=False))

    def _learn(self: Any, batch: Chunk, schedule: stepwise.Schedule, interrupted: Any) -> None:
        began = time.perf_counter()
        random_state = check_seed(self.random_state)
        rng = np.random.default_rng(random_state.randint(np.iinfo(np.int32).max))
        model = Mixture(self._known_family(batch.X.dtype), self.n_jobs, concentration=self._concentration)
        if not (batch.sample_weight.sum() if batch.sample_weight.size else len(batch.X)):
            return
        sample = subsample([batch], sample_size(self.n_components, batch.X.shape[1]), rng)
        start = Start.of(model, self.n_components, sample, interrupted)
        if not hasattr(self, "weights_"):
            check_enough_rows(sample, self.n_components)
            self._check_start(start)
            given = self._apply_inits(None, start)
            if far := warning_of_far_rows(self, start, len(sample.X) == len(batch.X), given is None):
                warnings.warn(far, UserWarning, stacklevel=4)
            state = stepwise.begin(model, self._start(start, random_state) if given is None else given)
        else:
            state = self._online_state(model, batch)
        collapse = Collapse(self.on_collapse, sample, start.scale, rng)
        after = stepwise.stepwise_step(model, state, batch, schedule, collapse.bind(model))
        self._record_batch(model, state, after, collapse, batch.X.dtype, time.perf_counter() - began)

    def _online_state(self: Any, model: Mixture, batch: Chunk) -> stepwise.Online:
        """The state of the last call, or one that is as if the rows of the fit had come in batches like this one."""
        state = stepwise.begin(model, self._get_params_())
        if hasattr(self, "online_"):
            return tree.from_vector(state, self.online_)
        weight = float(batch.sample_weight.sum()) if batch.sample_weight.size else float(len(batch.X))
        fitted = self.history_["log_likelihood"][-1] / self.lower_bound_ if len(self.history_) else weight
        batches = max(1, round(fitted / weight)) if np.isfinite(fitted) else 1
        return state._replace(t=batches, rows=len(batch.X) * batches, weight=weight * batches)

    def _record_batch(self: Any, model: Mixture, state: Any, after: Any, collapse: Collapse, dtype, seconds) -> None:
        earlier = self.history_ if hasattr(self, "online_") else np.empty(0, HISTORY)
        before = getattr(self, "diagnostics_", {}) if hasattr(self, "online_") else {}
        self.online_ = tree.to_vector(after)
        self.__dict__.pop("fixed_", None)  # batches move all parameters
        self._set_params_(stepwise.estimate(model, after), dtype)
        seconds += earlier["seconds"][-1] if len(earlier) else 0.0
        gained, weight = after.log_likelihood - state.log_likelihood, after.weight - state.weight
        self.history_ = np.concatenate([earlier, np.array([(gained, seconds)], HISTORY)])
        self.lower_bound_ = gained / weight
        self.lower_bounds_ = [*(self.lower_bounds_ if len(earlier) else []), self.lower_bound_]
        self.n_iter_, self.converged_, self.stop_reason_ = int(after.t), False, "partial_fit"
        events = {name: before.get(name, []) + found for name, found in collapse.record().items()}
        self.diagnostics_ = {"start": self.init_params, **events}
