r"""Exponential components: waiting times in every column, independent of the others given the component.

Density
    log p(x | k) = sum_j log(1 / m_kj) - x_j / m_kj, with m the mean.
M-step
    m_k = sum_x_k / sum_w_k.
"""

from typing import NamedTuple

import numpy as np

from fastem.families.base import Scale
from fastem.families.linear import LinearFamily

LEAST = 1e-10
"""Least mean of a component, in units of the data's: one of zeros alone has a density without bound."""


class ExponentialParams(NamedTuple):
    """means (K, d)."""

    means: np.ndarray


class Exponential(LinearFamily):
    """The family of independent waiting times."""

    between = {"means": (0.0, np.inf)}

    def terms(self, params: ExponentialParams) -> tuple[np.ndarray, np.ndarray]:
        """c = -log m, s = -1 / m."""
        (m,) = params
        if not (m > 0).all():
            raise ValueError(
                f"means are as low as {m.min():.3g}; the means of waiting times are above 0. Start elsewhere"
            )
        return -np.log(m), -1.0 / m

    def expected(self, params: ExponentialParams) -> np.ndarray:
        """The means."""
        return params.means

    def maximum(self, means: np.ndarray) -> ExponentialParams:
        """The means."""
        return ExponentialParams(np.maximum(means, 0.0))

    def singular(self, params: ExponentialParams) -> np.ndarray:
        """Mask (K,) of the components that hold zeros alone in a column."""
        return np.asarray((params.means < 1e-290).any(axis=1))

    def floored(self, params: ExponentialParams, mask: np.ndarray, scale: Scale) -> ExponentialParams:
        """Means of at least a small part of the data's."""
        means = params.means.copy()
        means[mask] = np.maximum(means[mask], LEAST * np.where(scale.mean > 0, scale.mean, 1.0))
        return ExponentialParams(means)

    def n_parameters(self, params: ExponentialParams) -> int:
        """One a component and column."""
        return params.means.size

    def sample(self, params: ExponentialParams, counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """counts[k] rows of each component, in order."""
        return rng.exponential(np.repeat(params.means, counts, axis=0))
