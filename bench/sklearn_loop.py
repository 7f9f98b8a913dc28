"""EM over the chunks of a file as a user of scikit-learn writes it, who fits nothing in parts."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median

import numpy as np
from sklearn.mixture import GaussianMixture
from sklearn.mixture._gaussian_mixture import _compute_precision_cholesky


def sklearn_loop(path: Path, start: dict[str, np.ndarray], n_iter: int, rows: int = 1 << 16) -> tuple[float, float]:
    """Return the seconds of an iteration over a memory map, and the log-likelihood of the last one, nats a row."""
    X = np.load(path, mmap_mode="r")
    k, d = start["means_init"].shape
    model = GaussianMixture(k, **start)
    model.weights_, model.means_ = start["weights_init"], start["means_init"].astype(float)
    model.precisions_cholesky_ = np.linalg.cholesky(start["precisions_init"].astype(float))
    seconds, log_likelihood = [], 0.0
    for _ in range(n_iter):
        begun = time.perf_counter()
        weight, sums, squares, log_likelihood = np.zeros(k), np.zeros((k, d)), np.zeros((k, d, d)), 0.0
        for first in range(0, len(X), rows):
            part = np.asarray(X[first : first + rows], float)
            mean_log_prob, log_resp = model._e_step(part)
            resp = np.exp(log_resp)
            weight += resp.sum(axis=0)
            sums += resp.T @ part
            for j in range(k):
                squares[j] += (resp[:, j] * part.T) @ part
            log_likelihood += mean_log_prob * len(part) / len(X)
        model.weights_, model.means_ = weight / weight.sum(), sums / weight[:, None]
        means = model.means_
        covariances = squares / weight[:, None, None] - means[:, :, None] * means[:, None, :]
        model.precisions_cholesky_ = _compute_precision_cholesky(covariances, "full")
        seconds.append(time.perf_counter() - begun)
    return median(seconds), log_likelihood
