"""What is wrong with a source is told by source, chunk and row, and no thread is left."""

import os
import re
import sys
import threading

import numpy as np
import pandas as pd
import pytest
from source_kinds import (
    KINDS,
    NAMELESS,
    NAMES,
    N,
    csv,
    cut,
    files,
    h5py,
    hdf5,
    pa,
    read,
    saved,
    table,
    zarr,
    zarr_array,
    zarr_group,
)

from fastem import Chunks
from fastem.sources import ReadError, is_source, open_rows, open_source


@pytest.fixture
def X(rng):
    return rng.normal(size=(N, len(NAMES)))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (["a", "d"], "has no column 'd'; it has 'a', 'b', 'c'"),
        ([3], "has no column 3; it has 3, counted from 0"),
        ([1.5], "1.5 is no column"),
        ([], "no columns of .* are left"),
        ("a", "give a list of names"),
        (1, r"columns is 1; a list of names or indices is wanted, such as \[0, 1\]"),
        ([True, False, True], r"of a mask, give the indices: numpy.flatnonzero"),
    ],
)
def test_wrong_columns(X, columns, message):
    with pytest.raises(ValueError, match=message):
        open_source(Chunks(table(X), columns=columns))


def test_wrong_choices(X):
    with pytest.raises(ValueError, match="its columns have no names: give indices"):
        open_source(Chunks(X, columns=["a"]))
    with pytest.raises(ValueError, match="rows_per_chunk is 0"):
        Chunks(X, rows_per_chunk=0)
    with pytest.raises(ValueError, match="dtype is 'number'; 'float32' or"):
        Chunks(X, dtype="number")
    with pytest.raises(ValueError, match=r"an array of shape \(300,\) is no column of .* are sample_weight"):
        open_source(Chunks(X, weights=X[:, 0]))
    for mask in (X[:, 0] > 0, (X[:, 0] > 0).tolist()):
        with pytest.raises(ValueError, match=f"rows is a {type(mask).__name__}; .* sample_weight=mask"):
            open_source(Chunks(X, rows=mask))
    with pytest.raises(ValueError, match="rows is 'all'"):
        open_source(Chunks(X, rows="all"))
    with pytest.raises(ReadError, match=r"at row 0 \(chunk 0\): rows\(X\) gave shape \(300, 3\)"):
        read(Chunks(X, rows=lambda X: X > 0))
    with pytest.raises(ValueError, match="is not read by pyarrow.dataset"):
        open_source(Chunks(X, rows=pa.compute.field("a") > 0))
    with pytest.raises(ValueError, match="Chunks already"):
        Chunks(Chunks(X))
    with pytest.raises(ValueError, match="has no rows"):
        read(Chunks(X, rows=lambda X: X[:, 0] > 100))


def test_a_scanner_is_no_dataset(X):
    with pytest.raises(ValueError, match="X is Scanner; an array, a path .*, an open dataset"):
        open_source(pa.dataset.dataset(table(X)).scanner())


def test_groups_are_no_arrays(tmp_path, X):
    group = zarr.open_group(tmp_path / "x.zarr", mode="w")
    group.create_array("rows", data=X)
    with h5py.File(hdf5(tmp_path / "x.h5", X)) as file:
        for given, names in [(file, "'deep', 'other'"), (file["deep"], "'er'"), (group, "'rows'")]:
            assert is_source(given)
            with pytest.raises(ValueError, match=rf"a group of arrays, .* give group\[name\]; there are {names}"):
                open_source(given)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.ones(N - 1), r"sample_weight has shape \(299,\); \(300,\) is wanted"),
        (np.ones((N, 1)), "one weight for each row"),
        (np.array(["1"] * N), "real numbers are wanted"),
        (np.where(np.arange(N) == 150, -1.0, 1.0), "the weight is -1 in row 150 of the ndarray"),
        (np.where(np.arange(N) == 299, np.nan, 1.0), "the weight is NaN in row 299"),
        (np.zeros(N), "zero in every row"),
    ],
)
def test_wrong_weights(X, weight, message):
    with pytest.raises(ValueError, match=message):
        read(Chunks(X), sample_weight=weight)


