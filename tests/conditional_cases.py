"""Mixtures as if they had been fitted, and what the textbook says of a row's missing entries."""

from __future__ import annotations

from typing import Any

import numpy as np
from reference import Parameters, joint_log_prob, matrices
from scipy.special import softmax

import fastem
from fastem.engine.model import MixtureParams
from fastem.families.gaussian import GaussianParams

NAMES = np.array(["a", "b", "c", "d"], dtype=object)


def parameters(covariance_type: str, k: int = 3, d: int = 4, seed: int = 0) -> Parameters:
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((k, d, d))
    full = a @ a.swapaxes(1, 2) + 0.3 * np.eye(d)
    covariances = {
        "full": full,
        "tied": full[0],
        "diag": np.einsum("kjj->kj", full).copy(),
        "spherical": full[:, 0, 0].copy(),
    }
    return Parameters(rng.dirichlet(np.full(k, 5.0)), 1.5 * rng.standard_normal((k, d)), covariances[covariance_type])


def fitted(truth: Parameters, covariance_type: str, dtype: Any = np.float64) -> fastem.GaussianMixture:
    """A model with these parameters, as if it had been fitted."""
    k, d = truth.means.shape
    model = fastem.GaussianMixture(k, covariance_type=covariance_type)
    model.n_features_in_, model.feature_names_in_ = d, NAMES[:d]
    model._set_params_(MixtureParams(truth.weights, GaussianParams(*truth[1:])), np.dtype(dtype))
    model.converged_, model.n_iter_, model.stop_reason_, model.history_ = True, 1, "converged", np.zeros(0)
    return model


def given_row(truth: Parameters, covariance_type: str, row: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights, means and covariances of the components given the entries of a row that are not NaN: the textbook."""
    m, o = np.isnan(row), ~np.isnan(row)
    full = matrices(truth, covariance_type)
    weights = truth.weights
    if o.any():
        seen = Parameters(truth.weights, truth.means[:, o], np.stack([S[np.ix_(o, o)] for S in full]))
        weights = softmax(joint_log_prob(row[None, o], seen, "full")[0])
    means, covariances = [], []
    for mu, S in zip(truth.means, full, strict=True):
        B = S[np.ix_(m, o)] @ np.linalg.inv(S[np.ix_(o, o)])
        means.append(mu[m] + B @ (row[o] - mu[o]))
        covariances.append(S[np.ix_(m, m)] - B @ S[np.ix_(o, m)])
    return weights, np.stack(means), np.stack(covariances)


def moments(weights: np.ndarray, means: np.ndarray, covariances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of a mixture."""
    mean = weights @ means
    apart = means - mean
    return mean, np.einsum("k,kij->ij", weights, covariances) + (weights[:, None] * apart).T @ apart
