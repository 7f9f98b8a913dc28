"""What the commands do: files in, estimator, files out. A wrong file is found before the work."""

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastem.cli_words import errors_in_options, in_options
from fastem.files import check_writable, written_beside
from fastem.persistence import load, save
from fastem.tables import column_names, read_table, read_weights
from fastem.terminal import INTERRUPTED, FitProgress, count, say, warnings_as_lines
from fastem.verbose import ENDINGS
from fastem.wording import plural

# Numbers in a block of `predict`: 32 MB of float64, and a few thousand times the cost of a call.
_BLOCK = 1 << 22


class FitFiles(NamedTuple):
    """Files and number type of ``fastem fit``."""

    data: Path
    weights: Path | None
    dtype: str | None
    out: Path
    report: Path | None


def fit(settings: Mapping[str, Any], files: FitFiles, quiet: bool) -> int:
    """Fit, save, report; return the exit code."""
    outputs = {files.out: ".npz"} | ({files.report: ".json"} if files.report else {})
    _check_outputs(outputs, [files.data, files.weights])
    X = read_table(files.data)
    if files.dtype:
        X = X.astype(files.dtype, copy=False)
    sample_weight = _weights(files.weights, files.data, len(X))
    with ExitStack() as stack:
        progress = None if quiet else stack.enter_context(FitProgress())
        shown = stack.enter_context(warnings_as_lines(lambda text: in_options(text, files.data), progress))
        stack.enter_context(errors_in_options(files.data, files.weights))
        # Here, where the first line is on the screen: the import takes a second.
        from fastem.mixture import GaussianMixture

        model = GaussianMixture(**settings, callback=progress).fit(X, sample_weight=sample_weight)
    if names := column_names(files.data):
        model.feature_names_in_ = np.array(names, dtype=object)
    save(model, files.out)
    if files.report:
        _write_json(_report(model, settings, files, X.shape, shown), files.report)
    interrupted = model.stop_reason_ == "interrupted"
    if interrupted or not quiet:
        say(f"{_ending(model, len(X))}; model saved as {files.out}", err=interrupted)
    return INTERRUPTED if interrupted else 0


def _weights(path: Path | None, data: Path, n_rows: int) -> np.ndarray | None:
    if path is None:
        return None
    weights = read_weights(path)
    if len(weights) != n_rows:
        raise ValueError(
            f"{path} has {plural(len(weights), 'weight')}, and {data} has {plural(n_rows, 'row')}; "
            "give one weight a row"
        )
    return weights


def _ending(model: Any, n_rows: int) -> str:
    times = model.history_["seconds"]
    seconds = float(times[-1]) if len(times) else 0.0
    # Between the first iteration and the last: what comes before is the search for a start, and compiling.
    running = float(times[-1] - times[0]) if len(times) > 1 else 0.0
    speed = f", {count(n_rows * (len(times) - 1) / running)} rows/s" if running else ""
    return (
        f"{ENDINGS[model.stop_reason_]} after {plural(model.n_iter_, 'iteration')} "
        f"({seconds:.2f} s{speed}): log-likelihood {model.lower_bound_:.6f} per row"
    )


def _report(
    model: Any, settings: Mapping[str, Any], files: FitFiles, shape: tuple[int, ...], shown: list[str]
) -> dict[str, Any]:
    return {
        "data": {
            "file": os.fspath(files.data),
            "weights": os.fspath(files.weights) if files.weights else None,
            "rows": shape[0],
            "columns": shape[1],
            "dtype": str(model.means_.dtype),
        },
        "settings": dict(settings),
        "result": {
            "model": os.fspath(files.out),
            "converged": bool(model.converged_),
            "stop_reason": model.stop_reason_,
            "iterations": int(model.n_iter_),
            "mean_log_likelihood": float(model.lower_bound_),
            "weights": model.weights_.tolist(),
            "diagnostics": model.diagnostics_,
            "warnings": shown,
        },
        "history": {name: model.history_[name].tolist() for name in model.history_.dtype.names},
    }


