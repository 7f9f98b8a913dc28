"""Fitted models in one versioned ``.npz`` of numbers and JSON: no pickle, nothing that runs when read.

========================= ==================================================================================
``format``                ``"fastem"``
``version``               1
``kind``                  name of the class, such as ``"GaussianMixture"``
``parameters``            JSON of the constructor's arguments that are plain values
``init_<name>``           array given as ``<name>_init``
``attributes``            JSON of the fitted attributes that are plain values
``<name>_``               array of the fitted attribute of that name
``<name>_.<entry>``       entry, of these but the first two, of the fitted estimator that is that attribute
========================= ==================================================================================

A callback is not stored, nor is a `random_state` that is a generator: they belong to the process that made
them. Of a family of the user's own there is the name of its class and no more, and `load` is given the family.
"""

import importlib
import json
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from fastem import ROOMS
from fastem.engine import tree
from fastem.files import check_path, written_beside
from fastem.stored_families import check_family
from fastem.wording import plural

FORMAT = "fastem"
VERSION = 1
# The only classes a file can name, and where each lives.
KINDS = {name: room for name, room in ROOMS.items() if name.endswith(("Mixture", "Imputer"))}

_ZIP, _NPY = b"PK\x03\x04", b"\x93NUMPY"


class Contents(NamedTuple):
    """What a model file holds: the name of its class, constructor arguments and fitted attributes."""

    kind: str
    parameters: dict[str, Any]
    attributes: dict[str, Any]


def save(estimator: Any, path: str | os.PathLike) -> None:
    """Write a fitted estimator to one file, from which :func:`load` makes an equal one.

    The file is written beside `path` and renamed: an earlier file stays whole until the new one is.

    Parameters
    ----------
    estimator : a fitted mixture or imputer
    path : str or path-like
        The file to write; the usual ending is ``.npz``, and none is appended.

    Raises
    ------
    sklearn.exceptions.NotFittedError
        If the estimator is not fitted (a ValueError).
    ValueError
        If an argument or attribute is neither a number, a text nor an array of numbers.
    TypeError
        If `path` is no path.
    OSError
        If the file cannot be written.
    """
    kind = type(estimator).__name__
    if kind not in KINDS:
        raise ValueError(
            f"cannot save a {kind}: files hold one of {', '.join(KINDS)}, and no code. Use pickle or joblib for a "
            "class of your own, and keep that in a module that can be imported"
        )
    from sklearn.utils.validation import check_is_fitted  # here, because reading a file needs no scikit-learn

    check_is_fitted(estimator)
    entries = _entries(estimator)
    with written_beside(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, format=FORMAT, version=VERSION, **entries)


def _entries(estimator: Any) -> dict[str, Any]:
    given, fitted = _stored_parameters(estimator), attributes_of(estimator)
    inner = {name: fitted.pop(name) for name, value in vars(estimator).items() if type(value).__name__ in KINDS}
    if hasattr(estimator, "_to_file"):
        given, fitted = estimator._to_file(given, fitted)
    (parameters, arrays), (attributes, entries) = _split(given), _split(fitted)
    entries |= {f"init_{name.removesuffix('_init')}": arrays[name] for name in arrays}
    texts = {"parameters": json.dumps(parameters), "attributes": json.dumps(attributes)}
    for name, other in inner.items():
        entries |= {f"{name}.{entry}": value for entry, value in _entries(other).items()}
    return {"kind": type(estimator).__name__, **texts, **entries}


def load(path: str | os.PathLike, family: Any = None) -> Any:
    """Read a fitted estimator that :func:`save` wrote.

    Parameters
    ----------
    path : str or path-like
        The file.
    family : object, optional
        That of a :class:`fastem.Mixture`, whose code no file holds: of a class of the same name.

    Returns
    -------
    The estimator
        With the arguments and the fitted attributes of the one that was saved, bit for bit.

    Raises
    ------
    ValueError
        If the file is none of ours (a pickle is never opened), truncated, or of another version or kind; or if it
        is of a family of your own that is not given, or another one is.
    TypeError
        If `path` is no path.
    FileNotFoundError
        If there is no such file.
    """
    contents = read(path)
    check_family(_name(path), contents.kind, contents.parameters.get("family"), family)
    estimator = _made(path, contents, family)
    try:
        mixture = getattr(estimator, "mixture_", estimator)
        params = mixture._get_params_()
        k = len([*tree.leaves(params.components), params.weights][0])  # a family may have no parameters
        if params.weights.shape != (k,) or (params.weights < 0).any():
            raise ValueError(f"weights_ is {params.weights}, where {plural(k, 'number')} of at least 0 should be")
        mixture._family().prepare(params.components, np.dtype(float), params.weights)
    except AttributeError as error:
        raise damaged(path, f"it has no {error.name}") from error
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise damaged(path, str(error).removesuffix(". Leave it out")) from error
    return estimator


def _made(path: str | os.PathLike, contents: Contents, family: Any = None) -> Any:
    kind, parameters, found = contents
    attributes = {name: _made(path, value) if isinstance(value, Contents) else value for name, value in found.items()}
    try:
        cls = getattr(importlib.import_module(KINDS[kind]), kind)
        if hasattr(cls, "_from_file"):
            return cls._from_file(parameters | ({} if family is None else {"family": family}), attributes)
        estimator = cls(**parameters)
    except (TypeError, KeyError) as error:
        raise damaged(path, f"its {kind} is unknown, or has unknown arguments ({error})") from error
    except (IndexError, ValueError) as error:
        raise damaged(path, str(error)) from error
    vars(estimator).update(attributes)
    return estimator


