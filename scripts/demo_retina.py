"""Parts 1 and 4 of the demo: the pixels of a photograph of a retina, and scikit-learn beside fastem."""

from __future__ import annotations

import time
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import skimage.data
from rich.console import Console
from rich.table import Table
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture as SklearnMixture

from fastem import GaussianMixture, plot

COMPONENTS = 8
ITERATIONS = 5  # of both, in the comparison: scikit-learn takes seconds for each


def load(step: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the photograph (height, width, 3) and its pixels (n, 3) with a jitter of one grey level."""
    image = np.ascontiguousarray(skimage.data.retina()[::step, ::step])
    jitter = np.random.default_rng(0).uniform(-0.5, 0.5, size=(image.shape[0] * image.shape[1], 3))
    return image, image.reshape(-1, 3) + jitter


def component_table(model: GaussianMixture) -> Table:
    """Return the components, the heaviest first, with a swatch of their mean colour."""
    table = Table(title="components, in grey levels (0 to 255)")
    for column in ("", "k", "share", "mean R", "G", "B", "sd R", "G", "B", "corr R,G"):
        table.add_column(column, justify="right")
    for k in np.argsort(-model.weights_):
        mean, covariance = model.means_[k], model.covariances_[k]
        sd = np.sqrt(np.diag(covariance))
        red, green, blue = np.clip(np.rint(mean), 0, 255).astype(int)
        numbers = [f"{value:.1f}" for value in (*mean, *sd)]
        correlation = covariance[0, 1] / (sd[0] * sd[1])
        swatch = f"[rgb({red},{green},{blue})]████[/]"
        table.add_row(swatch, str(k), f"{model.weights_[k]:.1%}", *numbers, f"{correlation:.2f}")
    return table


def picture(model: GaussianMixture, image: np.ndarray, labels: np.ndarray, out: Path) -> None:
    """Save the photograph beside its segmentation in two palettes, and one segmentation in full size."""
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(18, 7.2), layout="constrained")
    left.imshow(image)
    left.set_axis_off()
    height, width = image.shape[:2]
    left.set_title(f"retina, {width} x {height} pixels (CC0)", fontsize=15)
    painted = plot.segmentation(model, labels, middle)
    middle.set_title(f"{model.n_components} components, each in its mean colour", fontsize=15)
    plot.segmentation(model, labels, right, colors=plot.COLORS)
    right.set_title("the same components, in colours apart", fontsize=15)
    figure.savefig(out / "retina.png", dpi=100, bbox_inches="tight", pad_inches=0.15)
    plt.close(figure)
    plt.imsave(out / "retina-segmentation.png", painted)


def segment(console: Console, out: Path, step: int) -> np.ndarray:
    """Part 1: fit eight components to every pixel, and paint each pixel in the colour of its component."""
    console.rule("1. retina: 8 full components over every pixel of a photograph")
    image, pixels = load(step)
    counts = np.bincount(image.reshape(-1, 3) @ np.array([1 << 16, 1 << 8, 1]))
    console.print(
        f"{len(pixels):,} pixels x 3. Eight-bit values sit on a lattice: {counts.max() / len(pixels):.0%} of"
        " the pixels are one and the same black, a point on which a Gaussian can shrink to a spike of"
        " unbounded likelihood. Each value stands for an interval of one grey level, so a seeded uniform"
        " jitter of one grey level gives the pixels back that width."
    )
    begin = time.perf_counter()
    model = GaussianMixture(COMPONENTS, random_state=0).fit(pixels)
    seconds = time.perf_counter() - begin
    begin = time.perf_counter()
    labels = model.predict(pixels).reshape(image.shape[:2])
    predict_seconds = time.perf_counter() - begin
    console.print(component_table(model))
    console.print(
        f"fit: {seconds:.1f} s with its start, {model.n_iter_} iterations, {model.stop_reason_}, mean"
        f" log-likelihood {model.score(pixels):.6f}; predict: {predict_seconds:.2f} s"
    )
    picture(model, image, labels, out)
    return pixels


def beside_sklearn(console: Console, pixels: np.ndarray) -> None:
    """Part 4: scikit-learn and fastem from the same start for the same iterations."""
    console.rule("4. scikit-learn beside it: same pixels, same start, same iterations")
    rng = np.random.default_rng(1)
    start = {
        "weights_init": np.full(COMPONENTS, 1 / COMPONENTS),
        "means_init": pixels[rng.choice(len(pixels), COMPONENTS, replace=False)],
        "precisions_init": np.tile(np.linalg.inv(np.cov(pixels.T)), (COMPONENTS, 1, 1)),
    }
    table = Table()
    for column in ("", "iterations", "seconds", "each iteration", "mean log-likelihood (own score)"):
        table.add_column(column, justify="right")
    seconds = {}
    for name, kind in (("scikit-learn", SklearnMixture), ("fastem", GaussianMixture)):
        settings = {"tol": 0.0, "init_params": "random_from_data", "random_state": 0, **start}
        settings |= {"accelerate": None} if kind is GaussianMixture else {}  # the same iterates
        model = kind(COMPONENTS, max_iter=ITERATIONS, **settings)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            begin = time.perf_counter()
            model.fit(pixels)
            seconds[name] = time.perf_counter() - begin
        each = f"{seconds[name] / ITERATIONS:.3f} s"
        table.add_row(name, str(model.n_iter_), f"{seconds[name]:.2f}", each, f"{model.score(pixels):.12f}")
    console.print(table)
    console.print(f"fastem is {seconds['scikit-learn'] / seconds['fastem']:.1f} times as fast")
