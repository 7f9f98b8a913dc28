"""The main job: Gaussian mixtures of a photograph, Old Faithful, five million rows, and rows with missing values."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import demo_faithful
import demo_large
import demo_missing
import demo_retina
import numpy as np
from rich.console import Console

import fastem


def warm_up(console: Console) -> None:
    """Compile the kernels, or load them from numba's cache, so that the times below are of the work alone."""
    begin = time.perf_counter()
    for dtype in (np.float64, np.float32):
        X = np.random.default_rng(0).normal(size=(2000, 3)).astype(dtype)
        fastem.GaussianMixture(2, max_iter=20, tol=1e-2, random_state=0).fit(X).predict(X)
    seconds = time.perf_counter() - begin
    console.print(f"kernels ready in {seconds:.1f} s (compiled at the first run, then from numba's cache)")


def main() -> None:
    """Run the five parts in order; what is printed is also written beside the pictures."""
    root = Path(__file__).resolve().parent.parent
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=root / "demo-output", help="folder of the pictures")
    parser.add_argument("--rows", type=int, default=5_000_000, help="rows of the large file")
    parser.add_argument("--step", type=int, default=1, help="keep every STEP-th pixel of the photograph")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)

    console = Console(record=True, width=110)
    begin = time.perf_counter()
    console.print(f"fastem {fastem.__version__} on {os.cpu_count()} cores")
    warm_up(console)
    pixels = demo_retina.segment(console, options.out, options.step)
    demo_faithful.lecture(console, options.out)
    demo_large.fit_file(console, options.rows)
    demo_retina.beside_sklearn(console, pixels)
    demo_missing.lecture(console, options.out)
    console.rule()
    console.print(f"everything took {time.perf_counter() - begin:.0f} s")
    console.print(f"pictures and this text: {options.out}", soft_wrap=True)
    console.save_text(str(options.out / "demo.txt"))


if __name__ == "__main__":
    main()
