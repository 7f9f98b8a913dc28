"""Partly known labels, and parameters that are held: what is given is checked, and made a start and a model of."""

import os
import warnings
import zlib
from collections.abc import Collection, Iterable
from typing import Any

import numpy as np

from fastem.columns import unmasked
from fastem.engine.chunks import Chunk, chunk
from fastem.engine.model import MixtureParams
from fastem.starts import Start, scale_of
from fastem.wording import listed


def labels_among(labels: Any, y: Any, k: int) -> Any:
    """`labels`, or a `y` that can be nothing else: integers, -1 among them and none outside -1 ... K - 1."""
    try:
        given = np.asarray(y)
    except (TypeError, ValueError):  # whatever it is, it is no labels
        return labels
    if given.ndim != 1 or given.dtype.kind != "i" or not given.size or given.min() != -1 or given.max() >= k:
        return labels
    if labels is not None:
        raise ValueError(
            "y holds labels, with -1 where they are not known, and labels are given besides; one of them is wanted: "
            "leave y out"
        )
    if (given[given >= 0] == 1).all():
        warnings.warn(
            "y holds -1 and 1 alone, and is taken for labels: rows of 1 are known to be of component 1, and of rows of "
            "-1 the component is not known. If these are two classes, leave y out, or say that all are known, "
            "labels=(y == 1).astype(int); if not, labels=y says so",
            UserWarning,
            stacklevel=3,
        )
    return given


def check_labels(labels: Any, n: int, k: int) -> np.ndarray:
    """Labels (n,): -1 where the component is not known, else 0 to K - 1."""
    if isinstance(labels, str | os.PathLike):
        raise ValueError(
            f"labels is {os.fspath(labels)!r}; an array ({n},) of whole numbers is wanted. Read the file first, e.g. "
            "with numpy.load, or take the column of a frame"
        )
    given = np.asarray(unmasked("labels", labels))
    if given.shape != (n,) or given.dtype.kind not in "iuf":
        raise ValueError(
            f"labels has shape {given.shape} and dtype {given.dtype}; ({n},) whole numbers are wanted: the component "
            "of each row, and -1 where it is not known. Number the classes 0, 1, ... first"
        )
    bad = np.flatnonzero((given != np.floor(given)) | (given < -1) | (given >= k))
    if bad.size:
        rows = listed([int(row) for row in bad[:6]], "row")
        raise ValueError(
            f"labels has {given[bad[0]]} in {rows}; -1, or 0 to {k - 1} for n_components={k}, is wanted. Give -1 where "
            "the component is not known, or use more components"
        )
    return given.astype(np.int64)


def parted(whole: Chunk, labels: np.ndarray) -> tuple[Chunk, dict[int, Chunk]]:
    """The rows with weight 0 where the label is known, and the known rows of each component."""
    weight = whole.sample_weight if whole.sample_weight.size else np.ones(len(whole.X))
    known = {
        int(k): chunk(np.ascontiguousarray(whole.X[labels == k]), weight[labels == k])
        for k in np.unique(labels[(labels >= 0) & (weight > 0)])
    }
    return chunk(whole.X, np.where(labels < 0, weight, 0.0)), known


def fingerprint_of(labels: np.ndarray | None) -> str:
    """The same for the same labels, and hardly ever for others."""
    return "none" if labels is None else f"{zlib.crc32(np.ascontiguousarray(labels).data):08x}"


class Holding:
    """What an estimator knows of the names in `fixed`."""

    @property
    def _holdable(self) -> tuple[Any, ...]:
        """Names that `fixed` may hold beside "weights"."""
        raise NotImplementedError

    def _beginning(self, name: Any) -> tuple[str, Any]:
        """The argument that gives a parameter its starting value, and that value or None."""
        argument = {"covariances": "precisions_init"}.get(name, f"{name}_init")
        return argument, getattr(self, argument)

    def _told(self, name: Any) -> str:
        """What the family calls a name in `fixed`."""
        return str(name)


def names_held(fixed: Any) -> tuple[Any, ...]:
    """`fixed` as a tuple: it is looked at more than once."""
    if isinstance(fixed, str) or not isinstance(fixed, Iterable):
        example = f"({fixed!r},)" if isinstance(fixed, str) else "('weights',)"
        raise ValueError(f"fixed is {fixed!r}; a tuple of names is wanted: fixed={example}")
    return tuple(fixed)


def check_fixed(estimator: Any, fixed: Collection[Any]) -> None:
    """Names of parameters that are held, each of which must have a value to be held at."""
    for name in fixed:
        names = "weights", *estimator._holdable
        if name not in names:
            raise ValueError(f"fixed has {name!r}; choose among {', '.join(map(repr, names))}")
    if not (estimator.warm_start and hasattr(estimator, "weights_")):
        check_given(estimator, fixed, "or warm_start=True")


def check_given(estimator: Any, fixed: Collection[Any], otherwise: str) -> None:
    """`ValueError` where a parameter is held that has no starting value."""
    for name in fixed:
        source, value = estimator._beginning(name)
        if value is None:
            raise ValueError(f"fixed has {name!r}, and there is no value to hold it at: give {source}, {otherwise}")


def start_from(start: Start, known: dict[int, Chunk], random_state: np.random.RandomState) -> MixtureParams:
    """An M-step from the known rows, and the sample's rows given to the nearest centre.

    Centres of components that no row is known of are drawn as in k-means++: by the squared distance from the others.
    """
    family = start.model.family
    T = [family.statistic(part.X) for part in known.values()]
    T = [np.where(np.isnan(t), start.scale.mean, t) for t in T]
    spread = start.scale.deviation
    rows = start.T / spread
    centres = {k: scale_of(t, part.sample_weight).mean / spread for (k, part), t in zip(known.items(), T, strict=True)}
    weight = start.sample.sample_weight if start.sample.sample_weight.size else np.ones(len(rows))
    for k in range(start.k):
        if k in centres:
            continue
        far = np.min([((rows - c) ** 2).sum(axis=1) for c in centres.values()], axis=0) * weight
        far = far if far.sum() > 0 else weight
        centres[k] = rows[random_state.choice(len(rows), p=far / far.sum())]
    distances = np.stack([((rows - centres[k]) ** 2).sum(axis=1) for k in range(start.k)], axis=1)
    labels = np.concatenate(
        [np.argmin(distances, axis=1), *(np.full(len(t), k) for k, t in zip(known, T, strict=True))]
    )
    weights = np.concatenate([weight, *(part.sample_weight for part in known.values())])
    resp = np.eye(start.k)[labels] * weights[:, None]
    sum_w, components = family.from_responsibilities(np.concatenate([start.T, *T]), resp, start.scale)
    return start.floored(MixtureParams(sum_w / sum_w.sum(), components))
