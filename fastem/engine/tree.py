"""NamedTuples of arrays as vectors."""

from typing import Any

import numpy as np


def add(a: Any, b: Any) -> Any:
    """a + b, leaf by leaf."""
    if isinstance(a, tuple):
        return type(a)(*map(add, a, b))
    return a + b


def subtract(a: Any, b: Any) -> Any:
    """a - b, leaf by leaf."""
    if isinstance(a, tuple):
        return type(a)(*map(subtract, a, b))
    return a - b


def scale(a: Any, factor: float) -> Any:
    """factor * a, leaf by leaf."""
    if isinstance(a, tuple):
        return type(a)(*(scale(leaf, factor) for leaf in a))
    return factor * a


def blend(a: Any, b: Any, share: float) -> Any:
    """(1 - share) a + share b, leaf by leaf."""
    if isinstance(a, tuple):
        return type(a)(*(blend(x, y, share) for x, y in zip(a, b, strict=True)))
    return (1.0 - share) * a + share * b


def leaves(a: Any) -> list[Any]:
    """The arrays and numbers of a tree, in order."""
    return [leaf for part in a for leaf in leaves(part)] if isinstance(a, tuple) else [a]


def is_finite(a: Any) -> bool:
    """Whether every number is."""
    return all(np.isfinite(leaf).all() for leaf in leaves(a))


def rebuild(like: Any, parts: list[Any]) -> Any:
    """Inverse of `leaves`: the tree of the form of `like` with these leaves, numbers as `like` has them."""
    parts = list(parts)
    if len(parts) != len(leaves(like)):
        raise ValueError(f"{len(parts)} arrays were given for a tree of {len(leaves(like))}")
    return _rebuild(like, iter(parts))


def _rebuild(like: Any, parts: Any) -> Any:
    if isinstance(like, tuple):
        return type(like)(*(_rebuild(part, parts) for part in like))
    part = next(parts)
    return type(like)(part) if isinstance(like, (int, float)) else np.asarray(part)


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
    return [leaf.shape for leaf in leaves(a)]
