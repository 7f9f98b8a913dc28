"""Arrays in HDF5 files and Zarr stores, named ``file.h5::array`` and ``store.zarr::array``."""

import importlib
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from fastem.sources.arrays import sliced_source
from fastem.sources.columns import Choice
from fastem.sources.source import Source, file_signature


def needed(package: str, name: str) -> Any:
    """Import the package that reads `name`, or say what to install."""
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        root = package.partition(".")[0]
        raise ModuleNotFoundError(
            f"reading or writing {name} needs {root}, which is not installed: pip install 'fastem[io]'", name=root
        ) from error


def hdf5_source(path: str, array: str, choice: Choice) -> Source:
    """Rows of a dataset in an HDF5 file; its name may be left out where the file has one with rows and columns.

    Examples
    --------
    >>> import h5py, numpy as np, os, tempfile
    >>> from fastem.sources import open_rows
    >>> path = os.path.join(tempfile.mkdtemp(), "run.h5")
    >>> with h5py.File(path, "w") as file:
    ...     file["night/stars"] = np.arange(6.0).reshape(3, 2)
    >>> with open_rows(f"{path}::night/stars") as rows:
    ...     [chunk.X.tolist() for chunk in rows]
    [[[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]]
    """
    h5py = needed("h5py", path)

    @contextmanager
    def opened() -> Iterator[Any]:
        with _readable(path, "HDF5"), h5py.File(path, "r") as file:
            item = file.get(array) if array else None
            if isinstance(item, h5py.Dataset):
                yield item
                return
            found: dict[str, Any] = {}
            file.visititems(lambda name, item: found.update({name: item} if isinstance(item, h5py.Dataset) else {}))
            yield _one_of(found, array, path)

    return sliced_source(opened, choice, _full_name(path, array), lambda: file_signature(path))


def zarr_source(path: str, array: str, choice: Choice) -> Source:
    """Rows of a Zarr array: a folder or a .zip, with the array's name where it is one of a group.

    Examples
    --------
    >>> import numpy as np, os, tempfile, zarr
    >>> from fastem.sources import open_rows
    >>> path = os.path.join(tempfile.mkdtemp(), "run.zarr")
    >>> group = zarr.open_group(path, mode="w")
    >>> _ = group.create_array("stars", data=np.arange(6.0).reshape(3, 2))
    >>> with open_rows(f"{path}::stars") as rows:
    ...     [chunk.X.tolist() for chunk in rows]
    [[[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]]
    """
    zarr = needed("zarr", path)

    @contextmanager
    def opened() -> Iterator[Any]:
        zipped = path.lower().endswith(".zip")
        if zipped and not zipfile.is_zipfile(path):
            raise ValueError(f"{path} is truncated, damaged or no .zip file; write it again")
        with _readable(path, "Zarr"), zarr.storage.ZipStore(path, mode="r") if zipped else nullcontext(path) as store:
            root = zarr.open(store, mode="r")
            if isinstance(root, zarr.Group):
                found = {name: item for name, item in root.members(max_depth=None) if isinstance(item, zarr.Array)}
                yield _one_of(found, array, path)
            elif array:
                raise ValueError(f"{path} is one array, and has none named {array!r}; leave out ::{array}")
            else:
                yield root

    return sliced_source(opened, choice, _full_name(path, array), lambda: file_signature(path))


@contextmanager
def _readable(path: str, kind: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, PermissionError):
        raise
    except (OSError, RuntimeError, KeyError) as error:  # what the libraries raise does not name the file
        raise ValueError(f"{path} is truncated, damaged or no {kind} file ({error}); write it again") from error


def _one_of(found: dict[str, Any], array: str, path: str) -> Any:
    if array.strip("/") in found:
        return found[array.strip("/")]
    tables = [name for name, item in found.items() if len(item.shape) == 2 or item.dtype.names is not None]
    if not array and len(tables) == 1:
        return found[tables[0]]
    what = f"no array {array!r}" if array else f"{len(tables)} arrays with rows and columns"
    names = ", ".join(sorted(found)) or "no arrays at all"
    raise ValueError(f"{path} has {what}; it has {names}. Name one: {os.path.basename(path)}::name")


def _full_name(path: str, array: str) -> str:
    return f"{path}::{array}" if array else path
