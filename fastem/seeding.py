"""Many runs of k-means++ and k-means at once, for few rows: there a call of scikit-learn's is nearly all overhead.

Arthur and Vassilvitskii (2007), k-means++: the advantages of careful seeding, SODA 07; the greedy form of scikit-learn.
"""

import numpy as np

ITERATIONS, MOST_ITERATIONS = 30, 300
"""Of k-means that only begins a race, and of one that is the start."""


def seeds(X: np.ndarray, k: int, runs: int, weight: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
    """Centres (runs, k, d) among the rows (n, d): each the best of a few, drawn by distance to those before."""
    n, every = len(X), np.arange(runs)
    weight = np.ones(n) if weight is None else weight
    rows = np.empty((runs, k), int)
    rows[:, 0] = rng.choice(n, size=runs, p=weight / weight.sum())
    near = _squares(X, X[rows[:, :1]])[:, 0]
    for j in range(1, k):
        sums = np.cumsum(near * weight, axis=1)
        marks = rng.random((runs, 2 + int(np.log(k)))) * sums[:, -1:]
        drawn = np.minimum((sums[:, None] <= marks[:, :, None]).sum(axis=2), n - 1)
        closer = np.minimum(near[:, None], _squares(X, X[drawn]))
        best = np.argmin(closer @ weight, axis=1)
        rows[:, j], near = drawn[every, best], closer[every, best]
    return X[rows]


def nearest(X: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Which of the centres (runs, k, d) is the nearest to each row, (runs, n)."""
    return np.argmin(np.square(centres).sum(axis=2)[:, :, None] - 2 * (centres @ X.T), axis=1)


def k_means(X: np.ndarray, centres: np.ndarray, weight: np.ndarray | None, iterations: int = ITERATIONS) -> np.ndarray:
    """Labels (runs, n) of k-means from the centres (runs, k, d); one that loses its rows stays where it is."""
    labels = nearest(X, centres)
    for _ in range(iterations):
        member = (labels[:, None] == np.arange(centres.shape[1])[:, None]).astype(float)
        member = member if weight is None else member * weight
        count = member.sum(axis=2)[:, :, None]
        centres = np.where(count > 0, member @ X / np.where(count > 0, count, 1.0), centres)
        before, labels = labels, nearest(X, centres)
        if np.array_equal(before, labels):
            break
    return labels


def distinct(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Those of the labels (runs, n) that part the rows in another way than all before them."""
    marks = rng.integers(1 << 40, size=labels.shape[1])  # sums of them tell clusters apart, and are exact
    clusters = np.arange(labels.max() + 1)[:, None]
    sums = np.sort((labels[:, None] == clusters) @ marks, axis=1)
    _, first = np.unique(sums, axis=0, return_index=True)
    return labels[np.sort(first)]


def _squares(X: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Squared distances (runs, m, n) of rows (n, d) from points (runs, m, d)."""
    norms = np.square(points).sum(axis=2)[:, :, None] + np.square(X).sum(axis=1)
    return np.maximum(norms - 2 * (points @ X.T), 0.0)
