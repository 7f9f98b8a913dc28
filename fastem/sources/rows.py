"""The rows of a source as the engine sees them: chunks, as often as they are asked for."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from copy import copy
from typing import Any
from weakref import WeakSet

import numpy as np

from fastem.columns import RowError
from fastem.engine.chunks import Chunk
from fastem.engine.reader import Packing, ReadError, copied, default_rows_per_chunk, read_ahead
from fastem.ranges import check_weight_range
from fastem.sources.source import Source


class Rows:
    """An iterable of chunks; each ``iter`` begins a pass over the source, read ahead by a thread.

    A chunk is valid until the next one is taken. Used as a context manager, every pass that is still open ends
    with the block, and its thread with it, also where an exception holds on to the loop.

    Parameters
    ----------
    source : Source
    rows_per_chunk : int, optional
        By default, rows of 8 MB, at least 1024.
    on_rows : callable, optional
        ``on_rows(done, n_rows)`` is called after each chunk; `n_rows` is None where it is not known yet.

    Attributes
    ----------
    source : Source
    n_rows : int or None
        Known at once, or after the first pass.
    weight_sum : float or None
        Sum of the weights of all rows, known after the first pass.

    Raises
    ------
    ReadError
        While reading: naming the source, the chunk and the rows, from what the source itself raised.
    ValueError
        If a source that can be read only once is read again, or has no rows, or only rows of weight 0.
    """

    def __init__(
        self,
        source: Source,
        rows_per_chunk: int | None = None,
        on_rows: Callable[[int, int | None], Any] | None = None,
    ):
        self.source, self.on_rows = source, on_rows
        self.check: Callable[[np.ndarray], None] | None = None
        self.missing: str | None = None
        self.columns: Sequence[Any] | None = None  # what messages call them, where they have no names
        self.n_rows = source.n_rows
        self.weight_sum: float | None = None
        self.rows_per_chunk = rows_per_chunk or default_rows_per_chunk(source.n_features, source.dtype)
        self._signature = source.signature()
        self._begun = self._read_whole = False
        self._passes: WeakSet[Any] = WeakSet()
        self._seen: dict[int, list[tuple[int, int]]] | None = {} if source.watched else None

    def __iter__(self) -> Iterator[Chunk]:
        """Begin a pass."""
        chunks = self._pass()
        self._passes.add(chunks)
        return chunks

    def __len__(self) -> int:
        """Return the number of rows, where it is known."""
        if self.n_rows is None:
            raise TypeError(f"how many rows {self.source.name} has is known only when they have been read once")
        return self.n_rows

    def __bool__(self) -> bool:
        """Return True: whether there are rows is known only when they have been read."""
        return True

    def __enter__(self) -> "Rows":
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()

    def resized(self, rows_per_chunk: int, *, same: bool = True) -> "Rows":
        """The same rows in chunks of another size; the passes of both are closed with these.

        Where they need not be the `same` in every pass, they may come in another order, or be others.
        """
        other = copy(self)
        other.rows_per_chunk = rows_per_chunk
        other._seen = self._seen if same else None
        return other

    def close(self) -> None:
        """End the passes that are open."""
        for chunks in list(self._passes):
            chunks.close()

    def _pass(self) -> Iterator[Chunk]:
        source = self.source
        self._check_again()
        packing = Packing(
            self.rows_per_chunk,
            source.n_features,
            source.dtype,
            source.weighted,
            source.name,
            source.row,
            source.feature_names or self.columns,
            self._read_whole and source.steady,
            self.missing,
            "NaN" if source.picked.coding is None else "a missing value",
            None if self._seen is None else self._seen.setdefault(self.rows_per_chunk, []),
        )
        done, weight, largest = 0, 0.0, 0.0
        filling = source.filling(packing) if source.filling else copied(source.blocks(), packing)
        with closing(read_ahead(filling, packing)) as chunks:
            for chunk in chunks:
                weight += float(chunk.sample_weight.sum()) if source.weighted else len(chunk.X)
                largest = max(largest, float(chunk.sample_weight.max(initial=0.0)))
                done += len(chunk.X)
                self._check_values(chunk, done - len(chunk.X))
                if len(chunk.X) < self.rows_per_chunk or done > (self.n_rows or done):
                    self._check_count(done)  # before its statistics are compared with those of the pass before
                yield chunk
                if self.on_rows:
                    self.on_rows(done, self.n_rows)
        self._learn(done, weight, largest)

    def _check_again(self) -> None:
        name = self.source.name
        if self.source.once and self._begun:
            raise ValueError(
                f"{name} can be read only once, and its rows are wanted again, as in every iteration of a fit. Give a "
                "callable that returns a fresh iterator at each call (the generator function itself, without the "
                "parentheses), or fit with algorithm='stepwise', which reads rows once"
            )
        self._begun = True
        try:
            signature = self.source.signature()
        except OSError as error:
            raise ReadError(f"{name} cannot be read any more: {error}") from error
        for what in {**self._signature, **signature}:
            was, now = self._signature.get(what), signature.get(what)
            if was != now:
                raise ReadError(
                    f"{name} has changed since it was opened: {what} was {was} and is {now}. All passes must see the "
                    "same rows: begin anew, or read a copy that nobody writes to"
                )

    def _check_count(self, done: int) -> None:
        if self.n_rows not in (None, done):
            raise ReadError(
                f"{self.source.name} gave {done} rows, where {self.n_rows} were there before; all passes must see the "
                "same rows"
            )

    def _check_values(self, chunk: Chunk, first: int) -> None:
        """Raise what the estimator has against the values of a chunk, with the row's name in this source."""
        if self.check is None:
            return
        try:
            self.check(chunk.X)
        except RowError as error:
            row = first + error.row
            where = self.source.name_of_row(row) if self.source.name_of_row else f"row {row} of {self.source.name}"
            chunk_number = first // self.rows_per_chunk
            names = self.source.feature_names
            column = repr(names[error.column]) if names and isinstance(error.column, int) else error.column
            raise ReadError(
                f"{error.value:.6g} in {where}, column {column} (chunk {chunk_number}); {error.advice}"
            ) from error

    def _learn(self, done: int, weight: float, largest: float) -> None:
        self._check_count(done)
        if not done:
            raise ValueError(f"{self.source.name} has no rows (or none that are kept); at least one is wanted")
        if not weight:
            raise ValueError(f"the weights of {self.source.name} are zero in every row; a positive one is wanted")
        if self.source.weighted:
            check_weight_range(np.array([largest]), self.source.dtype)
        self.n_rows, self.weight_sum, self._read_whole = done, weight, True
