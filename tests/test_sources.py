"""The same rows from every source are the same chunks; what is wrong with one is told by source, chunk and row."""

import os
import re
import subprocess
import sys
import threading

import numpy as np
import pandas as pd
import polars as pl
import pytest

import fastem
from fastem import Chunks
from fastem.sources import ReadError, is_source, open_rows, open_source

h5py = pytest.importorskip("h5py")
zarr = pytest.importorskip("zarr")
pa = pytest.importorskip("pyarrow")
pytest.importorskip("pyarrow.dataset")
pytest.importorskip("pyarrow.feather")
pytest.importorskip("pyarrow.parquet")
pytest.importorskip("pyarrow.compute")

N, NAMES = 300, ["a", "b", "c"]


@pytest.fixture(autouse=True)
def thread_joined():
    yield
    assert not [t for t in threading.enumerate() if t.name == "fastem-reader"]


@pytest.fixture
def X(rng):
    return rng.normal(size=(N, len(NAMES)))


def read(data, **options):
    """All rows and weights of a source, by its chunks."""
    with open_rows(data, **options) as rows:
        chunks = [(c.X.copy(), c.sample_weight.copy()) for c in rows]
    return np.concatenate([c for c, _ in chunks]), np.concatenate([w for _, w in chunks])


def table(X):
    return pa.table({name: X[:, j] for j, name in enumerate(NAMES)})


def records(X):
    out = np.empty(len(X), [(name, X.dtype) for name in NAMES])
    for j, name in enumerate(NAMES):
        out[name] = X[:, j]
    return out


class Sliceable:
    def __init__(self, X):
        self.X, self.shape = X, X.shape

    def __getitem__(self, rows):
        assert isinstance(rows, slice)
        return self.X[rows].tolist()


def saved(path, X):
    np.save(path, X)
    return path


def hdf5(path, X, **options):
    with h5py.File(path, "w") as file:
        file.create_dataset("deep/er/rows", data=X, **options)
        file["other"] = np.arange(5.0)
    return path


def zipped(path, X):
    with zarr.storage.ZipStore(path, mode="w") as store:
        zarr.create_array(store, data=X, chunks=(37, 2))
    return path


def zarr_group(path, X):
    group = zarr.open_group(path, mode="w")
    group.create_array("in/rows", data=X, chunks=(37, 3))
    group.create_array("in/weights", data=np.arange(5.0))
    return f"{path}::in/rows"


def zarr_array(path, X):
    zarr.create_array(path, data=X, chunks=(128, 3))
    return path


def csv(path, X, sep=",", **options):
    pd.DataFrame(X, columns=NAMES).to_csv(path, index=False, sep=sep, **options)
    return path


def parquet(path, X):
    pa.parquet.write_table(table(X), path, row_group_size=70)
    return path


def feather(path, X):
    pa.feather.write_feather(table(X), path, chunksize=64)
    return path


def files(folder, X, ending, write):
    for part, first in enumerate(range(0, N, 70)):
        write(folder / f"part-{part}{ending}", X[first : first + 70])
    return str(folder / f"part-*{ending}")


def cut(X):
    return np.array_split(X, [0, 0, 5, 150, 150, N])


