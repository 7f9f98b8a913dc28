"""What the estimators share: parameters in, engine, fitted attributes out."""

import time
import warnings
from dataclasses import replace
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.exceptions import ConvergenceWarning

from fastem.checkpoint import Checkpoint, Weighed, settings_of
from fastem.data import Data
from fastem.engine import tree
from fastem.engine.accelerate import METHODS
from fastem.engine.interrupt import interruptible
from fastem.engine.labelled import LabelledMixture
from fastem.engine.model import Mixture, MixtureParams
from fastem.engine.monitor import HISTORY, Rules
from fastem.engine.threads import one_library_thread
from fastem.far_rows import warning_of_far_rows
from fastem.fitting import Fitting, Outcome, Plan, batch_size
from fastem.labels import Holding, check_fixed, check_given, check_labels, labels_among, names_held, parted, start_from
from fastem.online import OnlineMixture
from fastem.scoring import FittedMixture
from fastem.sources import check_another_file
from fastem.starts import INIT_PARAMS, Start, sample_size, starting_params, warning_of_duplicates
from fastem.together import sample_of
from fastem.validation import (
    ALGORITHMS,
    check_algorithm,
    check_choice,
    check_concentration,
    check_enough_rows,
    check_numbers,
    check_plan,
    check_seed,
    check_verbose,
    warning_of_light_rows,
)
from fastem.verbose import report_ending, reporting, warning_of_ending


def store(estimator: BaseEstimator, arguments: dict[str, Any]) -> None:
    """Constructor arguments, unmodified; scikit-learn wants them written out in each class."""
    for name, value in arguments.items():
        if name not in ("self", "__class__"):
            setattr(estimator, name, value)


