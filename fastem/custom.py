"""Models of the user's own: EM from an E-step and an M-step that are plain functions."""

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from numbers import Number
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from fastem.engine import tree
from fastem.engine.accelerate import METHODS, Acceleration
from fastem.engine.em import Position, fit_em
from fastem.engine.model import MixtureStatistics
from fastem.engine.monitor import HISTORY, ConvergenceMonitor, Rules
from fastem.repeated import Again
from fastem.validation import check_choice, check_number
from fastem.wording import plural

DOUBLE = float(np.finfo(float).eps)


@dataclass(frozen=True, eq=False)
class Result:
    """Where EM ended.

    Attributes
    ----------
    params : as they were given
    log_likelihood : float
        Of `params`, in nats.
    converged : bool
    n_iter : int
        Iterations whose log-likelihood is in the history.
    history : structured array
        Fields log_likelihood and seconds, one entry an iteration.
    stop_reason : str
        "converged", "max_iter", "callback", "decreased" or "not_finite".
    runs : list of Result
        The end points of all starts, in their order; of one start that one.
    """

    params: Any
    log_likelihood: float
    converged: bool
    n_iter: int
    history: np.ndarray = field(repr=False)
    stop_reason: str
    runs: list["Result"] = field(default_factory=list, repr=False)


def em(e_step, m_step, params, data, *, tol=1e-8, max_iter=10_000, accelerate=None, callback=None):
    """Expectation-maximization for any model with something unobserved.

    Parameters
    ----------
    e_step : callable
        ``e_step(params, data) -> (statistics, log_likelihood)``: the expected complete-data statistics, and the
        log-likelihood of the data under `params`.
    m_step : callable
        ``m_step(statistics, params) -> params``: parameters that maximise the expected log-likelihood, or at least
        raise it (generalized EM). Of the same form as `params`.
    params : NamedTuple, tuple, dict or array, or a list of them
        Where to start. EM is sensitive to its start: of a list, every one is run and the best end is returned.
    data : anything, or chunks
        Handed to `e_step` as it is. Chunks are a list of arrays, a callable that returns a fresh iterator, or
        :class:`fastem.Chunks`: `e_step` is then called for each, and statistics and log-likelihoods are added.
    tol : float, default 1e-8
        EM ends when the predicted remaining gain of the log-likelihood falls below this, in nats; with `accelerate`
        also when the last 100 iterations, or the later half of a longer run, gained less, and less and less.
    max_iter : int, default 10000
    accelerate : {"squarem", "anderson"} or None
        Extrapolate, and fall back where the log-likelihood would fall. Statistics must then be defined, and parameters
        make sense, for every point between and beyond those of EM; where they do not, raise a `ValueError`, or return
        a log-likelihood that is not finite.
    callback : callable, optional
        ``callback(progress)`` after every iteration with a :class:`fastem.engine.monitor.Progress`; True ends the run.

    Returns
    -------
    Result

    Raises
    ------
    ValueError
        If a function returns something of the wrong form.

    Warns
    -----
    ConvergenceWarning
        If the log-likelihood fell, was not finite, or `max_iter` was too few.

    References
    ----------
    Dempster, Laird and Rubin (1977), Maximum likelihood from incomplete data via the EM algorithm, JRSS B 39.

    Examples
    --------
    Coin A decides whether coin B or coin C is tossed, and only that toss is seen.

    >>> import numpy as np, fastem
    >>> tosses = np.array([1, 1, 0, 1, 0, 0, 1, 0, 1, 1])
    >>> def e_step(params, x):
    ...     a, b, c = params
    ...     of_b, of_c = a * b**x * (1 - b)**(1 - x), (1 - a) * c**x * (1 - c)**(1 - x)
    ...     r = of_b / (of_b + of_c)
    ...     return (r.sum(), r @ x, (1 - r) @ x, len(x)), np.log(of_b + of_c).sum()
    >>> def m_step(statistics, params):
    ...     r, heads_b, heads_c, n = statistics
    ...     return r / n, heads_b / r, heads_c / (n - r)
    >>> result = fastem.em(e_step, m_step, [(0.5, 0.5, 0.5), (0.4, 0.6, 0.7)], tosses)
    >>> for run in result.runs:
    ...     print(np.round(run.params, 4), round(run.log_likelihood, 4))
    [0.5 0.6 0.6] -6.7301
    [0.4064 0.5368 0.6432] -6.7301
    """
    check_number("tol", tol, (int, float, np.floating), 0, 1e-8)
    check_number("max_iter", max_iter, (int, np.integer), 0, 1000)
    check_choice("accelerate", accelerate, (None, *METHODS))
    starts = params if isinstance(params, list) else [params]
    if not starts:
        raise ValueError("params is an empty list; give at least one start")
    for name, function in {"e_step": e_step, "m_step": m_step, "callback": callback}.items():
        if not callable(function) and (name != "callback" or function is not None):
            raise ValueError(f"{name} is {function!r}; a function is wanted: give its name, without parentheses")
    model, chunks = _Functions(e_step, m_step), Again(data)
    rules = Rules(tol, max_iter, callback=callback)
    try:
        runs = [_run(model, start, chunks, rules, accelerate) for start in starts]
    except (IndexError, TypeError, ValueError) as error:
        if params is starts and all(isinstance(s, Number | np.generic) for s in starts):
            error.add_note(
                f"params is a list, and so {plural(len(starts), 'start')} of one number each; if it is one start, give "
                f"a tuple or an array: {tuple(starts)}"
            )
        raise
    best = max(runs, key=lambda run: run.log_likelihood if np.isfinite(run.log_likelihood) else -np.inf)
    return replace(best, runs=runs)


