"""The sample that starts are made from, and the race between them. Seeding is handed in by the front."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from fastem.engine.chunks import Chunk, chunk
from fastem.engine.em import em_step

ROUNDS = (5, 10, 20, 40, 80)
"""EM steps after which the worse half of the starts is dropped."""


def subsample(chunks: Iterable[Chunk], size: int, rng: np.random.Generator) -> Chunk:
    """All rows of positive weight if there are at most `size`; else that many, drawn by weight, and counting alike.

    One pass with memory for two samples; the same rows however they are cut into chunks. A row of weight w has the key
    e / w, e exponential, and the rows of least keys are drawn: without replacement, the next always in proportion to
    the weights of those left (Efraimidis and Spirakis 2006, Information Processing Letters 97). In their order in the
    data. A column of which they hold NaN alone has its first row with a number added, if there is one.
    """
    kept: list[tuple[np.ndarray, ...]] = []
    rare: dict[int, tuple[np.ndarray, ...]] = {}
    held, most, weighted, whole = 0, np.inf, False, True
    for X, weight, given in _live_blocks(chunks, size):
        weighted |= given
        with np.errstate(divide="ignore"):  # logarithms, since weights may be of any size; that of 0 comes first
            keys = np.log(-np.log1p(-rng.random(len(X)))) - np.log(weight)
        if len(rare) < X.shape[1]:
            _add_first(rare, X, weight)
        near = keys < most
        kept.append((X[near], weight[near], keys[near]))
        held += int(near.sum())
        if held > size:
            whole = False
        if held > 2 * size:
            kept = [_least(kept, size)]
            held, most = size, kept[0][2].max()
    if not held:
        raise ValueError("there are no rows of positive weight: give at least one")
    X, weight, _ = _least(kept, size)
    for column, (row, of_row) in rare.items():
        if np.isnan(X[:, column]).all():
            X, weight = np.vstack([X, row]), np.append(weight, of_row)
    return chunk(X, weight if weighted and whole else None)


def _add_first(rare: dict[int, tuple[np.ndarray, ...]], X: np.ndarray, weight: np.ndarray) -> None:
    """For each column that `rare` has not, the first row with a number in it, and its weight."""
    rows: dict[int, tuple[np.ndarray, ...]] = {}
    for j in range(X.shape[1] if len(X) else 0):
        i = 0 if X[0, j] == X[0, j] else int(np.isnan(X[:, j]).argmin())
        if j not in rare and X[i, j] == X[i, j]:
            if i not in rows:
                rows[i] = X[i : i + 1].copy(), weight[i : i + 1]
            rare[j] = rows[i]


def _live_blocks(chunks: Iterable[Chunk], rows: int) -> Iterator[tuple[np.ndarray, np.ndarray, bool]]:
    """X, weights, and whether they were given, of the rows of positive weight, at most `rows` at a time."""
    for X, weight in chunks:
        for first in range(0, len(X), rows):
            block = slice(first, first + rows)
            if not weight.size:
                yield X[block], np.ones(len(X[block])), False
                continue
            live = weight[block] > 0
            yield X[block][live], weight[block][live], True


def _least(kept: list[tuple[np.ndarray, ...]], size: int) -> tuple[np.ndarray, ...]:
    """The `size` rows of least keys, in their order."""
    X, weight, keys = map(np.concatenate, zip(*kept))
    rows = np.sort(np.argsort(keys, kind="stable")[:size])
    return X[rows], weight[rows], keys[rows]


def race(
    model: Any,
    starts: Iterable[Any],
    sample: Chunk,
    repair: Callable[[Any], Any],
    stop: Callable[[], bool] = lambda: False,
    rounds: Sequence[int] = ROUNDS,
) -> Any:
    """The start that leads after a few EM steps on `sample`; after every round the worse half is dropped.

    ``stop()`` is asked after every start that is made and after every step; the leader so far wins.
    """
    runners = []
    for params in starts:
        runners.append((-np.inf, params))
        if stop():
            break
    for steps in rounds:
        for i, (_, params) in enumerate(runners):
            if not stop():
                runners[i] = _run(model, params, sample, steps, repair, stop)
        runners.sort(key=lambda runner: -runner[0])
        runners = runners[: max(1, (len(runners) + 1) // 2)]
        if len(runners) == 1 or stop():
            break
    return runners[0][1]


def _run(model: Any, params: Any, sample: Chunk, steps: int, repair: Callable, stop: Callable) -> tuple[float, Any]:
    best = (-np.inf, params)
    for _ in range(steps):
        statistics, after = em_step(model, params, [sample])
        if not statistics.log_likelihood > best[0]:
            break
        best = statistics.log_likelihood, params
        params = repair(after)
        if stop():
            break
    return best
