"""Numbered records of one size, in memory up to a budget and beyond it in a memory-mapped temporary file."""

import tempfile
from typing import Any

import numpy as np

BLOCK = 1 << 22
"""Bytes by which memory and file grow."""


class Records:
    """Vectors of `size` float64, appended and then read and replaced by number; a context, at whose end all is gone.

    The temporary file has no name where the system allows that, so it is gone also if the process is killed.
    """

    def __init__(self, size: int, memory: int):
        self.size, self.memory = size, memory
        self._per_block = max(1, BLOCK // (8 * size))
        self._blocks: list[np.ndarray] = []
        self.file: Any = None
        self._count = 0

    def __enter__(self) -> "Records":
        return self

    def __exit__(self, *error: Any) -> None:
        self._blocks = []
        self._count = 0
        if self.file is not None:
            self.file.close()
            self.file = None

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, i: int) -> np.ndarray:
        if not 0 <= i < self._count:
            raise IndexError(f"record {i} was asked for, of {self._count}")
        return self._blocks[i // self._per_block][i % self._per_block]

    def __setitem__(self, i: int, record: np.ndarray) -> None:
        self[i][...] = record

    def blocks(self) -> tuple[np.ndarray, ...]:
        """All records in order, in arrays (n, size) of a few MB, without a copy."""
        firsts = range(0, self._count, self._per_block)
        return tuple(block[: self._count - first] for first, block in zip(firsts, self._blocks))

    def append(self, record: np.ndarray) -> None:
        """One more record."""
        if self._count == self._per_block * len(self._blocks):
            self._blocks.append(self._block())
        self._count += 1
        self[self._count - 1] = record

    def _block(self) -> np.ndarray:
        shape = self._per_block, self.size
        bytes_each = 8 * self._per_block * self.size
        if (len(self._blocks) + 1) * bytes_each <= self.memory:
            return np.empty(shape)
        if self.file is None:
            self.file = tempfile.TemporaryFile(prefix="fastem-")
        # Written, not only made longer: on a full disk a write is an OSError, but touching a page of a hole is SIGBUS.
        begin = self.file.seek(0, 2)
        self.file.write(bytes(bytes_each))
        self.file.flush()
        return np.memmap(self.file, np.float64, "r+", begin, shape)
