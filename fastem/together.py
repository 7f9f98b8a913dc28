"""Pairs of columns that no row has both of: how they covary the data do not say."""

import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from fastem.data import Data
from fastem.engine.chunks import Chunk
from fastem.engine.initialize import subsample

ROWS = 4096
"""Rows looked at at a time, until all pairs were met: their number is exact in float32."""


class Together:
    """The chunks, and which of the pairs (d, d) that are looked for no row of positive weight has both of so far."""

    def __init__(self, chunks: Iterable[Chunk], pairs: np.ndarray):
        self.chunks, self.missed = chunks, pairs.copy()
        self.present = np.zeros(len(pairs), bool)

    def __iter__(self) -> Iterator[Chunk]:
        """Begin a pass."""
        for part in self.chunks:
            for first in range(0, len(part.X) if self.missed.any() else 0, ROWS):
                self._meet(part.X[first : first + ROWS], part.sample_weight[first : first + ROWS])
                if not self.missed.any():
                    break
            yield part

    def _meet(self, X: np.ndarray, weight: np.ndarray) -> None:
        there = ~np.isnan(X)
        if weight.size:
            there &= weight[:, None] > 0
        both = there.T.astype(np.float32) @ there.astype(np.float32) > 0
        self.missed &= ~both
        self.present |= both.diagonal()

    def words(self, names: Any) -> str:
        """What to warn of, if anything; of a column without any value something else is said."""
        pairs = np.argwhere(np.triu(self.missed, 1) & np.outer(self.present, self.present))
        if not len(pairs):
            return ""
        called = [str(j) if names is None else repr(names[j]) for j in range(len(self.present))]
        few = ", ".join(f"{called[i]} and {called[j]}" for i, j in pairs[:3])
        more = f", and {len(pairs) - 3} pairs more" if len(pairs) > 3 else ""
        return (
            f"no row has both of the columns {few}{more}: beyond what other columns tell, the data do not say how they "
            "covary, and the fit keeps what its start had, or 0. Leave columns out, or use covariance_type='diag'"
        )


def sample_of(estimator: Any, chunks: Iterable[Chunk], data: Data, size: int, rng: np.random.Generator) -> Chunk:
    """The rows of the chunks that a start is made from, after a pass over all of them.

    Warns of pairs of columns that an estimator cannot know the covariance of.
    """
    pairs = estimator._covarying(data.n_features) if hasattr(estimator, "_covarying") and not data.once else None
    if pairs is None:
        return subsample(chunks, size, rng)
    together = Together(chunks, pairs)
    sample = subsample(together, size, rng)
    if words := together.words(getattr(estimator, "feature_names_in_", None)):
        warnings.warn(words, UserWarning, stacklevel=4)
    return sample