def test_fewer_and_more_weights_than_rows_of_a_stream(X):
    with pytest.raises(ReadError, match=r"after row 149 \(chunk 0\): sample_weight has 200 weights, and there"):
        read(lambda: iter(cut(X)), sample_weight=np.ones(200))
    with pytest.raises(ReadError, match="sample_weight has 301 weights, and there are 300 rows"):
        read(lambda: iter(cut(X)), sample_weight=np.ones(301))
    with pytest.raises(ValueError, match="weights of its own"):
        read(lambda: iter([(X, np.ones(N))]), sample_weight=np.ones(N))
    with pytest.raises(ValueError, match="and a column of weights was chosen too"):
        read(Chunks(lambda: iter([(X, np.ones(N))]), weights=0))
    with pytest.raises(ReadError, match="some blocks have weights and some have none"):
        read(lambda: iter([(X, np.ones(N)), X]))


@pytest.mark.parametrize("kind", ["npy", "fortran npy", "csv", "parquet", "hdf5", "zarr", "callable", "table"])
def test_nan_is_told_by_row_column_and_chunk(kind, tmp_path, X):
    X[217, 1] = np.nan
    data = KINDS[kind](tmp_path, X)
    column = 1 if kind in NAMELESS else "'b'"
    with pytest.raises(ReadError, match=rf"NaN in row 217 of .*, column {column} \(chunk 4\)"):
        read(Chunks(data, rows_per_chunk=50))
    X[217, 1] = 0


def test_rows_in_messages_are_rows_of_the_source(tmp_path, X):
    X[217, 1] = np.nan
    with pytest.raises(ReadError, match="NaN in row 217 of the ndarray"):
        read(Chunks(X, rows=lambda X: X[:, 0] > -0.1 if not np.isnan(X[:, 1]).any() else X[:, 1] != 0))
    parts = files(tmp_path, X, ".npy", np.save)
    with pytest.raises(ReadError, match=r"NaN in row 7 of .*part-3\.npy \(row 217 of all files\), column 1"):
        read(parts)


def test_a_generator_is_read_once(X):
    with open_rows(part for part in cut(X)) as rows:
        assert sum(len(chunk.X) for chunk in rows) == N
        with pytest.raises(ValueError, match="can be read only once.*callable.*algorithm='stepwise'"):
            next(iter(rows))
    parts = iter(cut(X))
    with open_rows(lambda: parts) as rows, pytest.raises(ReadError, match="returned the same iterator twice"):
        list(rows)
    with pytest.raises(ValueError, match="gave no chunk"):
        open_rows(lambda: iter([]))


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (lambda X: X[:, :2], "a chunk has 2 columns, where the first one has 3"),
        (lambda X: X.astype(np.float32), "a chunk holds float32, where the first one holds float64"),
        (lambda X: X.astype(complex), "column 0 holds complex128"),
        (lambda X: X[None], r"shape \(1, 150, 3\)"),
        (lambda X: pd.DataFrame(X, columns=NAMES), "has the columns"),
        (lambda X: (X, None, None), "a tuple of 3"),
        (lambda X: 1 / 0, "ZeroDivisionError: division by zero"),
    ],
)
def test_faults_of_a_stream(X, second, message):
    closed = []

    def chunks():
        try:
            yield X[:150]
            yield second(X[150:])
        finally:
            closed.append(True)

    with pytest.raises(ReadError, match=rf"chunks, after row 149 \(chunk 1\): .*{message}") as caught:
        read(Chunks(chunks, rows_per_chunk=100))
    assert caught.value.__cause__ is not None and len(closed) == 2


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (None, "returned None; an iterator of chunks is wanted: yield arrays"),
        (np.zeros((3, 2)), "returned a ndarray; an iterator of chunks is wanted"),
        ({"a": [1.0]}, "returned a dict; an iterator"),
        (7, "returned a int; an iterator"),
        ([{"a": [1.0], "b": [2.0]}], "a chunk is a dict with 'a', 'b'; an array"),
        ([None], "a chunk is None; an array"),
    ],
)
def test_callables_that_give_no_chunks(returned, message):
    with pytest.raises(ValueError, match=message):
        read(lambda: returned)


