"""NamedTuples of arrays as vectors."""

from typing import TypeVar

T = TypeVar("T")


def add(a: T, b: T) -> T:
    """a + b, leaf by leaf."""
    if isinstance(a, tuple):
        return type(a)(*(add(x, y) for x, y in zip(a, b, strict=True)))  # type: ignore[arg-type]
    return a + b  # type: ignore[operator]
