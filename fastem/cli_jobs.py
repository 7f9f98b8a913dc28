"""What the commands do: files in, estimator, files out. A wrong file is found before the work."""

import json
import math
import os
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastem.cli_data import DataFiles
from fastem.cli_words import errors_in_options, in_options, names_of
from fastem.files import check_writable, written_beside
from fastem.persistence import load, save
from fastem.terminal import INTERRUPTED, FitProgress, count, say, warnings_as_lines
from fastem.verbose import ENDINGS
from fastem.wording import plural

TABLES = ".npy", ".csv", ".parquet", ".pq"
"""Endings of files that results are written to."""


class FitFiles(NamedTuple):
    """Files of ``fastem fit``."""

    data: DataFiles
    out: Path
    report: Path | None
    checkpoint: Path | None = None


def fit(settings: Mapping[str, Any], plan: Mapping[str, Any], files: FitFiles, quiet: bool) -> int:
    """Fit, save, report; return the exit code. The plan is arguments of the estimator's `fit`."""
    outputs = {files.out: (".npz",)}
    outputs |= {files.report: (".json",)} if files.report else {}
    outputs |= {files.checkpoint: (".npz",)} if files.checkpoint else {}
    if files.checkpoint and files.checkpoint.resolve() == files.out.resolve():
        raise ValueError(f"{files.out} would hold the model and the checkpoint; give another name to one of them")
    check_outputs(outputs, files.data.inputs)
    X, sample_weight = files.data.read()
    with ExitStack() as stack:
        progress = stack.enter_context(FitProgress(quiet))
        words = files.data.name, names_of(files.data, files.checkpoint), files.data.column_names()
        shown = stack.enter_context(warnings_as_lines(lambda text: in_options(text, *words), progress))
        stack.enter_context(errors_in_options(files.data, files.checkpoint))
        # Here, where the first line is on the screen: the import takes a second.
        from fastem.mixture import GaussianMixture

        model = GaussianMixture(**settings, callback=progress)
        model.fit(X, sample_weight=sample_weight, checkpoint=files.checkpoint, **plan)
    if columns := files.data.column_names():
        model.feature_names_in_ = np.array(columns, dtype=object)
    n_rows = len(X) if isinstance(X, np.ndarray) else progress.passes.n_rows
    save(model, files.out)
    if files.report:
        _write_json(_report(model, {**settings, **plan}, files, n_rows, shown), files.report)
    interrupted = model.stop_reason_ == "interrupted"
    if interrupted or not quiet:
        say(f"{_ending(model, n_rows)}; model saved as {files.out}", err=interrupted)
    return INTERRUPTED if interrupted else 0


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