def _run(model: "_Functions", start: Any, chunks: Iterable, rules: Rules, accelerate: str | None) -> Result:
    start = tree.mapped(_number, start)
    monitor = ConvergenceMonitor(rules, DOUBLE)
    acceleration = Acceleration(accelerate, rules.tol) if accelerate else None
    model.form = tree.shapes(start)
    params = fit_em(model, Position(start), chunks, monitor, acceleration=acceleration)
    if words := _trouble(monitor):
        warnings.warn(words, ConvergenceWarning, stacklevel=3)
    # The history is of the parameters before the last M-step.
    log_likelihood = float(model.e_step(params, chunks).log_likelihood)
    history, reason = np.array(monitor.history, HISTORY), monitor.stop_reason or ""
    return Result(params, log_likelihood, monitor.converged, monitor.n_iter, history, reason)


def _trouble(monitor: ConvergenceMonitor) -> str:
    """What to warn of, if anything."""
    if monitor.stop_reason == "decreased":
        return (
            f"the log-likelihood fell by {monitor.fall:.3g} in iteration {monitor.n_iter + 1}, and the parameters "
            "before it are kept: an M-step must not lower the expected log-likelihood. Check it against the E-step, "
            "e.g. with numerical derivatives"
        )
    if monitor.stop_reason == "not_finite":
        return (
            f"the log-likelihood of iteration {monitor.n_iter + 1} is not finite, and the parameters before it are "
            "kept: check e_step for logarithms of 0 and divisions by 0, or start elsewhere"
        )
    if monitor.stop_reason == "max_iter":
        return (
            f"EM did not converge in {plural(monitor.n_iter, 'iteration')}: increase max_iter, or tol (the predicted "
            "remaining gain in nats), or try accelerate='squarem'"
        )
    return ""


def _number(leaf: Any) -> Any:
    """A leaf of the starting parameters as a float or an array of floats."""
    if leaf is None:
        raise ValueError(
            "params is None, or holds None; numbers and arrays of them are wanted, in a NamedTuple, tuple or dict: "
            "give the point to start at"
        )
    try:
        array = np.array(leaf, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"params holds {leaf!r}; numbers and arrays of them are wanted, in a NamedTuple, tuple or dict. Leave out "
            "what is not estimated, and close over it instead"
        ) from error
    return array if array.ndim else float(array)


