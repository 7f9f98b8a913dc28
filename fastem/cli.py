"""The command line: ``fastem fit``, ``predict``, ``score``, ``impute`` and ``info``.

The work is in ``cli_jobs``, imported by the commands: NumPy and scikit-learn would slow ``--help`` down.
"""

import os
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated

import typer

from fastem.cli_options import (
    COLUMNS,
    FILLED,
    INCOMPLETE,
    Algorithm,
    BatchSize,
    Collapse,
    Columns,
    Complete,
    Components,
    Covariance,
    Data,
    Debug,
    FittedColumns,
    ForGaps,
    Init,
    MaxIter,
    MaxTime,
    Missing,
    Model,
    NInit,
    OnCollapse,
    Option,
    Out,
    Precision,
    Quiet,
    RegCovar,
    Report,
    Resume,
    RowsPerChunk,
    Saved,
    Seed,
    Shape,
    Start,
    Threads,
    Tol,
    Version,
    Way,
    Weights,
    WeightsColumn,
)
from fastem.terminal import plain_errors

app = typer.Typer(
    name="fastem",
    help="Fit Gaussian mixtures to files of millions of rows, and use what was fitted.",
    epilog="Exit codes: 0 done, 1 error, 2 wrong usage, 130 ended by Ctrl-C (fit saves what it has).",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _check_gaps(missing: bool, complete: bool) -> None:
    if missing and complete:
        raise typer.BadParameter("--complete leaves out the rows that --missing takes: give one of them")


@app.callback()
def common(version: Version = False, debug: Debug = False) -> None:
    """Take the options that stand before the command."""
    if debug:
        os.environ["FASTEM_DEBUG"] = "1"


@app.command()
@plain_errors
def fit(
    data: Data,
    components: Components,
    out: Out,
    covariance: Shape = Covariance.full,
    weights: Weights = None,
    weights_column: WeightsColumn = None,
    columns: Columns = None,
    complete: Complete = False,
    missing: Missing = False,
    rows_per_chunk: RowsPerChunk = None,
    dtype: Precision = None,
    seed: Seed = None,
    n_init: NInit = 1,
    init: Start = Init.race,
    tol: Tol = 1e-4,
    max_iter: MaxIter = 1000,
    max_time: MaxTime = None,
    reg_covar: RegCovar = 1e-6,
    on_collapse: Collapse = OnCollapse.restart,
    algorithm: Way = Algorithm.batch,
    batch_size: BatchSize = None,
    checkpoint: Saved = None,
    resume: Resume = False,
    threads: Threads = None,
    report: Report = None,
    quiet: Quiet = False,
) -> None:
    """Fit a mixture to DATA. Ctrl-C ends the fit after the iteration under way, and saves what there is."""
    from fastem import cli_jobs
    from fastem.cli_data import DataFiles

    settings = {
        "n_components": components,
        "covariance_type": covariance.value,
        "tol": tol,
        "reg_covar": reg_covar,
        "max_iter": max_iter,
        "n_init": n_init,
        "init_params": init.value,
        "random_state": seed,
        "n_jobs": threads,
        "max_time": max_time,
        "on_collapse": on_collapse.value,
        "missing": "nan" if missing else "error",
    }
    if resume and checkpoint is None:
        raise typer.BadParameter("--resume goes on from a checkpoint: give --checkpoint FILE too")
    _check_gaps(missing, complete)
    if batch_size is not None and algorithm is Algorithm.batch:
        raise typer.BadParameter("--batch-size is for --algorithm stepwise or incremental: choose one, or leave it out")
    plan = {"algorithm": algorithm.value, "batch_size": batch_size, "resume": resume}
    number = dtype.value if dtype else None
    rows = DataFiles(data, columns, weights_column, rows_per_chunk, complete, weights, number, gaps=missing)
    raise typer.Exit(cli_jobs.fit(settings, plan, cli_jobs.FitFiles(rows, out, report, checkpoint), quiet))


@app.command()
@plain_errors
def predict(
    model: Model,
    data: Data,
    out: Annotated[
        Path, Option("--out", "-o", help="What to write (.npy, .csv or .parquet).", show_default=False, metavar="FILE")
    ],
    proba: Annotated[
        bool, Option("--proba", help="Write the probability of each component instead.", metavar="")
    ] = False,
    columns: FittedColumns = None,
    complete: Annotated[bool, Option("--complete", help=INCOMPLETE, metavar="")] = False,
    missing: Missing = False,
    rows_per_chunk: RowsPerChunk = None,
    quiet: Quiet = False,
) -> None:
    """Write the most probable component of every row of DATA, numbered as in `fastem info`."""
    _check_gaps(missing, complete)
    from fastem import cli_jobs
    from fastem.cli_data import DataFiles

    rows = DataFiles(data, columns, None, rows_per_chunk, complete, gaps=missing)
    cli_jobs.predict(model, rows, out, proba, quiet)


@app.command()
@plain_errors
def score(
    model: Model,
    data: Data,
    weights: Weights = None,
    weights_column: WeightsColumn = None,
    columns: FittedColumns = None,
    complete: Complete = False,
    missing: Missing = False,
    rows_per_chunk: RowsPerChunk = None,
    as_json: Annotated[bool, Option("--json", help="Print JSON.", metavar="")] = False,
) -> None:
    """Print the log-likelihood of DATA under MODEL, BIC and AIC (of both, lower is better)."""
    _check_gaps(missing, complete)
    from fastem import cli_jobs
    from fastem.cli_data import DataFiles

    rows = DataFiles(data, columns, weights_column, rows_per_chunk, complete, weights, gaps=missing)
    cli_jobs.score(model, rows, as_json)


@app.command()
@plain_errors
def impute(
    data: Data,
    out: Annotated[Path, Option("--out", "-o", help=FILLED, show_default=False, metavar="FILE")],
    model: Annotated[
        Path | None, Option(help="Fill by this model, fit none (.npz).", show_default=False, metavar="FILE")
    ] = None,
    components: ForGaps = None,
    covariance: Annotated[
        Covariance | None,
        Option(help="Their shape: full, tied, diag or spherical.", show_default="full", metavar="KIND"),
    ] = None,
    draw: Annotated[bool, Option("--draw", help="Write a random draw, not the expectation.", metavar="")] = False,
    save: Annotated[
        Path | None, Option(help="Where to write what was fitted (.npz).", show_default=False, metavar="FILE")
    ] = None,
    weights: Weights = None,
    weights_column: WeightsColumn = None,
    columns: Annotated[
        str | None, Option(help=COLUMNS + " Others are copied.", show_default="all columns", metavar="LIST")
    ] = None,
    rows_per_chunk: RowsPerChunk = None,
    dtype: Precision = None,
    seed: Seed = None,
    tol: Tol = 1e-4,
    max_iter: MaxIter = 1000,
    reg_covar: Annotated[
        float, Option(min=0, help="Added to every variance, in units of its column's.", metavar="X")
    ] = 5e-3,
    threads: Threads = None,
    quiet: Quiet = False,
) -> None:
    """Fill the missing numbers of DATA: with what a mixture fitted to DATA, or MODEL, expects given the others."""
    from fastem import cli_impute
    from fastem.cli_data import DataFiles

    if model and (components or covariance or save):
        raise typer.BadParameter("--model fits none: leave out --components, --covariance and --save, or --model")
    settings = {
        "n_components": components or 1,
        "covariance_type": (covariance or Covariance.full).value,
        "tol": tol,
        "reg_covar": reg_covar,
        "max_iter": max_iter,
        "random_state": seed,
        "n_jobs": threads,
    }
    number = dtype.value if dtype else None
    rows = DataFiles(data, columns, weights_column, rows_per_chunk, False, weights, number, gaps=True)
    raise typer.Exit(cli_impute.impute(cli_impute.ImputeFiles(rows, out, model, save), settings, draw, quiet))


@app.command()
@plain_errors
def info(model: Model) -> None:
    """Show the components of MODEL, its settings, and how its fit ended."""
    from fastem.summary import show_model

    show_model(model)


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that has no ± shows a ?
    try:
        app(prog_name="fastem")
    except SystemExit as ended:
        # Before a command begins typer ends Ctrl-C without a word.
        if isinstance(getattr(ended.__context__, "__cause__", None), KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise
