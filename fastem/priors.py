"""Conjugate priors of mixtures: what the user says of them, and what the data fill in."""

from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np

from fastem.families.base import Scale
from fastem.families.gaussian_prior import SHRINKAGE, GaussianPrior, default_prior, rows_like_the_data
from fastem.families.linear_regression import LinePrior
from fastem.inits import check_init
from fastem.starts import Start
from fastem.validation import check_number

NAMED = {"default": default_prior, "data": rows_like_the_data}


def check_prior(prior: Any) -> None:
    """None, "default", "data", or a dict of some of the fields of `GaussianPrior`; else `ValueError`."""
    if prior is None or (isinstance(prior, str) and prior in NAMED):
        return
    fields = ", ".join(map(repr, GaussianPrior._fields))
    if not isinstance(prior, Mapping):
        raise ValueError(
            f"prior is {prior!r}; None, 'default', 'data', or a dict with some of {fields} is wanted: try 'default'"
        )
    if unknown := [name for name in prior if name not in GaussianPrior._fields]:
        raise ValueError(f"prior has {unknown[0]!r}; choose among {fields}")
    for name, example in (("shrinkage", 0.01), ("dof", 4)):
        check_number(f"prior[{name!r}]", prior.get(name, example), Real, 0, example)


def prior_for(prior: Any, start: Start, covariance_type: str) -> GaussianPrior:
    """What `check_prior` passed, with the rest from the sample of a start."""
    named = NAMED[prior if isinstance(prior, str) else "default"]
    found = named(start.scale, _weight(start), start.k, covariance_type, start.model.family.eps)
    if isinstance(prior, str):
        return found
    d, shapes = len(found.mean), {name: np.shape(getattr(found, name)) for name in ("mean", "scale")}
    if covariance_type == "diag" and np.ndim(prior.get("scale", 0.0)) == 1:
        shapes["scale"] = (d,)
    arrays = {
        name: check_init(f"prior[{name!r}]", prior[name], shape, "what the default has")
        for name, shape in shapes.items()
        if prior.get(name) is not None
    }
    numbers = {name: float(prior[name]) for name in ("shrinkage", "dof") if name in prior}
    if "scale" in arrays and not (_least(arrays["scale"]) > 0):
        raise ValueError("prior['scale'] is not positive definite; variances above 0 are wanted: leave it out")
    return GaussianPrior(**{**found._asdict(), **arrays, **numbers})


def _least(scale: np.ndarray) -> float:
    return float((np.linalg.eigvalsh(scale) if scale.ndim == 2 else scale).min())


def _weight(start: Start) -> float:
    weight = start.sample.sample_weight
    return float(weight.sum()) if weight.size else float(len(start.T))


def learn_prior(estimator: Any, start: Start) -> None:
    """Give the family of a start the prior of `estimator`, whose `prior_mean_` and `prior_scale_` are set; if any."""
    for name in ("prior_mean_", "prior_scale_"):
        estimator.__dict__.pop(name, None)
    if estimator.prior is not None:
        prior = start.model.family.prior = prior_for(estimator.prior, start, estimator.covariance_type)
        estimator.prior_mean_, estimator.prior_scale_ = prior.mean, prior.scale[()]


def recall_prior(estimator: Any, family: Any) -> None:
    """Give `family` that of a fit, from what it left: mean and scale may have come from data that are gone."""
    if estimator.prior is None or not hasattr(estimator, "prior_mean_"):
        return
    numbers = {} if isinstance(estimator.prior, str) else estimator.prior
    mean = np.asarray(estimator.prior_mean_, dtype=np.float64)
    family.prior = GaussianPrior(
        float(numbers.get("shrinkage", SHRINKAGE)),
        mean,
        float(numbers.get("dof", len(mean) + 2)),
        np.asarray(estimator.prior_scale_, float),
    )


def learn_line_prior(estimator: Any, start: Start) -> None:
    """Give the family of a start the prior of `estimator`, whose `prior_scale_` is set; if any.

    That is the scale of the default prior of data of one column, y.
    """
    estimator.__dict__.pop("prior_scale_", None)
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
