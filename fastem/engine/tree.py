"""NamedTuples, tuples and dicts of arrays and numbers as vectors."""

from collections.abc import Callable
from typing import Any

import numpy as np


def mapped(function: Callable, *trees: Any) -> Any:
    """The tree of ``function(leaf of each)``, of the form of the first."""
    first = trees[0]
    if isinstance(first, dict):
        return {key: mapped(function, *(tree[key] for tree in trees)) for key in first}
    if isinstance(first, tuple):
        parts = [mapped(function, *same) for same in zip(*trees, strict=True)]
        return type(first)(*parts) if hasattr(first, "_fields") else tuple(parts)
    return function(*trees)


def add(a: Any, b: Any) -> Any:
    """a + b, leaf by leaf."""
    return mapped(lambda x, y: x + y, a, b)


def subtract(a: Any, b: Any) -> Any:
    """a - b, leaf by leaf."""
    return mapped(lambda x, y: x - y, a, b)


def scale(a: Any, factor: float) -> Any:
    """factor * a, leaf by leaf."""
    return mapped(lambda x: factor * x, a)


def blend(a: Any, b: Any, share: float) -> Any:
    """(1 - share) a + share b, leaf by leaf."""
    return mapped(lambda x, y: (1.0 - share) * x + share * y, a, b)


def leaves(a: Any) -> list[Any]:
    """The arrays and numbers of a tree, in order."""
    if isinstance(a, (tuple, dict)):
        return [leaf for part in (a.values() if isinstance(a, dict) else a) for leaf in leaves(part)]
    return [a]


def is_finite(a: Any) -> bool:
    """Whether every number is."""
    return all(np.isfinite(leaf).all() for leaf in leaves(a))


def rebuild(like: Any, parts: list[Any]) -> Any:
    """Inverse of `leaves`: the tree of the form of `like` with these leaves, numbers as `like` has them."""
    parts = list(parts)
    if len(parts) != len(leaves(like)):
        raise ValueError(f"{len(parts)} arrays were given for a tree of {len(leaves(like))}")
    rest = iter(parts)

    def next_leaf(leaf: Any) -> Any:
        part = next(rest)
        return type(leaf)(part) if isinstance(leaf, (int, float)) else np.asarray(part)

    return mapped(next_leaf, like)


def to_vector(a: Any) -> np.ndarray:
    """All numbers of a tree in one float64 vector."""
    return np.concatenate([np.ravel(leaf) for leaf in leaves(a)]).astype(np.float64, copy=False)


def from_vector(like: Any, vector: np.ndarray) -> Any:
    """Inverse of `to_vector` for a tree of that form."""
    sizes = np.cumsum([np.size(leaf) for leaf in leaves(like)])
    parts = np.split(np.array(vector), sizes[:-1])
    return rebuild(like, [part.reshape(np.shape(leaf)) for part, leaf in zip(parts, leaves(like), strict=True)])


def shapes(a: Any) -> list[tuple[int, ...]]:
    """Shapes of the leaves."""
    return [np.shape(leaf) for leaf in leaves(a)]
