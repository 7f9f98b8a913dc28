"""The same rows from every source are the same chunks, whatever was chosen of them."""

import subprocess
import sys

import numpy as np
import pandas as pd
import polars as pl
import pytest
from source_kinds import (
    KINDS,
    NAMELESS,
    NAMES,
    ONCE,
    UNCOUNTED,
    N,
    Sliceable,
    bare,
    cut,
    pa,
    read,
    saved,
)

import fastem
from fastem import Chunks
from fastem.engine import reader
from fastem.sources import ReadError, is_source, open_rows, open_source
from fastem.tables import read_table


@pytest.fixture
def X(rng):
    return rng.normal(size=(N, len(NAMES)))


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


def test_a_parquet_file_of_several_batches(tmp_path, rng, monkeypatch):
    monkeypatch.setattr("fastem.sources.arrow.BATCH_BYTES", 8)  # 1024 rows
    X, n = rng.normal(size=(3000, 3)), rng.integers(0, 3, 3000)
    named = pa.table({"a.b": X[:, 2], "a": X[:, 0], "n": n, "name": ["x"] * 3000, "c": pa.array(X[:, 1], pa.float32())})
    pa.parquet.write_table(named, tmp_path / "x.parquet", row_group_size=700)
    with open_rows(Chunks(tmp_path / "x.parquet", columns=["c", "a"], weights="n", rows_per_chunk=2500)) as rows:
        for _ in range(2):
            found = [(chunk.X.copy(), chunk.sample_weight.copy()) for chunk in rows]
            assert [len(X) for X, _ in found] == [2500, 500] and rows.n_rows == 3000
            expected = np.column_stack([X[:, 1].astype(np.float32), X[:, 0]])
            np.testing.assert_array_equal(np.concatenate([X for X, _ in found]), expected)
            np.testing.assert_array_equal(np.concatenate([weight for _, weight in found]), n)


def test_csv_with_text_empty_fields_and_names_twice(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text('x,"y, in m",x,who\n1, 2 ,3,ann\n4,,6,bob\n\n"7",8e0,NA,eve\n')
    assert read(Chunks(path, columns=[0, 2, "y, in m"], rows="finite"))[0].tolist() == [[1.0, 3.0, 2.0]]
    with pytest.raises(ReadError, match=r"NaN in row 1 of .*x\.csv, column 'y, in m' \(chunk 0\)"):
        read(Chunks(path, columns=[0, "y, in m"]))
    for columns in (None, ["x", "y, in m"]):
        with pytest.raises(ValueError, match=r"has 2 columns named 'x': 0, 2, .* choose columns by number"):
            read(Chunks(path, columns=columns))
    path.write_text("1,2\n" * 400_000 + "3,x\n")  # past the first batch, from which types are guessed
    with pytest.raises(ReadError, match=r"row 400000 \(line 400001 of the file\), column 1 \(number 2 of 2\): 'x'"):
        read(path)


@pytest.mark.parametrize("gap", ["-", "?", ".", "", "na", "NaN", "N/A", "null", "None", "missing", "#N/A", " NA", '""'])
def test_gaps_of_csv_are_those_of_a_table_in_memory(gap, tmp_path):
    path = tmp_path / "x.csv"
    path.write_text(f"a,b\n{gap},2\n3,4\n")
    np.testing.assert_array_equal(read_table(path, gaps=True), [[np.nan, 2], [3, 4]])
    assert read(Chunks(path, rows="finite"))[0].tolist() == [[3.0, 4.0]]
    with pytest.raises(ReadError, match=r"NaN in row 0 of .*x\.csv, column 'a'"):
        read(path)


def test_gaps_that_are_none_and_gaps_among_texts(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("a,b\n1,   NA\n2,3\n")
    with pytest.raises(ValueError, match=r"line 2 of .*column 'b': '   NA', .* make such fields empty, which"):
        read(path)
    path.write_text("a,b\n-,none\nx,some\n,?\n")  # of categories "-", "none" and "?" may be some
    codings = fastem.CategoricalMixture(missing="nan")._coding(path, None, True)
    with open_rows(Chunks(path), coding=codings) as rows:
        rows.missing = "nan"
        (chunk,) = rows
        assert np.isnan(chunk.X).tolist() == [[False, False], [False, False], [True, False]]


def test_the_index_of_a_frame_is_no_column(tmp_path):
    frame = pd.DataFrame({"a": [1.0, -1.0, 3.0, 4.0], "id": [7, 3, 9, 1]})
    for kept, key in [(frame[frame["a"] > 0], "__index_level_0__"), (frame.set_index("id"), "id")]:
        kept.to_parquet(tmp_path / "x.parquet")
        given = [tmp_path / "x.parquet", pa.dataset.dataset(tmp_path / "x.parquet"), pa.Table.from_pandas(kept)]
        for data in given:
            assert open_source(data).feature_names == list(kept.columns)
            assert open_source(Chunks(data, columns="numeric")).feature_names == list(kept.columns)
            assert open_source(Chunks(data, columns=["a", key])).feature_names == ["a", key]


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


def test_readers_are_imported_when_used():
    code = "import sys, fastem; fastem.Chunks; print(*{'pyarrow', 'h5py', 'zarr', 'sklearn', 'numba'} & {*sys.modules})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == ""


@pytest.mark.parametrize("kind", ["npy", "fortran npy", "list of npy", "csv", "parquet", "hdf5", "zarr", "callable"])
def test_rows_of_files_are_checked_once(kind, tmp_path, X, monkeypatch):
    checked = []
    monkeypatch.setattr(reader, "_check_finite", lambda X, row, packing: checked.append(row))
    data = KINDS[kind](tmp_path, X)
    for given, again in (Chunks(data), False), (Chunks(data, rows=lambda X: X[:, 0] > 0), kind != "callable"):
        with open_rows(given) as rows:
            first = [chunk.X.copy() for chunk in rows]
            assert checked
            checked.clear()
            assert all((chunk.X == other).all() for chunk, other in zip(rows, first))
            assert bool(checked) == again
            checked.clear()


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
    assert total == n and megabytes < 50


def test_the_name_is_public():
    assert fastem.Chunks is Chunks and "Chunks" in dir(fastem)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", ["npy", "csv", "parquet", "callable"])
def test_rows_of_another_dtype_are_the_same_numbers(kind, dtype, tmp_path, X):
    for given in (np.float32, np.float64):
        folder = tmp_path / given.__name__
        folder.mkdir()
        data = KINDS[kind](folder, X.astype(given))
        for _ in range(2):
            rows = read(Chunks(data, dtype=dtype, rows_per_chunk=50))[0]
            assert rows.dtype == dtype
            np.testing.assert_allclose(rows, X, rtol=1e-6)


def test_weights_that_vanish_or_overflow_are_refused(X):
    for weight in (1e-300, 1e200):
        with pytest.raises(ValueError, match="largest value .*Divide the weights"):
            read(X, sample_weight=np.full(N, weight))
