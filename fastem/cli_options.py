"""The options of the command line, and what its help says of them.

Names stand for types and choices are in the text, so that an 80-column terminal cuts nothing off.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer


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


def _components(text: str) -> int | str:
    if text != "auto" and not (text.isdecimal() and int(text) > 0):
        raise typer.BadParameter(f"{text!r} is neither a number of components (1 or more) nor auto")
    return text if text == "auto" else int(text)


Option, Argument = typer.Option, typer.Argument
Version = Annotated[bool, Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")]
Debug = Annotated[bool, Option("--debug", help="Show where an error arose (also FASTEM_DEBUG=1).", metavar="")]
DATA = "Rows of numbers: .npy, .csv, .parquet, .feather, file.h5::dataset, store.zarr::array; or several, as one."
FILLED = "DATA without gaps: .csv or .parquet, with all columns of DATA; or .npy, a matrix of the --columns alone."
Data = Annotated[list[str], Argument(metavar="DATA...", help=DATA)]
Model = Annotated[Path, Argument(metavar="MODEL", help="A model that `fastem fit` wrote (.npz).")]
Weights = Annotated[Path | None, Option(help="One weight a row: .npy or .csv.", show_default=False, metavar="FILE")]
COLUMNS = "Names, or numbers from 0, as in a,b,c; or numeric, for all that hold numbers."
FITTED = "The columns of the fit: names, or numbers from 0, as in a,b,c."
FittedColumns = Annotated[str | None, Option(help=FITTED, show_default="by name, or all", metavar="LIST")]
Columns = Annotated[str | None, Option(help=COLUMNS, show_default="all columns", metavar="LIST")]
WeightsColumn = Annotated[
    str | None, Option(help="The column with the weights of the rows.", show_default=False, metavar="NAME")
]
RowsPerChunk = Annotated[
    int | None, Option(min=1, help="Rows read at a time.", show_default="as 8 MB hold", metavar="N")
]
Complete = Annotated[bool, Option("--complete", help="Leave out rows with a missing or infinite number.", metavar="")]
Missing = Annotated[
    bool, Option("--missing", help="Entries that are empty or NaN are unknown: take the others.", metavar="")
]
INCOMPLETE = "Write -1, or NaN, for rows with a missing or infinite number."
Quiet = Annotated[bool, Option("--quiet", "-q", help="Only warnings and errors.", metavar="")]
# Options of `fit`, in the order of its help.
Components = Annotated[
    int, Option("--components", "-k", min=1, help="How many components.", show_default=False, metavar="N")
]
ForGaps = Annotated[
    Any,
    Option(
        "--components",
        "-k",
        parser=_components,
        help="How many components, or auto, for as many as suit the rows.",
        show_default="1",
        metavar="N",
    ),
]
Out = Annotated[
    Path, Option("--out", "-o", help="Where to write the model (.npz).", show_default=False, metavar="FILE")
]
Shape = Annotated[Covariance, Option(help="Shape of the covariances: full, tied, diag or spherical.", metavar="KIND")]
Precision = Annotated[
    DType | None, Option(help="Type of the numbers: float64 or float32.", show_default="as in DATA", metavar="TYPE")
]
Seed = Annotated[
    int | None, Option(min=0, max=2**32 - 1, help="Same seed, same result.", show_default="random", metavar="N")
]
NInit = Annotated[int, Option(min=1, help="Number of starts, of which the best is kept.", metavar="N")]
Start = Annotated[
    Init, Option(help="How to find a start: race, kmeans, k-means++, random or random_from_data.", metavar="KIND")
]
Tol = Annotated[float, Option(min=0, help="Stop when less than this is left to gain, in nats per row.", metavar="X")]
MaxIter = Annotated[int, Option(min=1, help="Stop after so many iterations.", metavar="N")]
MaxTime = Annotated[
    float | None, Option(min=0, help="Stop after so many seconds.", show_default="no limit", metavar="X")
]
RegCovar = Annotated[float, Option(min=0, help="Added to every variance.", metavar="X")]
Collapse = Annotated[
    OnCollapse,
    Option(
        help="What becomes of a component that collapses on a point: restart, drop, or raise (an error).",
        metavar="WHAT",
    ),
]
Threads = Annotated[int | None, Option(min=1, help="Number of threads.", show_default="all", metavar="N")]
Way = Annotated[
    Algorithm,
    Option(help="batch: EM over all rows; incremental, stepwise: by batches, with fewer passes.", metavar="KIND"),
]
BatchSize = Annotated[
    int | None, Option(min=1, help="Rows of a batch.", show_default="by components and rows", metavar="N")
]
Saved = Annotated[
    Path | None, Option(help="Where every iteration keeps what it needs (.npz).", show_default=False, metavar="FILE")
]
Resume = Annotated[bool, Option("--resume", help="Go on from the checkpoint, if there is one yet.", metavar="")]
Report = Annotated[
    Path | None, Option(help="Where to write settings, result and history (.json).", show_default=False, metavar="FILE")
]
