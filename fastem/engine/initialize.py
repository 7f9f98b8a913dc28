"""Starts, and the race between them. Seeding is handed in by the front; here it is decided which start is continued."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastem.engine.chunks import Chunk, chunk
from fastem.engine.em import em_step

ROUNDS = (5, 10, 20, 40, 80)
"""EM steps after which the worse half of the starts is dropped."""


def subsample(data: Chunk, size: int, rng: np.random.Generator) -> Chunk:
    """All rows of positive weight if there are at most `size`; else that many, drawn by weight, and counting alike."""
    X, weight = data
    if weight.size:
        live = np.flatnonzero(weight > 0)
        if len(live) <= size:
            return chunk(X[live], weight[live])
        chosen = rng.choice(live, size, p=weight[live] / weight[live].sum())
        return chunk(X[np.sort(chosen)])
    if len(X) <= size:
        return data
    return chunk(X[np.sort(rng.choice(len(X), size, replace=False))])


def race(model: Any, starts: Sequence[Any], sample: Chunk, repair: Callable[[Any, Any], Any], rounds=ROUNDS) -> Any:
    """The start that leads after a few EM steps on `sample`; after every round the worse half is dropped."""
    runners = [(-np.inf, s) for s in starts]
    for steps in rounds:
        runners = [_run(model, params, sample, steps, repair) for _, params in runners]
        runners.sort(key=lambda runner: -runner[0])
        runners = runners[: max(1, (len(runners) + 1) // 2)]
        if len(runners) == 1:
            break
    return runners[0][1]


def _run(model: Any, params: Any, sample: Chunk, steps: int, repair: Callable) -> tuple[float, Any]:
    best = (-np.inf, params)
    for _ in range(steps):
        statistics, after = em_step(model, params, [sample])
        if not statistics.log_likelihood > best[0]:
            break
        best = statistics.log_likelihood, params
        params = repair(after, statistics)
    return best