CHANGES = {
    "size": lambda path, X: np.save(path, X[:-1]),
    "time": lambda path, X: os.utime(path, ns=(1, 1)),
    "dtype": lambda path, X: np.save(path, X.astype(np.float32)),
    "gone": lambda path, X: path.unlink(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changes_between_passes(change, tmp_path, X):
    path = saved(tmp_path / "x.npy", X)
    with open_rows(path) as rows:
        assert sum(len(chunk.X) for chunk in rows) == N
        CHANGES[change](path, X)
        with pytest.raises(ReadError, match="cannot be read any more" if change == "gone" else "has changed since it"):
            next(iter(rows))


def test_a_store_or_stream_that_changes_between_passes(tmp_path, X):
    zarr_array(tmp_path / "x.zarr", X)
    array = zarr.open(tmp_path / "x.zarr", mode="r+")
    with open_rows(str(tmp_path / "x.zarr")) as rows, open_rows(array) as opened:
        assert len([*rows, *opened]) == 2
        array.append(X)
        for again in (rows, opened):
            with pytest.raises(ReadError, match="has changed since it was opened"):
                next(iter(again))
    lengths = iter([N, N, N - 1])
    with open_rows(lambda: iter([X[: next(lengths)]])) as rows:
        assert len(list(rows)) == 1
        with pytest.raises(ReadError, match="gave 299 rows, where 300 were there before"):
            list(rows)


class Drifting:
    """Rows in slices, which change while nobody looks."""

    def __init__(self, X):
        self.X, self.shape, self.reads = X, X.shape, 0

    def __getitem__(self, rows):
        self.reads += 1
        return self.X[rows] * (1 + 1e-6 * self.reads)


def drifting_weights(X):
    passes = iter(range(9))
    return lambda: iter([(X, np.full(N, 1.0 + next(passes)))])


def shuffled(X):
    rng = np.random.default_rng(0)
    return lambda: iter([X[rng.permutation(N)]])


@pytest.mark.parametrize("source", [Drifting, drifting_weights, shuffled])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_that_change_between_passes(source, dtype, X):
    X = np.round(X * 4).astype(dtype)  # of which the lower bits are 0
    with open_rows(Chunks(source(X), rows_per_chunk=100)) as rows:
        assert len(list(rows)) == 3
        with pytest.raises(ReadError, match=r"has changed since .*: chunk 0 \(rows 0 to 99\) holds other numbers"):
            list(rows)
        assert len(list(rows.resized(70, same=False))) == 5


def test_rows_in_other_blocks_are_the_same_rows(X):
    blocks = iter([1, 1, 7, 2])
    with open_rows(lambda: iter(np.array_split(X.astype(np.float32), next(blocks)))) as rows:
        assert [len(list(rows)) for _ in range(3)] == [1, 1, 1]


@pytest.mark.parametrize("kind", ["npy", "fortran npy", "parquet", "feather", "hdf5", "zarr zip"])
def test_truncated_files(kind, tmp_path, X):
    data = str(KINDS[kind](tmp_path, np.tile(X, (100, 1)))).partition("::")[0]
    os.truncate(data, os.path.getsize(data) - 1000)
    with pytest.raises(ValueError, match=rf"{re.escape(data)} is truncated"):
        read(data)


def test_a_file_that_is_cut_off_while_it_is_read(tmp_path, X):
    path = saved(tmp_path / "x.npy", np.tile(X, (1000, 1)))
    with open_rows(Chunks(path, rows_per_chunk=1000)) as rows:
        chunks = iter(rows)
        next(chunks)
        os.truncate(path, 4_000_000)
        with pytest.raises(ReadError, match=r"x\.npy, after row \d+ \(chunk \d+\): the file is truncated: \d+ bytes"):
            list(chunks)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("none.npy", FileNotFoundError, "there is no file"),
        ("none*.parquet", FileNotFoundError, "no file matches"),
        ("x.xlsx", ValueError, r"cannot read \.xlsx; give \.npy, \.csv"),
        ("x.npy::rows", ValueError, "only HDF5 and Zarr"),
        ("x.h5::rows", ValueError, "has no array 'rows'; it has deep/er/rows, other. Name one"),
        ("x.zarr::x", ValueError, r"has no array 'x'; it has in/rows, in/weights"),
        ("x.zarr::in/weights", ValueError, r"shape \(5,\); a table of rows and columns"),
        ("flat.npy", ValueError, r"shape \(5,\); a table"),
        ("empty.npy", ValueError, "has no rows"),
        ("objects.npy", ValueError, "Python objects"),
        ("complex.npy", ValueError, "column 0 of .* holds complex128; real numbers are wanted"),
    ],
)
def test_wrong_files(name, error, message, tmp_path, X):
    hdf5(tmp_path / "x.h5", X)
    zarr_group(tmp_path / "x.zarr", X)
    (tmp_path / "x.xlsx").touch()
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "flat.npy", np.arange(5))
    np.save(tmp_path / "empty.npy", X[:0])
    np.save(tmp_path / "objects.npy", np.array([[None]]))
    np.save(tmp_path / "complex.npy", X + 1j)
    with pytest.raises(error, match=message):
        read(str(tmp_path / name))


