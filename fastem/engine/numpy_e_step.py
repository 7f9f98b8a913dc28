"""The E-step in NumPy, for families that are written in it: ``log_prob(X, params)`` and ``statistics(X, resp)``."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastem.engine import tree
from fastem.engine.chunks import Chunk

BLOCK = 1 << 20
"""Responsibilities held at a time."""


def blocks(chunk: Chunk, k: int) -> Iterator[Chunk]:
    """The rows, as many at a time as `BLOCK` allows."""
    size = max(1, BLOCK // k)
    for first in range(0, max(1, len(chunk.X)), size):
        rows = slice(first, first + size)
        yield Chunk(chunk.X[rows], chunk.sample_weight[rows])


def responsibilities(family: Any, params: Any, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """log p(x) of each row (n,), and p(k | x) (n, K)."""
    with np.errstate(divide="ignore"):
        joint = family.log_prob(X, params.components) + np.log(params.weights)
    top = joint.max(axis=1, keepdims=True, initial=-1e300)  # finite, where no component explains the row
    with np.errstate(under="ignore"):
        resp = np.exp(joint - top)
    total = resp.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore"):
        log_prob = top[:, 0] + np.log(total[:, 0])
    return log_prob, resp / np.where(total > 0, total, 1.0)


class Fold:
    """Chunks added to the statistics of one E-step."""

    def __init__(self, model: Any, params: Any, pieces: bool = False):
        self.family, self.params = model.family, params
        self._sums: Any = None

    def add(self, chunk: Chunk) -> float:
        """Add the statistics of a chunk; returns its log-likelihood."""
        log_likelihood = 0.0
        for X, weight in blocks(chunk, len(self.params.weights)):
            if weight.size and not (live := weight > 0).all():
                if self._sums is not None and not live.any():
                    continue
                X, weight = (X[live], weight[live]) if live.any() else (X, weight)  # others may have no density
            log_prob, resp = responsibilities(self.family, self.params, X)
            if weight.size:
                log_likelihood += float(weight @ log_prob) if weight.any() else 0.0
                resp *= weight[:, None]
            else:
                log_likelihood += float(log_prob.sum())
            new = self.family.statistics(X, resp, self.params.components)
            self._sums = new if self._sums is None else tree.add(self._sums, new)
        return log_likelihood

    def sums(self) -> Any:
        """The family's statistics of all chunks."""
        if self._sums is None:
            raise ValueError("there are no rows: give at least one")
        return self._sums


def rows(model: Any, params: Any, chunk: Chunk, out: dict[str, np.ndarray]) -> None:
    """Fill what is asked of each row: those of `out` that are not empty."""
    first = 0
    for X, _ in blocks(chunk, len(params.weights)):
        log_prob, resp = responsibilities(model.family, params, X)
        here = slice(first, first + len(X))
        first += len(X)
        found = {"log_prob": log_prob, "labels": resp.argmax(axis=1), "responsibilities": resp}
        for name, array in out.items():
            if array.size:
                array[here] = found[name]
