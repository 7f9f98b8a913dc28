"""Seconds an iteration of scikit-learn, oneDAL and fastem, from the same start, taken in turn in one run.

All must first reach the same log-likelihood (one common function) after the same iterations. Then, round
after round, each fits twice, with few and with more iterations, and the difference is what an iteration
costs. Machines drift by a factor of two, so only ratios taken in the same round count: the tables hold their
medians.

    python bench/compare.py                       every table: full, restricted, float32
    python bench/compare.py full --size 200000,32,16 --data overlapping --rivals sklearn fastem
"""

from __future__ import annotations

import argparse
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import report
from common import (
    FLOAT32_GOAL,
    FULL,
    RESTRICTED,
    RESTRICTED_GOALS,
    Case,
    gemm_rate,
    goal,
    limit_threads,
    log_likelihood,
    machine,
    overlap,
    rest,
)
from rivals import Estimator, OneDal, Problem, make_problem, make_rivals

Rival = Estimator | OneDal
CHECK = 3  # iterations after which all must agree
SHORT = 2

SIZE: report.Columns = [("N", "n", ",d"), ("d", "d", "d"), ("K", "k", "d")]
SECONDS: report.Columns = [
    ("scikit-learn, s", "sklearn_seconds", ".3f"),
    ("on 1 thread", "sklearn1_seconds", ".3f"),
    ("oneDAL, s", "onedal_seconds", ".3f"),
    ("fastem, s", "fastem_seconds", ".4f"),
    ("x scikit-learn", "sklearn_ratio", ".1f"),
    ("goal", "sklearn_goal", "g"),
    ("x scikit-learn on 1 thread", "sklearn1_ratio", ".1f"),
    ("x oneDAL", "onedal_ratio", ".2f"),
    ("goal", "onedal_goal", "g"),
]
SHARE: report.Columns = [("share of dgemm", "share", ".2f"), ("goal", "share_goal", ".2f")]
AGREE: report.Columns = [("log-likelihoods differ by", "ll_spread", ".0e")]
DATA: report.Columns = [("data", "data", "s"), ("components a row", "overlap", ".1f")]
TYPE: report.Columns = [("covariance", "covariance_type", "s")]
COLUMNS = {
    "full": SIZE + DATA + SECONDS + SHARE + AGREE,
    "restricted": SIZE + TYPE + DATA + SECONDS + AGREE,
    "float32": SIZE + DATA + [
        ("float64, s", "float64_seconds", ".4f"),
        ("float32, s", "float32_seconds", ".4f"),
        ("x float64", "ratio", ".2f"),
        ("goal", "goal", "g"),
        ("log-likelihoods differ by", "ll_spread", ".0e"),
    ],
}  # fmt: skip


class Lane(NamedTuple):
    """One rival on one problem, and the longer of its two run lengths."""

    name: str
    rival: Rival
    problem: Problem
    long: int


def check(name: str, rival: Rival, problem: Problem, seconds: float) -> tuple[Lane, float]:
    """Fit for the few common iterations: warm caches, agree, and see how many fill `seconds`, or what these took."""
    rival.fit(problem, 1)  # compiles
    first = rival.fit(problem, 1)
    fit = rival.fit(problem, CHECK)
    value = log_likelihood(problem.X, fit.parameters)
    print(f"  {name:8s} after {fit.n_iter} iterations: log-likelihood {value:.12f}", flush=True)
    if fit.n_iter != CHECK:
        raise RuntimeError(f"{name} ran {fit.n_iter} iterations where {CHECK} were asked for")
    # Setting up and the first iterations vary, and would drown a difference that is short beside them.
    iteration = np.clip((fit.seconds - first.seconds) / (CHECK - 1), fit.seconds / 40, fit.seconds / (CHECK + 1))
    more = int(np.clip(np.ceil(max(seconds, fit.seconds) / iteration), 2, 60))
    return Lane(name, rival, problem, SHORT + more), value


def per_iteration(lane: Lane) -> float:
    """Return the seconds of an iteration: two run lengths, so that setting up and finishing cancel."""
    rest()
    short = lane.rival.fit(lane.problem, SHORT)
    long = lane.rival.fit(lane.problem, lane.long)
    if long.n_iter <= short.n_iter:
        raise RuntimeError(f"{lane.name} stopped after {long.n_iter} of {lane.long} iterations")
    seconds = (long.seconds - short.seconds) / (long.n_iter - short.n_iter)
    if seconds <= 0:
        message = f"{lane.name}: {long.n_iter} iterations took less time than {short.n_iter}"
        raise RuntimeError(f"{message}: the machine is too busy, or --seconds too small")
    return seconds


def take_turns(lanes: list[Lane], rounds: int) -> tuple[dict[str, list[float]], list[float]]:
    """Return the seconds of an iteration of every lane and the rate of gemm, round by round."""
    seconds: dict[str, list[float]] = {lane.name: [] for lane in lanes}
    rates = []
    for turn in range(rounds):
        shift = turn % len(lanes)
        for lane in lanes[shift:] + lanes[:shift]:
            seconds[lane.name].append(per_iteration(lane))
        rest()
        rates.append(gemm_rate(lanes[0].problem.case.dtype))
        text = ", ".join(f"{name} {values[-1]:.4f} s" for name, values in seconds.items())
        print(f"  round {turn + 1}: {text}, gemm {rates[-1] / 1e9:.0f} GF/s", flush=True)
    return seconds, rates


def ratio(slow: list[float], fast: list[float]) -> float:
    """Return the median of the paired ratios."""
    return median(a / b for a, b in zip(slow, fast))