@pytest.mark.parametrize("rows", [None, "finite"])
def test_a_wrong_field_in_a_later_block_of_a_csv_is_told_by_line(rows, tmp_path, X, monkeypatch):
    monkeypatch.setattr("fastem.sources.csv_files.CSV_BYTES", 2000)
    lines = csv(tmp_path / "x.csv", X).read_text().splitlines()
    lines[150], lines[201] = "1,NA,2", "1,2,three"
    (tmp_path / "x.csv").write_text("\n".join(lines))
    message = "NaN in row 149 of" if rows is None else r"row 200 \(line 202 of the file\), column 'c': 'three', where a"
    with pytest.raises(ReadError, match=message):
        read(Chunks(tmp_path / "x.csv", rows=rows))
    assert len(read(Chunks(tmp_path / "x.csv", columns=["a", "b"], rows="finite"))[0]) == N - 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n3,x\n", r"row 1 \(line 3 of .*\), column 'b': 'x', .*columns=\[...\]\); numbers are in 'a'"),
        ("a;b\n1;2\n3;4,5\n", r"row 1 \(line 3 of .*\), column 'b': '4,5', .*write decimals with a point"),
        ("a,b\n1,2\na,b\n3,4\n", r"row 1 \(line 3 of .*\), column 'a': 'a', .*remove this second line of column"),
        ("a,b\n" + "1,2\n" * 1000 + "3\n", r"row 1000 \(line 1002 of .*\) has 1 column, where the lines before have 2"),
        ("a,b\n1,2,3\n", r"row 0 \(line 2 of the file\) has 3 columns, where the lines before have 2"),
    ],
)
def test_a_wrong_field_of_a_csv_is_told_by_line(text, message, tmp_path):
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        read(tmp_path / "x.csv")


def test_files_that_do_not_fit_together(tmp_path, X):
    csv(tmp_path / "x.csv", X)
    pd.DataFrame(X, columns=["c", "b", "a"]).to_csv(tmp_path / "y.csv", index=False)
    with pytest.raises(ValueError, match="must have the same columns"):
        open_source(str(tmp_path / "*.csv"))
    found, _ = read(Chunks(str(tmp_path / "*.csv"), columns=["a"]))
    assert (found[:, 0] == np.concatenate([X[:, 0], X[:, 2]])).all()


def test_a_loop_that_fails_leaves_no_thread(X):
    with pytest.raises(ZeroDivisionError) as caught, open_rows(Chunks(X, rows_per_chunk=10)) as rows:
        for _ in rows:
            1 / 0  # noqa: B018
    assert not [t for t in threading.enumerate() if t.name == "fastem-reader"]
    assert caught.tb is not None  # whose frames still hold the iterator


def test_a_missing_package_is_named(tmp_path, X, monkeypatch):
    path = hdf5(tmp_path / "x.h5", X)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ModuleNotFoundError, match=r"needs h5py, which is not installed: pip install 'fastem\[io\]'"):
        open_source(path)
