"""Logarithm of the gamma function and its derivative less their large parts: at large arguments no digit is lost."""

import numpy as np
from scipy.special import digamma, gammaln, polygamma

LARGE = 20.0
"""Where Stirling's series takes over: its first term left out is below 2e-15 there."""

MOST = 5e14
"""Argument above which the differences are 0 in float64."""


def stirling(x: np.ndarray) -> np.ndarray:
    """log gamma(x) - ((x - 1/2) log x - x + log(2 pi) / 2)."""
    x = np.minimum(x, MOST)
    y = 1.0 / np.maximum(x, LARGE)
    z = y * y
    series = y * (1 / 12 - z * (1 / 360 - z * (1 / 1260 - z / 1680)))
    small = np.minimum(x, LARGE)
    direct = gammaln(small) - ((small - 0.5) * np.log(small) - small + 0.5 * np.log(2 * np.pi))
    return np.where(x > LARGE, series, direct)


def log_rise(x: np.ndarray, a: float) -> np.ndarray:
    """log gamma(x + a) - log gamma(x) - a log x, for a >= 0."""
    x = np.minimum(x, MOST)
    return (x + a - 0.5) * np.log1p(a / x) - a + stirling(x + a) - stirling(x)


def log_less_digamma(x: np.ndarray) -> np.ndarray:
    """log x - digamma(x), which falls from infinity to 0."""
    y = 1.0 / np.maximum(x, LARGE)
    z = y * y
    series = y * (0.5 + y * (1 / 12 - z * (1 / 120 - z * (1 / 252 - z * (1 / 240 - z / 132)))))
    small = np.minimum(x, LARGE)
    return np.where(x > LARGE, series, np.log(small) - digamma(small))


def shape_of(gap: np.ndarray, least: float, most: float) -> np.ndarray:
    """The x in [least, most] nearest to log x - digamma(x) = gap: the likeliest shape of a gamma distribution.

    Newton's method for 1 / x, in which the left side is nearly linear (Minka 2002, Estimating a Gamma distribution).
    """
    gap = np.clip(gap, log_less_digamma(np.array(most)), log_less_digamma(np.array(least)))
    x = np.clip((3 - gap + np.sqrt((gap - 3) ** 2 + 24 * gap)) / (12 * gap), least, most)
    for _ in range(8):
        slope = x * (x * polygamma(1, x) - 1)  # of the left side in 1 / x; from 1/2 at large x up to 1
        x = 1.0 / np.clip(1.0 / x - (log_less_digamma(x) - gap) / slope, 1.0 / most, 1.0 / least)
    return x


def inverse_digamma(y: np.ndarray, most: float) -> np.ndarray:
    """The x in (0, most] nearest to digamma(x) = y: Newton's method (Minka 2000, Estimating a Dirichlet distribution).

    From above a step may lead to 0 or below it; an eighth is near enough.
    """
    y = np.minimum(y, digamma(most))
    x = np.where(y >= -2.22, np.exp(y) + 0.5, 1.0 / np.maximum(digamma(1.0) - y, 1.0))
    for _ in range(8):
        x = np.maximum(x - (digamma(x) - y) / polygamma(1, x), x / 8.0)
    return np.minimum(x, most)
