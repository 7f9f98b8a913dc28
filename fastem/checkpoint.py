"""A fit that can be killed: after every iteration, all that is needed to go on stands in one file.

The file is written beside and renamed, so that there is always a whole one. It holds numbers and JSON, like a model's.
"""

import json
import os
import re
import warnings
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastem.engine import tree
from fastem.engine.chunks import Chunk
from fastem.files import check_path, check_writable, written_beside
from fastem.labels import fingerprint_of

FORMAT, VERSION = "fastem checkpoint", 2

FREE = frozenset("tol max_iter max_time random_state warm_start verbose verbose_interval n_jobs callback".split())
"""Parameters that may change between a fit that is broken off and its resumption, or are looked at otherwise."""

UNTOLD = "n_rows", "random_state"
"""What may not be known, or not be said."""

WEIGHT = 1e-9
"""Relative difference of two sums of the same weights, however the rows are cut."""


class Saved(NamedTuple):
    """What a checkpoint holds: plain values, and the arrays of trees by name."""

    plain: dict[str, Any]
    arrays: dict[str, list[np.ndarray]]

    def tree(self, name: str, like: Any) -> Any:
        """The tree that was saved as `name`, in the form of `like`."""
        return tree.rebuild(like, self.arrays[name])


class Weighed:
    """Chunks, and the weight of their rows, and how many have any, once they were gone through."""

    def __init__(self, chunks: Iterable[Chunk]):
        self.chunks, self.weight, self.rows = chunks, 0.0, 0

    def __iter__(self) -> Iterator[Chunk]:
        self.weight, self.rows = 0.0, 0
        for part in self.chunks:
            weight = part.sample_weight
            self.rows += int(np.count_nonzero(weight)) if weight.size else len(part.X)
            self.weight += float(weight.sum(dtype=np.float64)) if weight.size else len(part.X)
            yield part


class Checkpoint:
    """One file, for one fit: `settings` are what must be the same when it is resumed."""

    def __init__(self, path: str | os.PathLike | None, settings: Mapping[str, Any]):
        self.path, self.settings = path, json.loads(json.dumps(settings, default=_plain))
        self._warned = False
        self._rows, self._weight = "", 0.0

    def recognise(self, sample: Chunk, weight: float, saved: Saved | None) -> None:
        """Tell the data by the rows that starts are made from, and by the weight of all; both must be as saved."""
        self._rows, self._weight = fingerprint(sample), weight
        if saved is None:
            return
        was = saved.plain["weight"]
        same = abs(was - weight) <= WEIGHT * max(was, weight)
        if not same or saved.plain["rows"] != self._rows:
            how = "though as many" if same else f"of weight {was:.12g} in all, and here it is {weight:.12g}"
            raise ValueError(
                f"{os.fspath(self.path or '')} is the checkpoint of a fit to other rows or weights, {how}; "
                "resume with the same data, or give another checkpoint file"
            )

    def read(self) -> Saved | None:
        """The last state, or None where there is no file yet."""
        if self.path is None or not os.path.exists(self.path):
            return None
        name = os.fspath(self.path)
        try:
            with open(self.path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
                entries = {key: file[key] for key in file.files}
            if str(entries["format"]) != FORMAT or int(entries["version"]) != VERSION:
                raise ValueError("it has another format or version")
            plain = json.loads(str(entries["plain"]))
        except Exception as error:  # zipfile and numpy meet damage with a dozen types
            why = "it is no .npz of numbers" if "allow_pickle" in str(error) else error
            raise ValueError(
                f"{name} is no checkpoint that this fastem wrote ({why}); give the file of an earlier "
                "fit(..., checkpoint=), or remove it to start anew"
            ) from error
        self._check_settings(name, plain.pop("settings"))
        arrays: dict[str, list[np.ndarray]] = {}
        for key in sorted((k for k in entries if "/" in k), key=lambda k: (k.split("/")[0], int(k.split("/")[1]))):
            arrays.setdefault(key.split("/")[0], []).append(entries[key][()])
        return Saved(plain, arrays)

    def _check_settings(self, name: str, settings: dict[str, Any]) -> None:
        for what, now in self.settings.items():
            was = settings.get(what)
            if was != now and not (what in UNTOLD and None in (was, now)):
                raise ValueError(
                    f"{name} was written by a fit with {what}={was!r}, and this one has {what}={now!r}; resume with "
                    "the same data and parameters, or give another checkpoint file"
                )

    def write(self, plain: Mapping[str, Any], trees: Mapping[str, Any]) -> None:
        """Replace the file; where that fails (a full disk, say) the fit goes on, with a warning."""
        if self.path is None:
            return
        entries = {f"{name}/{i}": leaf for name, part in trees.items() for i, leaf in enumerate(tree.leaves(part))}
        told = {"settings": self.settings, "rows": self._rows, "weight": self._weight}
        text = json.dumps(told | dict(plain), default=_plain)
        try:
            with written_beside(self.path) as temporary, open(temporary, "wb") as file:
                np.savez(file, format=FORMAT, version=VERSION, plain=text, **entries)
        except OSError as error:
            if not self._warned:
                self._warned = True
                warnings.warn(
                    f"the checkpoint was not written ({error}); the fit goes on, and the file holds an earlier state",
                    RuntimeWarning,
                    stacklevel=2,
                )

    def prepare(self, resume: bool = False) -> None:
        """Remove what killed writers left beside the file, and raise where it cannot, or must not, be written."""
        if self.path is not None:
            if not resume and os.path.isfile(self.path) and not is_checkpoint(self.path):
                raise ValueError(
                    f"{os.fspath(self.path)} is there and is no checkpoint: the fit would replace it. Give another "
                    "name, or remove it"
                )
            target = Path(os.path.realpath(check_path(self.path)))
            for leftover in target.parent.glob(f".{target.name[:100]}.????????.tmp"):
                with suppress(OSError):
                    leftover.unlink()
            check_writable(self.path)


def is_checkpoint(path: str | os.PathLike) -> bool:
    """Whether a file is one, of any version."""
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            return str(file["format"]) == FORMAT
    except Exception:  # zipfile and numpy meet other files with a dozen types
        return False


def without_address(thing: Any) -> str:
    """`repr` of a function or object, the same in every process."""
    return re.sub(" at 0x[0-9a-fA-F]+", "", repr(thing))


def fingerprint(rows: Chunk | None) -> str:
    """The same for the same rows and weights, and hardly ever for others."""
    if rows is None:
        return "none"
    checksum = zlib.crc32(rows.sample_weight.data, zlib.crc32(np.ascontiguousarray(rows.X).data))
    return f"{len(rows.X)} rows {checksum:08x}"


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else repr(value)


def settings_of(estimator: Any, data: Any, plan: Any) -> dict[str, Any]:
    """What a fit that is resumed must have in common with the one that was broken off."""
    settings = {name: value for name, value in estimator.get_params().items() if name not in FREE}
    seed = estimator.random_state if isinstance(estimator.random_state, int | np.integer) else None
    what = {"n_features": data.n_features, "dtype": str(data.dtype), "n_rows": data.n_rows, "random_state": seed}
    return {
        "estimator": type(estimator).__name__,
        **settings,
        **what,
        "weight_concentration_prior": estimator._concentration,
        "algorithm": plan.algorithm,
        "batch_size": plan.batch_size or "default",
        "step": without_address(plan.step),
        "held_out": fingerprint(plan.held_out),
        "labels": fingerprint_of(None if plan.labels is None else np.asarray(plan.labels)),
        "fixed": sorted(map(estimator._told, plan.fixed)),
    }