KINDS = {
    "array": lambda tmp, X: Chunks(X),
    "fortran array": lambda tmp, X: Chunks(np.asfortranarray(X)),
    "big-endian records": lambda tmp, X: records(X.astype(">f8")),
    "memmap": lambda tmp, X: np.load(saved(tmp / "x.npy", X), mmap_mode="r"),
    "sliceable": lambda tmp, X: Sliceable(X),
    "npy": lambda tmp, X: saved(tmp / "x.npy", X),
    "fortran npy": lambda tmp, X: saved(tmp / "x.npy", np.asfortranarray(X)),
    "records npy": lambda tmp, X: saved(tmp / "x.npy", records(X)),
    "glob of npy": lambda tmp, X: files(tmp, X, ".npy", np.save),
    "list of npy": lambda tmp, X: [saved(tmp / "x.npy", X[:150]), str(saved(tmp / "y.npy", X[150:]))],
    "csv": lambda tmp, X: csv(tmp / "x.csv", X),
    "csv without header": lambda tmp, X: csv(tmp / "x.CSV", X, header=False),
    "csv of semicolons": lambda tmp, X: csv(tmp / "x.csv", X, ";", encoding="utf-8-sig"),
    "glob of csv": lambda tmp, X: files(tmp, X, ".csv", csv),
    "parquet": lambda tmp, X: parquet(tmp / "x.parquet", X),
    "glob of parquet": lambda tmp, X: files(tmp, X, ".parquet", parquet),
    "folder of parquet": lambda tmp, X: files(tmp_folder(tmp), X, ".parquet", parquet).rpartition("/")[0],
    "feather": lambda tmp, X: feather(tmp / "x.feather", X),
    "dataset": lambda tmp, X: pa.dataset.dataset(parquet(tmp / "x.pq", X)),
    "table": lambda tmp, X: table(X),
    "pandas": lambda tmp, X: Chunks(pd.DataFrame(X, columns=NAMES, index=np.arange(N) * 2)),
    "polars": lambda tmp, X: Chunks(pl.DataFrame(X, schema=NAMES)),
    "hdf5": lambda tmp, X: f"{hdf5(tmp / 'x.h5', X)}::deep/er/rows",
    "hdf5 in chunks": lambda tmp, X: hdf5(tmp / "x.hdf5", X, chunks=(37, 2), compression="gzip"),
    "hdf5 records": lambda tmp, X: f"{hdf5(tmp / 'x.h5', records(X))}::/deep/er/rows",
    "open hdf5": lambda tmp, X: h5py.File(hdf5(tmp / "x.h5", X))["deep/er/rows"],
    "zarr": lambda tmp, X: zarr_array(tmp / "x.zarr", X),
    "zarr group": lambda tmp, X: zarr_group(tmp / "x.zarr", X),
    "zarr zip": lambda tmp, X: zipped(tmp / "x.zip", X),
    "open zarr": lambda tmp, X: zarr.open(zarr_array(tmp / "x.zarr", X), mode="r"),
    "callable": lambda tmp, X: lambda: iter(cut(X)),
    "callable of lists": lambda tmp, X: lambda: [[], X[:200].tolist(), X[200:].tolist()],
    "callable of frames": lambda tmp, X: lambda: (pd.DataFrame(part, columns=NAMES) for part in cut(X)),
    "callable of polars": lambda tmp, X: lambda: (pl.DataFrame(part, schema=NAMES) for part in cut(X)),
    "callable of batches": lambda tmp, X: lambda: iter(table(X).to_batches(max_chunksize=70)),
    "callable of records": lambda tmp, X: lambda: (records(part) for part in cut(X)),
    "generator": lambda tmp, X: (part for part in cut(X)),
    "batch reader": lambda tmp, X: table(X).to_reader(max_chunksize=70),
}
NAMELESS = {"array", "fortran array", "memmap", "sliceable", "npy", "fortran npy", "glob of npy", "list of npy"}
NAMELESS |= {"csv without header", "hdf5", "hdf5 in chunks", "open hdf5", "zarr", "zarr group", "zarr zip", "open zarr"}
NAMELESS |= {"callable", "callable of lists", "generator"}
UNCOUNTED = {kind for kind in KINDS if kind.startswith(("csv", "glob of csv", "callable", "generator", "batch reader"))}
ONCE = {"generator", "batch reader"}


def bare(data):
    return data.source if isinstance(data, Chunks) else data


