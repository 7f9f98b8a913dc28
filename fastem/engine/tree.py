"""NamedTuples of arrays as vectors."""

from typing import Any


def add(a: Any, b: Any) -> Any:
    """a + b, leaf by leaf."""
    if isinstance(a, tuple):
        return type(a)(*map(add, a, b))
    return a + b


def shapes(a: Any) -> list[tuple[int, ...]]:
    """Shapes of the leaves."""
    return [s for leaf in a for s in shapes(leaf)] if isinstance(a, tuple) else [a.shape]
