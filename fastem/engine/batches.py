"""Chunks cut, joined and shuffled to batches of equal size."""

from collections.abc import Iterable, Iterator

import numpy as np

from fastem.engine.chunks import Chunk, chunk


class Batches:
    """The rows of chunks in their order, `rows` at a time; the last batch may be shorter.

    It iterates as often as the chunks do: for an iterator, which can be read only once, take ``iter(Batches(...))``.
    Rows are copied only where a batch spans chunks.
    """

    def __init__(self, chunks: Iterable[Chunk], rows: int):
        self.chunks, self.rows = chunks, rows

    def __iter__(self) -> Iterator[Chunk]:
        waiting: list[Chunk] = []
        for part in self.chunks:
            begin = 0
            while begin < len(part.X):
                end = min(len(part.X), begin + self.rows - sum(len(w.X) for w in waiting))
                waiting.append(Chunk(part.X[begin:end], part.sample_weight[begin:end]))
                if sum(len(w.X) for w in waiting) == self.rows:
                    yield _joined(waiting)
                    waiting = []
                begin = end
        if waiting:
            yield _joined(waiting)


class Shuffled:
    """The rows of one chunk, `rows` at a time, in an order that is drawn anew for every pass, from its number."""

    def __init__(self, data: Chunk, rows: int, seed: int, passes: int = 0):
        self.data, self.rows, self.seed, self.passes = data, rows, seed, passes

    def __iter__(self) -> Iterator[Chunk]:
        X, weight = self.data
        order = np.random.default_rng((self.seed, self.passes)).permutation(len(X))
        self.passes += 1
        for begin in range(0, len(X), self.rows):
            mine = np.sort(order[begin : begin + self.rows])  # in order memory is read faster
            yield chunk(X[mine], weight[mine] if weight.size else None)


def _joined(parts: list[Chunk]) -> Chunk:
    if len(parts) == 1:
        return parts[0]
    if any(p.sample_weight.size for p in parts):
        weights = [p.sample_weight if p.sample_weight.size else np.ones(len(p.X)) for p in parts]
        return chunk(np.concatenate([p.X for p in parts]), np.concatenate(weights))
    return chunk(np.concatenate([p.X for p in parts]))
