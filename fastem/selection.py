"""How many components, and of which shape: fits over a grid, judged by one criterion."""

import itertools
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from fastem.engine.initialize import subsample
from fastem.engine.model import Mixture
from fastem.estimator import MixtureEstimator
from fastem.growing import Growth
from fastem.mixture import GaussianMixture
from fastem.starts import Start, sample_size
from fastem.validation import check_choice, check_seed, check_weights

CRITERIA = "bic", "aic", "icl", "heldout"


@dataclass(frozen=True)
class Selection:
    """What `select` found.

    Attributes
    ----------
    best : estimator
        Fitted to all rows that were not held out.
    table : pandas.DataFrame, or list of dict without pandas
        One row a fit: its settings, log_likelihood (mean a row), the criterion, n_iter, converged, seconds; the best
        first. With a prior that log-likelihood includes the prior's logarithm, as `lower_bound_` does; the criteria
        are of the log-likelihood without it.
    criterion : str
    """

    best: Any
    table: Any
    criterion: str


class Rows(NamedTuple):
    """What `fit` takes of the rows."""

    X: Any
    y: Any = None
    sample_weight: Any = None
    labels: Any = None

    def of(self, order: np.ndarray) -> "Rows":
        """Those rows of data in memory."""
        return Rows(*(None if part is None else _take(part, order) for part in self))

    def fit(self, model: Any) -> Any:
        """The model, fitted to them."""
        return model.fit(self.X, self.y, sample_weight=self.sample_weight, labels=self.labels)


def _take(part: Any, order: np.ndarray) -> Any:
    return part.iloc[order] if hasattr(part, "iloc") else np.asarray(part)[order]


def select(
    X,
    n_components=range(1, 10),
    *,
    criterion="bic",
    estimator=GaussianMixture,
    y=None,
    sample_weight=None,
    labels=None,
    held_out=0.2,
    warm=True,
    random_state=None,
    progress=False,
    **settings,
):
    """Fit mixtures of several sizes and shapes, and pick one.

    Parameters
    ----------
    X : array-like (n, d), or a source
        What `fit` takes.
    n_components : int or iterable of int
    criterion : {"bic", "aic", "icl", "heldout"}
        "heldout" is minus the mean log-density of rows that were not fitted; of all the least is best. The best model
        is then one of the other rows: fit it anew to all of them where that matters.
    estimator : class or unfitted estimator, default GaussianMixture
        A class is called as ``estimator(n_components=k, random_state=..., **settings)``; an estimator is cloned, with
        its own settings where there are no others, its `random_state` among them.
    y, sample_weight, labels : array-like (n,), optional
        As in the estimator's `fit`: mixtures of regressions need `y`.
    held_out : float or array-like (m, d), default 0.2
        For "heldout": those rows, or the share of X that is held out at random, the same for all fits, where X is in
        memory. Weights count there too. Mixtures of regressions take a share.
    warm : bool, default True
        Begin each size also from the one before it of the same settings, with a component more where the data are
        worst explained, and keep the better fit. Of Gaussians and few rows several such starts, and some with one of
        the components cut in two, race with the others, and there is one fit.
    random_state : int, RandomState or None
    progress : bool, default False
        Show a bar on standard error, with the best fit so far.
    **settings
        Parameters of the estimator; lists and tuples are gone through, such as
        ``covariance_type=["full", "diag"]``.

    Returns
    -------
    Selection

    References
    ----------
    Schwarz (1978), Annals of Statistics 6; Fraley and Raftery (2002), JASA 97.

    Examples
    --------
    >>> import numpy as np, fastem
    >>> rng = np.random.default_rng(0)
    >>> X = np.concatenate([rng.normal(m, 1, (200, 2)) for m in (-4, 0, 4)])
    >>> found = fastem.select(X, range(1, 6), covariance_type=["tied", "full"], random_state=0)
    >>> found.best.n_components, found.best.covariance_type
    (3, 'tied')
    """
    check_choice("criterion", criterion, CRITERIA)
    given = np.atleast_1d(np.array(n_components))
    sizes = sorted({int(k) for k in given}) if given.dtype.kind in "iu" else []
    if not sizes or sizes[0] < 1:
        raise ValueError(f"n_components is {n_components!r}; numbers of at least 1 are wanted: try range(1, 10)")
    make = _maker(estimator, random_state)
    random_state = check_seed(random_state)
    fitted = judged = Rows(X, y, sample_weight, labels)
    if criterion == "heldout":
        fitted, judged = _parted(fitted, held_out, random_state)
    n = len(fitted.X) if hasattr(fitted.X, "shape") or isinstance(fitted.X, list) else sizes[-1]
    if sizes[-1] > n:  # told before the smaller ones have been fitted for nothing
        raise ValueError(
            f"n_components goes up to {sizes[-1]}, and there are {n} rows to fit: at most {n} can be tried"
        )
    seed = int(random_state.randint(np.iinfo(np.int32).max))
    steps = list(itertools.product(_grid(settings), sizes))
    rows: list[dict[str, Any]] = []
    models: list[Any] = []
    before: Any = None
    with _bar(progress) as bar:
        task = bar.add_task("selecting", total=len(steps))
        for chosen, k in steps:
            model = make(n_components=k, random_state=seed, **chosen)
            before = before if warm and before is not None and before[0] == chosen else None
            model = _better(model, before and before[1], fitted)
            before = chosen, model
            varied = {name: chosen[name] for name in chosen if _is_many(settings[name])}
            rows.append({"n_components": k, **varied, **_judged(model, criterion, judged)})
            models.append(model)
            best = min(rows, key=lambda row: row[criterion])
            words = f"{criterion} {best[criterion]:.6g} with {best['n_components']} components"
            bar.update(task, advance=1, description=words)
    order = np.argsort([row[criterion] for row in rows], kind="stable")
    return Selection(models[order[0]], _table([rows[i] for i in order]), criterion)


