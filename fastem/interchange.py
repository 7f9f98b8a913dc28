"""Fitted models to and from scikit-learn's own class."""

from typing import Any

import numpy as np

SHARED = (
    "n_components covariance_type tol reg_covar max_iter n_init weights_init means_init precisions_init "
    "random_state warm_start verbose verbose_interval"
).split()
FITTED = (
    "weights_ means_ covariances_ precisions_ precisions_cholesky_ converged_ n_iter_ lower_bound_ lower_bounds_ "
    "n_features_in_ feature_names_in_"
).split()


def to_sklearn(model: Any) -> Any:
    """A `sklearn.mixture.GaussianMixture` with the attributes of a fitted `fastem.GaussianMixture`."""
    from sklearn.mixture import GaussianMixture
    from sklearn.utils.validation import check_is_fitted

    check_is_fitted(model)
    init = "kmeans" if model.init_params == "race" else model.init_params
    other = GaussianMixture(init_params=init, **{name: getattr(model, name) for name in SHARED})
    return _copy(model, other.set_params(n_components=len(model.weights_)))  # fewer where components were dropped


def from_sklearn(cls: type, other: Any) -> Any:
    """A `fastem.GaussianMixture` with the attributes of a fitted `sklearn.mixture.GaussianMixture`."""
    from sklearn.mixture import GaussianMixture
    from sklearn.utils.validation import check_is_fitted

    if not isinstance(other, GaussianMixture):
        raise ValueError(
            f"from_sklearn was given an object of type {type(other).__name__}; give a fitted "
            "sklearn.mixture.GaussianMixture"
        )
    check_is_fitted(other)
    model = cls(init_params=other.init_params, **{name: getattr(other, name) for name in SHARED})
    _copy(other, model)
    model.stop_reason_ = "converged" if other.converged_ else "max_iter"
    bounds = np.asarray(getattr(other, "lower_bounds_", []), dtype=float)
    model.history_ = np.zeros(0, [("log_likelihood", float), ("seconds", float)])
    model.lower_bounds_ = [float(b) for b in bounds]
    model.diagnostics_ = {"start": other.init_params, "restarted": [], "dropped": [], "floored": []}
    return model


def _copy(source: Any, target: Any) -> Any:
    for name in FITTED:
        if hasattr(source, name):
            value = getattr(source, name)
            setattr(target, name, value.copy() if isinstance(value, np.ndarray) else value)
    return target
