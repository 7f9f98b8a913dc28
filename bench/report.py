"""Measured rows as JSON under bench/results, and tables made of them between markers in Markdown files.

``python bench/report.py`` rewrites every table of bench/README.md and README.md from the newest results. A
table stands between ``<!-- table: NAME -->`` and ``<!-- end -->``; nobody types a figure into one.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from common import machine

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
FILES = (HERE / "README.md", HERE.parent / "README.md")
MARKERS = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)

Columns = list[tuple[str, str, str]]  # heading, key of the row, format


def save(name: str, columns: Columns, rows: list[dict[str, Any]], **notes: Any) -> None:
    """Write the rows of one table, with the machine they were measured on, and rewrite the tables."""
    RESULTS.mkdir(exist_ok=True)
    document = {"machine": machine(), "notes": notes, "columns": columns, "rows": rows}
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(document, indent=1, default=float) + "\n")
    print(f"wrote {path.relative_to(HERE.parent)}", flush=True)
    print(table(name))
    rewrite()


def cell(value: Any, form: str) -> str:
    """Return one value for people; a dash where nothing was measured."""
    return "-" if value is None else format(value, form)


def table(name: str) -> str:
    """Return one table in Markdown, with a line about its machine."""
    document = json.loads((RESULTS / f"{name}.json").read_text())
    columns = document["columns"]
    lines = ["| " + " | ".join(heading for heading, _, _ in columns) + " |", "|---" * len(columns) + "|"]
    for row in document["rows"]:
        lines.append("| " + " | ".join(cell(row.get(key), form) for _, key, form in columns) + " |")
    return "\n".join(lines) + "\n\n" + footnote(document) + "\n"


def footnote(document: dict[str, Any]) -> str:
    """Return where the figures come from, in one line."""
    host, notes = document["machine"], document["notes"]
    versions = ", ".join(f"{name} {number}" for name, number in host["versions"].items())
    extra = "".join(f" {key.replace('_', ' ')}: {value}." for key, value in notes.items())
    kernels = "/".join(host["blas_kernels"])
    return f"*{host['processor']}, {host['threads']} threads; {versions}; BLAS kernels: {kernels}.{extra}*"


def rewrite() -> None:
    """Put every table that has results between its markers."""

    def replace(match: re.Match[str]) -> str:
        name = match.group(2)
        body = table(name) if (RESULTS / f"{name}.json").exists() else "Not measured yet.\n"
        return f"{match.group(1)}{body}{match.group(3)}"

    for path in FILES:
        if path.exists():
            text = path.read_text()
            changed = MARKERS.sub(replace, text)
            if changed != text:
                path.write_text(changed)
                print(f"rewrote the tables of {path.relative_to(HERE.parent)}", flush=True)


if __name__ == "__main__":
    rewrite()
