r"""Gaussian components of rows with missing entries (NaN): the likelihood is that of the entries that are there.

Density
    log p(x_o | k), the Gaussian's marginal of the entries o that are there. With x^ the row whose entries m that are
    missing have their conditional means, (x_o - mu_o)^T S_oo^-1 (x_o - mu_o) = (x^ - mu)^T S^-1 (x^ - mu), and
    log |S_oo| = log |S| + log |(S^-1)_mm|: the Gaussian's own kernel, and a term for each run of rows with the same
    holes. x^ minimises that form, so that an error in it enters squared. 1 where nothing is there.
Statistics
    The Gaussian's, of x^, with the conditional covariances ((S^-1)_mm)^-1 of the entries that are missing added to
    sum_xx. Tied components have different x^, and are summed as full ones.
M-step
    The Gaussian's.

Entries must be missing at random: whether they are may depend on what is there, not on what they would have been.

Ghahramani and Jordan (1994), Supervised learning from incomplete data via an EM approach, NIPS 6; Little and Rubin
(2002), Statistical analysis with missing data, chapter 11.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastem.families import covariance, gaussian_slots
from fastem.families.base import Scale
from fastem.families.gaussian import Gaussian, GaussianParams
from fastem.families.gaussian_bricks import (
    diag_accumulate_of,
    diag_log_prob_of,
    full_accumulate_of,
    full_log_prob_of,
)
from fastem.kernels import completion, holes
from fastem.kernels.jit import brick
from fastem.kernels.special import LOG_TWO_PI

INFLATED = 1e4
"""Variance of a column over its conditional variance given the others, beyond which regressions come from S: those from
S^-1 lose as many digits, also where it is the holes that nearly depend on each other."""

BLOCK = 1 << 16
"""Numbers looked at at a time."""

SPREAD = np.uint64(0x9E3779B97F4A7C15)
"""2^64 over the golden ratio, by which words are hashed: Knuth (1973), The art of computer programming 3, 6.4."""

ROUNDS, SWEEPS, RIDGE = 3, 3, 1e-3
"""Of `GaussianMissing.statistic`."""


class MissingPrepared(NamedTuple):
    """As the Gaussian's `Prepared`, with precisions and covariances (K d, d), float64 and padded.

    Of a diagonal they are (K, d), what a hole adds to log p and to sum_xx. inflated (K,): whether regressions come from
    the covariances.
    """

    shift: np.ndarray
    means: np.ndarray
    scales: np.ndarray
    constant: np.ndarray
    precisions: np.ndarray
    covariances: np.ndarray
    inflated: np.ndarray


@brick
def missing_log_prob(tile, prepared, out):
    """out[k, b] = log p(x_b | k) of what there is of x_b."""
    holes.find_holes(tile, prepared.shift.size)
    for k in range(prepared.constant.shape[1]):
        completion.fill_full(tile, prepared, k, prepared.constant[0, k])
        full_log_prob_of(tile, prepared, k, out)
        holes.add_level(tile.extra, k, out)


@brick
def missing_accumulate(tile, resp, prepared, statistics, s):
    """The moments about the means of the tile with its holes filled, and the covariances of what was filled in."""
    for k in range(prepared.constant.shape[1]):
        completion.fill_full_and_add(tile, resp, prepared, k, 1.0, statistics.sum_xx[s, k])
        full_accumulate_of(tile, resp, prepared, statistics, s, k)


@brick
def missing_diag_log_prob(tile, prepared, out):
    """out[k, b] = log p(x_b | k) of what there is of x_b."""
    holes.find_holes(tile, prepared.shift.size)
    for k in range(prepared.constant.shape[1]):
        completion.fill_diag(tile, prepared, k, prepared.constant[0, k])
        diag_log_prob_of(tile, prepared, k, out)
        holes.add_level(tile.extra, k, out)


@brick
def missing_diag_accumulate(tile, resp, prepared, statistics, s):
    """The moments about the means of what there is, and the variances of what there is not."""
    for k in range(prepared.constant.shape[1]):
        completion.fill_diag_and_add(tile, resp, prepared, k, 1.0, statistics.sum_xx[s])
        diag_accumulate_of(tile, resp, prepared, statistics, s, k)


class GaussianMissing(Gaussian):
    """The Gaussian family where NaN is an entry that was not observed."""

    apart = -1.0
    together = False

    def extra(self, dtype: np.dtype, d: int, k: int, lanes: int) -> holes.Holes:
        """What the bricks need beside a tile."""
        return holes.make_holes(dtype, d, lanes)

    def order(self, X: np.ndarray) -> np.ndarray:
        """Rows with the same holes one after the other, those with the most first; empty where all are complete.

        Rows with as many holes are sorted by 16 bits of a sum over the holes, in time linear in n: it brings rows
        together, and does not have to tell all of them apart.
        """
        weights = np.ones((X.shape[1], 2))
        weights[:, 1] = np.random.default_rng(0).integers(1 << 40, size=X.shape[1])  # sums are exact
        keys = np.empty((2, len(X)), np.uint16)
        size = max(1, BLOCK // X.shape[1])
        for first in range(0, len(X), size):
            part = keys[:, first : first + size]
            count, sums = (np.isnan(X[first : first + size]).astype(np.float64) @ weights).T
            part[0] = np.maximum(np.iinfo(np.uint16).max - count, 0)
            part[1] = (sums.astype(np.uint64) * SPREAD) >> np.uint64(48)
        if not keys[1].any():
            return np.zeros(0, np.int64)
        order = np.argsort(keys[1], kind="stable")
        return order[np.argsort(keys[0][order], kind="stable")]

    def bricks(self, prepared: Any) -> tuple[Callable, Callable]:
        """Log_prob and accumulate."""
        if self.covariance_type in ("diag", "spherical"):
            return missing_diag_log_prob, missing_diag_accumulate
        return missing_log_prob, missing_accumulate

    def prepare(self, params: GaussianParams, dtype: np.dtype, weights: np.ndarray) -> MissingPrepared:
        """The Gaussian's, with precisions and covariances."""
        factors = self.precisions_cholesky(params)
        shift, means, scales, constant = gaussian_slots.prepared(self, params, dtype, weights, factors)
        k, d = params.means.shape
        if self.covariance_type in ("diag", "spherical"):
            variances = np.broadcast_to(params.covariances.reshape(k, -1), (k, d)).copy()
            levels = 0.5 * (np.log(variances) + LOG_TWO_PI)
            return MissingPrepared(shift, means, scales, constant, levels, variances, np.zeros(k, bool))
        matrices = covariance.expand(params.covariances, self.covariance_type, k, d)
        factors = covariance.expand(factors, self.covariance_type, k, d)
        precisions = factors @ np.swapaxes(factors, 1, 2)
        inflation = np.diagonal(matrices, axis1=1, axis2=2) * np.diagonal(precisions, axis1=1, axis2=2)
        inflated = inflation.max(axis=1) > INFLATED
        precisions, matrices = _padded(precisions, dtype), _padded(matrices, dtype)
        return MissingPrepared(shift, means, scales, constant, precisions, matrices, inflated)

    # Starts: rows without holes, for seeding alone.

    def statistic(self, X: np.ndarray) -> np.ndarray:
        """The rows with their holes filled by linear regression, roughly: what seeding measures distances of.

        Columns without any value become 0.
        """
        missing = np.isnan(X)
        X = X.astype(np.float64)
        if not missing.any():
            return X
        there = ~missing
        first = np.where(there.any(axis=0), X[there.argmax(axis=0), np.arange(X.shape[1])], 0.0)
        y = np.where(missing, 0.0, X - first)
        y -= (mean := y.sum(axis=0) / np.maximum(there.sum(axis=0), 1))
        y[missing] = 0.0
        columns = np.flatnonzero(missing.any(axis=0))
        scale = np.sqrt(np.square(y).sum(axis=0) / np.maximum(there.sum(axis=0), 1))
        y /= (scale := np.where(scale > 0, scale, 1.0))
        for _ in range(ROUNDS):
            precision = np.linalg.inv(y.T @ y / len(y) + RIDGE * np.eye(X.shape[1]))
            for j in np.tile(columns, SWEEPS):
                gap = missing[:, j]
                y[gap, j] -= y[gap] @ precision[j] / precision[j, j]
        return np.where(missing, first + mean + y * scale, X)

    def reseeded(self, params: GaussianParams, k: int, row: np.ndarray, scale: Scale) -> GaussianParams:
        """Component k about `row`, whose holes are at the mean of the data, with the covariance of the data."""
        return super().reseeded(params, k, np.where(np.isnan(row), scale.mean, row), scale)

    def spread_about(self, means: np.ndarray, scale: Scale) -> GaussianParams:
        """Components at `means`, whose holes are at the mean of the data, each with the covariance of the data."""
        return super().spread_about(np.where(np.isnan(means), scale.mean, means), scale)


def _padded(matrices: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Matrices (K, d, d) one under the other, their rows padded to whole registers."""
    k, d, _ = matrices.shape
    out = np.zeros((k * d, holes.padded(d, dtype)))
    out[:, :d] = matrices.reshape(k * d, d)
    return out