def _report(model: Any, settings: Mapping[str, Any], files: FitFiles, n_rows: int, shown: list[str]) -> dict[str, Any]:
    data = files.data
    return {
        "data": {
            "file": data.paths[0] if len(data.paths) == 1 else data.paths,
            "weights": os.fspath(data.weights) if data.weights else data.weights_column,
            "rows": n_rows,
            "columns": int(model.n_features_in_),
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


def predict(model_path: Path, data: DataFiles, out: Path, proba: bool, quiet: bool) -> None:
    """Write labels or probabilities chunk by chunk, so that the result need not fit into memory either."""
    check_outputs({out: TABLES}, [model_path, *data.inputs])
    data, X, _, model = _read(data, model_path)
    complete = CompleteRows()
    if data.complete:
        X = replace(X, rows=complete)
    with FitProgress(quiet) as progress, warnings_as_lines(), errors_in_options(data):
        check_columns(model_path, model, data, X)
        model.callback = progress
        wanted, column = ("responsibilities", "proba") if proba else ("labels", "label")
        model._rows(X, wanted, out, column, complete.spread if data.complete else iter)
    if not quiet:
        n_rows = len(X) if isinstance(X, np.ndarray) else progress.passes.n_rows + complete.left_out
        left = f", {complete.left_out} of them incomplete," * bool(complete.left_out)
        say(f"{'probabilities' if proba else 'labels'} of {plural(n_rows, 'row')}{left} saved as {out}")


def score(model_path: Path, data: DataFiles, as_json: bool) -> None:
    """Print how well a model explains the rows of a file."""
    data, X, sample_weight, model = _read(data, model_path)
    with FitProgress() as progress, warnings_as_lines(), errors_in_options(data):
        check_columns(model_path, model, data, X)
        model.callback = progress
        sums = model._totals(X, sample_weight)  # score(), bic() and aic() would read the rows once each
    result = {
        "rows": sums.n_rows,
        "mean_log_likelihood": sums.log_likelihood / sums.weight,
        "total_log_likelihood": sums.log_likelihood,
        "bic": float(model._bic(sums)),
        "aic": float(model._aic(sums)),
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


def _read(data: DataFiles, path: Path) -> tuple[DataFiles, Any, np.ndarray | None, Any]:
    """The columns of the fit, their rows and weights, and the mixture of a file; gaps stay where it takes them."""
    model = load(path)
    imputer = hasattr(model, "mixture_")
    model = model.mixture_ if imputer else model
    if imputer or data.gaps:
        model.set_params(missing="nan")
    data = data._replace(gaps=getattr(model, "missing", None) == "nan").of_the_fit(model)
    return data, *data.read(), model


class CompleteRows:
    """Which rows are complete, as they are read, and results of these spread over all rows."""

    def __init__(self) -> None:
        self.left_out = 0
        self._masks: deque[np.ndarray] = deque()

    def __call__(self, X: np.ndarray) -> np.ndarray:
        """Return the mask (n,) of the complete rows; the reader's thread asks, before the rows are worked on."""
        self._masks.append(np.isfinite(X).all(axis=1))
        return self._masks[-1]

    def spread(self, blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        """The blocks with -1, or NaN, for the rows that were left out."""
        ready = next(blocks)
        while True:
            while self._masks and np.count_nonzero(self._masks[0]) <= len(ready):
                mask = self._masks.popleft()
                kept = int(np.count_nonzero(mask))
                all_rows = np.full(
                    (len(mask), *ready.shape[1:]), -1 if ready.dtype.kind == "i" else np.nan, ready.dtype
                )
                all_rows[mask], ready = ready[:kept], ready[kept:]
                self.left_out += len(mask) - kept
                yield all_rows
            block = next(blocks, None)
            if block is None and not self._masks:
                return
            ready = ready if block is None else np.concatenate([ready, block])


def check_outputs(outputs: Mapping[Path, tuple[str, ...]], inputs: list[Path]) -> None:
    """Refuse an output that cannot be written, has another ending than expected, or is one of the inputs."""
    for path, endings in outputs.items():
        if path.suffix.lower() not in endings:
            *others, last = [ending for ending in endings if ending != ".pq"]
            wanted = f"{', '.join(others)} or {last}" if others else last
            raise ValueError(f"cannot write {path}: the name must end in {wanted}, as {path.stem}{endings[0]} does")
        if path.exists() and any(other.exists() and path.samefile(other) for other in inputs):
            raise ValueError(f"cannot write {path}: it is also a file to read; give another name")
        check_writable(path)


def check_columns(model_path: Path, model: Any, data: DataFiles, X: Any) -> None:
    """Compare the columns of a table with those of the fit; those of a source, the estimator compares."""
    if data.table is None:
        return
    if X.shape[1] != model.n_features_in_:
        raise ValueError(
            f"{data.name} has {plural(X.shape[1], 'column')}, and {model_path} was fitted on {model.n_features_in_}; "
            "give data with the columns of the fit"
        )
    fitted, given = getattr(model, "feature_names_in_", None), data.column_names()
    if fitted is not None and given is not None and list(fitted) != given:
        column = next(j for j, (a, b) in enumerate(zip(fitted, given)) if a != b)
        raise ValueError(
            f"{data.name} has the column {given[column]!r} where {model_path} was fitted on {fitted[column]!r}; give "
            "the same columns in the same order"
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