class MixtureEstimator(Holding, OnlineMixture, FittedMixture, DensityMixin, BaseEstimator):
    """Base of the mixture estimators. A subclass gives its family, and its attributes from and to Params."""

    _algorithms: tuple[str, ...] = ALGORITHMS
    """Those that its family has the verbs for."""

    _responds = False
    """Whether y is a response."""

    def _store(self, arguments: dict[str, Any]) -> None:
        store(self, arguments)

    def _validate_parameters(self) -> None:
        """`ValueError` where a parameter is not what it should be; those of the family are its subclass's."""
        check_numbers(self, Integral, {"n_components": 1, "n_init": 1, "max_iter": 0})
        check_numbers(self, Real, {"tol": 0} | ({} if self.max_time is None else {"max_time": 0}))
        check_verbose(self.verbose, self.verbose_interval)
        if self.n_jobs is not None and (not isinstance(self.n_jobs, Integral) or self.n_jobs == 0 or self.n_jobs < -1):
            raise ValueError(
                f"n_jobs is {self.n_jobs!r}; a number of threads, or None or -1 for all, is wanted: use None"
            )
        if self.callback is not None and not callable(self.callback):
            raise ValueError(f"callback is {self.callback!r}; pass a function of one argument")
        check_concentration(self.weight_concentration_prior)
        check_choice("init_params", self.init_params, INIT_PARAMS)
        check_choice("on_collapse", self.on_collapse, ("restart", "drop", "raise"))
        check_choice("accelerate", self.accelerate, (None, *METHODS))

    @property
    def _concentration(self) -> float:
        """Of the Dirichlet prior of the weights; 1 is none."""
        return 1.0 if self.weight_concentration_prior is None else float(self.weight_concentration_prior)

    @property
    def _has_prior(self) -> bool:
        """Whether any parameter has a prior."""
        return self._concentration != 1.0 or getattr(self, "prior", None) not in (None, 0)

    def _apply_inits(self, params: MixtureParams | None, start: Start) -> MixtureParams | None:
        """`params` with what the user gave in its place; with None, the start if what the user gave settles it."""
        raise NotImplementedError

    def _set_params_(self, params: MixtureParams, dtype: np.dtype) -> None:
        raise NotImplementedError

    def _check_algorithm(self, algorithm: str, held_out: Any = None) -> None:
        """`ValueError` where the family cannot be fitted by it."""
        check_algorithm(self, algorithm, self._algorithms)

    def _check_start(self, start: Start) -> None:
        """What is wrong, or odd, with the rows that a start is made from."""

    # Fitting.

    def fit(
        self,
        X,
        y=None,
        sample_weight=None,
        *,
        algorithm="batch",
        batch_size=None,
        step=None,
        held_out=None,
        labels=None,
        fixed=(),
        checkpoint=None,
        resume=False,
    ):
        """Estimate the parameters by expectation-maximization.

        Parameters
        ----------
        X : array-like (n, d), or a source
            Rows are observations. A C-contiguous float32 or float64 array is not copied. A source is read in chunks
            and never held in memory: a path, list of paths or glob (``.npy``, ``.csv``, Parquet, Feather,
            ``file.h5::dataset``, ``store.zarr::array``), an open dataset, a memory-mapped array, an object with
            ``shape`` and slices of rows, a callable that returns a fresh iterator of chunks, or :class:`fastem.Chunks`.
        y : array-like (n,), optional
            Integers from -1 to K - 1, with a -1 among them, are taken as `labels`, as scikit-learn's semi-supervised
            estimators take them; anything else is ignored. To mixtures of regressions it is the response.
        sample_weight : array-like (n,), optional
            Weight 2 counts a row twice, weight 0 leaves it out.
        algorithm : {"batch", "stepwise", "incremental"}
            "batch" is EM. "incremental" does an M-step after each batch, whose statistics replace those that it had in
            the pass before (Neal and Hinton 1998): fewer passes, the same fixed points; `history_` is the free
            energy. "stepwise" blends statistics with steps that fall (Cappé and Moulines 2009): the fewest passes, and
            the one for rows that can be read only once; it ends near the optimum, not at it.
        batch_size : int, optional
            Rows of a batch of the latter two; by default 2,000, or 50 a component if those are more, and for
            "incremental" a two-hundredth of the rows if that is more, at most 262,144.
        step : callable, optional
            Step size of batch t, such as :class:`fastem.StepSize`; for "stepwise".
        held_out : array-like (m, d), optional
            Rows that are not learned but scored after every pass, by which "stepwise" stops; without them it stops by
            the log-likelihood of each batch before it is learned.
        labels : array-like (n,), optional
            The component of each row where it is known, and -1 where it is not: known rows keep theirs. For X in
            memory and "batch". `y` of another meaning is ignored then.
        fixed : tuple of str, optional
            Parameters that keep their starting values, by the names of their attributes, such as
            ``("weights", "means")``; of a product also keys, whose groups keep all of theirs. For "batch".
        checkpoint : path, optional
            After every iteration, all that is needed to go on is written there. Of the files that may be there already,
            a checkpoint alone is replaced.
        resume : bool, default False
            Go on from the checkpoint, or start where there is no such file yet. The result is that of the fit that was
            never interrupted. Rows, columns, dtype, total weight and a sample of the rows must be those of that fit.

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
        self._validate_parameters()
        check_plan(algorithm, batch_size, step, held_out, checkpoint, resume)
        self._check_algorithm(algorithm, held_out)
        fixed, labels = names_held(fixed), labels if self._responds else labels_among(labels, y, self.n_components)
        check_fixed(self, fixed)
        if algorithm != "batch" and (labels is not None or fixed):
            raise ValueError(f"labels and fixed are for algorithm='batch', and it is {algorithm!r}: choose 'batch'")
        on_rows = getattr(callback := reporting(self), "on_rows", None)
        with self._opened(X, sample_weight, y, reset=True, on_rows=on_rows) as data, interruptible() as interrupted:
            check_another_file(X, checkpoint, "checkpoint")
            with one_library_thread(), np.errstate(over="ignore", under="ignore", invalid="ignore"):
                rules = Rules(float(self.tol), self.max_iter, self.max_time, callback, interrupted)
                judged = self._held_out(held_out, data.dtype)
                plan = Plan(algorithm, batch_size, step, judged, self.accelerate, labels, fixed)
                self._fit(data, plan, checkpoint, resume, rules)
        return self

    def fit_predict(self, X, y=None, sample_weight=None):
        """Fit, then the most probable component of each row; the same labels as ``fit(X, y).predict(X)``."""
        return self.fit(X, y, sample_weight=sample_weight).predict(X)

    def _fit(self, data: Data, plan: Plan, path: Any, resume: bool, rules: Rules) -> None:
        started = time.perf_counter()
        random_state = check_seed(self.random_state)
        data.check_algorithm(plan.algorithm)
        checkpoint = Checkpoint(path, self._settings(data, plan))
        checkpoint.prepare(resume)
        saved = checkpoint.read() if resume else None
        seed = saved.plain["seed"] if saved else int(random_state.randint(np.iinfo(np.int32).max))
        random_state = np.random.RandomState() if saved else random_state  # to be set, and so one of our own
        rng = np.random.default_rng(seed)
        size = sample_size(self.n_components, data.n_features)
        head = data.head(batch_size(plan, data, self.n_components), size) if data.once else data.chunks
        sample = sample_of(self, weighed := Weighed(head), data, size, rng)
        data, model = self._model(data, plan)  # now that all rows were seen
        data.settle()
        if plan.held_out is not None:
            self._check_rows(plan.held_out.X, reset=False)
        checkpoint.recognise(sample, weighed.weight, None if data.once else saved)
        check_enough_rows(sample, self.n_components)

        def stop() -> bool:
            return rules.interrupted() or (self.max_time is not None and time.perf_counter() - started >= self.max_time)

        start = Start.of(model, self.n_components, sample, stop)
        self._check_start(start)
        if few := warning_of_duplicates(start):
            warnings.warn(few, ConvergenceWarning, stacklevel=3)
        if self._has_prior and (light := warning_of_light_rows(weighed.weight, weighed.rows)):
            warnings.warn(light, UserWarning, stacklevel=3)
        given = self._fixed_start(start, plan.fixed)
        if far := warning_of_far_rows(self, start, len(sample.X) < size, given is None):
            warnings.warn(far, UserWarning, stacklevel=3)
        known = model.known if isinstance(model, LabelledMixture) else {}
        starting = (lambda: self._start(start, random_state, known)) if given is None else (lambda: given)
        fitting = Fitting(
            model, data, start, rules, plan, self.on_collapse, starting, checkpoint, random_state, rng, seed, started
        )
        outcome = fitting.run(1 if data.once or given is not None else self.n_init, saved)
        self._record(outcome, data.dtype, self.init_params if given is None else "given")
        self.fixed_ = sorted(model.fixed)

    def _settings(self, data: Data, plan: Plan) -> dict[str, Any]:
        """What a fit that is resumed must have in common with the one that was broken off."""
        return settings_of(self, data, plan)

    def _goes_on(self) -> bool:
        """Whether a warm start finds parameters of the settings."""
        return True

    def _fixed_start(self, start: Start, fixed: tuple[Any, ...] = ()) -> MixtureParams | None:
        """The one start that a warm start or starting values leave, or None."""
        if self.warm_start and hasattr(self, "weights_") and self._goes_on():
            params = self._get_params_()
            rows = np.repeat(start.sample.X[:1].astype(np.float64), start.k, axis=0)
            wanted = start.model.family.spread_about(rows, start.scale)
            if tree.shapes(params.components) == tree.shapes(wanted):
                return params
        if self.warm_start:
            check_given(self, fixed, "or go on from a fit with the same components, columns and settings")
        return self._apply_inits(None, start)

    def _model(self, data: Data, plan: Plan) -> tuple[Data, Mixture]:
        """The mixture, and the rows of which it has to find the components."""
        fixed = frozenset(map(self._told, plan.fixed))
        family = self._family(data.dtype)
        if plan.labels is None:
            return data, Mixture(family, self.n_jobs, fixed, self._concentration)
        if data.rows is not None:
            raise ValueError(
                f"labels were given, and X is read in chunks from {data.rows.source.name}; rows in memory are wanted "
                "with labels. Read them first, e.g. with numpy.load or pandas.read_parquet"
            )
        if self.on_collapse == "drop":
            raise ValueError(
                "labels were given, and on_collapse='drop' may renumber the components: use on_collapse='restart' or "
                "'raise'"
            )
        (whole,) = data.chunks
        rest, known = parted(whole, check_labels(plan.labels, len(whole.X), self.n_components))
        model = LabelledMixture(family, self.n_jobs, known, fixed, self._concentration)
        return replace(data, chunks=[rest]), model

    def _start(self, start: Start, random_state: np.random.RandomState, known: Any = None) -> MixtureParams:
        if known:
            params = start_from(start, known, random_state)
        else:
            params = starting_params(self.init_params, start, random_state, vars(self).get("_growth"))
        return start.floored(self._apply_inits(params, start) or params)

    def _record(self, outcome: Outcome, dtype: np.dtype, start: str) -> None:
        monitor = outcome.monitor
        self._set_params_(outcome.params, dtype)
        self.__dict__.pop("online_", None)
        self.history_ = np.array(monitor.history, HISTORY)
        self.lower_bounds_ = [float(v) for v in self.history_["log_likelihood"] / monitor.weight]
        self.lower_bound_ = self.lower_bounds_[-1] if self.lower_bounds_ else -np.inf
        self.n_iter_ = monitor.n_iter
        self.converged_ = monitor.converged
        self.stop_reason_ = monitor.stop_reason
        self.diagnostics_ = {"start": start, **outcome.record()}
        report_ending(self)
        if words := warning_of_ending(self, monitor.fall, outcome.collapse.only_alone):
            warnings.warn(words, ConvergenceWarning, stacklevel=4)
