"""Mixtures fitted to rows with missing entries, in units in which every column varies by about 1."""

from copy import copy
from typing import Any

import numpy as np

from fastem.data import Data
from fastem.engine.chunks import Chunk
from fastem.engine.model import MixtureParams
from fastem.families.gaussian import GaussianParams
from fastem.families.gaussian_conditional import Completion
from fastem.mixture import GaussianMixture
from fastem.units import Moments, Units

AUTO, MOST_COMPONENTS = "auto", 10
"""What asks for a number of components, and a prior, that suit the rows; and the largest such number."""

REDRAWS = 1000
"""Bootstrap samples drawn at most until every column has an observed entry."""


def completion_of(mixture: GaussianMixture) -> Completion:
    """What a fitted mixture says of missing entries."""
    weights, components = mixture._get_params_()
    return Completion(weights, components, mixture.covariance_type)


def check_imputer(mixture: GaussianMixture) -> None:
    """`ValueError` where a parameter of an imputer's mixture is not what it should be."""
    k = mixture.n_components
    if isinstance(k, str) and k != AUTO:
        raise ValueError(f"n_components is {k!r}; a number of components, or {AUTO!r}, is wanted: try {AUTO!r}")
    settled(copy(mixture), 1 if isinstance(k, str) else k)._validate_parameters()


def settled(mixture: GaussianMixture, k: int) -> GaussianMixture:
    """Of k components, with the prior that "auto" stands for then."""
    mixture.n_components = k
    if isinstance(mixture.prior, str) and mixture.prior == AUTO:
        mixture.prior = None if k == 1 else "data"
    return mixture


def components_for(rows: float, d: int) -> int:
    """How many components fill gaps well: a fifth of the root of the rows, from 1 to 10, at most one a column."""
    return int(np.clip(np.round(np.sqrt(rows) / 5), 1, min(MOST_COMPONENTS, d)))


def fit_scaled(mixture: GaussianMixture, data: Data, names: Any) -> tuple[GaussianMixture, np.ndarray]:
    """Fit `mixture` to the rows, with `reg_covar` in units of the variances; and which columns (d,) miss entries."""
    if data.once:
        raise ValueError(
            f"{data.rows.source.name} can be read only once, and a fit reads the rows in every iteration. Give "
            "a callable that returns a fresh iterator at each call"
        )
    moments = Moments.of(data.pieces())
    moments.check(data.dtype, names)
    units = Units.of(moments, data.dtype, mixture.covariance_type == "spherical")
    k = mixture.n_components
    if isinstance(k, str):
        k = min(components_for(moments.total, data.n_features), moments.live)
    prior = settled(mixture, k).prior
    mixture.prior = units.of_prior(prior, mixture.covariance_type)
    if data.rows is None:
        (whole,) = data.chunks
        mixture.fit(units.scaled(whole.X), sample_weight=_weight(whole))
    else:
        mixture.fit(units.chunks(data.rows))
    if names is not None:
        mixture.feature_names_in_ = names
    mixture.prior = prior
    return _unscaled(mixture, units, moments, data.dtype), moments.missing


def refitted(
    mixture: GaussianMixture, fitted: GaussianMixture, rows: Chunk, rng: np.random.Generator, scaled: bool
) -> GaussianMixture:
    """Fit `mixture` to rows drawn with replacement, from the parameters of one that is fitted, and under its prior.

    `scaled` where that was fitted to rows in units of their own, in which its ridge is.
    """
    kind, (weights, (means, covariances)) = mixture.covariance_type, fitted._get_params_()
    counts = _resampled(rows.X, _weight(rows), rng)
    moments = Moments.of([Chunk(rows.X, counts)])
    units = Units.of(moments, rows.X.dtype, kind == "spherical") if scaled else Units.none(rows.X)
    covariances = units.of_covariances(covariances, kind, -1)
    mixture.set_params(
        n_components=len(weights),
        weights_init=weights / weights.sum(),  # of a float32 model they sum to 1 but for its rounding
        means_init=(means - units.centre) / units.scale,
        precisions_init=np.linalg.inv(covariances) if kind in ("full", "tied") else 1.0 / covariances,
        prior=units.of_prior(fitted.prior, kind),
        weight_concentration_prior=fitted.weight_concentration_prior,
        random_state=int(rng.integers(2**31)),
    )
    return _unscaled(mixture.fit(units.scaled(rows.X), sample_weight=counts), units, moments, rows.X.dtype)


def _weight(rows: Chunk) -> np.ndarray | None:
    return rows.sample_weight if rows.sample_weight.size else None


def _unscaled(mixture: GaussianMixture, units: Units, moments: Moments, dtype: np.dtype) -> GaussianMixture:
    """The mixture of scaled rows as one of the rows themselves."""
    weights, (means, covariances) = mixture._get_params_()
    covariances = units.of_covariances(covariances, mixture.covariance_type, 1)
    mixture._set_params_(MixtureParams(weights, GaussianParams(means * units.scale + units.centre, covariances)), dtype)
    if hasattr(mixture, "prior_mean_"):
        mixture.prior_mean_ = mixture.prior_mean_ * units.scale + units.centre
        mixture.prior_scale_ = units.of_covariances(mixture.prior_scale_, mixture.covariance_type, 1)
    # A density is smaller by the unit in each entry that was observed.
    nats = float(moments.weight @ np.log(units.scale.astype(float)))
    mixture.history_["log_likelihood"] -= nats
    mixture.lower_bounds_ = [bound - nats / moments.total for bound in mixture.lower_bounds_]
    mixture.lower_bound_ -= nats / moments.total
    return mixture


def _resampled(X: np.ndarray, weight: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
    """Weights of rows drawn with replacement, so that every column keeps an observed entry."""
    n, seen = len(X), ~np.isnan(X)
    for _ in range(REDRAWS):
        counts = rng.multinomial(n, np.full(n, 1.0 / n)) * (1.0 if weight is None else weight)
        if (counts @ seen > 0).all():
            return counts
    raise ValueError(
        f"{REDRAWS} bootstrap samples of X all had a column without an observed entry; leave out the columns with the "
        "fewest, or use bootstrap=False"
    )
