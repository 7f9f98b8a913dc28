"""A fitted model as tables on the screen, from its file alone: nothing is compiled or computed anew."""

import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fastem.cli_words import OPTIONS
from fastem.persistence import Contents, damaged, read
from fastem.verbose import ENDINGS, TROUBLES
from fastem.wording import plural

SHOWN = "GaussianMixture", "GaussianImputer"

_NARROWEST = len("│ 1 ± 0 ")  # no column of a feature is narrower than this


def show_model(path: str | os.PathLike) -> None:
    """Print the settings, the ending of the fit and the components of a model file.

    Parameters
    ----------
    path : str or path-like
        A file that ``fastem.save`` wrote; the errors are those of ``fastem.load``.
    """
    contents = read(path)
    if contents.kind not in SHOWN:
        raise ValueError(
            f"{os.fspath(path)} holds a {contents.kind}; one of {', '.join(SHOWN)} can be shown: read the others in "
            "Python, with fastem.load"
        )
    kind, contents = contents.kind, contents.attributes.get("mixture_", contents)
    for name in ("weights_", "means_", "covariances_"):
        if name not in contents.attributes:
            raise damaged(path, f"it has no {name}")
        array = np.asarray(contents.attributes[name])
        if array.dtype.kind != "f" or not array.ndim or not np.isfinite(array).all():
            raise damaged(path, f"{name} holds NaN, infinity or no numbers")
    # A pipe has no width: wide enough, then, that no table is cut.
    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False)
    facts = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in _facts(contents):
        facts.add_row(Text(name, "bold"), Text(value))
    console.print(Text(f"{kind} in {os.fspath(path)}", "bold"))
    console.print(facts)
    console.print(_components(contents, console.width))


def _facts(contents: Contents) -> Iterator[tuple[str, str]]:
    parameters, attributes = contents.parameters, contents.attributes
    means = attributes["means_"]
    yield "components", str(len(means))
    yield "features", str(means.shape[1])
    yield "covariances", f"{parameters['covariance_type']}, {means.dtype}"
    reason, after = attributes["stop_reason_"], plural(int(attributes["n_iter_"]), "iteration")
    yield "fit", f"{ENDINGS.get(reason, reason)} after {after}{_seconds(attributes)}"
    if not np.isnan(bound := float(attributes["lower_bound_"])):
        yield "log-likelihood", f"{bound:.6f} per row"
    happened = _diagnostics(attributes.get("diagnostics_", {}))
    if happened:
        yield "components in trouble", happened
    shown = {"n_components", "covariance_type", "callback", "verbose", "verbose_interval", "warm_start"}
    settings = {name: value for name, value in parameters.items() if name not in shown and value is not None}
    yield "settings", "  ".join(f"{OPTIONS.get(name, name)}={_short(value)}" for name, value in settings.items())


def _seconds(attributes: Mapping[str, Any]) -> str:
    history = attributes.get("history_")
    return f" in {history['seconds'][-1]:.2f} s" if history is not None and len(history) else ""


def _diagnostics(diagnostics: Mapping[str, Any]) -> str:
    counts = {words: len(diagnostics.get(name) or []) for name, words in TROUBLES.items()}
    return ", ".join(f"{number} {words}" for words, number in counts.items() if number)


def _short(value: Any) -> str:
    return f"array{value.shape}" if isinstance(value, np.ndarray) else str(value)


def _components(contents: Contents, width: int) -> Table:
    attributes = contents.attributes
    means, covariances = attributes["means_"], attributes["covariances_"]
    deviations = _standard_deviations(covariances, contents.parameters["covariance_type"], means)
    names = attributes.get("feature_names_in_", [f"x{j}" for j in range(means.shape[1])])
    columns = [
        (str(name), [f"{m:.4g} ± {s:.2g}" for m, s in zip(means[:, j], deviations[:, j])])
        for j, name in enumerate(names[: width // _NARROWEST])
    ]
    shown = _fitting([max(map(len, (name, *cells))) for name, cells in columns], width, len(names))
    table = Table(caption="mean ± standard deviation", caption_justify="left")
    for header in ("component", "weight", *(name for name, _ in columns[:shown])):
        # Text is no markup: a name may have brackets in it.
        table.add_column(Text(header), justify="right", no_wrap=True)
    if shown < len(names):
        table.add_column(f"{len(names) - shown} more", no_wrap=True)
    for k, weight in enumerate(attributes["weights_"]):
        cells = [cells[k] for _, cells in columns[:shown]]
        table.add_row(str(k), f"{weight:.4f}", *cells, *(["..."] if shown < len(names) else []))
    return table


def _fitting(widths: list[int], width: int, n_features: int) -> int:
    """How many of the columns fit beside the component's number and weight and the number of those left out."""
    room = width - len("│ component │ weight │") - len(f" {n_features} more │")
    used = np.cumsum([column + len("  │") for column in widths])
    return max(1, int(np.count_nonzero(used <= room)))


def _standard_deviations(covariances: np.ndarray, covariance_type: str, means: np.ndarray) -> np.ndarray:
    if covariance_type == "spherical":
        variances = covariances[:, None]
    elif covariance_type == "diag":
        variances = covariances
    else:  # full, or one matrix for all
        variances = np.diagonal(covariances, axis1=-2, axis2=-1)
    return np.sqrt(np.broadcast_to(variances, means.shape))
