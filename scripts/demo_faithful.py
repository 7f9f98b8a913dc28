"""Part 2 of the demo: the four panels of every lecture on EM, on the geyser Old Faithful."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from rich.console import Console
from sklearn.exceptions import ConvergenceWarning

from fastem import GaussianMixture, plot

# Poor on purpose: short eruptions after long waits and the reverse, where hardly any eruption lies.
MEANS = np.array([[2.2, 85.0], [4.2, 50.0]])
DEVIATIONS = np.array([0.8, 9.0])


def load() -> np.ndarray:
    """Return 272 eruptions: their length and the wait for the next, both in minutes."""
    path = Path(__file__).resolve().parent / "data" / "faithful.csv"
    return np.loadtxt(path, delimiter=",", skiprows=1)


def fit(X: np.ndarray, max_iter: int, tol: float) -> GaussianMixture:
    """Return the fit after at most `max_iter` iterations from the poor guess."""
    precisions = np.tile(np.diag(1 / DEVIATIONS**2), (2, 1, 1))
    start = {"weights_init": [0.5, 0.5], "means_init": MEANS, "precisions_init": precisions}
    model = GaussianMixture(2, max_iter=max_iter, tol=tol, accelerate=None, **start)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # one and five iterations are not meant to
        return model.fit(X)


def panel(ax: Axes, X: np.ndarray, model: Any, title: str) -> None:
    """Draw the eruptions, coloured by their responsibilities if the model has any, and the two components."""
    colors: Any = "0.55"
    if hasattr(model, "predict_proba"):
        colors = np.clip(model.predict_proba(X) @ [to_rgb(color) for color in plot.COLORS[:2]], 0, 1)
    ax.scatter(*X.T, c=colors, s=16, alpha=0.75, linewidths=0)
    plot.ellipses(model, ax)
    ax.set(xlim=(0.3, 6.1), ylim=(28, 107), title=title)


def panels(X: np.ndarray, models: list[Any], titles: list[str], path: Path) -> None:
    """Save the four panels as one picture."""
    figure, axes = plt.subplots(2, 2, figsize=(10, 9), sharex=True, sharey=True, layout="constrained")
    for ax, model, title in zip(axes.ravel(), models, titles):
        panel(ax, X, model, title)
    figure.supxlabel("eruption (minutes)")
    figure.supylabel("waiting for the next (minutes)")
    figure.suptitle("Old Faithful, two components: ellipses of 1 and 2 standard deviations", fontsize=14)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def curve(model: GaussianMixture, path: Path) -> None:
    """Save the log-likelihood of every iteration."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 5), layout="constrained")
    plot.history(model, left)
    log_likelihood = model.history_["log_likelihood"]
    left.axhline(log_likelihood[-1], color="0.5", linestyle="--", linewidth=1)
    text = f"at convergence: {log_likelihood[-1]:.3f}"
    left.annotate(text, (0.98, 0.9), xycoords="axes fraction", ha="right")
    left.set_title("The log-likelihood never falls")
    short = log_likelihood[-1] - log_likelihood[:-1]
    right.semilogy(np.arange(1, len(short) + 1), short, marker="o", markersize=4, color=plot.COLORS[1])
    right.set(title="What is still to gain", xlabel="iteration", ylabel="short of the last (nats, log scale)")
    right.xaxis.get_major_locator().set_params(integer=True)
    right.grid(alpha=0.25)
    figure.suptitle("Old Faithful, two components", fontsize=14)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def lecture(console: Console, out: Path) -> None:
    """Part 2: initial guess, after the first iteration, after the fifth, after convergence."""
    console.rule("2. Old Faithful: 2 components from a poor guess")
    X = load()
    guess = SimpleNamespace(
        means_=MEANS, covariances_=np.tile(np.diag(DEVIATIONS**2), (2, 1, 1)), covariance_type="full"
    )
    first, fifth, last = fit(X, 1, 0.0), fit(X, 5, 0.0), fit(X, 1000, 1e-8)
    titles = ["initial guess", "after iteration 1", "after iteration 5"]
    titles.append(f"converged, iteration {last.n_iter_}")
    panels(X, [guess, first, fifth, last], titles, out / "faithful.png")
    curve(last, out / "faithful-log-likelihood.png")
    for k in np.argsort(-last.weights_):
        eruption, waiting = last.means_[k]
        share = last.weights_[k]
        console.print(f"{share:.1%} of the eruptions: {eruption:.2f} min, {waiting:.1f} min to the next")
    console.print(
        f"log-likelihood {last.score(X) * len(X):.4f} after {last.n_iter_} iterations"
        " (mclust, R: -1130.2640 without regularisation)"
    )