def read(path: str | os.PathLike) -> Contents:
    """Read and check a model file without making the estimator; raises what :func:`load` raises."""
    check_path(path)
    _check_looks_like_ours(path)
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            entries = {name: file[name] for name in file.files} if "format" in file.files else {}
    except Exception as error:  # zipfile and numpy meet damage with a dozen types, some of them undocumented
        if "allow_pickle" in str(error):  # numpy's words for an array of Python objects
            raise ValueError(
                f"{_name(path)} holds pickled objects, which may run code and are never loaded: {_WANTED}"
            ) from error
        raise damaged(path, str(error)) from error
    if _text(entries, "format") != FORMAT:
        raise ValueError(f"{_name(path)} is an .npz file, but no model of fastem: {_WANTED}")
    _check_version_and_kind(path, entries)
    return _contents(path, entries)


_WANTED = "wanted a file written by fastem's save(); give that file, or fit and save the model again"


def _name(path: str | os.PathLike) -> str:
    return os.fspath(path)


def damaged(path: str | os.PathLike, why: str) -> ValueError:
    """What is raised of a file of ours that is none any more."""
    return ValueError(f"{_name(path)} is truncated or damaged ({why}): {_WANTED}")


def _check_looks_like_ours(path: str | os.PathLike) -> None:
    """Tell apart what people give by mistake; numpy would take every unknown file for a pickle."""
    if os.path.isdir(path):
        raise ValueError(f"{_name(path)} is a folder: {_WANTED}")
    with open(path, "rb") as file:
        head = file.read(6)
    if head.startswith(_ZIP):
        return
    if _ZIP.startswith(head):
        raise damaged(path, f"it has {len(head)} bytes")
    if head.startswith(_NPY):
        what = "a single array (.npy), not a model"
    elif head[0] == 0x80:
        what = "a pickle, which may run code and which fastem never loads"
    else:
        what = "not a model of fastem"
    raise ValueError(f"{_name(path)} is {what}: {_WANTED}")


def _text(entries: Mapping[str, np.ndarray], name: str) -> str:
    # numpy gives bytes for a member of the archive that is no array
    return str(entries[name][()]) if isinstance(entries.get(name), np.ndarray) else "missing"


def _check_version_and_kind(path: str | os.PathLike, entries: Mapping[str, np.ndarray]) -> None:
    version, kind = _text(entries, "version"), _text(entries, "kind")
    if version != str(VERSION):
        raise ValueError(
            f"{_name(path)} has version {version} of the format, and this fastem reads version {VERSION}: "
            "install the fastem that wrote it, or fit and save the model again"
        )
    if kind not in KINDS:
        raise ValueError(
            f"{_name(path)} holds a model of kind {kind}, and this fastem knows {', '.join(KINDS)}: "
            "install the fastem that wrote it, or fit and save the model again"
        )


def _contents(path: str | os.PathLike, entries: dict[str, np.ndarray]) -> Contents:
    inner: dict[str, dict[str, np.ndarray]] = {}
    for name in [name for name in entries if "." in name]:
        outer, _, entry = name.partition(".")
        inner.setdefault(outer, {})[entry] = entries.pop(name)
    try:
        parameters = json.loads(_text(entries, "parameters"))
        attributes = json.loads(_text(entries, "attributes"))
        parameters |= {
            f"{name.removeprefix('init_')}_init": array for name, array in entries.items() if name.startswith("init_")
        }
        # [()] makes a NumPy scalar of an array without axes, as which it was stored.
        attributes |= {name: array[()] for name, array in entries.items() if name.endswith("_")}
    except (TypeError, ValueError) as error:
        raise damaged(path, f"unreadable entry: {error}") from error
    if not all(map(_is_attribute, attributes)):
        raise damaged(path, "an attribute has no name of ours")
    if "feature_names_in_" in attributes:  # scikit-learn holds and compares them as an array of objects
        attributes["feature_names_in_"] = np.array(attributes["feature_names_in_"], dtype=object)
    attributes |= {name: _contents(path, found) for name, found in inner.items()}
    return Contents(_text(entries, "kind"), parameters, attributes)


def attributes_of(estimator: Any) -> dict[str, Any]:
    """What a fit has left."""
    return {name: value for name, value in vars(estimator).items() if _is_attribute(name)}


def _is_attribute(name: str) -> bool:
    return name.endswith("_") and not name.startswith("_")


def _stored_parameters(estimator: Any) -> dict[str, Any]:
    """Constructor arguments without those that belong to this process."""
    parameters = estimator.get_params(deep=False)
    parameters.pop("callback", None)
    if not isinstance(parameters.get("random_state"), int | np.integer | None):
        parameters["random_state"] = None
    return parameters


def _split(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Plain values, for JSON, and arrays; NumPy scalars are arrays without axes, which keeps their type."""
    plain: dict[str, Any] = {}
    arrays: dict[str, np.ndarray] = {}
    for name, value in values.items():
        array = np.asarray(value) if hasattr(value, "__array__") else None
        if name == "feature_names_in_":
            plain[name] = [str(feature) for feature in value]
        elif array is not None and (array.ndim or name.endswith("_")) and not array.dtype.hasobject:
            arrays[name] = array
        else:
            plain[name] = _plain(name, value)
    return plain, arrays


def _plain(name: str, value: Any) -> Any:
    """`value`, if JSON gives it back; NumPy scalars within become Python's."""

    def of_numpy(item: Any) -> Any:
        if isinstance(item, np.generic | np.ndarray) and not item.dtype.hasobject:
            return item.tolist()
        raise ValueError(f"cannot save {name}: a {type(item).__name__} is neither number, text nor array")

    return json.loads(json.dumps(value, default=of_numpy))
