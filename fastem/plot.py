"""Pictures of a fit: ellipses of components, the log-likelihood curve, a segmented image.

The only file that imports matplotlib, and only when a function is called: ``pip install 'fastem[plot]'``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.exceptions import NotFittedError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.patches import Ellipse

__all__ = ["COLORS", "ellipses", "history", "segmentation"]

# Okabe and Ito's palette, told apart by colour-blind readers (jfly.uni-koeln.de/color), with grey and purple.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#666666", "#5D3A9B")
_LEAST_SPAN = 1e-2  # nats that the axis of a log-likelihood spans


def _axes(ax: Axes | None) -> Axes:
    """Return `ax`, or the current axes of pyplot."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        message = "plotting needs matplotlib, which is not installed: try pip install 'fastem[plot]'"
        raise ImportError(message) from error
    return plt.gca() if ax is None else ax


def _fitted(model: Any, attribute: str) -> Any:
    """Return an attribute that `fit` sets, or say that there is none, or none yet."""
    if not hasattr(model, attribute):
        if hasattr(model, "weights_"):
            raise ValueError(
                f"{type(model).__name__} has no {attribute}, and this picture is drawn of them: try a GaussianMixture"
            )
        raise NotFittedError(f"{type(model).__name__} has no {attribute} yet: call fit before plotting")
    return getattr(model, attribute)


def _full_covariances(model: Any) -> np.ndarray:
    """Return the covariances of any of the four types as (K, d, d)."""
    covariances = np.asarray(_fitted(model, "covariances_"), dtype=float)
    n_components, n_features = np.shape(_fitted(model, "means_"))
    eye = np.eye(n_features)
    match model.covariance_type:
        case "tied":
            return np.broadcast_to(covariances, (n_components, n_features, n_features))
        case "diag":
            return covariances[:, :, None] * eye
        case "spherical":
            return covariances[:, None, None] * eye
        case _:
            return covariances


def ellipses(
    model: Any,
    ax: Axes | None = None,
    *,
    features: tuple[int, int] = (0, 1),
    levels: Sequence[float] = (1.0, 2.0),
    colors: Sequence[Any] = COLORS,
    linewidth: float = 1.8,
) -> list[Ellipse]:
    """Draw every component of a Gaussian mixture as ellipses about its mean.

    Parameters
    ----------
    model : GaussianMixture
        A fitted mixture, or anything with its ``means_``, ``covariances_`` and ``covariance_type``.
    ax : matplotlib.axes.Axes, optional
        Where to draw; the current axes by default.
    features : tuple of int, default (0, 1)
        The two columns that are the axes of the picture.
    levels : sequence of float, default (1, 2)
        Mahalanobis radii, in standard deviations. In a plane one holds 39 % of a component, two hold 86 %.
    colors : sequence of colours
        One for each component, repeated when there are more components.
    linewidth : float, default 1.8
        Width of the outlines in points.

    Returns
    -------
    list of matplotlib.patches.Ellipse
        K times ``len(levels)`` ellipses, in the order of the components.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    sklearn.exceptions.NotFittedError
        If the model has not been fitted.
    ValueError
        If the model has no such two features.

    Examples
    --------
    >>> from fastem import plot
    >>> plot.ellipses(model)  # doctest: +SKIP
    """
    ax = _axes(ax)
    from matplotlib.patches import Ellipse

    means = np.asarray(_fitted(model, "means_"), dtype=float)
    if means.shape[1] == 1:
        raise ValueError("the model has one feature, and an ellipse needs two: draw the feature as a histogram")
    if len(features) != 2 or not all(0 <= feature < means.shape[1] for feature in features):
        raise ValueError(
            f"features={features!r} given, but two columns of a model of {means.shape[1]} features wanted:"
            " try features=(0, 1)"
        )
    columns = list(features)
    patches = []
    for k, covariance in enumerate(_full_covariances(model)):
        color = colors[k % len(colors)]
        variances, axes = np.linalg.eigh(covariance[np.ix_(columns, columns)])
        angle = float(np.degrees(np.arctan2(axes[1, 1], axes[0, 1])))
        for level in levels:
            height, width = 2.0 * level * np.sqrt(np.maximum(variances, 0.0))
            center = (float(means[k, columns[0]]), float(means[k, columns[1]]))
            patch = Ellipse(center, width, height, angle=angle, fill=False, edgecolor=color, lw=linewidth)
            ax.add_patch(patch)
            patches.append(patch)
        ax.plot(*means[k, columns], marker="P", color=color, markeredgecolor="white", markersize=9)
    ax.autoscale_view()
    return patches


