"""Rows packed into chunks by a thread that reads ahead while the kernels run."""

import threading
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import repeat
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

import numpy as np

from fastem.engine.chunks import Chunk, chunk

CHUNK_BYTES = 8 << 20
"""Size of a chunk's rows; three are in memory. Those of 16 MB leave the cache, and are read at 0.7 of the rate; of 4 MB
the cost that each of them has of its own is twice as large a share."""

PIECE = 1 << 17
"""Numbers read and then checked at a time, while they are in the cache."""


class ReadError(ValueError):
    """Rows could not be read; the message names the source, the chunk and the rows."""


OPTION = "; or fit what there is of each row: missing='nan'"
"""What else to try where NaN is an error, and need not be one."""


class Packing(NamedTuple):
    """What chunks hold, and what the source, its rows and its columns are called in messages."""

    rows_per_chunk: int
    n_features: int
    dtype: np.dtype
    weighted: bool = False
    name: str = "the source"
    name_of_row: Callable[[int], str] = "row {} of the source".format
    feature_names: Sequence[Any] | None = None
    checked: bool = False
    """Whether the same rows have been read before, and were finite."""
    missing: str | None = None
    """What becomes of NaN: "nan" keeps it as a missing entry, else it is an error; None where there is no choice."""
    gap: str = "NaN"
    """What messages call NaN."""
    seen: list[tuple[int, int]] | None = None
    """Rows and checksums of the chunks that were read before, to which this pass adds; None: they are not compared."""


