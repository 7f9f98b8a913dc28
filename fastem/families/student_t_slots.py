"""What the kernels of the t family read, the slots of sums that they write, and its statistics."""

from typing import NamedTuple

import numpy as np

from fastem.families import gaussian_slots
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
