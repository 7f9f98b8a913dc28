"""What every source is to the engine, and what can be done with one: joining, weighting, leaving rows out."""

import os
from bisect import bisect_right
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fastem.columns import unmasked
from fastem.engine.reader import Filling, Packing
from fastem.sources.columns import Picked, packed_dtype

Block = tuple[np.ndarray, np.ndarray | None]
"""Rows (n, d) of any numbers and their weights (n,), or None: valid until the next block is taken."""

Blocks = Generator[Block, None, None]


@dataclass(frozen=True)
class Source:
    """Rows that can be read from the beginning, in blocks, as often as wanted.

    Attributes
    ----------
    name : str
        What messages call it.
    picked : Picked
        Its columns.
    blocks : callable
        Returns a fresh iterator of blocks ``(X, weights or None)`` of any sizes.
    n_rows : int or None
        None where that is known only after reading.
    weighted : bool
        Whether blocks have weights.
    once : bool
        Whether it can be read only one time.
    signature : callable
        Returns what must be the same at every pass, as a dict of plain values: sizes and times of files.
    name_of_row : callable or None
        Says which row a message is about, where a number does not.
    filling : callable or None
        Given a `Packing`, returns a fresh generator of the same rows that takes fewer copies of them than `blocks`.
    watched : bool
        Whether the rows alone can tell that they have changed between passes, as those of a callable.
    steady : bool
        Whether the rows are the same in every pass as long as the signature is: those of a file.
    """

    name: str
    picked: Picked
    blocks: Callable[[], Blocks]
    n_rows: int | None = None
    weighted: bool = False
    once: bool = False
    signature: Callable[[], dict[str, Any]] = dict
    name_of_row: Callable[[int], str] | None = None
    filling: Callable[[Packing], Filling] | None = None
    watched: bool = False
    steady: bool = False

    @property
    def n_features(self) -> int:
        """Number of columns that are features."""
        return len(self.picked.columns)

    @property
    def feature_names(self) -> list[str] | None:
        """Names of the features, where columns have names."""
        return self.picked.feature_names

    @property
    def dtype(self) -> np.dtype:
        """float32 or float64: what the rows are packed as."""
        return self.picked.dtype

    def row(self, i: int) -> str:
        """Name of the row i, counted from 0, of the rows that are read."""
        return self.name_of_row(i) if self.name_of_row else f"row {i} of {self.name}"


