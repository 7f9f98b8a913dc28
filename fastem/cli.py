"""The command line: ``fastem fit``, ``predict``, ``score``, ``impute`` and ``info``.

The work is in ``cli_jobs``, imported by the commands: NumPy and scikit-learn would slow ``--help`` down.
"""

import os
import sys
from enum import StrEnum
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated

import typer

from fastem.terminal import plain_errors

app = typer.Typer(
    name="fastem",
    help="Fit Gaussian mixtures to files of millions of rows, and use what was fitted.",
    epilog="Exit codes: 0 done, 1 error, 2 wrong usage, 130 ended by Ctrl-C (fit saves what it has).",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


class Covariance(StrEnum):
    """Values of ``--covariance``."""

    full = "full"
    tied = "tied"
    diag = "diag"
    spherical = "spherical"


class Init(StrEnum):
    """Values of ``--init``."""

    race = "race"
    kmeans = "kmeans"
    kmeans_pp = "k-means++"
    random = "random"
    random_from_data = "random_from_data"


class OnCollapse(StrEnum):
    """Values of ``--on-collapse``."""

    restart = "restart"
    drop = "drop"
    stop = "raise"


class Algorithm(StrEnum):
    """Values of ``--algorithm``."""

    batch = "batch"
    stepwise = "stepwise"
    incremental = "incremental"


class DType(StrEnum):
    """Values of ``--dtype``."""

    float64 = "float64"
    float32 = "float32"


def _version(wanted: bool) -> None:
    if wanted:
        from fastem import __version__

        typer.echo(f"fastem {__version__}")
        raise typer.Exit


def _check_gaps(missing: bool, complete: bool) -> None:
    if missing and complete:
        raise typer.BadParameter("--complete leaves out the rows that --missing takes: give one of them")


Option, Argument = typer.Option, typer.Argument
Version = Annotated[bool, Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")]
Debug = Annotated[bool, Option("--debug", help="Show where an error arose (also FASTEM_DEBUG=1).")]
DATA = "Rows of numbers: .npy, .csv, .parquet, .feather, file.h5::dataset, store.zarr::array; or several, as one."
FILLED = "DATA without gaps: .csv or .parquet, with all columns of DATA; or .npy, a matrix of the --columns alone."
Data = Annotated[list[str], Argument(metavar="DATA...", help=DATA)]
Model = Annotated[Path, Argument(metavar="MODEL", help="A model that `fastem fit` wrote (.npz).")]
Weights = Annotated[Path | None, Option(help="One weight a row: .npy or .csv.", show_default=False)]
COLUMNS = "Names, or numbers from 0, as in a,b,c; or numeric, for all that hold numbers."
FITTED = "The columns of the fit: names, or numbers from 0, as in a,b,c."
FittedColumns = Annotated[str | None, Option(help=FITTED, show_default="by name, or all")]
Columns = Annotated[str | None, Option(help=COLUMNS, show_default="all columns")]
WeightsColumn = Annotated[str | None, Option(help="The column with the weights of the rows.", show_default=False)]
RowsPerChunk = Annotated[int | None, Option(min=1, help="Rows read at a time.", show_default="4 MB")]
Complete = Annotated[bool, Option("--complete", help="Leave out rows with a missing or infinite number.")]
Missing = Annotated[bool, Option("--missing", help="Entries that are empty or NaN are unknown: take the others.")]
INCOMPLETE = "Write -1, or NaN, for rows with a missing or infinite number."
Quiet = Annotated[bool, Option("--quiet", "-q", help="Only warnings and errors.")]
# Options of `fit`, in the order of its help.
Components = Annotated[int, Option("--components", "-k", min=1, help="How many components.", show_default=False)]
Out = Annotated[Path, Option("--out", "-o", help="Where to write the model (.npz).", show_default=False)]
Shape = Annotated[Covariance, Option(help="Shape of the covariance matrices.")]
Precision = Annotated[DType | None, Option(help="Type of the numbers.", show_default="as in DATA")]
Seed = Annotated[int | None, Option(min=0, max=2**32 - 1, help="Same seed, same result.", show_default="random")]
NInit = Annotated[int, Option(min=1, help="Number of starts, of which the best is kept.")]
Start = Annotated[Init, Option(help="How to find a start.")]
Tol = Annotated[float, Option(min=0, help="Stop when less than this is left to gain, in nats per row.")]
MaxIter = Annotated[int, Option(min=1, help="Stop after so many iterations.")]
MaxTime = Annotated[float | None, Option(min=0, help="Stop after so many seconds.", show_default="no limit")]
RegCovar = Annotated[float, Option(min=0, help="Added to every variance.")]
Collapse = Annotated[OnCollapse, Option(help="What to do with a component that collapses on a point.")]
Threads = Annotated[int | None, Option(min=1, help="Number of threads.", show_default="all")]
Way = Annotated[Algorithm, Option(help="EM over all rows, or by batches, with fewer passes over the data.")]
BatchSize = Annotated[int | None, Option(min=1, help="Rows of a batch.", show_default="by components and rows")]
Saved = Annotated[Path | None, Option(help="Where every iteration keeps what it needs (.npz).", show_default=False)]
Resume = Annotated[bool, Option("--resume", help="Go on from the checkpoint, if there is one yet.")]
Report = Annotated[Path | None, Option(help="Where to write settings, result and history (.json).", show_default=False)]


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
    out: Annotated[Path, Option("--out", "-o", help="What to write (.npy, .csv or .parquet).", show_default=False)],
    proba: Annotated[bool, Option("--proba", help="Write the probability of each component instead.")] = False,
    columns: FittedColumns = None,
    complete: Annotated[bool, Option("--complete", help=INCOMPLETE)] = False,
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
    as_json: Annotated[bool, Option("--json", help="Print JSON.")] = False,
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
    out: Annotated[Path, Option("--out", "-o", help=FILLED, show_default=False)],
    model: Annotated[Path | None, Option(help="Fill by this model, fit none (.npz).", show_default=False)] = None,
    components: Annotated[int | None, Option("--components", "-k", min=1, help="Number.", show_default="1")] = None,
    covariance: Annotated[Covariance | None, Option(help="Shape of the covariances.", show_default="full")] = None,
    draw: Annotated[bool, Option("--draw", help="Write a random draw, not the expectation.")] = False,
    save: Annotated[Path | None, Option(help="Where to write what was fitted (.npz).", show_default=False)] = None,
    weights: Weights = None,
    weights_column: WeightsColumn = None,
    columns: Annotated[str | None, Option(help=COLUMNS + " Others are copied.", show_default="all columns")] = None,
    rows_per_chunk: RowsPerChunk = None,
    dtype: Precision = None,
    seed: Seed = None,
    tol: Tol = 1e-4,
    max_iter: MaxIter = 1000,
    reg_covar: Annotated[float, Option(min=0, help="Added to every variance, in units of its column's.")] = 5e-3,
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
    app(prog_name="fastem")
