"""The same table in every form that fastem reads in chunks: `KINDS[name](folder, X)`."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

from fastem import Chunks
from fastem.sources import open_rows

h5py = pytest.importorskip("h5py")
zarr = pytest.importorskip("zarr")
pa = pytest.importorskip("pyarrow")
pytest.importorskip("pyarrow.dataset")
pytest.importorskip("pyarrow.feather")
pytest.importorskip("pyarrow.parquet")
pytest.importorskip("pyarrow.compute")

N, NAMES = 300, ["a", "b", "c"]


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