def file_signature(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Size and time of a file, or of all files in a folder."""
    path = os.fspath(path)
    files = [path]
    if os.path.isdir(path):
        files = [os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names]
    stats = [os.stat(file) for file in files]
    return {
        f"the size of {path} in bytes": sum(stat.st_size for stat in stats),
        f"the number of files of {path}": len(files),
        f"the time of {path} in nanoseconds": max((stat.st_mtime_ns for stat in stats), default=0),
    }


def joined(sources: Sequence[Source]) -> Source:
    """One source after the other; their columns must have the same names, or the same number without names."""
    first = sources[0]
    for other in sources[1:]:
        if (other.n_features, other.feature_names) != (first.n_features, first.feature_names):
            ours, theirs = (s.feature_names or f"{s.n_features} columns" for s in (first, other))
            raise ValueError(
                f"{other.name} has {theirs}, where {first.name} has {ours}; files that are read as one must have the "
                "same columns. Choose common ones with fastem.Chunks(files, columns=[...])"
            )
    begins: list[int] = []

    def blocks() -> Blocks:
        begins.clear()
        row = 0
        for source in sources:
            begins.append(row)
            with closing(source.blocks()) as parts:
                for X, weight in parts:
                    yield X, weight
                    row += len(X)

    def name_of_row(i: int) -> str:
        part = bisect_right(begins, i) - 1
        return f"{sources[part].row(i - begins[part])} (row {i} of all files)"

    counts = [s.n_rows for s in sources if s.n_rows is not None]
    return replace(
        first,
        name=f"{first.name} and {len(sources) - 1} more",
        picked=first.picked._replace(dtype=packed_dtype([s.dtype for s in sources])),
        blocks=blocks,
        filling=None,
        steady=all(s.steady for s in sources),
        n_rows=sum(counts) if len(counts) == len(sources) else None,
        signature=lambda: {key: value for s in sources for key, value in s.signature().items()},
        name_of_row=name_of_row,
    )


def weighted(source: Source, sample_weight: Any) -> Source:
    """`source` with one weight a row, or one for all rows."""
    weights = np.asanyarray(unmasked("sample_weight", sample_weight))  # a memory-mapped one stays on disk
    if weights.dtype.kind not in "biuf":
        raise ValueError(f"sample_weight has dtype {weights.dtype}; real numbers are wanted. Convert it to float")
    if weights.ndim > 1 or (weights.ndim and source.n_rows not in (None, len(weights))):
        wanted = f"({source.n_rows},)" if source.n_rows is not None else "(n_rows,)"
        raise ValueError(
            f"sample_weight has shape {weights.shape}; {wanted} is wanted: one weight for each row of {source.name}"
        )
    if source.weighted:
        raise ValueError(f"{source.name} has weights of its own, and sample_weight was given too; give one of the two")

    def blocks() -> Blocks:
        first = 0
        with closing(source.blocks()) as parts:
            for X, _ in parts:
                part = weights[first : first + len(X)] if weights.ndim else np.full(len(X), float(weights))
                if len(part) < len(X):
                    raise ValueError(f"sample_weight has {len(weights)} weights, and there are more rows")
                yield X, part
                first += len(X)
        if weights.ndim and first < len(weights):
            raise ValueError(f"sample_weight has {len(weights)} weights, and there are {first} rows")

    return replace(source, blocks=blocks, filling=None, weighted=True, steady=False)


def cast(source: Source, dtype: Any) -> Source:
    """`source` with rows of another dtype, float32 or float64."""

    def blocks() -> Blocks:
        with closing(source.blocks()) as parts:
            for X, weight in parts:
                with np.errstate(over="ignore"):  # an infinity is told by its row
                    yield X.astype(dtype, copy=False), weight

    return replace(source, blocks=blocks, filling=None, picked=source.picked._replace(dtype=np.dtype(dtype)))


def coded(source: Source, coding: Any) -> Source:
    """`source` with the codes of its categories in place of their numbers."""

    def blocks() -> Blocks:
        with closing(source.blocks()) as parts:
            for X, weight in parts:
                yield coding.codes(X, source.feature_names), weight

    return replace(source, blocks=blocks, filling=None, steady=False)


def kept(source: Source, rows: Any) -> Source:
    """Only the rows of `source` for which ``rows(X)`` is True; ``'finite'``: those without NaN and infinity."""
    finite = isinstance(rows, str) and rows == "finite"
    if not finite and not callable(rows):
        what = repr(rows) if isinstance(rows, (str, slice)) else f"a {type(rows).__name__}"
        raise ValueError(
            f"rows is {what}; 'finite' or a callable that gives a mask of the rows is wanted. To leave rows out by a "
            "mask of all, give them weight 0: sample_weight=mask"
        )
    latest: list[Any] = []  # rows kept and rows read before the latest block, and its mask

    def blocks() -> Blocks:
        seen = read = 0
        with closing(source.blocks()) as parts:
            for X, weight in parts:
                mask = _finite(X, weight) if finite else _asked(rows, X)
                latest[:] = seen, read, mask
                yield (X, weight) if mask.all() else (X[mask], None if weight is None else weight[mask])
                seen, read = seen + int(np.count_nonzero(mask)), read + len(X)

    def name_of_row(i: int) -> str:
        seen, read, mask = latest
        return source.row(int(read + np.flatnonzero(mask)[i - seen]))

    return replace(
        source, blocks=blocks, filling=None, n_rows=None, name_of_row=name_of_row, steady=source.steady and finite
    )


def _finite(X: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
    mask = np.isfinite(X).all(axis=1)
    return mask if weight is None else mask & np.isfinite(weight)


def _asked(rows: Callable[[np.ndarray], Any], X: np.ndarray) -> np.ndarray:
    mask = np.asarray(rows(X))
    if mask.shape != (len(X),) or mask.dtype != bool:
        raise ValueError(
            f"rows(X) gave shape {mask.shape} and dtype {mask.dtype} for a block of {len(X)} rows; one bool a row is "
            "wanted, e.g. rows=lambda X: X[:, 0] > 0"
        )
    return mask