def spread(values: list[float]) -> float:
    """Return the largest difference, relative to the size of the numbers."""
    return (max(values) - min(values)) / max(abs(value) for value in values)


def describe(problem: Problem) -> dict[str, Any]:
    """Return what a row says about its case."""
    return {**problem.case._asdict(), "overlap": overlap(problem.X, problem.truth)}


def compare(case: Case, rivals: list[Rival], options: argparse.Namespace) -> dict[str, Any]:
    """Measure all rivals in one case and return a row."""
    problem = make_problem(case)
    row = describe(problem)
    print(f"{case.name}: a row belongs to {row['overlap']:.2f} components", flush=True)
    checked = [check(r.name, r, problem, options.seconds) for r in rivals if r.supports(case)]
    values = [value for _, value in checked]
    row["ll_spread"] = spread(values)
    if row["ll_spread"] > 1e-9:
        raise RuntimeError(f"{case.name}: the rivals disagree, log-likelihoods {values}")
    seconds, rates = take_turns([lane for lane, _ in checked], options.rounds)
    goals = goal(case)
    row |= {"sklearn_goal": goals.sklearn, "onedal_goal": goals.onedal, "share_goal": goals.share}
    row |= {f"{name}_seconds": median(values) for name, values in seconds.items()}
    row |= {f"{name}_rounds": values for name, values in seconds.items()}
    if "fastem" in seconds:
        ours = seconds["fastem"]
        row |= {f"{name}_ratio": ratio(values, ours) for name, values in seconds.items() if name != "fastem"}
    if "fastem" in seconds and case.covariance_type == "full":
        flops = 2.0 * case.n * case.k * case.d * (case.d + 1)
        row["share"] = median(flops / s / rate for s, rate in zip(ours, rates))
    row["gemm_gflops"] = median(rates) / 1e9
    said = [key for key in row if key.endswith(("_ratio", "_goal")) or key == "share"]
    print("  " + ", ".join(f"{key} {row[key]:.3g}" for key in said if row[key] is not None), flush=True)
    return row


def compare_dtypes(case: Case, options: argparse.Namespace) -> dict[str, Any]:
    """Measure fastem's float32 against its float64."""
    fastem = Estimator("fastem")
    lanes, values = [], []
    for dtype in ("float64", "float32"):
        problem = make_problem(case._replace(dtype=dtype))
        lane, value = check(dtype, fastem, problem, options.seconds)
        lanes.append(lane)
        values.append(value)
    seconds, _ = take_turns(lanes, options.rounds)
    row = {**describe(lanes[0].problem), "ll_spread": spread(values), "goal": FLOAT32_GOAL}
    row |= {f"{name}_seconds": median(times) for name, times in seconds.items()}
    row["ratio"] = ratio(seconds["float64"], seconds["float32"])
    print(f"{case.name}: float32 is {row['ratio']:.2f} times as fast", flush=True)
    return row


def rows(n: int, dk: int, scale: float) -> int:
    """Return the rows of a scaled case: never so few that its covariances are singular."""
    return n if scale == 1 else max(20 * dk, int(n * scale))


def cases(table: str, options: argparse.Namespace) -> list[Case]:
    """Return the rows of a table, as far as they were asked for."""
    sizes = {"full": list(FULL), "restricted": RESTRICTED, "float32": [s for s in FULL if s[1] >= 16]}[table]
    types = list(RESTRICTED_GOALS) if table == "restricted" else ["full"]
    chosen = [size for size in sizes if options.size is None or size == options.size]
    return [
        Case(rows(n, d * k, options.scale), d, k, covariance_type, data)
        for data in options.data
        for covariance_type in types
        if options.types is None or covariance_type in options.types
        for n, d, k in chosen
    ]


def parse() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("tables", nargs="*", default=list(COLUMNS), help="full, restricted, float32")
    parser.add_argument("--size", type=lambda text: tuple(map(int, text.split(","))), help="one row: N,d,K")
    parser.add_argument("--types", nargs="+", help="of the restricted table: tied, diag, spherical")
    parser.add_argument("--data", nargs="+", default=["overlapping", "separated"])
    parser.add_argument("--rivals", nargs="+", default=["sklearn", "sklearn1", "onedal", "fastem"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="that the longer run should take more")
    parser.add_argument("--scale", type=float, default=1.0, help="times the rows, to try the script out")
    parser.add_argument("--dry", action="store_true", help="write no results")
    options = parser.parse_args()
    if unknown := set(options.tables) - set(COLUMNS):
        parser.error(f"no such table: {', '.join(sorted(unknown))}; there are {', '.join(COLUMNS)}")
    options.whole = (options.size, options.types) == (None, None) and options.scale == 1.0
    return options


def main() -> None:
    """Measure and write the tables; a part of a table, or a scaled one, is printed but not kept."""
    options = parse()
    limit_threads()
    print(machine(), flush=True)
    rivals = make_rivals(options.rivals)
    versions = [rival.version for rival in rivals if isinstance(rival, OneDal)]
    notes = {"rounds": options.rounds, "oneDAL": (versions or ["left out"])[0]}
    try:
        for table in options.tables:
            done = []
            for case in cases(table, options):
                row = compare_dtypes(case, options) if table == "float32" else compare(case, rivals, options)
                done.append(row)
                if options.whole and not options.dry:
                    report.save(table, COLUMNS[table], done, **notes)
    finally:
        for rival in rivals:
            rival.close()


if __name__ == "__main__":
    main()
