r"""The sizes of negative binomial components: the derivative of the expected log-likelihood, and where it is 0."""

from typing import NamedTuple

import numpy as np
from scipy.special import polygamma, psi

LEAST, MOST = 1e-8, 1e8
"""Sizes; the largest in units of the mean where that is above 1. Beyond, counts are Poisson to a part in 1e8."""

ROUNDING = 3e-15
"""Of a mean of digammas, relative to it."""


def digamma_rise(x: np.ndarray, r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """digamma(x + r) - digamma(r), and its derivative by r: by series where r is large and both are nearly the same."""
    z = x + r
    value = np.log1p(x / r) + x / (2 * r * z) + x * (r + z) / (12 * (r * z) ** 2)
    slope = -x / (r * z) * (1 + (r + z) / (2 * r * z))
    near = r < 1e3
    small, low = np.where(near, z, 1.0), np.where(near, r, 1.0)
    return (
        np.where(near, psi(small) - psi(low), value),
        np.where(near, polygamma(1, small) - polygamma(1, low), slope),
    )


class Score(NamedTuple):
    """The derivative of the expected log-likelihood by the size, a unit of weight.

    above[..., t] (K, d, t) is the share of the rows with x > t; of those with x >= `most` are `large` (K, d) their
    share and `large_psi` (K, d) as in the statistics; `share` (K, d) of the weight are the prior's rows at x (d,).
    The means are by `beyond` (K, d) more than those of the rows, which are the best.
    """

    above: np.ndarray
    most: float
    large: np.ndarray
    large_psi: np.ndarray
    means: np.ndarray
    share: np.ndarray
    x: np.ndarray
    beyond: np.ndarray

    def at(self, r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The derivative for sizes r (K, d), and its own."""
        inverse = 1.0 / (r[..., None] + np.arange(self.above.shape[2]))
        value = np.einsum("kjt,kjt->kj", self.above, inverse) - np.log1p(self.means / r)
        slope = self.means / (r * (r + self.means)) - np.einsum("kjt,kjt,kjt->kj", self.above, inverse, inverse)
        if self.beyond.any():
            value, slope = value + self.beyond / (r + self.means), slope - self.beyond / (r + self.means) ** 2
        if self.large.any():
            value += self.large_psi - self.large * psi(self.most + r)
            slope -= self.large * polygamma(1, self.most + r)
        if self.share.any():
            rise, bend = digamma_rise(self.x, r)
            value, slope = value + self.share * rise, slope + self.share * bend
        return value, slope

    def root(self, begin: np.ndarray) -> np.ndarray:
        """Where it falls through 0, or the largest size if it does not: Newton's method on log r, between bounds.

        Through what is rounding rather, of the sums for large counts: far to the right it decides over the sign.
        """
        low, high = np.full(begin.shape, np.log(LEAST)), np.log(MOST * np.maximum(1.0, self.means))
        least = np.where(self.large_psi != 0, ROUNDING * (1.0 + np.abs(self.large_psi)), 0.0)
        unbounded = self.at(np.exp(high))[0] > least
        theta = np.clip(np.log(begin), low, high)
        for _ in range(100):
            r = np.exp(theta)
            value, slope = self.at(r)
            value -= least
            low, high = np.where(value > 0, theta, low), np.where(value <= 0, theta, high)
            with np.errstate(divide="ignore", invalid="ignore"):
                after = theta - value / (r * slope)
            good = (slope < 0) & (after >= low) & (after <= high)
            after = np.where(unbounded, theta, np.where(good, after, (low + high) / 2))
            moved, theta = np.abs(after - theta).max(), after
            if moved < 1e-13:
                break
        return np.where(unbounded, MOST * np.maximum(1.0, self.means), np.exp(theta))