def _is_real(leaf: Any) -> bool:
    """Whether it is a number, or an array of numbers, that is not complex."""
    return np.asarray(leaf).dtype.kind in "biuf"


def _kind(params: Any) -> str:
    """What a message calls a tree."""
    keys = f" with {', '.join(map(repr, params))}" if isinstance(params, dict) else ""
    return type(params).__name__ + keys


class _Functions:
    """The user's two functions as a model that `fit_em` can run."""

    def __init__(self, e_step: Callable, m_step: Callable):
        self._e_step, self._m_step = e_step, m_step
        self.form: list[tuple[int, ...]] = []

    def e_step(self, params: Any, chunks: Iterable[Any]) -> MixtureStatistics:
        """Statistics and log-likelihood, added over the chunks; the weight is 1, so that gains are total ones."""
        total = None
        for data in chunks:
            given = self._e_step(params, data)
            if not isinstance(given, tuple) or len(given) != 2:
                raise ValueError(
                    f"e_step gave {type(given).__name__}{f' of {len(given)}' if isinstance(given, tuple) else ''}; the "
                    "pair (statistics, log_likelihood) is wanted"
                )
            statistics, log_likelihood = given
            if np.shape(log_likelihood) != () or not _is_real(log_likelihood):
                raise ValueError(
                    f"e_step gave a {type(log_likelihood).__name__} of shape {np.shape(log_likelihood)} as "
                    "log-likelihood; one number is wanted: sum it over the rows"
                )
            statistics = tree.mapped(np.array, statistics)  # not buffers that the next chunk is written to
            if not all(map(_is_real, tree.leaves(statistics))):
                raise ValueError(
                    "e_step gave statistics that are no numbers; numbers and arrays of them are wanted, in a "
                    "NamedTuple, tuple or dict: close over what is no sum over the rows"
                )
            new = MixtureStatistics(float(log_likelihood), 1.0, statistics)
            total = new if total is None else tree.add(total, new)._replace(weight=1.0)
        if total is None:
            raise ValueError("data gave no chunk; at least one is wanted")
        return total

    def m_step(self, statistics: MixtureStatistics, params: Any) -> Any:
        """The user's M-step, whose parameters must have the form of those it was given."""
        try:  # of a copy: where the objective falls, EM returns to `params`
            given = self._m_step(statistics.components, tree.mapped(_number, params))
        except (IndexError, KeyError, TypeError, ValueError) as error:
            error.add_note(
                f"m_step was given statistics of shapes {tree.shapes(statistics.components)}, the first of what e_step "
                "returned: that must be the pair (statistics, log_likelihood), with several statistics as one tuple"
            )
            raise
        if given is None:
            raise ValueError("m_step gave None; the new parameters are wanted: return them")
        found = tree.mapped(_number, given)
        try:
            ordered = tree.mapped(lambda _, leaf: leaf, params, found)  # dicts in one order, in which they are vectors
        except (KeyError, TypeError, ValueError):
            ordered = ()
        same = tree.shapes(ordered) == self.form and len(tree.leaves(found)) == len(self.form)
        if not same or type(found) is not type(params):
            raise ValueError(
                f"m_step gave a {_kind(given)} of shapes {tree.shapes(found)}; a {_kind(params)} of shapes {self.form} "
                "is wanted, as the starting params are"
            )
        return ordered

    def objective(self, params: Any, statistics: MixtureStatistics) -> float:
        """The log-likelihood."""
        return statistics.log_likelihood

    def may_fall(self, before: Any, after: Any, statistics: Any, leap: bool = False) -> float:
        """Nothing: the log-likelihood of a sound M-step never falls."""
        return 0.0

    def admitted(self, params: Any, plain: Any) -> Any:
        """An extrapolated point, which the E-step has the last word on."""
        return params if tree.is_finite(params) else None
