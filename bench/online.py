"""Passes over the data and seconds to the batch optimum: batch, stepwise and incremental EM from the same start.

Batch EM runs until its predicted remaining gain is below 1e-4 nats a row, and goes on from there, extrapolated, until
it is below 1e-6, which is its optimum. All three are then timed to that log-likelihood a row minus 1e-3. Scoring the
stepwise and incremental parameters, with one function for all, is not counted. From pass 16 on every second is scored,
from 32 on every fourth, and so on, and between the last that was short and the first that was not, by halves. They are
followed for 3/4 of batch EM's passes.

python bench/online.py                                                # some ten minutes on two cores
python bench/online.py --n 50000 --data separated --dry               # a few seconds
"""

from __future__ import annotations

import argparse
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np
import report
from common import THREADS, Case, limit_threads, make_data, make_start, mixture, rest

from fastem.engine import tree
from fastem.engine.accelerate import Acceleration
from fastem.engine.chunks import Chunk, chunk
from fastem.engine.em import Position, fit_em
from fastem.engine.incremental import MEMORY, first_pass, next_pass, summed
from fastem.engine.model import Mixture, MixtureParams
from fastem.engine.monitor import ConvergenceMonitor, Rules
from fastem.engine.records import Records
from fastem.engine.stepwise import begin, estimate, stepwise_step
from fastem.families.gaussian import Gaussian, GaussianParams

EPS = float(np.finfo(float).eps)
SHORT_OF = 1e-3  # nats a row below the optimum that have to be reached
GOAL = 0.5  # of batch EM's passes
MOST = 0.75  # of batch EM's passes, after which the others are given up
COLUMNS: report.Columns = [
    ("N", "n", ",d"),
    ("d", "d", "d"),
    ("K", "k", "d"),
    ("data", "data", "s"),
    ("seed", "seed", "d"),
    ("optimum, nats a row", "optimum", ".6f"),
    ("start below it by", "start", ".4f"),
    ("batch, passes", "batch_passes", "d"),
    ("s", "batch_seconds", ".1f"),
    ("stepwise, passes", "stepwise_passes", "d"),
    ("s", "stepwise_seconds", ".1f"),
    ("share of batch's passes", "stepwise_share", ".2f"),
    ("incremental, passes", "incremental_passes", "d"),
    ("s", "incremental_seconds", ".1f"),
    ("share of batch's passes", "incremental_share", ".2f"),
    ("goal", "goal", "g"),
]


def stepwise(model: Mixture, start: MixtureParams, batches: list[Chunk]) -> Iterator[MixtureParams]:
    """Yield the parameters after each pass."""
    state = begin(model, start)
    while True:
        for batch in batches:
            state = stepwise_step(model, state, batch)
        yield estimate(model, state)


def incremental(model: Mixture, start: MixtureParams, chunks: list[Chunk]) -> Iterator[MixtureParams]:
    """Yield the parameters after each pass."""
    with Records(len(tree.to_vector(model.expected_statistics(start))), MEMORY) as records:
        passes = first_pass(model, start, chunks, records)
        while True:
            state = summed(model, deque(passes, maxlen=1).pop(), records)
            yield state.params
            passes = next_pass(model, state, chunks, records)


def cut(X: np.ndarray, rows: int) -> list[Chunk]:
    """Return the rows in batches, without a copy."""
    return [chunk(X[begin : begin + rows]) for begin in range(0, len(X), rows)]


def reach(model: Mixture, passes: Iterator[MixtureParams], data: Chunk, target: float, most: int) -> tuple:
    """Return the passes and seconds until the target is reached; None if it is not in `most` passes."""
    kept, seconds, short = [], [0.0], 0

    def reached(n: int) -> bool:
        score = model.e_step(kept[n - 1], [data]).log_likelihood / len(data.X)
        print(f"  pass {n}: {score - target:+.6f} of the target, {seconds[n]:.1f} s", flush=True)
        return bool(score >= target)

    for n in range(1, most + 1):
        begun = time.perf_counter()
        kept.append(next(passes))
        seconds.append(seconds[-1] + time.perf_counter() - begun)
        if n % 2 ** max(0, n.bit_length() - 4) and n < most:
            continue
        if reached(n):
            n = bisect_left(range(n), True, lo=short + 1, key=reached)
            return n, seconds[n]
        short = n
    return None, None


def measure(case: Case, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Return one row of the table."""
    truth = mixture(case, seed)
    X, given = make_data(case, truth, seed + 1), make_start(truth, seed + 2)
    start = MixtureParams(given.weights, GaussianParams(given.means, given.covariances))
    model, data = Mixture(Gaussian("full", 0.0), THREADS), chunk(X)
    model.e_step(start, [chunk(X[:1000])])  # loads the kernels
    monitor, rest_of_it = (ConvergenceMonitor(Rules(tol=tol, max_iter=5000), EPS) for tol in (1e-4, 1e-6))
    near = fit_em(model, Position(start), [data], monitor)
    fit_em(model, Position(near), [data], rest_of_it, acceleration=Acceleration("squarem", 1e-6))
    history, optimum = np.array(monitor.history) / [len(X), 1.0], rest_of_it.history[-1][0] / len(X)
    target = optimum - SHORT_OF
    if history[-1, 0] < target:
        raise RuntimeError(f"plain EM stopped {optimum - history[-1, 0]:.1e} nats a row short of the optimum")
    # The log-likelihood of iteration i is that of the parameters after i passes.
    needed = int(np.argmax(history[:, 0] >= target))
    row = {**case._asdict(), "seed": seed, "optimum": optimum, "start": optimum - history[0, 0]}
    row |= {"batch_passes": needed, "batch_seconds": history[needed - 1, 1], "goal": GOAL}
    print(f"{case.name}: batch EM {monitor.stop_reason} in {len(history)} passes, needs {needed}", flush=True)
    runs = {
        "stepwise": stepwise(model, start, cut(X, options.batch)),
        "incremental": incremental(model, start, cut(X, -(-len(X) // options.chunks))),
    }
    for name, passes in runs.items():
        rest()
        print(name, flush=True)
        count, seconds = reach(model, passes, data, target, max(2, int(MOST * needed)))
        row |= {f"{name}_passes": count, f"{name}_seconds": seconds}
        row[f"{name}_share"] = None if count is None else count / needed
    return row


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--n", type=int, default=10_000_000)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--batch", type=int, default=5000, help="rows of a batch of stepwise EM")
    parser.add_argument("--chunks", type=int, default=500, help="chunks of incremental EM")
    parser.add_argument("--data", nargs="*", default=["overlapping", "separated"])
    parser.add_argument("--dry", action="store_true", help="write no results")
    options = parser.parse_args()
    limit_threads()
    cases = [(Case(options.n, 8, 16, data=data), seed) for data in options.data for seed in range(options.seeds)]
    rows = [measure(case, seed, options) for case, seed in cases]
    if not options.dry:
        report.save("online", COLUMNS, rows, rows_of_a_batch=options.batch, chunks=options.chunks)


if __name__ == "__main__":
    main()
