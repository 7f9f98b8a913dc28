"""The sample that starts are made from, and the race between them. Seeding is handed in by the front."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastem.engine.chunks import Chunk, chunk
from fastem.engine.extremes import Extremes
from fastem.engine.several import Step, step_of_one, step_of_several

ROUNDS = (5, 10, 20, 40, 80)
"""EM steps after which the worse half of the starts is dropped."""

STILL, TWINS = 1e-7, 1e-5
"""Nats a row: a step that gains less is a start's last, and starts that near are in one optimum, or in equal ones. On
eight tables with K from 2 to 6 no fit ended elsewhere than without them, and seven in ten steps were left."""


def subsample(chunks: Iterable[Chunk], size: int, rng: np.random.Generator) -> Chunk:
    """All rows of positive weight if there are at most `size`; else that many, drawn by weight, and counting alike.

    One pass with memory for two samples; the same rows however they are cut into chunks. A row of weight w has the key
    e / w, e exponential, and the rows of least keys are drawn: without replacement, the next always in proportion to
    the weights of those left (Efraimidis and Spirakis 2006, Information Processing Letters 97). In their order in the
    data. The rows that are `Extremes` of a column and lie far outside them come behind, with the weight that they have
    beside those drawn: one row of 1e6 in a million of about 1 draws a component to itself, and a start that does not
    know of it has none to spare.
    """
    kept: list[tuple[np.ndarray, ...]] = []
    extremes = Extremes()
    held, most, total, weighted, whole = 0, np.inf, 0.0, False, True
    for X, weight, given in _live_blocks(chunks, size):
        weighted |= given
        total += float(weight.sum())
        with np.errstate(divide="ignore"):  # logarithms, since weights may be of any size; that of 0 comes first
            keys = np.log(-np.log1p(-rng.random(len(X)))) - np.log(weight)
        extremes.see(X, weight)
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
    if whole:
        return chunk(X, weight if weighted else None)
    rows, of_rows = extremes.beyond(X)
    if not len(rows):
        return chunk(X)
    return chunk(np.concatenate([X, rows]), np.append(np.ones(len(X)), of_rows * (len(X) / total)))


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


class Runner(NamedTuple):
    """A start after some EM steps, and what EM never lowers; `settled` where more of them gain next to nothing."""

    objective: float
    params: Any
    settled: bool = False


def race(
    model: Any,
    starts: Iterable[Any],
    sample: Chunk,
    repair: Callable[[Any], Any],
    stop: Callable[[], bool] = lambda: False,
    rounds: Sequence[int] = ROUNDS,
) -> Any:
    """The start that leads after a few EM steps on `sample`; after every round the worse half is dropped.

    They are ranked by the log-likelihood and that of their prior; of those at one height one goes on. On few rows all
    run side by side where the family can, and then ``repair(params)`` gets the components of all of them. ``stop()`` is
    asked after every start that is made and after every step; the leader so far wins.
    """
    runners = []
    for params in starts:
        runners.append(Runner(-np.inf, params))
        if stop():
            break
    weight = float(sample.sample_weight.sum()) if sample.sample_weight.size else len(sample.X)
    together = step_of_several(model, sample, repair)
    step = together or step_of_one(model, sample, repair)
    for steps in rounds:
        groups = [runners] if together else [[runner] for runner in runners]
        runners = [runner for group in groups for runner in _run(step, group, steps, STILL * weight, stop)]
        runners = _apart(sorted(runners, key=lambda runner: -runner.objective), TWINS * weight)
        runners = runners[: max(1, (len(runners) + 1) // 2)]
        if all(runner.settled for runner in runners[1:]) or stop():
            break  # none of the others will rise
    return runners[0].params


def _run(step: Step, runners: list[Runner], steps: int, still: float, stop: Callable[[], bool]) -> list[Runner]:
    """Those that have not settled after that many steps more, or where one did not rise."""
    if stop():
        return runners
    ends = [runner if runner.settled else Runner(-np.inf, runner.params) for runner in runners]
    live = [i for i, runner in enumerate(runners) if not runner.settled]
    params = [ends[i].params for i in live]
    for _ in range(steps if live else 0):
        objectives, after = step(params)
        rising = []
        for place, (i, value) in enumerate(zip(live, objectives)):
            gain = value - ends[i].objective
            ends[i] = Runner(value, params[place], gain <= still) if gain > 0 else ends[i]._replace(settled=True)
            if not ends[i].settled:
                rising.append(place)
        live, params = [live[place] for place in rising], [after[place] for place in rising]
        if not live or stop():
            break
    return ends


def _apart(runners: list[Runner], least: float) -> list[Runner]:
    """Without those as near as that to the one before them, from the best down."""
    kept = runners[:1]
    for runner in runners[1:]:
        if not kept[-1].objective - runner.objective <= least:
            kept.append(runner)
    return kept
