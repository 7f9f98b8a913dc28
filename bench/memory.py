"""Peak memory above the data while five million rows of eight features are fitted.

The fit runs in a process of its own; this one reads the child's RssAnon, the pages that belong to it alone,
every 2 ms. Pages of a mapped file are not counted: the system takes them back when it needs them. An array in
memory is there before the fit begins, and so is not counted either. Counting begins with the kernels loaded.

python bench/memory.py
"""

from __future__ import annotations

import argparse
import select
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import report
from common import Case, make_data, mixture

CHILD = """
import sys
import warnings
import numpy as np
from {module} import GaussianMixture
warnings.simplefilter("ignore")
X = np.load("{path}", mmap_mode={mode!r})
GaussianMixture({k}, random_state=0, tol=1e-2).fit(X[:5000])
print("ready", flush=True)
sys.stdin.readline()
model = GaussianMixture({k}, random_state=0, {settings}).fit(X)
print(model.n_iter_, flush=True)
sys.stdin.readline()
"""
COLUMNS: report.Columns = [
    ("fit", "what", "s"),
    ("data, MB", "data_mb", ".0f"),
    ("peak above the data, MB", "peak_mb", ".0f"),
    ("goal", "goal", "g"),
    ("iterations", "n_iter", "d"),
    ("samples", "samples", "d"),
]


def anonymous(pid: int) -> int:
    """Return the bytes of memory that belong to a process alone."""
    with open(f"/proc/{pid}/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def measure(path: Path, module: str, mode: str | None, k: int, settings: str) -> dict:
    """Fit in a child and return the growth of its memory."""
    code = CHILD.format(module=module, path=path, mode=mode, k=k, settings=settings)
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin is not None and child.stdout is not None
        if child.stdout.readline() != "ready\n":
            raise RuntimeError("the child ended before its fit: its message stands above")
        before = peak = anonymous(child.pid)
        child.stdin.write("\n")
        child.stdin.flush()
        samples = 0
        while not select.select([child.stdout], [], [], 0.002)[0]:
            peak = max(peak, anonymous(child.pid))
            samples += 1
        answer = child.stdout.readline()
        if not answer:
            raise RuntimeError("the child ended in its fit: its message stands above")
        child.communicate("\n")
    return {"peak_mb": (peak - before) / 1e6, "samples": samples, "n_iter": int(answer)}


def main() -> None:
    """Measure fastem from a memory map and from memory, and scikit-learn for a few iterations."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--k", type=int, default=8)
    parser.add_argument("--rivals", nargs="*", default=["sklearn.mixture"])
    parser.add_argument("--dry", action="store_true", help="write no results")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for dtype in ("float32", "float64"):
            case = Case(options.rows, 8, options.k, dtype=dtype)
            path = Path(folder) / "rows.npy"
            np.save(path, make_data(case, mixture(case)))
            runs: list[tuple[str, str | None, str]] = [("fastem", "r", ""), ("fastem", None, "")]
            runs += [(rival, None, "max_iter=2, init_params='random_from_data'") for rival in options.rivals]
            for module, mode, settings in runs:
                where = "a memory map" if mode else "memory"
                what = f"{module}, {dtype} from {where}"
                row = {"what": what, "goal": 100 if module == "fastem" else None}
                row |= {"data_mb": path.stat().st_size / 1e6}
                row |= measure(path, module, mode, options.k, settings)
                rows.append(row)
                print(row, flush=True)
    if not options.dry:
        report.save("memory", COLUMNS, rows, K=options.k)


if __name__ == "__main__":
    main()
