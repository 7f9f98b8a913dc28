"""What a file holds of a mixture of a family of the user's own: parameters of any form, and the name of its class."""

import sys
from typing import Any

import numpy as np

from fastem.engine import tree


def check_family(path: str, kind: str, name: Any, family: Any) -> None:
    """`ValueError` where a family is wanted and not given, or another is."""
    if kind != "Mixture":
        if family is not None:
            raise ValueError(f"family is given, and {path} holds a {kind}, which has its own: leave it out")
        return
    if isinstance(family, type) or type(family).__name__ != name:
        given = "" if family is None else f", and family is {family!r}"
        raise ValueError(
            f"{path} holds a Mixture of your family {name}, whose code no file holds{given}: give an object of it, "
            f"fastem.load(path, family={name}(...))"
        )


def form_of(given: Any) -> Any:
    """What is left of a tree without its leaves, for JSON: None for a leaf, else a kind and its parts."""
    if isinstance(given, dict):
        return ["dict", list(given), [form_of(part) for part in given.values()]]
    if isinstance(given, tuple):
        parts = [form_of(part) for part in given]
        return [type(given).__name__, list(given._fields), parts] if hasattr(given, "_fields") else ["tuple", [], parts]
    return None


def arrays_of(given: Any, prefix: str, suffix: str) -> dict[str, np.ndarray]:
    """The leaves of a tree by name, such as params0_, params1_."""
    return {f"{prefix}{i}{suffix}": np.asarray(leaf) for i, leaf in enumerate(tree.leaves(given))}


def tree_of(form: Any, arrays: dict[str, np.ndarray], prefix: str, suffix: str, family: Any) -> Any:
    """Inverse of both, which takes the arrays from among others; NamedTuples are those of the module of `family`.

    One that is not found there has the same fields.
    """
    count = 0

    def made(form: Any) -> Any:
        nonlocal count
        if form is None:
            count += 1
            return arrays.pop(f"{prefix}{count - 1}{suffix}")
        kind, names, forms = form
        parts = [made(part) for part in forms]
        if kind == "dict":
            return dict(zip(names, parts, strict=True))
        return tuple(parts) if kind == "tuple" else _named(kind, tuple(names), family)(*parts)

    return made(form)


def _named(name: str, fields: tuple[str, ...], family: Any) -> Any:
    from fastem.families.user_bricks import named  # here: it imports Numba, which a file of other mixtures needs not

    found = getattr(sys.modules.get(type(family).__module__), name, None)
    is_it = isinstance(found, type) and issubclass(found, tuple) and getattr(found, "_fields", None) == fields
    return found if is_it else named(fields)
