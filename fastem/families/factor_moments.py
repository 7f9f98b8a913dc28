"""What the sums of a factor analyser are, and their M-step. See `factor_analyzer` for the letters."""

from typing import NamedTuple

import numpy as np
from scipy.linalg import eigh

UNIQUE = 0.01
"""Least part of a column's variance that a start leaves to the noise: from 0 EM comes back very slowly."""


class FactorParams(NamedTuple):
    """means (K, d); loadings (K, d, m), known up to rotations and signs of the factors; noise_variances (K, d)."""

    means: np.ndarray
    loadings: np.ndarray
    noise_variances: np.ndarray


class FactorStatistics(NamedTuple):
    """sum_w (K,); sum_y and sum_ee (K, d); sum_ge (K, m, d); sum_gg (K, m, m)."""

    sum_w: np.ndarray
    sum_y: np.ndarray
    sum_ee: np.ndarray
    sum_ge: np.ndarray
    sum_gg: np.ndarray


class Core(NamedTuple):
    """deviations sqrt(psi) (K, d) and the singular values of the loadings in units of it: U (K, d, m), D (K, m), V^T.

    roots T (K, m) are the deviations along U.
    """

    deviations: np.ndarray
    u: np.ndarray
    strengths: np.ndarray
    roots: np.ndarray
    vt: np.ndarray

    @classmethod
    def of(cls, params: FactorParams) -> "Core":
        """Factor the loadings."""
        deviations = np.sqrt(params.noise_variances)
        u, strengths, vt = np.linalg.svd(params.loadings / deviations[:, :, None], full_matrices=False)
        return cls(deviations, u, strengths, np.hypot(1.0, strengths), vt)

    def precisions(self) -> np.ndarray:
        """Diagonals of the inverse covariances, (K, d)."""
        known = np.einsum("kjf,kf->kj", self.u**2, (self.strengths / self.roots) ** 2)
        return np.maximum(1 - known, 0.0) / self.deviations**2

    def squares(self, k: int, y: np.ndarray) -> np.ndarray:
        """y^T S_k^-1 y of each row of y (n, d)."""
        y = y / self.deviations[k]
        g = y @ self.u[k]
        return np.square(y - g @ self.u[k].T).sum(axis=1) + np.square(g / self.roots[k]).sum(axis=1)


def regression(statistics: FactorStatistics, params: FactorParams, fixed: frozenset[str] = frozenset()) -> FactorParams:
    """The greatest expected log-likelihood, without a floor under the noise, of means and loadings that are not fixed.

    The best of these are the same whatever the noise. Where means stay, rows and factors are not centred: what is
    regressed has no intercept, and the mean of the factors has nowhere to go.
    """
    core = Core.of(params)
    u, t = core.u, core.roots
    a, eye = core.strengths / t, np.eye(t.shape[1])
    y, z, ee, ez, zz = _moments(statistics, core, "means" not in fixed)
    # What the present loadings leave, times the factors; the factors' square; and how far the loadings move.
    left = (ez + (u / t[:, None, :]) @ (zz - eye)) * a[:, None, :]
    square = a[:, :, None] * zz * a[:, None, :] + eye / t[:, None, :] ** 2
    moved = np.swapaxes(np.linalg.solve(square, np.swapaxes(left, 1, 2)), 1, 2) * ("loadings" not in fixed)
    spread = zz / (t[:, :, None] * t[:, None, :]) + eye * a[:, None, :] ** 2
    noise = ee + (u * (2 * ez / t[:, None, :] + u @ spread)).sum(axis=2) - (moved * left).sum(axis=2)
    # The factors' covariance becomes I again: its root, less I, goes into the loadings, and their mean into the rows'.
    values, vectors = np.linalg.eigh(square)
    values = np.maximum(values, (t**-2.0).min(axis=1, keepdims=True))  # rounding may leave less, and below 0
    stretch = (vectors * ((values - 1) / (np.sqrt(values) + 1))[:, None, :]) @ np.swapaxes(vectors, 1, 2)
    moved += (u * core.strengths[:, None, :] + moved) @ stretch
    after = FactorParams(
        params.means + core.deviations * y,
        params.loadings + core.deviations[:, :, None] * (moved @ core.vt),
        np.maximum(noise, 0.0) * params.noise_variances,
    )
    return after._replace(loadings=params.loadings) if "loadings" in fixed else after


def _moments(statistics: FactorStatistics, core: Core, centred: bool) -> tuple[np.ndarray, ...]:
    """Means of y (K, d) and z (K, m), and about them the second moments ee (K, d), ez (K, d, m) and zz (K, m, m).

    About 0, in the place of the means, unless `centred`.
    """
    sum_w, t = np.maximum(statistics.sum_w, np.finfo(float).tiny)[:, None], core.roots
    y = statistics.sum_y / sum_w * centred
    g = np.einsum("kjf,kj->kf", core.u, y)
    z, e = g / t, y - np.einsum("kjf,kf->kj", core.u, g)
    ee = statistics.sum_ee / sum_w - e**2
    ez = np.swapaxes(statistics.sum_ge / (sum_w * t)[:, :, None], 1, 2) - e[:, :, None] * z[:, None, :]
    zz = statistics.sum_gg / (sum_w[:, :, None] * t[:, :, None] * t[:, None, :]) - z[:, :, None] * z[:, None, :]
    return y, z, ee, ez, zz


def principal(matrix: np.ndarray, m: int) -> tuple[np.ndarray, np.ndarray]:
    """Loadings (d, m) and noise (d,) of a covariance: probabilistic principal components of its correlations.

    Tipping and Bishop (1999), JRSS B 61. The noise is what each column has beside the loadings.
    """
    d, variances = len(matrix), np.diagonal(matrix)
    deviations = np.sqrt(np.where(variances > 0, variances, 1.0))
    values, vectors = eigh(matrix / np.outer(deviations, deviations), subset_by_index=[d - m, d - 1])
    rest = max((np.sum(variances > 0) - values.sum()) / (d - m), 0.0) if m < d else values[0]
    loadings = vectors * np.sqrt(np.maximum(values - rest, 0.0)) * deviations[:, None]
    return loadings, np.maximum(variances - (loadings**2).sum(axis=1), UNIQUE * variances)


def variances(params: FactorParams) -> np.ndarray:
    """Diagonals of the covariances, (K, d)."""
    return params.noise_variances + (params.loadings**2).sum(axis=2)


def covariances(params: FactorParams) -> np.ndarray:
    """L L^T + diag psi of each component, (K, d, d)."""
    noise = params.noise_variances
    return params.loadings @ np.swapaxes(params.loadings, 1, 2) + noise[:, :, None] * np.eye(noise.shape[1])
