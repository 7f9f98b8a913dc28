"""The prior of a Gaussian mixture: what the user says of it, and what the data fill in."""

from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np

from fastem.families.gaussian_prior import SHRINKAGE, GaussianPrior, default_prior, rows_like_the_data
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
    weight, eps = start.sample.sample_weight, start.model.family.eps
    total = float(weight.sum()) if weight.size else float(len(start.T))
    named = NAMED[prior if isinstance(prior, str) else "default"]
    found = named(start.scale, total, start.k, covariance_type, eps)
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


def known_prior(prior: Any, mean: np.ndarray, scale: Any) -> GaussianPrior:
    """That of a fit, from what it left: mean and scale may have come from data that are gone."""
    numbers = {} if isinstance(prior, str) else prior
    mean = np.asarray(mean, dtype=np.float64)
    return GaussianPrior(
        float(numbers.get("shrinkage", SHRINKAGE)),
        mean,
        float(numbers.get("dof", len(mean) + 2)),
        np.asarray(scale, float),
    )
