"""Data of the user's own E-step, which are read anew in every iteration."""

from collections.abc import Iterator
from typing import Any

import numpy as np


class Again:
    """Data as chunks: those of a list of arrays, of a callable or of `fastem.Chunks`; all else is one chunk."""

    def __init__(self, data: Any):
        from fastem.sources import Chunks

        self.data = data
        self.opened = isinstance(data, Chunks)
        if isinstance(data, Iterator):
            raise ValueError(
                "data is an iterator, which can be read only once, and EM reads the data in every iteration. Give a "
                "callable that returns a fresh iterator at each call, or a list of arrays"
            )

    def __iter__(self) -> Iterator[Any]:
        data = self.data
        if self.opened:
            from fastem.sources import open_rows

            with open_rows(data) as rows:
                yield from (piece.X for piece in rows)
        elif callable(data):
            yield from data()
        elif isinstance(data, list) and data and all(np.ndim(part) > 0 and hasattr(part, "shape") for part in data):
            yield from data
        else:
            yield data
