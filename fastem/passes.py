"""How far a pass over the rows is, and when it will end, in words."""

import time
from typing import Any

from fastem.wording import count


class Passes:
    """Follows ``on_rows(done, n_rows)``, which is called after every chunk, through one pass after the other."""

    def __init__(self) -> None:
        self.number = self.done = self.n_rows = 0
        """The pass, from 1; its rows so far; and the rows of a pass, as far as they are known."""
        self.ending = False
        self._rest: float | None = None
        self._first = (0, 0.0)

    def update(self, done: int, n_rows: int | None) -> float:
        """Take what `on_rows` was told; return the time on the clock."""
        now = time.monotonic()
        if done <= self.done or not self.number:
            self.number += 1
            self._first = done, now
        self.done, self.n_rows, self.ending = done, n_rows or max(done, self.n_rows), done == n_rows
        # By the rows since the first chunk of this pass: before it there was something else to do.
        behind, seconds = done - self._first[0], now - self._first[1]
        self._rest = (n_rows - done) * seconds / behind if n_rows and behind else None
        return now

    def line(self, progress: Any = None) -> str:
        """Where the pass is that follows the iteration that `progress` was told of."""
        parts = [f"{count(self.done)} of {count(self.n_rows)} rows" if self.done < self.n_rows else _rows(self.done)]
        if self._rest is not None:
            parts.append(f"{_duration(self._rest)} to the end of the pass")
        if progress is None:
            return f"pass {self.number}: {', '.join(parts)}"
        parts.append(f"log-likelihood {progress.log_likelihood / progress.weight:.6f}")
        return f"iteration {progress.n_iter + 1}: {', '.join(parts)}"


def _rows(number: int) -> str:
    return f"{count(number)} rows"


def _duration(seconds: float) -> str:
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
