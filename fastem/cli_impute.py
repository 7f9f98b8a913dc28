"""What ``fastem impute`` does: rows with gaps in, a model that is fitted or read, complete rows out."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastem.cli_data import DataFiles
from fastem.cli_jobs import TABLES, check_columns, check_outputs
from fastem.cli_words import errors_in_options, in_options, names_of
from fastem.filled_tables import Filled, common_names, kept_columns, write_csv, write_parquet
from fastem.persistence import load, save
from fastem.sources.opening import matches
from fastem.terminal import INTERRUPTED, FitProgress, say, warnings_as_lines
from fastem.wording import plural


class ImputeFiles(NamedTuple):
    """Files of ``fastem impute``."""

    data: DataFiles
    out: Path
    model: Path | None
    saved: Path | None


def impute(files: ImputeFiles, settings: Mapping[str, Any], draw: bool, quiet: bool) -> int:
    """Fit an imputer, or read one, and write the rows with their gaps filled; returns the exit code."""
    data = files.data
    outputs = {files.out: TABLES} | ({files.saved: (".npz",)} if files.saved else {})
    check_outputs(outputs, [*data.inputs, *([files.model] if files.model else [])])
    given: Any = _read(files.model) if files.model else None
    data = data.of_the_fit(given)
    X, sample_weight = data.read()
    names = data.column_names()
    paths = [match for path in data.paths for match in matches(path)]
    if files.out.suffix.lower() != ".npy":
        common_names(paths)  # before the fit
    words = names_of(data, files.model)
    with FitProgress(quiet) as progress:
        shown = warnings_as_lines(lambda text: in_options(text, data.name, words, names), progress)
        with shown, errors_in_options(data, files.model):
            from fastem.impute import GaussianImputer

            if files.model:
                imputer = given
                check_columns(files.model, imputer, data, X)
                imputer.set_params(random_state=settings["random_state"], callback=progress)
            else:
                imputer = GaussianImputer(**settings, callback=progress).fit(X, sample_weight=sample_weight)
            complete = imputer._drawing(None) if draw else imputer._completion().filled
            if files.out.suffix.lower() == ".npy":
                imputer._written(X, complete, files.out)
            else:
                _copied(imputer, X, complete, paths, files)
    if files.saved:
        if names:
            imputer.feature_names_in_ = imputer.mixture_.feature_names_in_ = np.array(names, dtype=object)
        save(imputer, files.saved)
    interrupted = not files.model and imputer.mixture_.stop_reason_ == "interrupted"
    if interrupted or not quiet:
        n_rows = len(X) if isinstance(X, np.ndarray) else progress.passes.n_rows
        stopped = f"interrupted after {plural(imputer.mixture_.n_iter_, 'iteration')}, and filled by the model so far: "
        say(f"{stopped * interrupted}{plural(n_rows, 'row')} saved as {files.out}", err=interrupted)
    return INTERRUPTED if interrupted else 0


def _copied(imputer: Any, X: Any, complete: Callable, paths: list[str], files: ImputeFiles) -> None:
    """Write the tables with all their columns, also those that take no part."""
    with imputer._opened(X) as data:
        columns = range(data.n_features) if data.rows is None else data.rows.source.picked.columns
        filled = Filled(columns, ((np.isnan(piece.X), complete(piece.X)) for piece in data.pieces()))
        if files.out.suffix.lower() == ".csv":
            write_csv(paths, files.out, filled)
        else:
            kept = kept_columns(paths, (piece.X for piece in data.pieces()), data.n_features)
            write_parquet(paths, files.out, filled, kept, files.data.dtype)


def _read(path: Path) -> Any:
    """The imputer of a file, or one that fills by the mixture of a file."""
    from fastem.impute import GaussianImputer

    model = load(path)
    if isinstance(model, GaussianImputer):
        return model
    if type(model).__name__ != "GaussianMixture":
        raise ValueError(f"{path} holds a {type(model).__name__}; gaps are filled by a GaussianMixture or an imputer")
    return GaussianImputer.from_mixture(model)
