"""What a fresh process pays: the import, the first fit with compiled kernels in the cache, and without.

python bench/startup.py
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from statistics import median

import report

IMPORT = """
import time
begin = time.perf_counter()
from {module} import GaussianMixture  # `import fastem` alone imports next to nothing
print(time.perf_counter() - begin)
"""
FIRST_FIT = """
import json, time
import numpy as np
from fastem import GaussianMixture
X = np.random.default_rng(0).normal(size=(5000, 8)).astype("{dtype}")
seconds = []
for _ in range(3):
    begin = time.perf_counter()
    GaussianMixture(4, covariance_type="{kind}", tol=1e-2, random_state=0).fit(X)
    seconds.append(time.perf_counter() - begin)
print(json.dumps(seconds))
"""
COLUMNS: report.Columns = [
    ("what", "what", "s"),
    ("measured", "measured", ".2f"),
    ("goal, at most", "goal", "g"),
    ("unit", "unit", "s"),
    ("details", "details", "s"),
]


def run(code: str, cache: str) -> str:
    """Run code in a fresh Python, with numba's cache in a folder of its own."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


def first_fit(kind: str, dtype: str, cache: str) -> float:
    """Return the seconds that the first fit of a process takes longer than the third."""
    seconds = json.loads(run(FIRST_FIT.format(kind=kind, dtype=dtype), cache))
    return seconds[0] - seconds[-1]


def imports(rounds: int, cache: str) -> dict:
    """Compare the import with that of sklearn.mixture, in turn."""
    pairs = []
    for _ in range(rounds + 1):  # the first pair only warms the disk's cache
        pairs.append([float(run(IMPORT.format(module=m), cache)) for m in ("fastem", "sklearn.mixture")])
    ours, theirs = zip(*pairs[1:])
    details = f"fastem {median(ours):.2f} s, sklearn.mixture {median(theirs):.2f} s"
    measured = median(a / b for a, b in pairs[1:])
    row = {"what": "import", "measured": measured, "goal": 1.3}
    return {**row, "unit": "x sklearn.mixture", "details": details}


def first_row(what: str, seconds: float, goal: float, details: str) -> dict:
    """Return the row of a first fit."""
    row = {"what": f"first fit: {what}", "measured": seconds, "goal": goal}
    return {**row, "unit": "s more than a later fit", "details": details}


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--kinds", nargs="+", default=["full", "tied", "diag", "spherical"])
    parser.add_argument("--dtypes", nargs="+", default=["float64", "float32"])
    parser.add_argument("--dry", action="store_true", help="write no results")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as shared:
        rows.append(imports(options.rounds, shared))
        for dtype in options.dtypes:
            for kind in options.kinds:
                with tempfile.TemporaryDirectory() as empty:
                    cold = first_fit(kind, dtype, empty)
                    warm = [first_fit(kind, dtype, empty) for _ in range(options.rounds)]
                spread = f"{min(warm):.2f} to {max(warm):.2f} s in {len(warm)} processes"
                rows += [first_row(f"{kind}, {dtype}, cold cache", cold, 12, "one process")]
                rows += [first_row(f"{kind}, {dtype}, warm cache", median(warm), 0.5, spread)]
    for row in rows:
        print(row, flush=True)
    if not options.dry:
        report.save("startup", COLUMNS, rows)


if __name__ == "__main__":
    main()
