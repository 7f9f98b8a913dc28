r"""Gamma components: amounts above 0 in every column, independent of the others given the component.

Density
    log p(x | k) = sum_j -a_kj log s_kj - lgamma(a_kj) + (a_kj - 1) log x_j - x_j / s_kj, with shapes a and scales s.
Statistics
    sum_w_k, and sums of T(x) = (x, log x). The kernel sums u - 1 and log u of u = x / g, with g a typical value of
    the column: a large shape multiplies the difference of both, which would be rounding if they were about 0.
M-step
    log a - digamma(a) = log E x - E log x, by Newton's method on the logarithms of both sides as functions of log a:
    almost a straight line, of slope -1 at either end. s = E x / a. (Choi and Wette 1969, Technometrics 11.)
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.special import gammaln, polygamma, psi

from fastem.families.base import Scale
from fastem.families.gamma_function import inverse_digamma
from fastem.families.linear import LinearFamily, Sums, up_to
from fastem.kernels.jit import brick, rootless
from fastem.kernels.linear import logarithms, products_of_two, row_sums, weighted_sums
from fastem.kernels.simd import NATIVE_OF

MOST = {4: 1e6, 8: 1e10}
"""Largest shape, by bytes of the float: a column spread by 1e-3 or 1e-5 of its mean. Beyond, sums are rounding."""

LARGE = 20.0
"""Shape from which on asymptotic series are exact, where differences of the functions themselves cancel."""


class GammaParams(NamedTuple):
    """shapes (K, d) and scales (K, d); the mean is their product."""

    shapes: np.ndarray
    scales: np.ndarray


class GammaPrepared(NamedTuple):
    """shift (d,) of zeros; unit (1, d) = 1 / g; slopes of u - 1 and log u (K, d); constant (1, K); components (K,)."""

    shift: np.ndarray
    unit: np.ndarray
    slopes: np.ndarray
    log_slopes: np.ndarray
    constant: np.ndarray
    components: np.ndarray


class GammaSums(NamedTuple):
    """sum_w (K,), and sums of u - 1 and of log u (K, d), of each slot."""

    sum_w: np.ndarray
    sum_u: np.ndarray
    sum_log: np.ndarray


@brick
def gamma_log_prob(tile, prepared, out):
    """out[k, b] = log p(x_b | k); leaves u - 1 in tile.columns and log u in tile.centred."""
    k, d = prepared.components.size, prepared.shift.size
    logarithms(tile.columns, prepared.unit, tile.centred, out.shape[1], d)
    slopes, log_slopes = prepared.slopes, prepared.log_slopes
    products_of_two(tile.columns, tile.centred, slopes, log_slopes, prepared.constant, out, k, d)


@rootless
@brick
def gamma_accumulate(tile, resp, prepared, statistics, s):
    """The sums of a tile whose logarithms `gamma_log_prob` has taken."""
    k, d = prepared.components.size, prepared.shift.size
    row_sums(tile.columns, resp, statistics.sum_w[s], statistics.sum_u[s], k, d)
    weighted_sums(tile.centred, resp, statistics.sum_log[s], k, d)


class Gamma(LinearFamily):
    """The family of independent amounts; `dtype` is that of the data."""

    between = {"shapes": (0.0, np.inf), "scales": (0.0, np.inf)}

    def __init__(self, prior: float = 0.0, dtype: Any = np.float64):
        super().__init__(prior)
        self.most = MOST[np.dtype(dtype).itemsize]

    def statistic(self, X: np.ndarray) -> np.ndarray:
        """x, and then log x, of each row."""
        X = X.astype(np.float64, copy=False)
        return np.concatenate([X, np.log(X)], axis=1)

    def columns(self, m: int) -> int:
        """Half as many."""
        return m // 2

    def terms(self, params: GammaParams) -> tuple[np.ndarray, np.ndarray]:
        """c = (-a log s - lgamma(a), 0), s = (-1 / s, a - 1)."""
        a, s = checked(params)
        constant = -(a * np.log(s) + gammaln(a))
        return np.concatenate([constant, np.zeros(a.shape)], axis=1), np.concatenate([-1.0 / s, a - 1.0], axis=1)

    def expected(self, params: GammaParams) -> np.ndarray:
        """a s, and digamma(a) + log s."""
        a, s = params
        return np.concatenate([a * s, psi(a) + np.log(s)], axis=1)

    def never(self, params: GammaParams) -> np.ndarray:
        """None: logarithms have either sign."""
        return np.zeros(self.expected(params).shape, bool)

    def wide(self, params: GammaParams) -> bool:
        """Never: differences are taken about the typical value."""
        return False

    def maximum(self, means: np.ndarray) -> GammaParams:
        """The shapes whose excess is log E x - E log x, up to the largest."""
        x, log_x = np.split(means, 2, axis=1)
        x = np.maximum(x, np.finfo(float).tiny)
        shapes = shape_of(np.log(x) - log_x, self.most)
        return GammaParams(shapes, x / shapes)

    def held_m_step(self, statistics: Any, params: GammaParams, fixed: frozenset[str]) -> GammaParams:
        """Of given shapes a the scales E x / a; of given scales s the shapes where digamma(a) = E log(x / s)."""
        x, log_x = np.split(self.means(statistics, params), 2, axis=1)
        if "shapes" in fixed:
            free = GammaParams(params.shapes, np.maximum(x, np.finfo(float).tiny) / params.shapes)
        else:
            free = GammaParams(inverse_digamma(log_x - np.log(params.scales), self.most), params.scales)
        return self.holding(free, params, fixed)

    def prepare(self, params: GammaParams, dtype: np.dtype, weights: np.ndarray) -> Any:
        """Slopes and constants about the geometric mean of the components' means, padded."""
        unit, slopes, log_slopes, levels = self._about_unit(params, dtype, weights)
        k, d = params.shapes.shape
        constant = np.zeros((1, len(slopes)), dtype)
        constant[0, :k] = levels.sum(axis=1)
        return GammaPrepared(np.zeros(d), unit, slopes, log_slopes, constant, np.zeros(k))

    def _about_unit(self, params: GammaParams, dtype: np.dtype, weights: np.ndarray) -> tuple[np.ndarray, ...]:
        """unit and slopes as in `GammaPrepared`, and what each column adds to the constant, (K, d)."""
        a, s = checked(params)
        (k, d), rows = a.shape, up_to(4, len(a))
        unit = np.zeros((1, up_to(max(8, NATIVE_OF[np.dtype(dtype)]), d)), dtype)
        unit[0, :d] = np.exp(-weights @ np.log(a * s))
        mean = a * s * unit[:, :d].astype(np.float64)
        slopes, log_slopes = np.zeros((2, rows, unit.size), dtype)
        slopes[:k, :d], log_slopes[:k, :d] = -a / mean, a - 1.0
        # -a log s - lgamma(a) - a / mean by Stirling's formula, whose large terms cancel.
        terms = a * (1.0 - 1.0 / mean - np.log(mean)) + 0.5 * np.log(a / (2 * np.pi)) - remainder(a)
        levels = terms + np.log(unit[:, :d].astype(np.float64))
        if not all(np.isfinite(array).all() for array in (slopes, log_slopes, levels.astype(dtype), unit)):
            raise ValueError("shapes or scales are so far apart that densities overflow. Start elsewhere")
        return unit, slopes, log_slopes, levels

    def bricks(self, prepared: Any) -> tuple[Callable, Callable]:
        """Products with the rows and with their logarithms."""
        return gamma_log_prob, gamma_accumulate

    def zeros(self, params: GammaParams, slots: int, prepared: Any) -> Any:
        """Sums of zeros, padded."""
        k, d = prepared.slopes.shape
        return GammaSums(np.zeros((slots, k)), *np.zeros((2, slots, k, up_to(16, d))))

    def unpad(self, statistics: Any, params: GammaParams, prepared: Any) -> Sums:
        """Slots summed in their order, padding off, of x and log x themselves."""
        k, d = params.shapes.shape
        sum_w, sum_u, sum_log = (leaf.sum(axis=0)[:k] for leaf in statistics)
        return Sums(sum_w, about_zero(sum_u[:, :d], sum_log[:, :d], sum_w[:, None], prepared))

    def singular(self, params: GammaParams) -> np.ndarray:
        """Mask (K,) of the components with a column that does not vary."""
        return np.asarray((params.shapes >= self.most).any(axis=1))

    def floored(self, params: GammaParams, mask: np.ndarray, scale: Scale) -> GammaParams:
        """Shapes just below the largest, with the same means."""
        shapes = np.where(mask[:, None], np.minimum(params.shapes, 0.999 * self.most), params.shapes)
        return GammaParams(shapes, params.scales * (params.shapes / shapes))

    def n_parameters(self, params: GammaParams) -> int:
        """Two a component and column."""
        return 2 * params.shapes.size

    def sample(self, params: GammaParams, counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """counts[k] rows of each component, in order; numbers that underflow are the least above 0."""
        shapes, scales = (np.repeat(array, counts, axis=0) for array in params)
        return np.maximum(rng.gamma(shapes, scales), np.finfo(float).tiny)


def about_zero(sum_u: np.ndarray, sum_log: np.ndarray, weight: np.ndarray, prepared: Any) -> np.ndarray:
    """Sums of x and log x (K, 2 d), from those of u - 1 and log u (K, d) of rows of that weight (K, 1 or d)."""
    unit = prepared.unit[:, : sum_u.shape[1]].astype(np.float64)
    return np.concatenate([(sum_u + weight) / unit, sum_log - weight * np.log(unit)], axis=1)


def checked(params: GammaParams) -> GammaParams:
    """The same, or `ValueError`."""
    for name, array in params._asdict().items():
        if not (array > 0).all():
            raise ValueError(f"{name} are as low as {array.min():.3g}; {name} of gammas are above 0. Start elsewhere")
    return params


def remainder(a: np.ndarray) -> np.ndarray:
    """lgamma(a) less Stirling's formula (a - 1/2) log a - a + log(2 pi) / 2."""
    small, large = np.minimum(a, LARGE), np.maximum(a, LARGE)
    r = 1.0 / large**2
    series = (1 / 12 - r * (1 / 360 - r * (1 / 1260 - r * (1 / 1680 - r / 1188)))) / large
    direct = gammaln(small) - (small - 0.5) * np.log(small) + small - 0.5 * np.log(2 * np.pi)
    return np.where(a < LARGE, direct, series)


def excess(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """log a - digamma(a), and its derivative."""
    small, large = np.minimum(a, LARGE), np.maximum(a, LARGE)
    r = 1.0 / large**2
    value = 0.5 / large + r * (1 / 12 - r * (1 / 120 - r * (1 / 252 - r * (1 / 240 - r / 132))))
    slope = -r * (0.5 + (1 / 6 - r * (1 / 30 - r * (1 / 42 - r * (1 / 30 - r * 5 / 66)))) / large)
    near = a < LARGE
    return (
        np.where(near, np.log(small) - psi(small), value),
        np.where(near, 1.0 / small - polygamma(1, small), slope),
    )


def shape_of(delta: np.ndarray, most: float) -> np.ndarray:
    """The shapes whose excess is `delta`, at most `most`."""
    delta = np.maximum(delta, excess(np.array(most))[0])
    a = (3.0 - delta + np.sqrt((delta - 3.0) ** 2 + 24.0 * delta)) / (12.0 * delta)  # within 1.5%
    for _ in range(8):
        value, slope = excess(a)
        step = value / (a * slope) * np.log(value / delta)
        a = np.clip(a * np.exp(-step), a / 8.0, a * 8.0)
        if (np.abs(step) < 1e-15).all():
            break
    return np.minimum(a, most)
