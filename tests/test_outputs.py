"""What is written block by block is read back as a whole, or nothing stands where it should have been written."""

import numpy as np
import pytest

from fastem.sources import open_output

pq = pytest.importorskip("pyarrow.parquet")
N = 50


def write(target, values, n_rows=N, cuts=(0, 0, 7, 30, N), column="label"):
    width = values.shape[1] if values.ndim == 2 else None
    with open_output(target, n_rows, width, values.dtype, column) as out:
        for first, last in zip(cuts, cuts[1:]):
            out.write(values[first:last])


VALUES = [np.arange(N), np.linspace(0, 1, N, dtype=np.float32), np.asfortranarray(np.arange(3.0 * N).reshape(N, 3))]


@pytest.mark.parametrize("values", VALUES, ids=["labels", "scores", "probabilities"])
@pytest.mark.parametrize("n_rows", [N, None])
def test_files(values, n_rows, tmp_path):
    write(tmp_path / "x.npy", values, n_rows)
    found = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert found.dtype == values.dtype and found.shape == values.shape and (found == values).all()
    write(str(tmp_path / "x.parquet"), values, n_rows, column="proba")
    found = pq.read_table(tmp_path / "x.parquet")
    names = ["proba"] if values.ndim == 1 else ["proba_0", "proba_1", "proba_2"]
    assert found.column_names == names
    assert (np.squeeze(np.stack([found[name] for name in names], axis=1)) == values).all()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.npy", "x.parquet"]


def test_arrays(tmp_path):
    h5py = pytest.importorskip("h5py")
    labels, _, probabilities = VALUES
    out = np.zeros(N, np.int32)
    write(out, labels, None)
    assert (out == labels).all()
    mapped = np.lib.format.open_memmap(tmp_path / "x.npy", mode="w+", dtype="f4", shape=(N, 3))
    write(mapped, probabilities)
    assert (np.load(tmp_path / "x.npy") == probabilities).all()
    with h5py.File(tmp_path / "x.h5", "w") as file:
        write(file.create_dataset("p", (N, 3), "f8"), probabilities)
        assert (file["p"][:] == probabilities).all()


def read_only(shape):
    out = np.zeros(shape)
    out.flags.writeable = False
    return out


@pytest.mark.parametrize(
    ("out", "message"),
    [
        (np.zeros(N - 1), r"out has shape \(49,\); \(50,\) is wanted"),
        (np.zeros((N, 1)), r"out has shape \(50, 1\)"),
        (np.zeros(N, np.int64), "dtype int64, which does not hold float64"),
        (read_only(N), "read-only"),
        ([0.0] * N, "out is list; an array, or a path"),
        ("x.txt", r"cannot write \.txt; give \.npy, \.csv or \.parquet"),
        ("x", "a file with no ending"),
    ],
)
def test_wrong_targets_are_told_before_anything_is_written(out, message):
    with pytest.raises(ValueError, match=message), open_output(out, N, None, np.float64):
        raise AssertionError("the block ran")
    with (
        pytest.raises(ValueError, match=r"\(n_rows, 3\) is wanted"),
        open_output(np.zeros((N, 2)), None, 3, np.float64),
    ):
        raise AssertionError("the block ran")


@pytest.mark.parametrize("name", ["x.npy", "x.parquet"])
def test_a_fault_leaves_what_was_there(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(b"before")
    for cuts, message in [((0, 7), "50 rows, and 7 were written"), ((0, N, 0, N), "room for 50 rows, and there are")]:
        with pytest.raises(ValueError, match=message):
            write(path, VALUES[0], cuts=[*cuts])
    with pytest.raises(ValueError, match=r"a block has shape \(7, 3\); \(7,\) is wanted"):
        with open_output(path, N, None, float) as out:
            out.write(VALUES[2][:7])
    with pytest.raises(ZeroDivisionError), open_output(path, N, None, np.int64) as out:
        out.write(VALUES[0][:7])
        1 / 0  # noqa: B018
    assert path.read_bytes() == b"before" and [p.name for p in tmp_path.iterdir()] == [name]
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        write(tmp_path / "none" / name, VALUES[0])


def test_labels_that_a_small_type_does_not_hold():
    with pytest.raises(ValueError, match="out has dtype int8, and there is a 149; make it int64"):
        write(np.zeros(N, np.int8), np.arange(N) + 100, cuts=(0, 20, N))


def test_too_few_rows_for_an_array():
    with pytest.raises(ValueError, match="out has 50 rows, and 7 were written"):
        write(np.zeros(N), VALUES[0], None, cuts=(0, 7))