def tmp_folder(tmp):
    (tmp / "folder.parquet").mkdir()
    return tmp / "folder.parquet"


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_rows_from_every_source(kind, tmp_path, X):
    data = KINDS[kind](tmp_path, X)
    assert is_source(data)
    hook = []
    with open_rows(data, on_rows=lambda *progress: hook.append(progress)) as rows:
        source = rows.source
        assert (source.n_features, source.dtype, source.weighted) == (3, np.float64, False)
        assert source.feature_names == (None if kind in NAMELESS else NAMES)
        assert source.n_rows == rows.n_rows == (None if kind in UNCOUNTED else N)
        assert source.once == (kind in ONCE)
        for _ in range(1 if kind in ONCE else 2):
            (chunk,) = [(c.X.copy(), c.sample_weight.copy()) for c in rows]
            assert (chunk[0] == X).all() and chunk[1].shape == (0,)
            assert (rows.n_rows, len(rows), rows.weight_sum) == (N, N, N)
    assert hook[0] == (N, None if kind in UNCOUNTED else N) and hook[1:] in ([], [(N, N)])


@pytest.mark.parametrize("size", [1, 7, 128, 129, N])
@pytest.mark.parametrize("kind", ["list of npy", "fortran npy", "csv", "parquet", "hdf5", "zarr", "callable"])
def test_any_size_of_chunks(kind, size, tmp_path, X):
    data = KINDS[kind](tmp_path, X)
    with open_rows(Chunks(str(data) if kind == "csv" else data, rows_per_chunk=size)) as rows:
        chunks = [chunk.X.copy() for chunk in rows]
    assert [len(c) for c in chunks] == [len(X[i : i + size]) for i in range(0, N, size)]
    assert (np.concatenate(chunks) == X).all()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in NAMELESS])
def test_columns_weights_and_rows_by_name(kind, tmp_path, X):
    X[:, 1] = abs(X[:, 1])
    X[5, 0] = np.nan
    keep = np.isfinite(X[:, 0])
    chosen = Chunks(bare(KINDS[kind](tmp_path, X)), columns=["c", "a"], weights="b", rows="finite")
    found, weight = read(chosen)
    assert (found == X[keep][:, [2, 0]]).all() and (weight == X[keep, 1]).all()


@pytest.mark.parametrize("kind", sorted(NAMELESS))
def test_columns_weights_and_rows_by_index(kind, tmp_path, X):
    X[:, 1] = abs(X[:, 1])
    chosen = Chunks(bare(KINDS[kind](tmp_path, X)), columns=[-1], weights=1, rows=lambda X: X[:, 0] > 0)
    found, weight = read(chosen)
    assert (found == X[X[:, 2] > 0, 2:]).all() and (weight == X[X[:, 2] > 0, 1]).all()


def test_all_columns_but_the_weights_are_features(tmp_path, X):
    for kind in ("npy", "records npy", "csv", "parquet", "hdf5 in chunks", "callable of frames"):
        folder = tmp_path / kind
        folder.mkdir()
        found, weight = read(Chunks(KINDS[kind](folder, abs(X)), weights=2))
        assert (found == abs(X[:, :2])).all() and (weight == abs(X[:, 2])).all()


def test_float32_stays_and_everything_else_is_float64(tmp_path, X):
    small = X.astype(np.float32)
    for kind in ("array", "records npy", "fortran npy", "parquet", "hdf5", "zarr", "callable", "callable of frames"):
        folder = tmp_path / kind
        folder.mkdir()
        found, _ = read(KINDS[kind](folder, small))
        assert found.dtype == np.float32 and (found == small).all()
    assert read(Chunks(X.astype(np.float16)))[0].dtype == np.float32
    assert read(Chunks(X.astype(">f4")))[0].dtype == np.float32
    mixed = np.zeros(4, [("x", "f4"), ("n", "i2"), ("name", "U3"), ("flag", "?")])
    mixed["n"] = -3
    assert read(mixed)[0].tolist() == [[0.0, -3.0, 0.0]] * 4 and read(mixed)[0].dtype == np.float64
    assert read(Chunks(mixed, columns=["x"]))[0].dtype == np.float32
    both = [saved(tmp_path / "x.npy", small), saved(tmp_path / "y.npy", X)]
    assert (read(both)[0] == np.concatenate([small, X])).all()