def predict(model_path: Path, data: Path, out: Path, proba: bool, quiet: bool) -> None:
    """Write labels or probabilities block by block, so that the result need not fit into memory either."""
    _check_outputs({out: ".npy"}, [model_path, data])
    X, model = read_table(data), load(model_path)
    _check_columns(model_path, model, data, X)
    with warnings_as_lines(), written_beside(out) as temporary, open(temporary, "wb") as file:
        for block in _predicted(model.predict_proba if proba else model.predict, X, data, model.n_components):
            if file.tell() == 0:  # the first block shows the type
                shape = (len(X), *block.shape[1:])
                descr = np.lib.format.dtype_to_descr(block.dtype)
                header = {"descr": descr, "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
            # Written, not mapped: where the disk is full, a mapped file kills the process.
            file.write(np.ascontiguousarray(block).data)
    if not quiet:
        say(f"{'probabilities' if proba else 'labels'} of {plural(len(X), 'row')} saved as {out}")


def _predicted(
    of_rows: Callable[[np.ndarray], np.ndarray], X: np.ndarray, data: Path, n_components: int
) -> Iterator[np.ndarray]:
    length = max(1, _BLOCK // (X.shape[1] + n_components))
    for start in range(0, len(X), length):
        block = X[start : start + length]
        with errors_in_options(data, first_row=start):
            predicted = of_rows(block)
        yield predicted


def score(model_path: Path, data: Path, weights: Path | None, as_json: bool) -> None:
    """Print how well a model explains the rows of a file."""
    X, model = read_table(data), load(model_path)
    _check_columns(model_path, model, data, X)
    sample_weight = _weights(weights, data, len(X))
    weight = len(X) if sample_weight is None else float(np.sum(sample_weight, dtype=np.float64))
    with warnings_as_lines(), errors_in_options(data, weights):
        mean = float(model.score(X, sample_weight=sample_weight))
    total, n_parameters = mean * weight, model._n_parameters()  # bic() and aic() would read X once more each
    result = {
        "rows": len(X),
        "mean_log_likelihood": mean,
        "total_log_likelihood": total,
        "bic": -2 * total + n_parameters * math.log(weight),
        "aic": -2 * total + 2 * n_parameters,
    }
    if as_json:
        print(json.dumps(_finite(result), indent=2, allow_nan=False))
        return
    for name, value in result.items():
        print(f"{_LABELS[name]:<24}", f"{value:.10g}" if isinstance(value, float) else value)


_LABELS = {
    "rows": "rows",
    "mean_log_likelihood": "log-likelihood per row",
    "total_log_likelihood": "log-likelihood, total",
    "bic": "BIC (lower is better)",
    "aic": "AIC (lower is better)",
}


def _check_outputs(outputs: Mapping[Path, str], inputs: list[Path | None]) -> None:
    """Refuse an output that cannot be written, has another ending than expected, or is one of the inputs."""
    for path, ending in outputs.items():
        if path.suffix.lower() != ending:
            raise ValueError(f"cannot write {path}: the name must end in {ending}, as {path.stem}{ending} does")
        if path.exists() and any(other.exists() and path.samefile(other) for other in inputs if other):
            raise ValueError(f"cannot write {path}: it is also a file to read; give another name")
        check_writable(path)


def _check_columns(model_path: Path, model: Any, data: Path, X: np.ndarray) -> None:
    if X.shape[1] != model.n_features_in_:
        raise ValueError(
            f"{data} has {plural(X.shape[1], 'column')}, and {model_path} was fitted on {model.n_features_in_}; "
            "give data with the columns of the fit"
        )
    fitted, given = getattr(model, "feature_names_in_", None), column_names(data)
    if fitted is not None and given is not None and list(fitted) != given:
        column = next(j for j, (a, b) in enumerate(zip(fitted, given)) if a != b)
        raise ValueError(
            f"column {column + 1} of {data} is {given[column]!r}, and {model_path} was fitted on {fitted[column]!r} "
            "there; give the same columns in the same order"
        )
    if fitted is not None:
        del model.feature_names_in_  # compared; an array without names would be warned of


def _write_json(content: Mapping[str, Any], path: Path) -> None:
    with written_beside(path) as temporary:
        temporary.write_text(json.dumps(_finite(content), indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _finite(value: Any) -> Any:
    """`value` with null for what JSON has no number for."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
