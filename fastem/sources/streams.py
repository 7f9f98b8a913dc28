"""Chunks that the user's own code makes: a callable that returns a fresh iterator, or an iterator, read once."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from fastem.columns import with_gaps
from fastem.sources.arrow import schema_of_table, split_batch, table_of, wanted
from fastem.sources.columns import Choice, Column, Picked, packed, pick, schema_of, split
from fastem.sources.source import Blocks, Source


class _Shape(NamedTuple):
    """What the chunks of a stream are like: columns, whether they are fields of records, whether there are weights."""

    schema: list[Column]
    records: bool
    weighted: bool


def callable_source(make: Callable[[], Iterable], choice: Choice, name: str) -> Source:
    """Rows of the chunks that `make` yields, called anew for every pass.

    A chunk is an array, a frame, an Arrow record batch or table, or a tuple of one of these and its weights.

    Examples
    --------
    >>> import numpy as np
    >>> from fastem.sources import open_rows
    >>> def chunks():
    ...     for day in range(3):
    ...         yield np.full((day, 2), float(day)), np.ones(day)
    >>> with open_rows(chunks) as rows:
    ...     [(chunk.X.tolist(), chunk.sample_weight.tolist()) for chunk in rows]
    [([[1.0, 1.0], [2.0, 2.0], [2.0, 2.0]], [1.0, 1.0, 1.0])]
    """
    previous: list[Any] = [None]

    def fresh() -> Iterator:
        chunks = _iterator(make(), name)
        if chunks is previous[0]:
            raise ValueError(
                f"{name} returned the same iterator twice, and that can be read only once; a callable that makes a "
                "fresh one at each call is wanted, e.g. the generator function itself"
            )
        previous[0] = chunks
        return chunks

    chunks = fresh()
    try:
        _, shape = _begin(chunks, name)
    finally:
        _close(chunks)
    return _stream(fresh, shape, choice, name)


def _iterator(given: Any, name: str) -> Iterator:
    """What a callable returned, if it is an iterator of chunks, or a list of them."""
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable) or hasattr(given, "shape"):
        what = "None" if given is None else f"a {type(given).__name__}"
        raise ValueError(
            f"{name} returned {what}; an iterator of chunks is wanted: yield arrays or frames in it (a generator "
            "function), or return a list of them"
        )
    return iter(given)


def iterator_source(chunks: Iterator, choice: Choice, name: str) -> Source:
    """Rows of an iterator, which gives them only once.

    Examples
    --------
    >>> import numpy as np
    >>> from fastem.sources import open_rows
    >>> rows = open_rows(np.full((2, 1), i) for i in range(2))
    >>> [chunk.X.ravel().tolist() for chunk in rows]
    [[0.0, 0.0, 1.0, 1.0]]
    >>> next(iter(rows))
    Traceback (most recent call last):
    ...
    ValueError: the generator <genexpr> can be read only once, ...
    """
    first, shape = _begin(chunks, name)
    return _stream(lambda: chain([first], chunks), shape, choice, name, chunks)


def _stream(
    fresh: Callable[[], Iterator], shape: _Shape, choice: Choice, name: str, once: Iterator | None = None
) -> Source:
    picked = pick(shape.schema, choice, name, records=shape.records)
    if shape.weighted and picked.weights is not None:
        raise ValueError(f"{name} gives weights with its chunks, and a column of weights was chosen too; choose one")

    def blocks() -> Blocks:
        chunks = fresh()
        try:
            for given in chunks:
                yield from _cut(given, shape.schema, picked)
        finally:
            _close(once if once is not None else chunks)

    weighted = shape.weighted or picked.weights is not None
    return Source(name, picked, blocks, None, weighted, once=once is not None, watched=once is None)


def _begin(chunks: Iterator, name: str) -> tuple[Any, _Shape]:
    """The first chunk that has columns, and what all others must be like."""
    for given in chunks:
        block, weight = _block(given)
        if not _is_nothing(block):
            return given, _Shape(_schema(block, f"the first chunk of {name}"), _has_fields(block), weight is not None)
    raise ValueError(f"{name} gave no chunk; at least one with rows is wanted")


def _block(given: Any) -> tuple[Any, np.ndarray | None]:
    """A chunk as an array or an Arrow table, and its weights."""
    weight = None
    if isinstance(given, tuple):
        if len(given) != 2:
            raise ValueError(f"a chunk is a tuple of {len(given)}; X or (X, weights) is wanted")
        given, weight = given
    if isinstance(given, str | Mapping) or given is None:
        what = f"a dict with {', '.join(map(repr, given))}" if isinstance(given, Mapping) else repr(given)
        raise ValueError(
            f"a chunk is {what}; an array (n, d), a frame, or a tuple of one of these and its weights is wanted: e.g. "
            "pandas.DataFrame(chunk) of a dict of columns"
        )
    framed = hasattr(given, "__arrow_c_stream__") or hasattr(given, "__arrow_c_array__")
    return table_of(given) if framed else with_gaps(given), None if weight is None else with_gaps(weight)


def _is_nothing(block: Any) -> bool:
    """Whether it is [] or the like, which is a chunk without rows, whatever the columns."""
    return isinstance(block, np.ndarray) and block.shape == (0,) and not _has_fields(block)


def _has_fields(block: Any) -> bool:
    return isinstance(block, np.ndarray) and block.dtype.names is not None


def _schema(block: Any, name: str) -> list[Column]:
    return schema_of(block.shape, block.dtype, name) if isinstance(block, np.ndarray) else schema_of_table(block)


def _cut(given: Any, schema: list[Column], picked: Picked) -> Blocks:
    block, weight = _block(given)
    if _is_nothing(block):
        return
    _check_schema(_schema(block, "a chunk"), schema, picked)
    cut = split(block, picked) if isinstance(block, np.ndarray) else split_batch(block.select(wanted(picked)), picked)
    yield cut if weight is None else (cut[0], weight)


def _check_schema(found: list[Column], schema: list[Column], picked: Picked) -> None:
    if len(found) != len(schema):
        raise ValueError(f"a chunk has {len(found)} columns, where the first one has {len(schema)}")
    names, before = [column.name for column in found], [column.name for column in schema]
    if names != before:
        raise ValueError(f"a chunk has the columns {names}, where the first one has {before}")
    bad = [i for i in picked.columns if packed([found[i]], picked.coding) is None]
    if bad:
        raise ValueError(f"column {found[bad[0]].name or bad[0]!r} holds {found[bad[0]].kind}; numbers are wanted")
    if packed([found[i] for i in picked.columns], picked.coding) != picked.dtype:
        now, then = (sorted({columns[i].kind for i in picked.columns}) for columns in (found, schema))
        raise ValueError(
            f"a chunk holds {', '.join(now)}, where the first one holds {', '.join(then)}; convert every chunk to "
            "one dtype"
        )


def _close(chunks: Any) -> None:
    if hasattr(chunks, "close"):
        chunks.close()
