"""Runs in oneDAL's own virtual environment: fits on request until its input ends.

A request is one line of JSON on standard input, and so is the answer on standard output; a first line there
says the version. Request and answer:
{"data": .npy, "start": .npz, "covariance_type": "full" | "diag", "n_iter": int, "threads": int, "out": .npz}
-> {"seconds": float, "n_iter": int}. Data stay loaded until others are named, so that rounds can alternate.
"""

from __future__ import annotations

import json
import sys
import time
from importlib.metadata import version

import daal4py
import numpy as np


def fit(request: dict, X: np.ndarray) -> dict:
    """Run `n_iter` iterations, save the parameters, and return the seconds of the computation alone."""
    daal4py.daalinit(request["threads"])
    start = np.load(request["start"])
    diagonal = request["covariance_type"] == "diag"
    weights = start["weights"].astype(X.dtype).reshape(1, -1)
    means = np.ascontiguousarray(start["means"], dtype=X.dtype)
    # One table for each component: (d, d), or (1, d) for a diagonal.
    covariances = [np.ascontiguousarray(np.atleast_2d(c), dtype=X.dtype) for c in start["covariances"]]
    algorithm = daal4py.em_gmm(
        nComponents=means.shape[0],
        fptype="float" if X.dtype == np.float32 else "double",
        maxIterations=request["n_iter"],
        accuracyThreshold=0.0,
        covarianceStorage="diagonal" if diagonal else "full",
    )
    begin = time.perf_counter()
    result = algorithm.compute(X, weights, means, covariances)
    seconds = time.perf_counter() - begin
    fitted = np.asarray(result.covariances)
    np.savez(
        request["out"],
        weights=result.weights.ravel(),
        means=result.means,
        covariances=fitted[:, 0, :] if diagonal else fitted,
    )
    return {"seconds": seconds, "n_iter": int(np.asarray(result.nIterations).ravel()[0])}


def main() -> None:
    """Answer requests until standard input ends."""
    loaded, X = "", np.empty(0)
    print(json.dumps({"version": version("scikit-learn-intelex")}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if request["data"] != loaded:
            X, loaded = np.load(request["data"]), request["data"]
        print(json.dumps(fit(request, X)), flush=True)


if __name__ == "__main__":
    main()
