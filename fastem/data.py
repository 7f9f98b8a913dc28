"""What is fitted or scored: rows in memory, or a source that is read in chunks; the same to all that follows."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from fastem.engine.batches import Batches, Shuffled
from fastem.engine.chunks import Chunk, chunk
from fastem.ranges import check_weight_range
from fastem.validation import check_data, check_weights, missing_of

PIECE = 1 << 21
"""Numbers of a piece of the rows in memory, where what is computed of them has a size of its own."""

SMALL_MAP = 48 << 20
"""Bytes up to which a memory-mapped array, or a file of the command line, is read as if it were in memory."""


@dataclass
class Data:
    """Rows as chunks of one dtype; `rows` where they come from a source, which can be read `once` only or often."""

    chunks: Iterable[Chunk]
    n_features: int
    dtype: np.dtype
    n: int | None
    rows: Any = None
    waiting: Iterator[Chunk] | None = None

    @property
    def once(self) -> bool:
        """Whether there can be one pass only."""
        return self.rows is not None and self.rows.source.once

    @property
    def n_rows(self) -> int | None:
        """Number of rows; of some sources it is known after the first pass only."""
        return self.n if self.rows is None else self.rows.n_rows

    def check_algorithm(self, algorithm: str) -> None:
        """`ValueError` where the rows can be read once, and the algorithm wants them again."""
        if self.once and algorithm != "stepwise":
            raise ValueError(
                f"{self.rows.source.name} can be read only once, and algorithm={algorithm!r} reads the rows in every "
                "iteration. Give a callable that returns a fresh iterator at each call (the generator function itself, "
                "without the parentheses), or fit with algorithm='stepwise'"
            )

    def settle(self) -> None:
        """The family is made: from now on rows are checked as those of a fitted model, to which no level is added."""
        if self.rows is not None:
            self.rows.check.reset = False

    def pieces(self) -> Iterator[Chunk]:
        """The rows once, a few at a time."""
        if self.rows is not None:
            yield from self.chunks
            return
        for X, weight in self.chunks:
            step = max(1, PIECE // self.n_features)
            for first in range(0, len(X), step):
                yield Chunk(X[first : first + step], weight[first : first + step])

    def batches(self, size: int, seed: int | None = None, passes: int = 0) -> Iterable[Chunk]:
        """The rows, `size` at a time, again and again; those in memory in an order drawn anew if there is a seed."""
        if self.waiting is not None:
            return self.waiting
        if self.rows is not None:
            return self.rows.resized(size, same=seed is None)
        (whole,) = self.chunks
        return Batches([whole], size) if seed is None else Shuffled(whole, size, seed, passes)

    def head(self, size: int, enough: int) -> list[Chunk]:
        """The first batches of a source that can be read once, with `enough` rows; they come again in `batches`."""
        rows = self.rows.resized(size)
        batches = iter(rows)
        first: list[Chunk] = []
        for part in batches:
            first.append(chunk(part.X.copy(), part.sample_weight.copy() if part.sample_weight.size else None))
            if sum(len(other.X) for other in first) >= enough:
                break
        self.settle()
        self.waiting = chain(first, batches)
        return first


@dataclass
class Check:
    """What an estimator has against the values of a chunk; the same for all passes over a source."""

    estimator: Any
    reset: bool

    def __call__(self, X: np.ndarray) -> None:
        """`RowError` where the family has no density for a value."""
        self.estimator._check_rows(X, self.reset)


@contextmanager
def opened(
    estimator: Any, X: Any, sample_weight: Any = None, *, reset: bool, on_rows: Callable | None = None
) -> Iterator[Data]:
    """Rows of `X` for the block that follows, with the columns of the estimator's fit, or (reset) of a new one."""
    from fastem.sources import open_rows

    if in_memory(X):
        X = check_data(estimator, estimator._encode(X, reset, sample_weight), reset=reset)
        estimator._check_rows(X, reset)
        weight = check_weight_range(check_weights(sample_weight, len(X)), X.dtype)
        yield Data([chunk(X, weight)], X.shape[1], X.dtype, len(X))
        return
    coding = estimator._coding(X, sample_weight, reset)
    with open_rows(X, sample_weight=sample_weight, on_rows=on_rows, coding=coding) as rows:
        check_columns(estimator, rows.source, reset)
        rows.check = Check(estimator, reset and rows.source.once)
        rows.missing = missing_of(estimator)
        yield Data(rows, rows.source.n_features, rows.source.dtype, None, rows)


def in_memory(X: Any) -> bool:
    """Whether rows are read as an array, and not in chunks."""
    from fastem.sources import is_source

    return not is_source(X) or (type(X) is np.memmap and X.dtype.names is None and X.nbytes <= SMALL_MAP)


def check_columns(estimator: Any, source: Any, reset: bool) -> None:
    """As scikit-learn's `validate_data` for arrays and frames."""
    names, n = source.feature_names, source.n_features
    if reset:
        estimator.n_features_in_ = n
        vars(estimator).pop("feature_names_in_", None)
        if names is not None:
            estimator.feature_names_in_ = np.array(names, dtype=object)
        return
    if n != estimator.n_features_in_:
        raise ValueError(
            f"{source.name} has {n} features, and the model was fitted on {estimator.n_features_in_}. "
            "Give the columns that the model was fitted on, e.g. with fastem.Chunks(source, columns=[...])"
        )
    fitted = getattr(estimator, "feature_names_in_", None)
    if fitted is not None and names is not None and list(fitted) != list(names):
        lacking = [name for name in fitted if name not in names]
        raise ValueError(
            f"{source.name} has columns {', '.join(names)}, and the model was fitted on {', '.join(fitted)}. "
            + (f"There is none named {lacking[0]!r}: rename it in the data. " if lacking else "")
            + "Give the same columns in the same order, e.g. with fastem.Chunks(source, columns=[...])"
        )