def test_nulls_text_and_other_types_of_arrow():
    given = pa.table(
        {
            "n": pa.array([1, None, 2**60 + 1]),
            "flag": [True, False, None],
            "half": pa.array([0.5, None, 2], pa.float16()),
            "price": pa.array([None, 1, 2], pa.decimal128(5, 2)),
            "text": ["a", "b", "c"],
            "when": pa.array([1, 2, 3], pa.timestamp("s")),
        }
    )
    with pytest.raises(ReadError, match="NaN in row 0 of the Table, column 'price'"):
        read(Chunks(given, columns="numeric"))
    with pytest.raises(ValueError, match="column 'text' of the Table holds string.*numbers are in 'n', 'flag', 'half'"):
        read(given)
    with pytest.raises(ValueError, match="column 'when' of the Table holds timestamp"):
        read(Chunks(given, columns=["n", "when"]))
    assert read(Chunks(given, columns=["half"], rows="finite"))[0].tolist() == [[0.5], [2.0]]
    assert read(Chunks(given, columns=["n", "flag"], rows="finite"))[0].tolist() == [[1.0, 1.0]]
    big = pa.compute.field("n") > 1
    assert read(Chunks(given, columns=["n"], rows=big))[0].tolist() == [[2.0**60]]


def test_csv_with_text_empty_fields_and_names_twice(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text('x,"y, in m",x,who\n1, 2 ,3,ann\n4,,6,bob\n\n"7",8e0,NA,eve\n')
    assert read(Chunks(path, columns=[0, 2, "y, in m"], rows="finite"))[0].tolist() == [[1.0, 3.0, 2.0]]
    with pytest.raises(ReadError, match=r"NaN in row 1 of .*x\.csv, column 'y, in m' \(chunk 0\)"):
        read(Chunks(path, columns=["x", "y, in m"]))
    with pytest.raises(ValueError, match="column 'who' of .*holds text"):
        read(path)
    path.write_text("1,2\n" * 400_000 + "3,x\n")  # past the first batch, from which types are guessed
    with pytest.raises(ReadError, match="column #1: Row #400001: CSV conversion error to double: invalid value 'x'"):
        read(path)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (["a", "d"], "has no column 'd'; it has 'a', 'b', 'c'"),
        ([3], "has no column 3; it has 3, counted from 0"),
        ([1.5], "1.5 is no column"),
        ([], "no columns of .* are left"),
        ("a", "give a list of names"),
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
    with pytest.raises(ValueError, match="rows is 'all'"):
        open_source(Chunks(X, rows="all"))
    with pytest.raises(ReadError, match=r"rows 0 to|at row 0\): rows\(X\) gave shape \(300, 3\)"):
        read(Chunks(X, rows=lambda X: X > 0))
    with pytest.raises(ValueError, match="is not read by pyarrow.dataset"):
        open_source(Chunks(X, rows=pa.compute.field("a") > 0))
    with pytest.raises(ValueError, match="Chunks already"):
        Chunks(Chunks(X))
    with pytest.raises(ValueError, match="has no rows"):
        read(Chunks(X, rows=lambda X: X[:, 0] > 100))


def test_weights_are_sliced_along_and_filtered(tmp_path, X, rng):
    weight = rng.uniform(size=N)
    X[7, 0] = np.inf
    keep = np.isfinite(X[:, 0])
    for kind in ("npy", "csv", "parquet", "callable", "generator"):
        folder = tmp_path / kind
        folder.mkdir()
        found, weights = read(Chunks(KINDS[kind](folder, X), rows="finite", rows_per_chunk=50), sample_weight=weight)
        assert (found == X[keep]).all() and (weights == weight[keep]).all()
    assert (read(Chunks(X, rows="finite"), sample_weight=2)[1] == 2).all()
    found, weights = read(lambda: ((part, np.full(len(part), 3)) for part in cut(np.nan_to_num(X, posinf=0))))
    assert (weights == 3).all()


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
    with pytest.raises(ReadError, match=r"\(rows 0 to 149 were read\): sample_weight has 200 weights, and there"):
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

    with pytest.raises(ReadError, match=rf"chunks, chunk 1 \(rows 100 to 149 were read\): .*{message}") as caught:
        read(Chunks(chunks, rows_per_chunk=100))
    assert caught.value.__cause__ is not None and len(closed) == 2


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
        with pytest.raises(ReadError, match=r"x\.npy, chunk \d+ \(.*\): the file is truncated: \d+ bytes"):
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


def test_files_that_do_not_fit_together(tmp_path, X):
    csv(tmp_path / "x.csv", X)
    pd.DataFrame(X, columns=["c", "b", "a"]).to_csv(tmp_path / "y.csv", index=False)
    with pytest.raises(ValueError, match="must have the same columns"):
        open_source(str(tmp_path / "*.csv"))
    found, _ = read(Chunks(str(tmp_path / "*.csv"), columns=["a"]))
    assert (found[:, 0] == np.concatenate([X[:, 0], X[:, 2]])).all()


def test_a_missing_package_is_named(tmp_path, X, monkeypatch):
    path = hdf5(tmp_path / "x.h5", X)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ModuleNotFoundError, match=r"needs h5py, which is not installed: pip install 'fastem\[io\]'"):
        open_source(path)


