"""The reader thread: packing does not depend on how rows were cut, faults name the place, the thread always ends."""

import os
import signal
import threading

import numpy as np
import pytest

from fastem.engine import reader
from fastem.engine.reader import Packing, ReadError, copied, default_rows_per_chunk, read_ahead

N, D = 300, 3


def packing(rows_per_chunk=128, dtype=np.float64, weighted=False, **names):
    return Packing(
        rows_per_chunk, D, np.dtype(dtype), weighted, **{"name": "data", "name_of_row": "row {}".format, **names}
    )


def blocks(X, size, weight=None):
    for first in range(0, len(X), size):
        yield X[first : first + size], None if weight is None else weight[first : first + size]


def packed(given, *arguments, **options):
    return [(c.X.copy(), c.sample_weight.copy()) for c in ahead(given, packing(*arguments, **options))]


def ahead(given, into, **options):
    return read_ahead(copied(given, into), into, **options)


@pytest.fixture
def X(rng):
    return rng.normal(size=(N, D))


@pytest.mark.parametrize("size", [1, 7, 128, 129, N])
@pytest.mark.parametrize("rows_per_chunk", [1, 7, 128, 129, N, 10 * N])
def test_chunks_do_not_depend_on_the_blocks(X, rng, size, rows_per_chunk):
    weight = rng.uniform(size=N)
    chunks = packed(blocks(X, size, weight), rows_per_chunk, weighted=True)
    assert [len(c) for c, _ in chunks] == [len(X[i : i + rows_per_chunk]) for i in range(0, N, rows_per_chunk)]
    assert (np.concatenate([c for c, _ in chunks]) == X).all()
    assert (np.concatenate([w for _, w in chunks]) == weight).all()


def test_empty_and_ragged_blocks(X, monkeypatch):
    monkeypatch.setattr(reader, "PIECE", 10)
    cuts = [0, 0, 5, 5, 6, 200, 200, N, N]
    chunks = packed((X[i:j], None) for i, j in zip(cuts, cuts[1:]))
    assert [len(c) for c, _ in chunks] == [128, 128, 44] and (np.concatenate([c for c, _ in chunks]) == X).all()
    assert packed(iter([])) == [] and packed(iter([(X[:0], None)])) == []


@pytest.mark.parametrize("given", [np.int8, np.uint64, np.bool_, ">f8", ">i4", np.float16, np.float32, np.float64])
def test_numbers_of_all_types_are_cast(X, given):
    exact = X.astype(given)
    ((chunk, weight),) = packed(blocks(exact, 50), N)
    assert chunk.dtype == np.float64 and chunk.flags.c_contiguous and (chunk == exact).all() and weight.shape == (0,)
    if np.dtype(given).kind == "f" and np.dtype(given).itemsize <= 4:
        assert (packed(blocks(exact, 50), N, np.float32)[0][0] == exact).all()
    else:
        with pytest.raises(ReadError, match=f"dtype {np.dtype(given)}; numbers that float32 holds"):
            packed(blocks(exact, 50), N, np.float32)


def test_fortran_order_and_strides(X):
    assert (packed(blocks(np.asfortranarray(X), 50), N)[0][0] == X).all()
    assert (packed(blocks(X[::-1], 50), N)[0][0] == X[::-1]).all()


@pytest.mark.parametrize("size", [1, 7, 128, 129, N])
@pytest.mark.parametrize("rows_per_chunk", [1, 7, 128, 129, N, 10 * N])
@pytest.mark.parametrize("checked", [False, True])
def test_lent_rows_are_the_same(X, size, rows_per_chunk, checked, monkeypatch):
    monkeypatch.setattr(reader, "PIECE", 10)
    into = packing(rows_per_chunk, checked=checked)
    chunks = [
        (c.X.copy(), np.shares_memory(c.X, X)) for c in read_ahead(copied(blocks(X, size), into, lend=True), into)
    ]
    assert [len(c) for c, _ in chunks] == [len(X[i : i + rows_per_chunk]) for i in range(0, N, rows_per_chunk)]
    assert (np.concatenate([c for c, _ in chunks]) == X).all()
    whole = [
        i // size == (i + rows_per_chunk - 1) // size and i + rows_per_chunk <= N for i in range(0, N, rows_per_chunk)
    ]
    assert [lent for _, lent in chunks] == whole


def test_what_cannot_be_lent_is_copied_and_lent_rows_are_checked(X):
    for given in (X.astype("f4"), np.asfortranarray(X), X[:, ::-1]):
        into = packing(100)
        for c in read_ahead(copied(blocks(given, 200), into, lend=True), into):
            assert not np.shares_memory(c.X, given) and c.X.flags.c_contiguous and c.X.dtype == np.float64
    with pytest.raises(ReadError, match=r"NaN in row 217, column 1 \(chunk 2\)"):
        into = packing(100)
        list(read_ahead(copied(blocks(with_value(X, 217, 1, np.nan), 200), into, lend=True), into))


def test_chunks_are_read_only(X):
    for chunk in ahead(blocks(X, 50), packing()):
        with pytest.raises(ValueError, match="read-only"):
            chunk.X[0] = 0


