"""Imports run one way: front -> {engine, families} -> kernels; and each heavy package stays in its room."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "fastem"
FILES = sorted(PACKAGE.rglob("*.py"))
REACHES = {  # what each room may import of fastem
    "kernels": {"kernels"},
    "families": {"families", "kernels"},
    "engine": {"engine", "kernels"},
    "front": {"front", "engine", "families", "kernels"},
}
ROOMS_OF = {  # where each package may be imported
    "dask": {"engine/distributed.py"},
    "distributed": {"engine/distributed.py"},
    "matplotlib": {"plot.py"},
    "sklearn": {"front"},
    "numba": {"kernels", "engine/threads.py"},
}


def room(module: str) -> str:
    """Return the room of a dotted module or path inside the package."""
    return next((part for part in REACHES if module.replace("/", ".").split(".")[0] == part), "front")


def imports(path: Path) -> set[str]:
    """Return the full dotted names that a file imports anywhere: `from . import x` as fastem.x."""
    package = ("fastem", *path.relative_to(PACKAGE).parent.parts)
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            stem = ".".join((*base, *([node.module] if node.module else [])))
            names |= {f"{stem}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_a_file_stays_in_its_room(path: Path) -> None:
    here = path.relative_to(PACKAGE).as_posix()
    for name in imports(path):
        top, _, rest = name.partition(".")
        if top == "fastem":
            assert room(rest) in REACHES[room(here)], f"{here} imports {name}"
        elif top in ROOMS_OF:
            assert {here, room(here)} & ROOMS_OF[top], f"{here} imports {name}"
    source = path.read_text(encoding="utf-8")
    words = {getattr(node, "id", getattr(node, "attr", "")) for node in ast.walk(ast.parse(source))}
    assert room(here) == "kernels" or "prange" not in words, f"{here} has a loop over rows"
    assert len(source.splitlines()) < 300, f"{here} is too long"


def test_there_are_files_in_every_room() -> None:
    rooms = {room(path.relative_to(PACKAGE).as_posix()) for path in FILES}
    assert rooms == set(REACHES)
