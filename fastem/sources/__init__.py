"""Data that need not fit in memory: one argument, many sources.

`open_rows` turns what a user gives (a path, a list of paths or a glob, an open dataset or table, an object with
``shape`` and slices of rows, a callable that returns an iterator of chunks, or `Chunks` with a choice of columns,
weights and rows) into `Rows`: an iterable of chunks that can be read as often as wanted, while a thread reads ahead.
"""

from fastem.engine.reader import ReadError
from fastem.sources.opening import Chunks, is_source, open_rows, open_source
from fastem.sources.outputs import Output, check_another_file, open_output
from fastem.sources.rows import Rows
from fastem.sources.source import Source

__all__ = [
    "Chunks",
    "Output",
    "ReadError",
    "Rows",
    "Source",
    "check_another_file",
    "is_source",
    "open_output",
    "open_rows",
    "open_source",
]
