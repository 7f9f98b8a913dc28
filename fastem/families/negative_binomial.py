r"""Negative binomial components: counts in every column that vary more than Poisson ones, independent given k.

Density
    log p(x | k) = sum_j lgamma(x_j + r_kj) - lgamma(r_kj) - log x_j! + r log(r / (r + m)) + x_j log(m / (r + m)), with
    means m and sizes r: Poisson counts whose rate is gamma distributed with shape r. The variance is m + m^2 / r.
Statistics
    sum_w_k; levels_kjl, the weight of the rows with x_j = l, for l < L, and of those with x_j >= L; of the latter
    large_x = sum_i r_ik x_ij and large_psi = sum_i r_ik digamma(x_ij + r_kj) with the present sizes.
M-step
    m = sum_x / sum_w. The weights of the levels say all about r, for lgamma(x + r) - lgamma(r) is the sum of
    log(r + t) over t < x: of counts below L the maximum over r is that of the likelihood itself. Of the few larger
    ones lgamma(x + r), which is convex in r, is replaced by its tangent at the present size. That is nowhere above
    it, so the expected log-likelihood never falls (Hunter and Lange 2004, A tutorial on MM algorithms, American
    Statistician 58). The curvature left out is about 1 / (m + r), beside one of about 1 / (2 r^2) that counts: steps
    are lost only where most counts are large and r^2 is many times m.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.special import gammaln, xlogy

from fastem.families.base import Plain, Scale
from fastem.families.gamma import remainder
from fastem.families.linear import LinearFamily, logs, up_to
from fastem.families.negative_binomial_size import Score
from fastem.kernels.counts import (
    count_accumulate,
    count_log_prob,
    single_count_accumulate,
    single_count_log_prob,
)
from fastem.kernels.simd import NATIVE_OF

TABLE, FEWEST, LONGEST = 4096, 16, 512
"""Levels of all columns that a table holds, and the least and the most of one column."""


class NegativeBinomialParams(NamedTuple):
    """sizes (K, d) and means (K, d)."""

    sizes: np.ndarray
    means: np.ndarray


class NegativeBinomialSums(NamedTuple):
    """sum_w (K,), levels (K, d, L + 1), large_x (K, d) and large_psi (K, d)."""

    sum_w: np.ndarray
    levels: np.ndarray
    large_x: np.ndarray
    large_psi: np.ndarray


class NegativeBinomialPrepared(NamedTuple):
    """shift (d,) of zeros; table (d (L + 1), K) of log-densities, padded; first (d,) row of each column; components.

    most (1,) is L.

    For the counts of L and more sizes, means, and what of their log-density does not depend on them (K, d), in float64.
    """

    shift: np.ndarray
    table: np.ndarray
    first: np.ndarray
    components: np.ndarray
    most: np.ndarray
    sizes: np.ndarray
    means: np.ndarray
    rests: np.ndarray


def levels_of(d: int) -> int:
    """L for d columns."""
    return int(np.clip(TABLE // d, FEWEST, LONGEST))


def log_table(params: NegativeBinomialParams, levels: int) -> np.ndarray:
    """log p(l) for l < levels, (K, d, levels), from the ratios of successive ones."""
    r, m = params.sizes[..., None], params.means[..., None]
    steps = np.arange(levels - 1.0)
    ratios = np.log((r + steps) / (r + m)) + logs(m) - np.log(steps + 1.0)
    return np.concatenate([-r * np.log1p(m / r), ratios], axis=2).cumsum(axis=2)


class NegativeBinomial(LinearFamily):
    """The family of independent counts that vary more than Poisson ones."""

    between = {"sizes": (0.0, np.inf), "means": (0.0, np.inf)}
    beyond = 1
    """Rows of the table that a column has beside its levels: that of large counts."""

    def expected(self, params: NegativeBinomialParams) -> np.ndarray:
        """The means."""
        return params.means

    def wide(self, params: NegativeBinomialParams) -> bool:
        """Never: small counts are looked up, and the others are taken in float64."""
        return False

    def admitted(self, params: NegativeBinomialParams, plain: NegativeBinomialParams) -> NegativeBinomialParams:
        """Above 0: `prepare` tells the rest."""
        return Plain.admitted(self, params, plain)

    def prepare(self, params: NegativeBinomialParams, dtype: np.dtype, weights: np.ndarray) -> Any:
        """The table, a register of components a row."""
        sizes, means = params
        if not (sizes > 0).all() or not (means >= 0).all():
            raise ValueError(
                f"sizes are as low as {sizes.min():.3g} and means as low as {means.min():.3g}; sizes above 0 and means "
                "of 0 or more are wanted. Start elsewhere"
            )
        (k, d), most = sizes.shape, levels_of(sizes.shape[1])
        table = np.zeros((d, most + self.beyond, up_to(NATIVE_OF[np.dtype(dtype)], k)), dtype)
        table[:, :most, :k] = log_table(params, most).transpose(1, 2, 0)
        if not np.isfinite(table).all() or not np.isfinite(sizes).all():
            raise ValueError("sizes or means are so large that densities overflow. Start elsewhere")
        rests = remainder(sizes) - 0.5 * (np.log(sizes / (2 * np.pi)) - np.log(sizes + means))
        first = np.arange(d) * table.shape[1]
        means, sizes = np.exp(logs(means)), np.ascontiguousarray(sizes)
        table = table.reshape(len(first) * table.shape[1], -1)
        return NegativeBinomialPrepared(np.zeros(d), table, first, np.zeros(k), np.array([most]), sizes, means, rests)

    def bricks(self, prepared: Any) -> tuple[Callable, Callable]:
        """Tables, and series for the counts beyond."""
        if prepared.table.itemsize == 4:
            return single_count_log_prob, single_count_accumulate
        return count_log_prob, count_accumulate

    def zeros(self, params: NegativeBinomialParams, slots: int, prepared: Any) -> Any:
        """Sums of zeros, padded, with the components of the levels innermost."""
        rows, k = prepared.table.shape
        large = np.zeros((2, slots, k, len(prepared.shift)))
        return NegativeBinomialSums(np.zeros((slots, k)), np.zeros((slots, rows, k)), *large)

    def unpad(self, statistics: Any, params: NegativeBinomialParams, prepared: Any) -> Any:
        """Slots summed in their order, padding off."""
        k, d = params.sizes.shape
        sum_w, levels, large_x, large_psi = (leaf.sum(axis=0) for leaf in statistics)
        levels = np.ascontiguousarray(levels[:, :k].T).reshape(k, d, -1)[..., : prepared.most[0] + 1]
        return NegativeBinomialSums(sum_w[:k], levels, large_x[:k], large_psi[:k])

    def m_step(self, statistics: Any, params: NegativeBinomialParams) -> NegativeBinomialParams:
        """Means, and the sizes of greatest likelihood; a component without rows keeps its parameters."""
        return self.held_m_step(statistics, params, frozenset())

    def held_m_step(self, statistics: Any, params: NegativeBinomialParams, fixed: frozenset[str]) -> Any:
        """The best means are the same whatever the sizes; sizes are the best at the means that are held."""
        _, levels, large_x, large_psi = statistics
        whole = np.maximum(self.weight(statistics), 0.0) + self.prior
        empty, whole = whole <= 0, np.where(whole > 0, whole, 1.0)
        sum_x = levels[..., :-1] @ np.arange(levels.shape[2] - 1.0) + large_x
        prior_x = self.prior_mean if self.prior else np.zeros(levels.shape[1])
        found = np.where(empty, params.means, np.maximum(sum_x + self.prior * prior_x, 0.0) / whole)
        means = params.means if "means" in fixed else found
        above = np.maximum(levels[..., :0:-1], 0.0).cumsum(axis=2)[..., ::-1] / whole[..., None]
        used = max(1, int(np.flatnonzero((above > 0).any(axis=(0, 1)))[-1:].sum()) + 1)
        share = np.broadcast_to(self.prior / whole, means.shape)
        shares, rest = above[..., :used], above[..., -1]
        large_psi, beyond = large_psi / whole, means - found
        score = Score(shares, levels.shape[2] - 1.0, rest, large_psi, means, share, prior_x, beyond)
        still = empty | (means <= 0)
        sizes = params.sizes if "sizes" in fixed else np.where(still, params.sizes, score.root(params.sizes))
        return NegativeBinomialParams(sizes, means)

    def weight(self, statistics: Any) -> np.ndarray:
        """Of the rows that have a number in each column, (K, 1 or d)."""
        return np.asarray(statistics.sum_w[:, None])

    def log_prior(self, params: NegativeBinomialParams) -> float:
        """`prior` rows at the mean of the data in each component, but for what their factorials are."""
        if not self.prior:
            return 0.0
        (r, m), x = params, self.prior_mean
        terms = gammaln(x + r) - gammaln(r) - r * np.log1p(m / r) + xlogy(x, m / (r + m))
        return self.prior * float(terms.sum())

    def rounding(self, params: NegativeBinomialParams, weights: np.ndarray) -> float:
        """Nats a row that rounding may hide or feign."""
        m = params.means
        return 4 * np.finfo(float).eps * float(weights @ (10.0 + m * (1.0 + np.abs(logs(m)))).sum(axis=1))

    def expected_log_prob(self, statistics: Any, params: NegativeBinomialParams) -> float:
        """sum_ik r_ik log p(x_i | k), with the tangents for large counts, and without what is constant of these."""
        _, levels, large_x, large_psi = statistics
        r, m = params
        small = (levels[..., :-1] * log_table(params, levels.shape[2] - 1)).sum()
        large = (
            r * large_psi - levels[..., -1] * (gammaln(r) + r * np.log1p(m / r)) + large_x * (logs(m) - np.log(r + m))
        )
        return float(small + large.sum())

    def expected_statistics(self, params: NegativeBinomialParams, sum_w: np.ndarray) -> Any:
        """Sums of components of weights sum_w that are as `params` says; large_psi is what makes the score 0."""
        r, m = params
        most = levels_of(r.shape[1])
        p = np.exp(log_table(params, most))
        rest = np.maximum(1.0 - p.sum(axis=2), 0.0)
        levels = np.concatenate([p, rest[..., None]], axis=2)
        above = levels[..., :0:-1].cumsum(axis=2)[..., ::-1]
        large_x = np.maximum(m - p @ np.arange(float(most)), 0.0)
        zeros = np.zeros(r.shape)
        score = Score(above, float(most), rest, zeros, m, zeros, zeros[0], zeros)
        w = np.asarray(sum_w, float)[:, None]
        large_psi = np.where(rest > 1e-12, -score.at(r)[0], 0.0)  # of next to no large counts it would be rounding
        return NegativeBinomialSums(w[:, 0].copy(), w[..., None] * levels, w * large_x, w * large_psi)

    def alike(self, params: NegativeBinomialParams, weights: np.ndarray) -> bool:
        """Whether means and variances of all components are nearly those of the heaviest."""
        variances = np.maximum(params.means + params.means**2 / params.sizes, np.finfo(float).tiny)
        k = int(np.argmax(weights))
        apart = (params.means - params.means[k]) ** 2 / np.sqrt(variances * variances[k])
        return bool(((apart + np.log(variances / variances[k]) ** 2).sum(axis=1) < 0.02).all())

    def spread_about(self, rows: np.ndarray, scale: Scale) -> NegativeBinomialParams:
        """Components half way between each row and the mean of the data, as spread as these."""
        means = self.half_way(rows, scale)
        return NegativeBinomialParams(by_moments(means, np.diagonal(scale.covariance)), means)

    def from_responsibilities(self, T: np.ndarray, resp: np.ndarray, scale: Scale) -> tuple:
        """sum_w, and Params by moments; each component gets one row as spread as the data besides."""
        sum_w = resp.sum(axis=0)
        rows = sum_w[:, None] + 1.0
        means = (resp.T @ T + scale.mean) / rows
        squares = (resp.T @ T**2 + np.diagonal(scale.covariance) + scale.mean**2) / rows
        return sum_w, NegativeBinomialParams(by_moments(means, squares - means**2), means)

    def n_parameters(self, params: NegativeBinomialParams) -> int:
        """Two a component and column."""
        return 2 * params.sizes.size

    def sample(self, params: NegativeBinomialParams, counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """counts[k] rows of each component, in order."""
        sizes, means = (np.repeat(array, counts, axis=0) for array in params)
        return rng.poisson(rng.gamma(sizes, means / sizes)).astype(float)


def by_moments(means: np.ndarray, variances: np.ndarray) -> np.ndarray:
    """Sizes that give the variances, within what a start may have."""
    over = np.maximum(variances - means, 1e-4 * means**2)
    return np.clip(means**2 / np.where(over > 0, over, 1.0), 0.01, 1e4)
