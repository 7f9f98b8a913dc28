"""NamedTuples of arrays as vectors."""

from typing import Any


def add(a: Any, b: Any) -> Any:
    """a + b, leaf by leaf."""
    if isinstance(a, tuple):
        return type(a)(*map(add, a, b))
    return a + b
