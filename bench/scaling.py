"""How the seconds of an iteration grow with N, with K and with threads.

python bench/scaling.py
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import Any

import numpy as np
import report
from common import THREADS, Case, limit_threads, rest
from rivals import Estimator, Problem, make_problem
from threadpoolctl import threadpool_limits

NUMBERS = [100_000, 300_000, 1_000_000, 3_000_000, 10_000_000]
COMPONENTS = [2, 4, 8, 16, 32, 64]
COLUMNS: report.Columns = [
    ("", "what", "s"),
    ("N", "n", ",d"),
    ("d", "d", "d"),
    ("K", "k", "d"),
    ("seconds an iteration", "seconds", ".5f"),
    ("ns a row and component", "nanoseconds", ".2f"),
]
THREAD_COLUMNS: report.Columns = [
    ("N", "n", ",d"),
    ("d", "d", "d"),
    ("K", "k", "d"),
    ("1 thread, s", "one", ".4f"),
    (f"{THREADS} threads, s", "many", ".4f"),
    ("efficiency", "efficiency", ".2f"),
    ("goal", "goal", "g"),
    ("efficiency of dgemm, one a thread", "dgemm", ".2f"),
]


def per_iteration(rival: Estimator, problem: Problem, long: int) -> float:
    """Return the seconds of an iteration, from two run lengths."""
    rest(0.05)
    few, many = rival.fit(problem, 2), rival.fit(problem, long)
    return (many.seconds - few.seconds) / (many.n_iter - few.n_iter)


def length(rival: Estimator, problem: Problem, seconds: float) -> int:
    """Return a run length that takes about so many seconds."""
    rival.fit(problem, 1)
    return 2 + int(np.clip(np.ceil(seconds * 3 / rival.fit(problem, 2).seconds), 2, 100))


def growth(what: str, cases: list[Case], options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return a row for each case: the median over rounds in which all of them take turns."""
    rival = Estimator("fastem")
    lanes = []
    for case in cases:
        problem = make_problem(case)
        lanes.append((problem, length(rival, problem, options.seconds)))
    rounds = [[per_iteration(rival, *lane) for lane in lanes] for _ in range(options.rounds)]
    rows = []
    for case, seconds in zip(cases, zip(*rounds)):
        value = median(seconds)
        nanoseconds = 1e9 * value / (case.n * case.k)
        rows.append({"what": what, **case._asdict(), "seconds": value, "nanoseconds": nanoseconds})
        print(rows[-1], flush=True)
    return rows


def exponent(rows: list[dict[str, Any]], key: str) -> float:
    """Return the slope of log(seconds) over log(key): 1 is linear."""
    sizes, seconds = (np.log([row[name] for row in rows]) for name in (key, "seconds"))
    return float(np.polyfit(sizes, seconds, 1)[0])


def of_dgemm(repeats: int = 30) -> float:
    """Return the seconds of matrix products on one thread over those of as many on each of all threads at once.

    They share nothing but the machine, of which a thread has more where the others rest.
    """
    squares = np.random.default_rng(0).random((THREADS, 512, 512))

    def multiply(square: np.ndarray) -> None:
        for _ in range(repeats):
            square @ square

    def seconds(count: int) -> float:
        rest(0.05)
        begin = time.perf_counter()
        list(pool.map(multiply, squares[:count]))
        return time.perf_counter() - begin

    with threadpool_limits(1, "blas"), ThreadPoolExecutor(THREADS) as pool:
        seconds(THREADS)
        return seconds(1) / seconds(THREADS)


def threads(case: Case, options: argparse.Namespace) -> dict[str, Any]:
    """Return one thread's time over that of all, divided by their number: 1 is perfect."""
    problem = make_problem(case)
    one, many = Estimator("fastem", 1), Estimator("fastem", THREADS)
    long = length(many, problem, options.seconds)
    pairs, dgemm = [], []
    for _ in range(options.rounds):
        pairs.append([per_iteration(rival, problem, long) for rival in (one, many)])
        dgemm.append(of_dgemm())
    efficiency = median(a / b / THREADS for a, b in pairs)
    times = {"one": median(a for a, _ in pairs), "many": median(b for _, b in pairs)}
    row = {**case._asdict(), **times, "efficiency": efficiency, "goal": 0.85, "dgemm": median(dgemm)}
    print(row, flush=True)
    return row


def main() -> None:
    """Measure and write both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--scale", type=float, default=1.0, help="times the rows, to try the script out")
    parser.add_argument("--dry", action="store_true", help="write no results")
    options = parser.parse_args()
    limit_threads()

    def scaled(n: int) -> int:
        return max(2000, int(n * options.scale))

    in_n = growth("in N", [Case(scaled(n), 8, 8) for n in NUMBERS], options)
    in_k = growth("in K", [Case(scaled(200_000), 8, k) for k in COMPONENTS], options)
    slopes = {
        f"time grows as {key.upper()} to the power": round(exponent(rows, key), 3)
        for key, rows in (("n", in_n), ("k", in_k))
    }
    print(slopes)
    sizes = [(1_000_000, 2, 8), (1_000_000, 8, 16), (200_000, 32, 16), (50_000, 128, 8)]
    efficiencies = [threads(Case(max(scaled(n), 20 * d * k), d, k), options) for n, d, k in sizes]
    if not options.dry and options.scale == 1.0:
        report.save("scaling", COLUMNS, in_n + in_k, **slopes)
        report.save("threads", THREAD_COLUMNS, efficiencies, rounds=options.rounds)


if __name__ == "__main__":
    main()
