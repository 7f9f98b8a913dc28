r"""Families whose log-density is linear in a statistic T(x) of the row, with T(x) = x unless they say otherwise.

Density
    log p(x | k) = c_k + s_k . T(x) + h(x): Bernoulli, Poisson, exponential, multinomial, and their like.
Statistics
    sum_w_k = sum_i r_ik, sum_x_k = sum_i r_ik T(x_i).
M-step
    The parameters whose expected T is sum_x_k / sum_w_k. With a prior of `prior` rows at the mean T_0 of the data in
    each component, (sum_x_k + prior T_0) / (sum_w_k + prior): the conjugate prior's posterior mode (Diaconis and
    Ylvisaker 1979, Annals of Statistics 7), where the mean of T is the parameter.

A family gives `expected`, `maximum`, and `terms`, or `natural` where columns are not independent given the component;
where they differ from the row also `statistic` and `base`. What all of them share is here.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastem.families.base import Plain, Scale
from fastem.kernels.linear import linear_accumulate, linear_log_prob
from fastem.kernels.simd import NATIVE_OF

LEAST_LOG = -690.0
"""Logarithm of the probability or rate 0: finite, for 0 times infinity is not a number."""

NEVER = -1e25
"""The same in kernels, where another component gives the row: it outweighs all else, and sums of it fit in float32."""

UNLIKELY = -600.0
"""Log-density of a row above which it is not the least logarithm that it has."""

BLOCK = 1 << 12
"""Rows whose statistics are held at a time."""

WIDE = 128.0
"""Size of a row's terms, in units of its columns, from which on float32 loses too much of their difference."""

ALIKE = 0.02
"""Divergence to and fro from the heaviest component under which components have not parted yet."""


class Sums(NamedTuple):
    """sum_w (K,) and sum_x (K, m)."""

    sum_w: np.ndarray
    sum_x: np.ndarray


class LinearPrepared(NamedTuple):
    """shift (d,) of zeros; slopes (K, m) and constant (1, K), padded; components (K,), whose size counts."""

    shift: np.ndarray
    slopes: np.ndarray
    constant: np.ndarray
    components: np.ndarray


def logs(x: np.ndarray) -> np.ndarray:
    """log x, and for 0 the least logarithm."""
    with np.errstate(divide="ignore"):
        return np.maximum(np.log(x), LEAST_LOG)


