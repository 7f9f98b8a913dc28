"""What the kernels of the t family read, the slots of sums that they write, and its statistics and their means."""

from typing import Any, NamedTuple

import numpy as np

from fastem.families import gaussian_slots
from fastem.families.gamma_function import log_less_digamma
from fastem.families.gaussian_moments import GaussianStatistics


class StudentTStatistics(NamedTuple):
    """sum_w, sum_u, sum_log (K,); sum_x (K, d); sum_xx (K, d, d) or (K, d)."""

    sum_w: np.ndarray
    sum_u: np.ndarray
    sum_log: np.ndarray
    sum_x: np.ndarray
    sum_xx: np.ndarray

    @property
    def gaussian(self) -> GaussianStatistics:
        """The moments, with the weights that they are of."""
        return GaussianStatistics(self.sum_u, self.sum_x, self.sum_xx)


class Prepared(NamedTuple):
    """As the Gaussian's; tails (1, K) are -1 / nu, powers (1, K) are -(nu + d) / 2."""

    shift: np.ndarray
    means: np.ndarray
    scales: np.ndarray
    constant: np.ndarray
    tails: np.ndarray
    powers: np.ndarray


class NearPrepared(NamedTuple):
    """As `Prepared`, of full scale matrices near each other; see `gaussian_near`."""

    shift: np.ndarray
    means: np.ndarray
    scales: np.ndarray
    constant: np.ndarray
    tails: np.ndarray
    powers: np.ndarray


class NearSlots(NamedTuple):
    """Slots of the weights and logarithms of `StudentTStatistics`, with the segments of the Gaussian's."""

    sum_w: np.ndarray
    sum_u: np.ndarray
    sum_log: np.ndarray
    segments: np.ndarray

    @property
    def gaussian(self) -> gaussian_slots.NearSlots:
        """The moments, with the weights that they are of."""
        return gaussian_slots.NearSlots(self.sum_u, self.segments)


def mean_log(tails: np.ndarray, d: Any) -> np.ndarray:
    """E log tau of a row of d features, but for its -log(1 + q / nu)."""
    return np.log1p(d * tails) - log_less_digamma(halves_of_df(tails) + 0.5 * d)


def halves_of_df(tails: np.ndarray) -> np.ndarray:
    """nu / 2; of the Gaussian a number beyond which nothing changes."""
    return 0.5 / np.maximum(tails, 1e-15)


def along(a: np.ndarray, leaf: np.ndarray) -> np.ndarray:
    """a (K,) with the axes of `leaf`."""
    return a.reshape(-1, *(1,) * (leaf.ndim - 1))