def test_readers_are_imported_when_used():
    code = "import sys, fastem; fastem.Chunks; print(*{'pyarrow', 'h5py', 'zarr', 'sklearn', 'numba'} & {*sys.modules})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == ""


def test_a_loop_that_fails_leaves_no_thread(X):
    with pytest.raises(ZeroDivisionError) as caught, open_rows(Chunks(X, rows_per_chunk=10)) as rows:
        for _ in rows:
            1 / 0  # noqa: B018
    assert not [t for t in threading.enumerate() if t.name == "fastem-reader"]
    assert caught.tb is not None  # whose frames still hold the iterator


def test_two_passes_at_once(X):
    with open_rows(Chunks(X, rows_per_chunk=7)) as rows:
        assert all((a.X == b.X).all() for a, b in zip(rows, rows))


@pytest.mark.parametrize(
    ("data", "streamed"),
    [
        (np.ones((3, 2)), False),
        ([[1.0]], False),
        (pd.DataFrame([1]), False),
        (pl.DataFrame([1]), False),
        (None, False),
        (3, False),
        ("x.npy", True),
        (["x.npy", "y.npy"], True),
        (Chunks([[1.0]]), True),
        (lambda: [], True),
        (iter([]), True),
        (Sliceable(np.ones((3, 2))), True),
    ],
)
def test_what_is_read_in_chunks(data, streamed):
    assert is_source(data) == streamed


MEASURE = """
import sys, resource
import numpy as np
from fastem.sources import open_rows
with open_rows(sys.argv[1]) as rows:
    first = next(iter(rows))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    total = sum(len(chunk.X) for chunk in rows)
print(total, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in other units")
@pytest.mark.parametrize("order", ["C", "F"])
def test_memory_is_that_of_the_buffers(order, tmp_path):
    """A file of 400 MB, of which no page is stored: holes read as zeros."""
    path = tmp_path / "x.npy"
    n = 12_500_000
    header = {"descr": "<f4", "fortran_order": order == "F", "shape": (n, 8)}
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + n * 32)
    out = subprocess.run([sys.executable, "-c", MEASURE, path], capture_output=True, text=True, check=True).stdout
    total, megabytes = map(float, out.split())
    assert total == n and megabytes < 100


def test_the_name_is_public():
    assert fastem.Chunks is Chunks and "Chunks" in dir(fastem)