def test_buffers_are_kept_ahead_and_no_more(X):
    """The reader fills the free buffers while the consumer holds one, and then waits for it."""
    taken, waiting = [], threading.Semaphore(0)

    def counted():
        for i in range(20):
            taken.append(i)
            waiting.release()
            yield X[:10], None

    chunks = ahead(counted(), packing(10), depth=3)
    next(chunks)
    for _ in range(3):  # the consumer's block, and two ahead
        assert waiting.acquire(timeout=10)
    assert not waiting.acquire(timeout=0.1) and len(taken) == 3
    assert sum(1 for _ in chunks) == 19


FAULTS = {
    "width": (lambda X: (X[:, :2], None), r"data, after row 199 \(chunk 1\): .*\(n, 3\) is wanted"),
    "one axis": (lambda X: (X[:, 0], None), r"shape \(100,\)"),
    "complex": (lambda X: (X + 1j, None), "dtype complex128"),
    "text": (lambda X: (X.astype(str), None), "dtype <U"),
    "weights": (lambda X: (X, np.ones(len(X))), "some blocks have weights and some have none"),
    "no pair": (lambda X: 3, "TypeError"),
    "NaN": (lambda X: (with_value(X, 17, 1, np.nan), None), r"NaN in row 217, column 1 \(chunk 1\).*rows='finite'"),
    "infinity": (lambda X: (with_value(X, 99, 2, -np.inf), None), r"infinity in row 299, column 2 \(chunk 2\)"),
}


def with_value(X, i, j, value):
    X = X.copy()
    X[i, j] = value
    return X


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_name_chunk_and_rows(X, fault):
    make, message = FAULTS[fault]
    with pytest.raises(ReadError, match=message):
        packed(iter([(X[:200], None), make(X[200:])]))


def test_names_of_columns_are_told(X):
    with pytest.raises(ReadError, match="NaN in row 0, column 'b'"):
        packed(iter([(with_value(X, 0, 1, np.nan), None)]), feature_names=["a", "b", "c"])


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.full(100, -0.5), r"the weight is -0\.5 in row 200 \(chunk 1\)"),
        (np.full(100, np.nan), "the weight is NaN in row 200"),
        (np.full(100, np.inf), "the weight is inf in row 200"),
        (np.ones(99), r"100 rows has weights of shape \(99,\)"),
        (np.ones(100, complex), "dtype complex128; give one number"),
        (np.ones((100, 1)), r"weights of shape \(100, 1\)"),
        (None, "some blocks have weights and some have none"),
    ],
)
def test_weights_are_checked(X, weight, message):
    with pytest.raises(ReadError, match=message):
        packed(iter([(X[:200], np.ones(200)), (X[200:], weight)]), weighted=True)


def test_values_whose_sum_overflows_are_finite(X):
    huge = np.full((N, D), 3e38, np.float32)
    assert (packed(blocks(huge, N), N, np.float32)[0][0] == huge).all()


def test_an_iterator_that_raises_is_chained(X):
    def broken():
        yield X[:200], None
        raise KeyError("disk")

    with pytest.raises(ReadError, match=r"data, after row 199 \(chunk 1\): KeyError: 'disk'") as caught:
        packed(broken())
    assert isinstance(caught.value.__cause__, KeyError)


def endless(X, closed):
    try:
        while True:
            yield X, None
    finally:
        closed.append(threading.current_thread().name)


def test_the_thread_ends_when_the_consumer_stops(X):
    closed = []
    chunks = ahead(endless(X, closed), packing())
    next(chunks)
    assert [t for t in threading.enumerate() if t.name == "fastem-reader"]
    chunks.close()
    for _ in ahead(endless(X, closed), packing()):
        break
    for error in (KeyboardInterrupt, ZeroDivisionError):
        chunks = ahead(endless(X, closed), packing())
        next(chunks)
        with pytest.raises(error):
            chunks.throw(error)
    assert closed == ["fastem-reader"] * 4


def test_the_thread_ends_though_no_row_is_kept(X):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a shell runs in the background
    closed = []
    chunks = ahead(endless(X[:0], closed), packing())
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            next(chunks)
    finally:
        signal.signal(signal.SIGINT, before)
    assert closed == ["fastem-reader"]


def test_without_threads(X, monkeypatch):
    def refused(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    closed = []
    assert (np.concatenate([c for c, _ in packed(blocks(X, 50))]) == X).all()
    chunks = ahead(endless(X, closed), packing())
    next(chunks)
    chunks.close()
    assert closed == ["MainThread"]
    with pytest.raises(ReadError, match="NaN in row 5"):
        packed(iter([(with_value(X, 5, 0, np.nan), None)]))


def test_default_size_of_chunks():
    for d, dtype in [(1, "f8"), (8, "f4"), (100, "f8"), (10**6, "f8")]:
        rows = default_rows_per_chunk(d, dtype)
        size = rows * d * np.dtype(dtype).itemsize
        assert rows % 256 == 0 and rows >= 1024 and (size <= reader.CHUNK_BYTES or rows == 1024)
