"""Starting parameters: scikit-learn's four, and the race. The seeding is scikit-learn's."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from sklearn.cluster import KMeans, kmeans_plusplus
from threadpoolctl import threadpool_limits

from fastem.engine import threads
from fastem.engine.chunks import Chunk
from fastem.engine.initialize import race, subsample
from fastem.engine.model import MixtureParams
from fastem.families.base import Scale
from fastem.validation import distinct_rows

INIT_PARAMS = ("race", "kmeans", "k-means++", "random", "random_from_data")
RUNNERS = 12
"""Starts in a race; more where the sample is small and a step costs next to nothing."""
BLOCK = 1 << 16
"""Rows at a time where a start looks at all data."""


class Start(NamedTuple):
    """What a start is made for and from: the model, K, all rows, and a sample of them with its spread."""

    model: Any
    k: int
    data: Chunk
    sample: Chunk
    scale: Scale


def sample_size(k: int, d: int) -> int:
    """Rows of the sample: enough that K covariances do not fit its noise."""
    return int(np.clip(30 * k * (d + 3), 4096, 50_000))


def scale_of(sample: Chunk) -> Scale:
    """Mean, covariance and standard deviations (positive, where a column is constant) of the sample."""
    X, weight = sample.X.astype(np.float64), sample.sample_weight
    w = weight / weight.sum() if weight.size else np.full(len(X), 1.0 / len(X))
    mean = X[0] + w @ (X - X[0])
    y = X - mean
    covariance = (w[:, None] * y).T @ y
    deviation = np.sqrt(np.diagonal(covariance))
    fallback = np.where(mean != 0, 1e-6 * np.abs(mean), 1.0)
    return Scale(mean, covariance, np.where(deviation > 1e-9 * np.abs(mean), deviation, fallback))


def starting_params(
    init_params: str, start: Start, random_state: np.random.RandomState, repair: Callable
) -> MixtureParams:
    """The parameters EM begins with."""
    if init_params == "race":
        candidates = list(_candidates(start, random_state, repair))
        return race(start.model, candidates, start.sample, repair)
    if init_params == "random":
        seed = random_state.randint(np.iinfo(np.int32).max)
        return _from_blocks(start, lambda: _random_blocks(start, seed), repair)
    if init_params == "random_from_data":
        weight = start.data.sample_weight
        p = weight / weight.sum() if weight.size else None
        rows = random_state.choice(len(start.data.X), start.k, replace=False, p=p)
        components = start.model.family.spread_about(start.data.X[rows], start.scale)
        return MixtureParams(np.full(start.k, 1.0 / start.k), components)
    if init_params == "k-means++":
        X = start.sample.X.astype(np.float64) - start.scale.mean
        centres, _ = kmeans_plusplus(X, start.k, sample_weight=_weights(start.sample), random_state=random_state)
        return from_centres(start, centres + start.scale.mean, repair)
    labels = _kmeans_labels(start.data.X, start.k, _weights(start.data), random_state)
    return _from_blocks(start, lambda: _label_blocks(start.data, lambda rows: labels[rows], start.k), repair)


def _kmeans_labels(X: np.ndarray, k: int, weight: np.ndarray | None, random_state: Any, **options: Any) -> np.ndarray:
    """Labels by one run of scikit-learn's k-means."""
    # Not more clusters than distinct rows: scikit-learn would warn at every call, and we have warned of it once.
    k = distinct_rows(X if weight is None else X[weight > 0], k)
    # One thread in a forked child, where GNU OpenMP would wait forever for the others.
    limit = threadpool_limits(1, user_api="openmp") if threads.forked else contextlib.nullcontext()
    with limit:
        return KMeans(k, n_init=1, random_state=random_state, **options).fit(X, sample_weight=weight).labels_


def from_centres(start: Start, centres: np.ndarray, repair: Callable) -> MixtureParams:
    """An M-step from each row given to its nearest centre, in units of the data's standard deviations."""
    scaled = (centres - start.scale.mean) / start.scale.deviation

    def nearest(rows: slice) -> np.ndarray:
        z = (start.data.X[rows] - start.scale.mean) / start.scale.deviation
        return np.argmin((scaled**2).sum(axis=1) - 2 * z @ scaled.T, axis=1)

    return _from_blocks(start, lambda: _label_blocks(start.data, nearest, start.k), repair)


def _candidates(start: Start, random_state: np.random.RandomState, repair: Callable) -> Iterator[MixtureParams]:
    """k-means++ seeds and short k-means runs on the sample: as it is, standardised, and whitened."""
    X, weight = start.sample.X.astype(np.float64) - start.scale.mean, _weights(start.sample)
    values, vectors = np.linalg.eigh(start.scale.covariance / np.outer(start.scale.deviation, start.scale.deviation))
    standard = X / start.scale.deviation
    whitened = standard @ vectors / np.sqrt(np.maximum(values, 1e-6 * max(values[-1], 1e-300)))
    on_sample = start._replace(data=start.sample)
    runners = int(np.clip(400_000 // X.size, RUNNERS, 4 * RUNNERS))
    for r in range(runners):
        space = (X, standard, whitened)[r % 3]
        seed = random_state.randint(np.iinfo(np.int32).max)
        if r < runners // 2:
            labels = _kmeans_labels(space, start.k, weight, seed, max_iter=30)
        else:
            centres, _ = kmeans_plusplus(space, start.k, sample_weight=weight, random_state=seed)
            labels = np.argmin((centres**2).sum(axis=1) - 2 * space @ centres.T, axis=1)
        yield _from_blocks(on_sample, _blocks_of(on_sample, labels), repair)


def _blocks_of(start: Start, labels: np.ndarray) -> Callable:
    return lambda: _label_blocks(start.data, lambda rows: labels[rows], start.k)


def _weights(data: Chunk) -> np.ndarray | None:
    return data.sample_weight if data.sample_weight.size else None


def _label_blocks(data: Chunk, labels_of: Callable[[slice], np.ndarray], k: int) -> Iterator[tuple]:
    for first in range(0, len(data.X), BLOCK):
        rows = slice(first, first + BLOCK)
        resp = np.eye(k)[labels_of(rows)]
        yield data.X[rows].astype(np.float64), _weighted(resp, data, rows)


def _random_blocks(start: Start, seed: int) -> Iterator[tuple]:
    rng = np.random.RandomState(seed)
    for first in range(0, len(start.data.X), BLOCK):
        rows = slice(first, first + BLOCK)
        X = start.data.X[rows].astype(np.float64)
        resp = rng.uniform(size=(len(X), start.k))
        yield X, _weighted(resp / resp.sum(axis=1, keepdims=True), start.data, rows)


def _weighted(resp: np.ndarray, data: Chunk, rows: slice) -> np.ndarray:
    return resp * data.sample_weight[rows, None] if data.sample_weight.size else resp


def _from_blocks(start: Start, blocks: Callable, repair: Callable) -> MixtureParams:
    sum_w, components = start.model.family.from_responsibilities(blocks, start.k, start.scale)
    return repair(MixtureParams(sum_w / sum_w.sum(), components), None)


__all__ = ["INIT_PARAMS", "Start", "from_centres", "sample_size", "scale_of", "starting_params", "subsample"]
