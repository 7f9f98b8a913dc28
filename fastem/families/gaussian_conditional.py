r"""Gaussian mixtures given a part of each row: how probable that part is, and what the rest may be.

With S^-1 = P = U U^T, v = x - mu with zeros at the missing entries m, and g = (P v)_m:

    E[x_m | x_o, k] = mu_m - P_mm^-1 g        Cov(x_m | x_o, k) = P_mm^-1
    log p(x_o | k) = log p(x^ | k) + (m log 2 pi - log |P_mm|) / 2, x^ being x with those expectations.

So a row costs about as much as a complete one and m^3, whatever the others miss. x^ is where p(x | k) is largest given
x_o: rounding in it enters log p squared. Expectations lose as many digits as the variance of a column has over its
variance given all others: six of sixteen at a ridge of 1e-6.

Ghahramani and Jordan (1994), Supervised learning from incomplete data via an EM approach, NIPS 6.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from fastem.families import covariance
from fastem.families.gaussian import GaussianParams
from fastem.kernels.special import LOG_TWO_PI

BLOCK = 1 << 18
"""Numbers of a temporary; what does not stay in the cache is three times slower."""

NEVER = -1e300
"""Logarithm of no probability: finite, so that the difference of two is a number."""


class Part(NamedTuple):
    """Rows with equally many missing entries, and these given the others under each component.

    Attributes
    ----------
    rows : (n,)
    columns : (n, m), ascending in each row
    resp : (n, K), p(k | x_o)
    means : (K, n, m)
    factors : (K, g, m, m), F with Cov(x_m | x_o, k) = F^T F, of g patterns; or its diagonal (K, g, m). K is 1 for one
        matrix of all components.
    pattern : (n,), of each row
    """

    rows: np.ndarray
    columns: np.ndarray
    resp: np.ndarray
    means: np.ndarray
    factors: np.ndarray
    pattern: np.ndarray

    def expected(self) -> np.ndarray:
        """E[x_m | x_o], (n, m)."""
        return np.einsum("nk,knm->nm", self.resp, self.means)

    def covariances(self) -> np.ndarray:
        """Cov(x_m | x_o, k), (K, g, m, m); or variances (K, g, m)."""
        F = self.factors
        return np.swapaxes(F, -1, -2) @ F if F.ndim == 4 else F**2

    def variance(self) -> np.ndarray:
        """Var(x_m | x_o), (n, m): within the components and between them."""
        within = (self.factors**2).sum(axis=2) if self.factors.ndim == 4 else self.factors**2
        apart = self.means - self.expected()
        return np.einsum("nk,knm->nm", self.resp, within[:, self.pattern] + apart**2)

    def covariance(self) -> np.ndarray:
        """Cov(x_m | x_o), (n, m, m)."""
        within = self.covariances()
        if self.factors.ndim == 3:
            within = within[..., None] * np.eye(within.shape[-1])
        apart = self.means - self.expected()
        between = np.einsum("nk,kni,knj->nij", self.resp, apart, apart)
        if len(within) == 1:
            return within[0, self.pattern] + between
        return np.einsum("nk,knij->nij", self.resp, within[:, self.pattern]) + between

    def drawn(self, uniform: np.ndarray, normal: np.ndarray) -> np.ndarray:
        """A draw of x_m given x_o, (n, m): of the component by `uniform` (n,), then of it by `normal` (n, m)."""
        last = self.resp.shape[1] - 1
        k = np.minimum((np.cumsum(self.resp, axis=1) < uniform[:, None]).sum(axis=1), last)
        F = self.factors[np.minimum(k, len(self.factors) - 1), self.pattern]
        spread = F * normal if F.ndim == 2 else np.einsum("nij,ni->nj", F, normal)
        return self.means[k, np.arange(len(k))] + spread


class Completion:
    """What a mixture of Gaussians says of the missing entries of rows."""

    def __init__(self, weights: np.ndarray, params: GaussianParams, covariance_type: str):
        self.means = params.means
        live = weights > 0
        self.log_weights = np.where(live, np.log(np.where(live, weights, 1.0)), NEVER)
        factors = covariance.precisions_cholesky(params.covariances, covariance_type)
        k, d = self.means.shape
        if covariance_type in ("diag", "spherical"):
            self.factors = np.broadcast_to(factors.reshape(k, -1), (k, d))
            return
        self.factors = factors.reshape(-1, d, d)
        self.precisions = self.factors @ np.swapaxes(self.factors, 1, 2)
        self.log_det = np.log(np.diagonal(self.factors, axis1=1, axis2=2)).sum(axis=1)

    def parts(self, X: np.ndarray) -> Iterator[Part]:
        """The rows of X (n, d) that have NaN; those that miss the same entries together, a block at a time."""
        mask = np.isnan(X)
        rows, pattern = _patterns(mask)
        counts = mask[rows].sum(axis=1)
        k, d = self.means.shape
        for m in np.unique(counts):
            chosen = counts == m
            step = max(1, BLOCK // (k * (d + m * m)))
            for first in range(0, np.count_nonzero(chosen), step):
                block = slice(first, first + step)
                yield self._part(X, mask, rows[chosen][block], pattern[chosen][block])

    def _part(self, X: np.ndarray, mask: np.ndarray, rows: np.ndarray, pattern: np.ndarray) -> Part:
        missing = mask[rows]
        columns = np.nonzero(missing)[1].reshape(len(rows), -1)
        _, firsts, pattern = np.unique(pattern, return_index=True, return_inverse=True)
        offsets = np.where(missing, 0.0, X[rows].astype(np.float64) - self.means[:, None])
        given = self._given_full if self.factors.ndim == 3 else self._given_diagonal
        with np.errstate(over="ignore"):
            shift, factors, log_prob = given(offsets, missing, columns, firsts, pattern)
        means = shift + self.means[:, columns]
        log_prob += self.log_weights[:, None] - 0.5 * LOG_TWO_PI * (X.shape[1] - columns.shape[1])
        resp = np.exp(log_prob - log_prob.max(axis=0))
        return Part(rows, columns, (resp / resp.sum(axis=0)).T, means, factors, pattern)

    def _given_full(self, offsets, missing, columns, firsts, pattern) -> tuple[np.ndarray, ...]:
        """E[x_m] - mu_m (K, n, m), factors, log p(x_o | k) (K, n) but for 2 pi; `offsets` are spent."""
        few = columns[firsts]
        lower = np.linalg.cholesky(self.precisions[:, few[:, :, None], few[:, None, :]])
        F = np.tril(np.linalg.solve(lower, np.broadcast_to(np.eye(few.shape[1]), lower.shape)))
        log_det = self.log_det[:, None] - np.log(np.diagonal(lower, axis1=2, axis2=3)).sum(axis=2)
        g = np.take_along_axis(offsets @ self.precisions, columns[None], axis=2)[..., None]
        by_row = F if len(firsts) == 1 else F[:, pattern]
        shift = -(np.swapaxes(by_row, 2, 3) @ (by_row @ g))[..., 0]
        if len(self.means) == 1:  # there is nothing to compare
            return shift, F, np.zeros((1, len(columns)))
        np.put_along_axis(offsets, columns[None], shift, axis=2)
        distance = np.square(offsets @ self.factors).sum(axis=2)
        return shift, F, log_det[:, pattern] - 0.5 * np.minimum(distance, -NEVER)

    def _given_diagonal(self, offsets, missing, columns, firsts, pattern) -> tuple[np.ndarray, ...]:
        """The same where columns are independent in each component."""
        logs = np.where(missing, 0.0, np.log(self.factors)[:, None]).sum(axis=2)
        distance = np.square(offsets * self.factors[:, None]).sum(axis=2)
        shift = np.zeros((len(self.means), *columns.shape))
        return shift, 1.0 / self.factors[:, columns[firsts]], logs - 0.5 * np.minimum(distance, -NEVER)

    def filled(self, X: np.ndarray) -> np.ndarray:
        """X with E[x_m | x_o] in place of NaN; all other entries as they are."""
        out = X.copy()
        for part in self.parts(X):
            out[part.rows[:, None], part.columns] = part.expected()
        return out

    def drawn(self, X: np.ndarray, uniforms: np.random.Generator, normals: np.random.Generator) -> np.ndarray:
        """X with a draw of x_m given x_o in place of NaN; the same one however the rows are cut into pieces."""
        out = X.copy()
        mask = np.isnan(X)
        counts = mask.sum(axis=1)
        begins = np.cumsum(counts) - counts
        uniform, normal = uniforms.random(len(X)), normals.standard_normal(counts.sum())
        for part in self.parts(X):
            numbers = normal[begins[part.rows][:, None] + np.arange(part.columns.shape[1])]
            out[part.rows[:, None], part.columns] = part.drawn(uniform[part.rows], numbers)
        return out


def _patterns(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows with a missing entry, ordered by pattern, and numbers (n,) of their patterns."""
    rows = np.flatnonzero(mask.any(axis=1))
    bits = np.packbits(mask[rows], axis=1)
    words = np.zeros((len(rows), -(-bits.shape[1] // 8) * 8), np.uint8)
    words[:, : bits.shape[1]] = bits
    keys = words.view(np.uint64) if words.shape[1] == 8 else words.view(f"V{words.shape[1]}")
    _, pattern = np.unique(keys[:, 0], return_inverse=True)
    order = np.argsort(pattern, kind="stable")
    return rows[order], pattern[order]


def marginal(params: GaussianParams, covariance_type: str, columns: np.ndarray) -> GaussianParams:
    """The Gaussians of some of the columns."""
    covariances = params.covariances
    if covariance_type in ("full", "tied"):
        covariances = covariances[..., columns[:, None], columns]
    elif covariance_type == "diag":
        covariances = covariances[:, columns]
    return GaussianParams(params.means[:, columns], covariances)


def conditional(
    weights: np.ndarray, params: GaussianParams, covariance_type: str, row: np.ndarray
) -> tuple[np.ndarray, GaussianParams]:
    """Weights and Gaussians of the entries that are NaN in `row` (d,), given the others."""
    (part,) = Completion(weights, params, covariance_type).parts(row[None])
    covariances = part.covariances()[:, 0]
    if covariance_type == "tied":
        covariances = covariances[0]
    elif covariance_type == "spherical":
        covariances = covariances[:, 0]
    return part.resp[0], GaussianParams(part.means[:, 0], covariances)
