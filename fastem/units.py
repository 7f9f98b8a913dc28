"""Units of columns with missing entries, in which every column varies by about 1."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from fastem.engine.chunks import Chunk
from fastem.wording import listed

TINY = np.finfo(float).tiny


class Moments(NamedTuple):
    """Of the observed entries of each column (d,): weight, mean, sum of squares about it; and where some are missing.

    `total` is the weight of all rows, `live` the number of those that have some.
    """

    weight: np.ndarray
    mean: np.ndarray
    square: np.ndarray
    missing: np.ndarray
    total: float
    live: int

    @classmethod
    def of(cls, pieces: Iterable[Chunk]) -> "Moments":
        """In one pass; rows of weight 0 count as absent."""
        pieces = iter(pieces)
        with np.errstate(over="ignore", invalid="ignore"):  # `check` tells of what is too large
            moments = cls._of_piece(next(pieces))
            for piece in pieces:
                moments = moments._with(cls._of_piece(piece))
        return moments

    @classmethod
    def _of_piece(cls, piece: Chunk) -> "Moments":
        X, sample_weight = piece
        seen = ~np.isnan(X)
        w = seen * (sample_weight[:, None] if sample_weight.size else 1.0)
        weight = w.sum(axis=0)
        some = np.where(seen, X, 0.0)[seen.argmax(axis=0), np.arange(X.shape[1])]
        offsets = np.where(seen, X - some, 0.0)
        mean = (w * offsets).sum(axis=0) / np.maximum(weight, TINY)
        square = (w * np.where(seen, offsets - mean, 0.0) ** 2).sum(axis=0)
        total = float(sample_weight.sum()) if sample_weight.size else float(len(X))
        live = sample_weight > 0 if sample_weight.size else slice(None)
        rows = int(np.count_nonzero(sample_weight)) if sample_weight.size else len(X)
        return cls(weight, some + mean, square, ~seen[live].all(axis=0), total, rows)

    def _with(self, other: "Moments") -> "Moments":
        """Of both lots of rows (Chan, Golub and LeVeque 1979)."""
        weight = self.weight + other.weight
        share = other.weight / np.maximum(weight, TINY)
        apart = other.mean - self.mean
        mean = self.mean + apart * share
        square = self.square + other.square + apart**2 * self.weight * share
        total, live = self.total + other.total, self.live + other.live
        return Moments(weight, mean, square, self.missing | other.missing, total, live)

    def check(self, dtype: np.dtype, names: Any) -> None:
        """`ValueError` where a column has no observed entry, or one too large to be squared."""
        if len(empty := np.flatnonzero(self.weight == 0)):
            called = [j if names is None else repr(names[j]) for j in empty]
            raise ValueError(
                f"no entry of {listed(called, 'column')} of X is observed; at least one is wanted to learn from: leave "
                "the column out"
            )
        largest = float(np.sqrt(self.square / self.weight).max())
        if not largest <= (most := 1e-2 * float(np.sqrt(np.finfo(dtype).max))):
            raise ValueError(
                f"X has values that spread over {largest:.3g}; at most {most:.1g} is wanted, since their squares must "
                f"be {dtype} numbers: divide X by a constant"
            )


class Units(NamedTuple):
    """Centre and scale (d,) of each column, in the dtype of X."""

    centre: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(cls, moments: Moments, dtype: np.dtype, common: bool) -> "Units":
        """From the observed entries; `common` for one scale of all columns."""
        deviation, size = np.sqrt(moments.square / moments.weight), np.abs(moments.mean)
        if common:
            deviation, size = np.full_like(deviation, np.sqrt(np.mean(deviation**2))), np.full_like(size, size.max())
        constant = deviation <= 4 * np.finfo(dtype).eps * size
        scale = np.where(constant, 1e-6 * np.where(size > 0, size, 1.0), deviation)
        # Powers of 2, by which numbers are divided without rounding.
        return cls(moments.mean.astype(dtype), np.exp2(np.round(np.log2(scale))).astype(dtype))

    @classmethod
    def none(cls, X: np.ndarray) -> "Units":
        """Those of X (n, d) itself."""
        return cls(np.zeros(X.shape[1], X.dtype), np.ones(X.shape[1], X.dtype))

    def scaled(self, X: np.ndarray) -> np.ndarray:
        """Rows in these units."""
        return (X - self.centre) / self.scale

    def chunks(self, rows: Iterable[Chunk]) -> Any:
        """A source of the rows in these units."""

        def scaled() -> Iterator:
            for X, weight in rows:
                yield (self.scaled(X), weight.copy()) if weight.size else self.scaled(X)

        return scaled

    def of_prior(self, prior: Any, covariance_type: str) -> Any:
        """A mixture's prior, given in the units of X, in these.

        Arrays of other shapes than a prior has are left to those who refuse them.
        """
        if not isinstance(prior, Mapping):
            return prior
        d, found = len(self.scale), dict(prior)
        for name, shapes in (("mean", [(d,)]), ("scale", [(), (d,), (d, d)])):
            value = np.asarray(prior.get(name))
            if value.dtype.kind not in "biuf" or value.shape not in shapes:
                continue
            if name == "scale":
                found[name] = self.of_covariances(value, covariance_type, -1)
            else:
                found[name] = self.scaled(value)
        return found

    def of_covariances(self, covariances: np.ndarray, covariance_type: str, power: int) -> np.ndarray:
        """Covariances in the units of X (`power` 1), or from those in these units (-1)."""
        scale = self.scale.astype(float) ** power
        if covariance_type in ("full", "tied"):
            return covariances * np.outer(scale, scale)
        return covariances * (scale**2 if covariance_type == "diag" else scale[0] ** 2)