def history(model: Any, ax: Axes | None = None, *, x: str = "iteration", label: str | None = None) -> Axes:
    """Draw the log-likelihood against the iterations, or against the seconds, of a fit.

    Parameters
    ----------
    model : estimator or ndarray
        A fitted estimator, or its ``history_``.
    ax : matplotlib.axes.Axes, optional
        Where to draw; the current axes by default.
    x : {"iteration", "seconds"}, default "iteration"
        What runs along the horizontal axis.
    label : str, optional
        Name of the curve in a legend.

    Returns
    -------
    matplotlib.axes.Axes
        The axes that were drawn on.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    sklearn.exceptions.NotFittedError
        If the model has not been fitted.
    ValueError
        If `x` is neither of the two.

    Examples
    --------
    >>> from fastem import plot
    >>> plot.history(model, x="seconds")  # doctest: +SKIP
    """
    if x not in ("iteration", "seconds"):
        raise ValueError(f"x={x!r} given, but 'iteration' or 'seconds' wanted: try x='iteration'")
    ax = _axes(ax)
    from matplotlib.ticker import MaxNLocator

    table = model if isinstance(model, np.ndarray) else _fitted(model, "history_")
    along = np.arange(1, len(table) + 1) if x == "iteration" else table["seconds"]
    color = COLORS[len(ax.lines) % len(COLORS)]  # curves of several fits may share the axes
    ax.plot(along, table["log_likelihood"], marker="o", markersize=4, color=color, label=label)
    ax.set_xlabel("iteration" if x == "iteration" else "time (seconds)")
    ax.set_ylabel("log-likelihood (nats)")
    if x == "iteration":
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.ticklabel_format(axis="y", useOffset=False)
    if len(table):  # a fit that began at its optimum would else be a picture of rounding
        ax.update_datalim([(along[-1], table["log_likelihood"][-1] + side * _LEAST_SPAN / 2) for side in (-1, 1)])
        ax.autoscale_view()
    ax.grid(alpha=0.25)
    return ax


def segmentation(
    model: Any, labels: np.ndarray, ax: Axes | None = None, *, colors: Sequence[Any] | None = None
) -> np.ndarray:
    """Paint every pixel in the colour of its component.

    Parameters
    ----------
    model : GaussianMixture
        A mixture fitted to pixels; without `colors`, to ones whose first three features are red, green and
        blue, 0 to 255.
    labels : ndarray of int, shape (height, width)
        The component of each pixel: ``model.predict(pixels).reshape(height, width)``.
    ax : matplotlib.axes.Axes, optional
        Where to draw; the current axes by default. A legend below gives each component's share of the pixels.
    colors : sequence of colours, optional
        One for each component, repeated when there are more components; by default the components' means.

    Returns
    -------
    ndarray of uint8, shape (height, width, 3)
        The painted image.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    sklearn.exceptions.NotFittedError
        If the model has not been fitted.
    ValueError
        If `labels` is no image, or `colors` is not given and the model has fewer than three features.

    Examples
    --------
    >>> from fastem import plot
    >>> painted = plot.segmentation(model, model.predict(pixels).reshape(image.shape[:2]))  # doctest: +SKIP
    """
    means = np.asarray(_fitted(model, "means_"), dtype=float)
    labels = np.asarray(labels)
    if labels.ndim != 2:
        raise ValueError(
            f"labels of shape {labels.shape} given, but (height, width) wanted: try labels.reshape(image.shape[:2])"
        )
    if colors is None and means.shape[1] < 3:
        raise ValueError(
            f"a model of {means.shape[1]} features given, but red, green and blue wanted:"
            " try colors=plot.COLORS, or fit pixels in colour"
        )
    ax = _axes(ax)
    from matplotlib.colors import to_rgb
    from matplotlib.patches import Patch

    if colors is None:
        values = means[:, :3]
    else:
        values = 255.0 * np.array([to_rgb(colors[k % len(colors)]) for k in range(len(means))])
    palette = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    painted = palette[labels]
    shares = np.bincount(labels.ravel(), minlength=len(palette)) / labels.size
    ax.imshow(painted)
    ax.set_axis_off()
    handles = [
        Patch(facecolor=palette[k] / 255.0, edgecolor="0.3", label=f"{k}: {shares[k]:.1%}") for k in np.argsort(-shares)
    ]
    compact: dict[str, Any] = {"fontsize": "large", "handlelength": 1.2, "columnspacing": 1.2}
    place: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.01), "frameon": False}
    ax.legend(handles=handles, ncols=min(4, len(handles)), **place, **compact)
    return painted
