"""Conjugate priors of mixtures: what the user says of them, and what the data fill in."""

from collections.abc import Collection, Mapping
from numbers import Real
from typing import Any

import numpy as np

from fastem.families.base import Scale
from fastem.families.factor_prior import default_factor_prior
from fastem.families.gaussian_prior import GaussianPrior, default_prior, rows_like_the_data
from fastem.families.linear_regression import LinePrior
from fastem.inits import check_init
from fastem.starts import Start
from fastem.validation import check_number

NAMED = {"default": default_prior, "data": rows_like_the_data}
ARRAYS = "mean", "scale"
EXAMPLES = {"shrinkage": 0.01, "dof": 4, "loadings": 0.01}


def check_prior(prior: Any, named: Collection[str] = tuple(NAMED), kind: Any = GaussianPrior) -> None:
    """None, one of the names, or a dict of some of the fields of a kind of prior; else `ValueError`."""
    if prior is None or (isinstance(prior, str) and prior in named):
        return
    fields = ", ".join(map(repr, kind._fields))
    if not isinstance(prior, Mapping):
        names = ", ".join(map(repr, named))
        raise ValueError(f"prior is {prior!r}; None, {names}, or a dict with some of {fields} is wanted: try 'default'")
    if unknown := [name for name in prior if name not in kind._fields]:
        raise ValueError(f"prior has {unknown[0]!r}; choose among {fields}")
    for name, example in EXAMPLES.items():
        check_number(f"prior[{name!r}]", prior.get(name, example), Real, 0, example)


def _with_numbers(prior: Any, found: Any) -> Any:
    """A prior that the data gave, with the numbers that `prior`, which `check_prior` passed, has in their place."""
    given = prior if isinstance(prior, Mapping) else {}
    return found._replace(**{name: float(given[name]) for name in given if name not in ARRAYS})


def _with_arrays(prior: Any, found: Any, columns: bool) -> Any:
    """The same of its arrays; of `columns` that are independent the scale is one number, or (d,)."""
    given = prior if isinstance(prior, Mapping) else {}
    shapes = {name: np.shape(getattr(found, name)) for name in ARRAYS}
    if columns:
        shapes["scale"] = shapes["mean"] if np.ndim(given.get("scale", 0.0)) == 1 else ()
    arrays = {
        name: check_init(f"prior[{name!r}]", given[name], shape, "what the default has")
        for name, shape in shapes.items()
        if given.get(name) is not None
    }
    if "scale" in arrays and not (_least(arrays["scale"]) > 0):
        raise ValueError("prior['scale'] is not positive definite; variances above 0 are wanted: leave it out")
    return found._replace(**arrays)


def _least(scale: np.ndarray) -> float:
    return float((np.linalg.eigvalsh(scale) if scale.ndim == 2 else scale).min())


def _weight(start: Start) -> float:
    weight = start.sample.sample_weight
    return float(weight.sum()) if weight.size else float(len(start.T))


def _forget(estimator: Any) -> None:
    for name in ("prior_mean_", "prior_scale_"):
        estimator.__dict__.pop(name, None)


def _learn(estimator: Any, start: Start, found: Any, columns: bool) -> None:
    prior = _with_arrays(estimator.prior, _with_numbers(estimator.prior, found), columns)
    start.model.family.prior = prior
    estimator.prior_mean_, estimator.prior_scale_ = prior.mean, prior.scale[()]


def learn_prior(estimator: Any, start: Start) -> None:
    """Give the family of a start the prior of `estimator`, whose `prior_mean_` and `prior_scale_` are set; if any."""
    _forget(estimator)
    if estimator.prior is not None:
        named = NAMED[estimator.prior if isinstance(estimator.prior, str) else "default"]
        kind = estimator.covariance_type
        found = named(start.scale, _weight(start), start.k, kind, start.model.family.eps)
        _learn(estimator, start, found, kind == "diag")


def learn_factor_prior(estimator: Any, start: Start) -> None:
    """The same of factor analysers."""
    _forget(estimator)
    if estimator.prior is not None:
        _learn(estimator, start, default_factor_prior(start.scale, _weight(start), start.k), True)


def recall_prior(estimator: Any, family: Any, kind: Any = GaussianPrior) -> None:
    """Give `family` that of a fit, from what it left: mean and scale may have come from data that are gone."""
    if estimator.prior is not None and hasattr(estimator, "prior_mean_"):
        arrays = (np.asarray(getattr(estimator, f"prior_{name}_"), dtype=np.float64) for name in ARRAYS)
        family.prior = _with_numbers(estimator.prior, kind.about(*arrays))


def learn_line_prior(estimator: Any, start: Start) -> None:
    """Give the family of a start the prior of `estimator`, whose `prior_scale_` is set; if any.

    That is the scale of the default prior of data of one column, y.
    """
    _forget(estimator)
    if estimator.prior:
        y = Scale(start.scale.mean[-1:], start.scale.covariance[-1:, -1:], start.scale.deviation[-1:])
        found = default_prior(y, _weight(start), start.k, "diag", start.model.family.eps)
        estimator.prior_scale_ = float(found.scale)
        recall_line_prior(estimator, start.model.family)


def recall_line_prior(estimator: Any, family: Any) -> None:
    """Give `family`, which knows the scale of the data, that of a fit: `prior` rows, and `prior_scale_`."""
    if estimator.prior and hasattr(estimator, "prior_scale_"):
        pull = estimator.prior * np.diagonal(family.scale.covariance)[:-1]
        family.prior = LinePrior(pull, 3.0, float(estimator.prior_scale_))


def learn_rows_prior(estimator: Any, start: Start) -> None:
    """Give the family of a start the prior of `estimator`, whose `prior_mean_` is set; if any.

    That is the mean of y, and half a count of all rows where there is none, or no failure.
    """
    _forget(estimator)
    if estimator.prior:
        least = 0.5 / max(_weight(start), 1.0)
        estimator.prior_mean_ = float(start.model.family.inside(float(start.scale.mean[-1]), least))
        recall_rows_prior(estimator, start.model.family)


def recall_rows_prior(estimator: Any, family: Any) -> None:
    """Give `family`, which knows the scale of the data, that of a fit: `prior` rows, and `prior_mean_`."""
    if estimator.prior and hasattr(estimator, "prior_mean_"):
        family.prior = family.prior_of(float(estimator.prior), float(estimator.prior_mean_), family.scale)