def up_to(multiple: int, size: int) -> int:
    """`size`, up to a multiple."""
    return -(-size // multiple) * multiple


def impossible(excluded: Callable[[np.ndarray], np.ndarray], X: np.ndarray, log_prob: np.ndarray) -> np.ndarray:
    """Mask (n,) of the rows that are `excluded` (n, K) by all components; found among those of little probability."""
    mask, few = np.zeros(len(X), bool), np.flatnonzero(log_prob < UNLIKELY)
    for first in range(0, len(few), BLOCK):
        rows = few[first : first + BLOCK]
        mask[rows] = excluded(X[rows]).all(axis=1)
    return mask


def checked_and_padded(slopes: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """An array (K, m) of that dtype, padded as products want it; `ValueError` where there are no numbers."""
    if not np.isfinite(slopes).all():
        raise ValueError("parameters give no density: they are negative, or no finite numbers. Start elsewhere")
    k, m = slopes.shape
    padded = np.zeros((up_to(4, k), up_to(max(8, NATIVE_OF[np.dtype(dtype)]), m)), dtype)
    padded[:k, :m] = slopes
    return padded


class LinearFamily(Plain):
    """What such families share. `prior_mean` (m,) is the mean of T in the data, and empty where that is not known."""

    def __init__(self, prior: float = 0.0):
        self.prior, self.prior_mean = float(prior), np.zeros(0)

    # What a family says.

    def terms(self, params: Any) -> tuple[np.ndarray, np.ndarray]:
        """Params -> c and s (K, m) of each column by itself: what it adds to log p is c_kj + s_kj T_j."""
        raise NotImplementedError

    def natural(self, params: Any) -> tuple[np.ndarray, np.ndarray]:
        """Params -> c (K,) and s (K, m), finite."""
        constant, slopes = self.terms(params)
        return constant.sum(axis=1), slopes

    def expected(self, params: Any) -> np.ndarray:
        """Params -> the mean of T in each component, (K, m), in rows of the data's mean exposure or trials."""
        raise NotImplementedError

    def maximum(self, means: np.ndarray) -> Any:
        """Means of T (K, m) -> the Params of greatest likelihood."""
        raise NotImplementedError

    def never(self, params: Any) -> np.ndarray:
        """Mask (K, m) of the numbers of T that are 0 in every row of the component; elsewhere they are 0 or more."""
        return np.asarray(self.expected(params) == 0)

    # The verbs of the protocol.

    def bricks(self, prepared: Any) -> tuple[Callable, Callable]:
        """The pair for T(x) = x."""
        return linear_log_prob, linear_accumulate

    def prepare(self, params: Any, dtype: np.dtype, weights: np.ndarray) -> LinearPrepared:
        """Natural parameters, padded; `ValueError` where they are no numbers."""
        constant, slopes = self.natural(params)
        k, m = slopes.shape
        row = np.ascontiguousarray(checked_and_padded(constant[:, None], dtype)[:, :1].T)
        slopes = checked_and_padded(self.barred(params, slopes), dtype)
        return LinearPrepared(np.zeros(self.columns(m)), slopes, row, np.zeros(k))

    def barred(self, params: Any, slopes: np.ndarray) -> np.ndarray:
        """Slopes that leave a row to the components that can give it; where none can, to all in the same measure."""
        never = self.never(params)
        return np.where(never & ~never.all(axis=0), NEVER, slopes)

    def excluded(self, X: np.ndarray, params: Any) -> np.ndarray:
        """Mask (n, K) of the components that cannot give a row; what is missing excludes none."""
        return np.asarray((self.statistic(X) > 0).astype(float) @ self.never(params).T.astype(float) > 0)

    def impossible(self, X: np.ndarray, params: Any, log_prob: np.ndarray) -> np.ndarray:
        """Mask (n,) of the rows that no component can give."""
        return impossible(lambda rows: self.excluded(rows, params), X, log_prob)

    def wide(self, params: Any) -> bool:
        """Whether terms of the log-density are so large that their difference would be float32's rounding."""
        return bool((self.size(params) > WIDE * self.expected(params).shape[1]).any())

    def size(self, params: Any) -> np.ndarray:
        """Of the terms of the log-density of a typical row in each component, (K,)."""
        constant, slopes = self.natural(params)
        return np.asarray(np.abs(constant) + (np.abs(slopes) * np.abs(self.expected(params))).sum(axis=1))

    def columns(self, m: int) -> int:
        """Columns of X, of which the statistic has m numbers."""
        return m

    def zeros(self, params: Any, slots: int, prepared: LinearPrepared) -> Sums:
        """Sums of zeros, padded."""
        k, m = len(prepared.slopes), up_to(16, prepared.slopes.shape[1])
        return Sums(np.zeros((slots, k)), np.zeros((slots, k, m)))

    def unpad(self, statistics: Sums, params: Any, prepared: LinearPrepared) -> Sums:
        """Slots summed in their order, padding off."""
        k, m = self.expected(params).shape
        return Sums(statistics.sum_w.sum(axis=0)[:k], statistics.sum_x.sum(axis=0)[:k, :m])

    def m_step(self, statistics: Any, params: Any) -> Any:
        """The maximum, with the prior's rows; a component without any keeps its parameters."""
        return self.maximum(self.means(statistics, params))

    def means(self, statistics: Any, params: Any) -> np.ndarray:
        """Means of T (K, m) over rows and the prior's; of a component without any those that it has."""
        sum_w, sum_x = statistics
        sum_w = np.maximum(sum_w, 0.0)[:, None]
        if self.prior:
            sum_w, sum_x = sum_w + self.prior, sum_x + self.prior * self.prior_mean
        empty = sum_w[:, 0] <= 0
        means = sum_x / np.where(empty, 1.0, sum_w[:, 0])[:, None]
        if empty.any():
            means[empty] = self.prior_mean if params is None else self.expected(params)[empty]
        return np.asarray(means)

    def admitted(self, params: Any, plain: Any) -> Any:
        """With probabilities that sum to 1 to the last digit; `ValueError` where they are none."""
        params = self.maximum(self.expected(super().admitted(params, plain)))
        self.natural(params)
        return params

    def log_prior(self, params: Any) -> float:
        """Logarithm of the prior density, but for a constant."""
        if not self.prior:
            return 0.0
        constant, slopes = self.natural(params)
        return self.prior * float((constant + slopes @ self.prior_mean).sum())

    def rounding(self, params: Any, weights: np.ndarray) -> float:
        """Nats a row that rounding may hide or feign: that of sums of as many terms."""
        return 4 * np.finfo(float).eps * float(weights @ self.size(params))

    def recentre(self, statistics: Sums, old: Any, new: Any) -> Sums:
        """The same: they are sums about nothing."""
        return statistics

    def expected_log_prob(self, statistics: Sums, params: Any) -> float:
        """sum_ik r_ik log p(x_i | k), without h."""
        constant, slopes = self.natural(params)
        return float(statistics.sum_w @ constant + (slopes * statistics.sum_x).sum())

    def expected_statistics(self, params: Any, sum_w: np.ndarray) -> Sums:
        """Sums of components of weights sum_w that are as `params` says."""
        return Sums(np.array(sum_w, float), sum_w[:, None] * self.expected(params))

    def collapsed(self, params: Any, statistics: Sums) -> np.ndarray:
        """Mask (K,) of the components that hold no row."""
        sum_w = statistics.sum_w
        return (sum_w <= 10 * np.finfo(float).eps * sum_w.sum() / len(sum_w)) | self.singular(params)

    def singular(self, params: Any) -> np.ndarray:
        """Mask (K,) of the components without a proper density."""
        return np.zeros(len(params[0]), bool)

    def alike(self, params: Any, weights: np.ndarray) -> bool:
        """Whether no component diverges much from the heaviest: (s - s')(E T - E' T), to and fro."""
        _, slopes = self.natural(params)
        means, heaviest = self.expected(params), int(np.argmax(weights))
        divergence = ((slopes - slopes[heaviest]) * (means - means[heaviest])).sum(axis=1)
        return bool((divergence < ALIKE).all())

    def kept(self, params: Any, mask: np.ndarray) -> Any:
        """The components in the mask alone."""
        return type(params)(*(leaf[mask] for leaf in params))

    def floored(self, params: Any, mask: np.ndarray, scale: Scale) -> Any:
        """Unchanged: every component has a density."""
        return params

    def reseeded(self, params: Any, k: int, row: np.ndarray, scale: Scale) -> Any:
        """Component k between `row` and the mean of the data."""
        (fresh,) = zip(*self.spread_about(row[None], scale), strict=True)
        copies = [leaf.copy() for leaf in params]
        for leaf, value in zip(copies, fresh, strict=True):
            leaf[k] = value
        return type(params)(*copies)

    def spread_about(self, rows: np.ndarray, scale: Scale) -> Any:
        """Components half way between each row and the mean of the data."""
        return self.maximum(self.half_way(rows, scale))

    def half_way(self, rows: np.ndarray, scale: Scale) -> np.ndarray:
        """Half way from T of each row, (K, m), to the mean of the data, at which holes are."""
        T = self.statistic(rows)
        return (np.where(np.isnan(T), scale.mean, T) + scale.mean) / 2

    def from_responsibilities(self, T: np.ndarray, resp: np.ndarray, scale: Scale) -> tuple[np.ndarray, Any]:
        """sum_w and Params from the statistics (n, m) of rows and their weighted responsibilities (n, K).

        Each component gets one row of the data's mean besides: labels from k-means leave levels of probability 0, from
        which EM cannot come back.
        """
        sum_w = resp.sum(axis=0)
        means = (resp.T @ T + scale.mean) / (sum_w[:, None] + 1.0)
        return sum_w, self.maximum(means)