def _maker(estimator: Any, random_state: Any) -> Callable:
    """What makes the models."""
    known = issubclass if isinstance(estimator, type) else isinstance
    if not known(estimator, MixtureEstimator) and (hasattr(estimator, "get_params") or not callable(estimator)):
        raise ValueError(
            f"estimator is {estimator!r}; a mixture of fastem is wanted, as a class or an object: try "
            "fastem.PoissonMixture()"
        )
    if isinstance(estimator, type) or not hasattr(estimator, "get_params"):
        return estimator
    keep = random_state is None and estimator.random_state is not None

    def make(random_state: Any, **settings: Any) -> Any:
        return clone(estimator).set_params(**settings if keep else settings | {"random_state": random_state})

    return make


def _bar(progress: bool) -> Progress:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    return Progress(*columns, console=Console(stderr=True), transient=True, disable=not progress)


def _judged(model: Any, criterion: str, rows: Rows) -> dict[str, Any]:
    """What the table holds of a fit."""
    if model._responds and rows.y is None:
        raise ValueError(
            "held_out is rows without y, and mixtures of regressions are judged by the y of rows, too: give a share "
            "of X to hold out, such as 0.2"
        )
    X, weight = (rows.X, rows.y) if model._responds else (rows.X,), rows.sample_weight
    value = -model.score(*X, sample_weight=weight) if criterion == "heldout" else getattr(model, criterion)(*X, weight)
    seconds = float(model.history_["seconds"][-1]) if len(model.history_) else 0.0
    ending = {"n_iter": model.n_iter_, "converged": model.converged_, "seconds": seconds}
    return {"log_likelihood": model.lower_bound_, criterion: float(value), **ending}


def _is_many(value: Any) -> bool:
    return isinstance(value, (list, tuple, range))


def _grid(settings: dict[str, Any]) -> Iterator[dict[str, Any]]:
    many = {name: list(value) if _is_many(value) else [value] for name, value in settings.items()}
    if empty := [name for name, values in many.items() if not values]:
        raise ValueError(f"{empty[0]} is empty; values to go through are wanted: give at least one, or leave it out")
    for values in itertools.product(*many.values()):
        yield dict(zip(many, values, strict=True))


def _parted(rows: Rows, held_out: Any, random_state: Any) -> tuple[Rows, Rows]:
    """Rows to fit, and rows to judge by."""
    if np.ndim(held_out):
        return rows, Rows(held_out)
    if not isinstance(held_out, float | np.floating) or not 0 < held_out < 1:
        raise ValueError(f"held_out is {held_out!r}; a share above 0 and below 1, or rows, are wanted: try 0.2")
    if not hasattr(rows.X, "shape") and not isinstance(rows.X, list):
        raise ValueError("held_out is a share, and X is not in memory; give the rows to judge by: held_out=rows")
    n = len(rows.X)
    check_weights(rows.sample_weight, n)
    order = random_state.permutation(n)
    cut = max(1, round(held_out * n))
    return rows.of(order[cut:]), rows.of(order[:cut])


def _better(model: Any, before: Any, rows: Rows) -> Any:
    """The model fitted from its own start, or from the fit of one component less where that ends higher."""
    growth = None
    if before is not None and len(before.weights_) + 1 == model.n_components:
        growth = Growth(before._get_params_())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # `converged` stands in the table
        model._growth = growth
        rows.fit(model)
        del model._growth
        if growth is None or growth.raced:
            return model
        other = type(model)(**model.get_params(deep=False))
        _grown(other, before, growth, rows)
        rows.fit(other.set_params(warm_start=True)).set_params(warm_start=False)
    return other if other.lower_bound_ > model.lower_bound_ else model


def _grown(model: Any, before: Any, growth: Growth, rows: Rows) -> None:
    """Give `model` the parameters of `before`, and one component more about a row that these explain badly."""
    rng = np.random.default_rng(model.random_state)
    with model._opened(rows.X, rows.sample_weight, rows.y, reset=True) as data:
        sample = subsample(data.chunks, sample_size(model.n_components, data.n_features), rng)
    engine = Mixture(model._family(sample.X.dtype), model.n_jobs)
    start = Start.of(engine, model.n_components, sample, lambda: False)
    model._check_start(start)
    if hasattr(before, "centre_"):  # about which the parameters of regressions are
        model.centre_ = engine.family.centre = before.centre_
    model._set_params_(growth.one(start, rng), sample.X.dtype)


def _table(rows: list[dict[str, Any]]) -> Any:
    try:
        import pandas as pd
    except ImportError:
        return rows
    return pd.DataFrame(rows)
