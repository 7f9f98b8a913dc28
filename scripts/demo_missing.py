"""A further part of the demo: the lecture's example of missing values, and holes in Old Faithful."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from demo_faithful import load
from matplotlib.axes import Axes
from rich.console import Console

import fastem
from fastem import plot

STARTS = [(300.0, 25.0), (455.0, 35.0), (345.0, 112.0), (392.0, 105.0)]
"""Mean and standard deviation."""


def observed() -> np.ndarray:
    """Return the thirty values that are there; ten more were not observed."""
    path = Path(__file__).resolve().parent / "data" / "univariate_missing.csv"
    x = np.genfromtxt(path, skip_header=1)
    return x[~np.isnan(x)]


def em_paths(seen: np.ndarray, n: int, iterations: int = 8) -> list[np.ndarray]:
    """Return means and deviations from every start, iteration by iteration."""
    m = n - len(seen)

    def e_step(params: tuple[float, float], x: np.ndarray) -> tuple[tuple[float, float], float]:
        mu, variance = params
        sums = x.sum() + m * mu, (x**2).sum() + m * (mu**2 + variance)
        return sums, -0.5 * (len(x) * np.log(2 * np.pi * variance) + ((x - mu) ** 2).sum() / variance)

    def m_step(sums: tuple[float, float], params: tuple[float, float]) -> tuple[float, float]:
        mu = sums[0] / n
        return mu, sums[1] / n - mu**2

    paths = []
    for mu, deviation in STARTS:
        path = [(mu, deviation**2)]
        for _ in range(iterations):
            path.append(m_step(e_step(path[-1], seen)[0], path[-1]))
        paths.append(np.array([(mean, np.sqrt(variance)) for mean, variance in path]))
    starts = [(mu, deviation**2) for mu, deviation in STARTS]
    ends = [run.params for run in fastem.em(e_step, m_step, starts, seen).runs]
    assert np.allclose(ends, (seen.mean(), seen.var()), rtol=1e-3)
    return paths


def draw_paths(ax: Axes, seen: np.ndarray, paths: list[np.ndarray]) -> None:
    """Draw the paths over the log-likelihood of what was observed."""
    mu, deviation = np.meshgrid(np.linspace(285, 470, 200), np.linspace(15, 122, 200))
    value = -len(seen) * (np.log(deviation) + (seen.var() + (seen.mean() - mu) ** 2) / (2 * deviation**2))
    levels = value.max() - np.array([60, 40, 25, 15, 8, 4, 1.5, 0.4])
    ax.contour(mu, deviation, value, levels=levels, colors="0.8", linewidths=1, linestyles="solid")
    for path, color in zip(paths, plot.COLORS):
        ax.plot(*path.T, color=color, marker="o", markersize=5, linewidth=1.5)
        ax.plot(*path[0], color=color, marker="o", markersize=10)
    ax.plot(seen.mean(), seen.std(), marker="*", markersize=18, color="black", markeredgecolor="white", zorder=5)
    ax.annotate(
        "mean and deviation\nof the 30 observed", (seen.mean(), seen.std()), (343, 22), arrowprops={"arrowstyle": "-"}
    )
    ax.set(xlabel="mean", ylabel="standard deviation", title="EM from four starts, over the log-likelihood")


def draw_rate(ax: Axes, seen: np.ndarray, paths: list[np.ndarray], rate: float) -> None:
    """Draw how far the mean is from the end."""
    for path, color in zip(paths, plot.COLORS):
        gaps = np.abs(path[:, 0] - seen.mean())
        ax.semilogy(gaps, color=color, marker="o", markersize=5)
    iterations = np.arange(len(paths[0]))
    ax.semilogy(
        iterations, 150 * rate**iterations, color="0.5", linestyle="--", label="a quarter a step: 10 of 40 missing"
    )
    ax.set(xlabel="iteration", ylabel="mean, distance from the end (log scale)", title="The rate: missing information")
    ax.legend(frameon=False)
    ax.grid(alpha=0.25)


def lecture(console: Console, out: Path) -> None:
    """Forty values of which ten are missing, and a third of Old Faithful's waiting times."""
    console.rule("5. Missing values")
    seen, n = observed(), 40
    paths = em_paths(seen, n)
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 5), layout="constrained")
    draw_paths(left, seen, paths)
    draw_rate(right, seen, paths, (n - len(seen)) / n)
    figure.suptitle("A normal sample of 40, ten values of it missing", fontsize=14)
    figure.savefig(out / "missing-values.png", dpi=110)
    plt.close(figure)
    console.print(
        f"univariate normal, {n - len(seen)} of {n} missing: from {len(paths)} starts to mean {seen.mean():.3f}, "
        f"deviation {seen.std():.3f}"
    )
    X = load()
    hidden = np.random.default_rng(0).random(len(X)) < 1 / 3
    Z = X.copy()
    Z[hidden, 1] = np.nan
    for k in (1, 2):
        filled = fastem.GaussianImputer(k, random_state=0).fit_transform(Z)
        error = np.sqrt(np.mean((filled - X)[hidden, 1] ** 2))
        name = "a Gaussian" if k == 1 else f"{k} Gaussians"
        console.print(
            f"Old Faithful, {hidden.sum()} waiting times hidden: filled by {name} to within {error:.2f} min (rms)"
        )
    spread = np.sqrt(np.mean((X[~hidden, 1].mean() - X[hidden, 1]) ** 2))
    console.print(f"Old Faithful, the mean in their place: within {spread:.2f} min")