def default_rows_per_chunk(n_features: int, dtype: Any) -> int:
    """Rows in about CHUNK_BYTES: at least 1024, in whole tiles of the kernels."""
    rows = CHUNK_BYTES // (np.dtype(dtype).itemsize * max(n_features, 1))
    return max(1024, rows // 256 * 256)


Filling = Generator[int | np.ndarray, tuple[np.ndarray, np.ndarray], None]
"""Sent rows (n, d) and weights (n,), or (0,), it fills them from the top and gives how many; none may be left.

Where a chunk begins it may give all rows of the chunk instead, in an array that nobody writes to any more."""


def copied(blocks: Iterable, packing: Packing, lend: bool = False) -> Filling:
    """Rows from blocks (X, weights or None) of any sizes.

    Where blocks are arrays of their own, those with the rows of whole chunks can `lend` them without a copy.
    """
    row, whole = 0, packing.rows_per_chunk
    try:
        X, sample_weight = yield 0
        for block, weight in blocks:
            _check_block(block, weight, packing)
            as_packed = lend and weight is None and block.dtype == packing.dtype and block.flags.c_contiguous
            first = 0
            while True:
                if as_packed and row % whole == 0 and len(block) - first >= whole:
                    n = whole
                    X, sample_weight = yield block[first : first + n]
                else:
                    n = min(len(X), len(block) - first)
                    X[:n] = block[first : first + n]
                    if weight is not None:
                        sample_weight[:n] = weight[first : first + n]
                    X, sample_weight = yield n
                row, first = row + n, first + n
                if first == len(block):
                    break
    finally:
        if hasattr(blocks, "close"):
            blocks.close()


def read_ahead(filling: Filling, packing: Packing, depth: int = 3) -> Generator[Chunk, None, None]:
    """Chunks of `rows_per_chunk` rows (the last one fewer).

    A thread fills `depth` buffers in turn: one is the consumer's, the others are read ahead. A chunk is valid until
    the next one is taken. The thread has ended when this generator has: exhausted, closed, or left by an exception.
    """
    free: SimpleQueue = SimpleQueue()
    full: SimpleQueue = SimpleQueue()
    stop = threading.Event()
    for _ in range(depth):
        free.put(_Buffer(packing))
    arguments = (_packed(filling, packing, iter(free.get, None), stop.is_set), full)
    thread = threading.Thread(target=_fill, args=arguments, name="fastem-reader", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # there are no threads on this platform, or no more of them: read between the chunks
        yield from (part for _, part in _packed(filling, packing, repeat(free.get()), stop.is_set))
        return
    try:
        while (item := _taken(full)) is not None:
            if isinstance(item, BaseException):
                raise item
            buffer, part = item
            yield part
            free.put(buffer)
    finally:
        stop.set()
        free.put(None)
        thread.join()


def _taken(full: SimpleQueue) -> Any:
    """The next item. A wait without end would not see Ctrl-C on Windows, or where another thread got the signal."""
    while True:
        with suppress(Empty):
            return full.get(timeout=0.2)


class _Buffer:
    """Memory of one chunk."""

    def __init__(self, packing: Packing):
        self.X = np.empty((packing.rows_per_chunk, packing.n_features), packing.dtype)
        self.sample_weight = np.empty(packing.rows_per_chunk if packing.weighted else 0)


def _fill(packed: Iterator, full: SimpleQueue) -> None:
    try:
        for item in packed:
            full.put(item)
        full.put(None)
    except BaseException as error:  # handed to the consumer, whatever it is
        full.put(error)


def _packed(
    filling: Filling, packing: Packing, buffers: Iterator[_Buffer], stopped: Callable[[], bool]
) -> Iterator[tuple[_Buffer, Chunk]]:
    """Fill one buffer after the other, piece by piece; ends early where there is no more buffer."""
    row, whole, seen = 0, packing.rows_per_chunk, packing.seen
    step = max(1, PIECE // max(packing.n_features, 1))
    try:
        next(filling)
        for buffer in buffers:
            rows, filled, bits = buffer.X, 0, 0
            known = packing.checked or (seen is not None and row // whole < len(seen))
            while filled < whole and not stopped():
                piece = slice(filled, whole if packing.checked else min(filled + step, whole))
                try:
                    given = filling.send((buffer.X[piece], buffer.sample_weight[piece]))
                except StopIteration:
                    break
                if isinstance(given, np.ndarray):
                    rows, n = given, len(given)
                else:
                    n = given
                X, weight = rows[filled : filled + n], buffer.sample_weight[filled : filled + n]
                if not known:
                    _check_finite(X, row, packing)
                    _check_weights(weight, row, packing)
                if seen is not None:
                    bits += _bits(X) + _bits(weight)
                row, filled = row + n, filled + n
            if stopped():
                return
            if filled:
                part = chunk(rows[:filled], buffer.sample_weight[:filled])
                if seen is not None:
                    _compare(seen, part, bits, row, packing)
                yield buffer, part
            if filled < whole:
                return
    except (ReadError, GeneratorExit):
        raise
    except Exception as error:
        raise _located(error, row, packing) from error
    finally:
        filling.close()


def _located(error: Exception, row: int, packing: Packing) -> ReadError:
    """The same fault, with the source, the row and the chunk that was being filled."""
    where = f"after row {row - 1}" if row else "at row 0"
    kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
    chunk = f"chunk {row // packing.rows_per_chunk}"
    return ReadError(f"{packing.name}, {where} ({chunk}): {kind}{error or 'it says no more'}")


def _bits(numbers: np.ndarray) -> int:
    """The sum of the numbers' bits as whole numbers of 32: it takes less time than whether they are finite."""
    return int(np.add.reduce(numbers.reshape(-1).view(np.uint32), dtype=np.uint32))


def _compare(seen: list[tuple[int, int]], rows: Chunk, bits: int, row: int, packing: Packing) -> None:
    """`ReadError` where the chunk that ends before `row` has other numbers than before, or some in another order.

    One of another length is left to those who count the rows.
    """
    n, number = len(rows.X), (row - 1) // packing.rows_per_chunk
    some = np.ascontiguousarray(rows.X[:: max(1, n // 64)])
    checksum = zlib.crc32(some.data, bits % (1 << 32))
    if number == len(seen):
        seen.append((n, checksum))
    elif seen[number][0] == n and seen[number][1] != checksum:
        _check_finite(rows.X, row - n, packing)  # which says more
        _check_weights(rows.sample_weight, row - n, packing)
        raise ReadError(
            f"{packing.name} has changed since it was read before: chunk {number} (rows {row - n} to {row - 1}) holds "
            "other numbers, or the same in another order. All passes must see the same rows in the same order: begin "
            "every pass anew, with the same seed where it draws random numbers, or read a copy that nobody writes to"
        )


def _check_block(X: np.ndarray, weight: np.ndarray | None, packing: Packing) -> None:
    if X.ndim != 2 or X.shape[1] != packing.n_features:
        raise ValueError(
            f"a block has shape {X.shape}; (n, {packing.n_features}) is wanted: give the same columns in every block"
        )
    if not _holds(packing.dtype, X.dtype):
        raise ValueError(
            f"a block has dtype {X.dtype}; numbers that {packing.dtype} holds are wanted, as at the beginning. Convert "
            "every block to one dtype"
        )
    if (weight is not None) != packing.weighted:
        raise ValueError("some blocks have weights and some have none; give weights with every block, or with none")
    if weight is not None and (weight.shape != (len(X),) or weight.dtype.kind not in "biuf"):
        raise ValueError(
            f"a block of {len(X)} rows has weights of shape {weight.shape} and dtype {weight.dtype}; give one number "
            "a row"
        )


def _holds(dtype: np.dtype, other: np.dtype) -> bool:
    return other.kind in "biuf" and (dtype.itemsize == 8 or (other.kind == "f" and other.itemsize <= 4))


def _check_finite(X: np.ndarray, row: int, packing: Packing) -> None:
    gaps = packing.missing == "nan"
    finite = ~np.isinf(X) if gaps else np.isfinite(X)  # 26 GB/s in the cache, where the sum of float32 runs at 15
    if finite.all():
        return
    i, j = np.argwhere(~finite)[0]
    what = packing.gap if np.isnan(X[i, j]) else "infinity"
    column = repr(packing.feature_names[j]) if packing.feature_names else j
    wanted = "finite numbers" if packing.gap == "NaN" else "categories"
    drop = f"{wanted} are wanted. Drop incomplete rows with fastem.Chunks(source, rows='finite'), or fill them in first"
    option = OPTION if packing.missing is not None and what == packing.gap else ""
    advice = "finite numbers, or NaN where one is missing, are wanted. Replace it by NaN" if gaps else drop + option
    raise ReadError(
        f"{what} in {packing.name_of_row(row + int(i))}, column {column} "
        f"(chunk {(row + i) // packing.rows_per_chunk}); {advice}"
    )


def _check_weights(weight: np.ndarray, row: int, packing: Packing) -> None:
    good = np.isfinite(weight) & (weight >= 0)
    if good.all():
        return
    i = int(np.argmin(good))
    what = "NaN" if np.isnan(weight[i]) else f"{weight[i]:.6g}"
    raise ReadError(
        f"the weight is {what} in {packing.name_of_row(row + i)} (chunk {(row + i) // packing.rows_per_chunk}); "
        "finite weights >= 0 are wanted. Give 0 to rows that should not count"
    )
