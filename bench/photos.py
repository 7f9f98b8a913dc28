"""The pixels of photographs that come in the wheels of scikit-image and scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np

NAMES = ("china", "flower", "astronaut", "chelsea", "coffee", "rocket", "immunohistochemistry")
NAMES += ("hubble_deep_field", "motorcycle", "retina")


def image(name: str) -> np.ndarray:
    """Return a photograph (height, width, 3) of eight-bit values."""
    if name in ("china", "flower"):
        from sklearn.datasets import load_sample_image

        return load_sample_image(f"{name}.jpg")
    try:
        import skimage.data
    except ImportError as error:
        raise ImportError("the photographs are in scikit-image's wheel: pip install scikit-image") from error
    if name == "motorcycle":
        return skimage.data.stereo_motorcycle()[0]
    return getattr(skimage.data, name)()


def pixels(name: str, step: int = 1) -> np.ndarray:
    """Return the pixels (n, 3) in float64 with a seeded jitter of one grey level.

    Eight-bit values sit on a lattice, where a component can shrink to a spike of unbounded likelihood.
    """
    colors: Any = image(name)[::step, ::step].reshape(-1, 3)
    return colors + np.random.default_rng(0).uniform(-0.5, 0.5, size=colors.shape)
