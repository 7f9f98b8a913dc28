"""How many components, and of which shape: fits over a grid, judged by one criterion."""

import itertools
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from sklearn.exceptions import ConvergenceWarning

from fastem.engine.initialize import subsample
from fastem.engine.model import Mixture, MixtureParams
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
        first.
    criterion : str
    """

    best: Any
    table: Any
    criterion: str


def select(
    X,
    n_components=range(1, 10),
    *,
    criterion="bic",
    estimator=GaussianMixture,
    sample_weight=None,
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
        "heldout" is minus the mean log-density of rows that were not fitted; of all the least is best.
    estimator : class, default GaussianMixture
    sample_weight : array-like (n,), optional
    held_out : float or array-like (m, d), default 0.2
        For "heldout": those rows, or the share of X that is held out at random, where X is in memory.
    warm : bool, default True
        Begin each size also from the one before it of the same settings, with a component more where the data are
        worst explained, and keep the better fit.
    random_state : int, RandomState or None
    progress : bool, default False
        Show a bar.
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
    sizes = sorted({int(k) for k in np.atleast_1d(np.array(n_components))})
    if not sizes or sizes[0] < 1:
        raise ValueError(f"n_components is {n_components!r}; numbers of at least 1 are wanted: try range(1, 10)")
    random_state = check_seed(random_state)
    fitted, judged = X, held_out
    if criterion == "heldout":
        fitted, sample_weight, judged = _parted(X, sample_weight, held_out, random_state)
    seed = int(random_state.randint(np.iinfo(np.int32).max))
    jobs = list(_grid(settings))
    steps: Any = itertools.product(jobs, sizes)
    if progress:
        steps = track(list(steps), "selecting", console=Console(stderr=True), transient=True)
    rows, models = [], []
    before: Any = None
    for chosen, k in steps:
        model = estimator(n_components=k, random_state=seed, **chosen)
        before = before if warm and before is not None and before[0] == chosen else None
        model = _better(model, before and before[1], fitted, sample_weight)
        before = chosen, model
        value = -model.score(judged) if criterion == "heldout" else getattr(model, criterion)(fitted, sample_weight)
        varied = {name: chosen[name] for name in chosen if _is_many(settings[name])}
        rows.append({"n_components": k, **varied, "log_likelihood": model.lower_bound_, criterion: float(value)})
        seconds = float(model.history_["seconds"][-1]) if len(model.history_) else 0.0
        rows[-1] |= {"n_iter": model.n_iter_, "converged": model.converged_, "seconds": seconds}
        models.append(model)
    order = np.argsort([row[criterion] for row in rows], kind="stable")
    return Selection(models[order[0]], _table([rows[i] for i in order]), criterion)


def _is_many(value: Any) -> bool:
    return isinstance(value, (list, tuple, range))


def _grid(settings: dict[str, Any]) -> Iterator[dict[str, Any]]:
    many = {name: list(value) if _is_many(value) else [value] for name, value in settings.items()}
    for values in itertools.product(*many.values()):
        yield dict(zip(many, values, strict=True))


def _parted(X: Any, sample_weight: Any, held_out: Any, random_state: Any) -> tuple[Any, Any, Any]:
    """Rows to fit, their weights, and rows to judge by."""
    if np.ndim(held_out):
        return X, sample_weight, held_out
    if not 0 < held_out < 1:
        raise ValueError(f"held_out is {held_out!r}; a share above 0 and below 1, or rows, are wanted: try 0.2")
    if not hasattr(X, "shape") and not isinstance(X, list):
        raise ValueError("held_out is a share, and X is not in memory; give the rows to judge by: held_out=rows")
    n = len(X)
    rows = random_state.permutation(n)
    cut = max(1, round(held_out * n))
    take = X.iloc.__getitem__ if hasattr(X, "iloc") else np.asarray(X).__getitem__
    weight = check_weights(sample_weight, n)
    return take(rows[cut:]), None if weight is None else weight[rows[cut:]], take(rows[:cut])


def _better(model: Any, before: Any, X: Any, sample_weight: Any) -> Any:
    """The model fitted from its own start, or from the fit of one component less where that ends higher."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # `converged` stands in the table
        model.fit(X, sample_weight=sample_weight)
        if before is None or len(before.weights_) + 1 != model.n_components:
            return model
        other = type(model)(**model.get_params())
        _grown(other, before, X, sample_weight)
        other.set_params(warm_start=True).fit(X, sample_weight=sample_weight).set_params(warm_start=False)
    return other if other.lower_bound_ > model.lower_bound_ else model


def _grown(model: Any, before: Any, X: Any, sample_weight: Any) -> None:
    """Give `model` the parameters of `before`, and one component more about a row that these explain badly."""
    rng = np.random.default_rng(model.random_state)
    with model._opened(X, sample_weight, reset=True) as data:
        sample = subsample(data.chunks, sample_size(model.n_components, data.n_features), rng)
    engine = Mixture(model._family(sample.X.dtype), model.n_jobs)
    start = Start.of(engine, model.n_components, sample, lambda: False)
    model._check_start(start)
    params = before._get_params_()
    k = len(params.weights)
    log_prob = engine.rows(params, sample, "log_prob")["log_prob"]
    worst = np.argsort(log_prob, kind="stable")[: max(1, len(log_prob) // 20)]
    row = sample.X[rng.choice(worst)].astype(np.float64)
    components = engine.family.kept(params.components, np.append(np.arange(k), np.argmax(params.weights)))
    components = engine.family.reseeded(components, k, row, start.scale)
    weights = np.append(params.weights * k, 1.0) / (k + 1)
    model._set_params_(MixtureParams(weights, components), sample.X.dtype)


def _table(rows: list[dict[str, Any]]) -> Any:
    try:
        import pandas as pd
    except ImportError:
        return rows
    return pd.DataFrame(rows)
