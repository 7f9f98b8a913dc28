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


class Beside(NamedTuple):
    """What stands beside the rows, over the weight of the sums; see `factor_prior`.

    factors and noise (K, 1) are the weights of their variances, pull (K, 1) what is added to the factors' square, and
    squares (K, d) to the noise, in the units of the data.
    """

    factors: np.ndarray
    noise: np.ndarray
    pull: np.ndarray
    squares: np.ndarray


NOTHING = Beside(np.ones((1, 1)), np.ones((1, 1)), np.zeros((1, 1)), np.zeros((1, 1)))
"""Beside the rows, where there is no prior."""


def regression(
    statistics: FactorStatistics,
    params: FactorParams,
    core: Core,
    beside: Beside = NOTHING,
    least: float = 0.0,
    fixed: frozenset[str] = frozenset(),
) -> FactorParams:
    """The greatest expected log-likelihood of what is not fixed, where the noise is at least `least`.

    Where means stay, rows and factors are not centred: what is regressed has no intercept, and the mean of the factors
    has nowhere to go; nor has their covariance where loadings stay. What the best loadings are the noise does not tell,
    but how far a prior lets the factors expand.
    """
    u, t = core.u, core.roots
    a, eye = core.strengths / t, np.eye(t.shape[1])
    y, ee, ez, zz = _moments(statistics, core, "means" not in fixed)
    # What the present loadings leave, times the factors; the factors' square; and how far the loadings move.
    own = (beside.factors + beside.pull * t**2)[:, :, None] * eye
    left = (ez + (u / t[:, None, :]) @ (zz - own)) * a[:, None, :]
    found = a[:, :, None] * zz * a[:, None, :] + (beside.factors / t**2)[:, :, None] * eye
    square = found + (beside.pull * np.ones_like(t))[:, :, None] * eye
    moved = np.swapaxes(np.linalg.solve(square, np.swapaxes(left, 1, 2)), 1, 2) * ("loadings" not in fixed)
    spread = zz / (t[:, :, None] * t[:, None, :]) + own * a[:, None, :] ** 2
    noise = ee + (u * (2 * ez / t[:, None, :] + u @ spread)).sum(axis=2) - (moved * left).sum(axis=2)
    noise = np.maximum((np.maximum(noise, 0.0) * params.noise_variances + beside.squares) / beside.noise, least)
    after = FactorParams(
        params.means + core.deviations * y,
        params.loadings,
        params.noise_variances if "noise_variances" in fixed else noise,
    )
    if "loadings" in fixed:
        return after
    # The factors' covariance becomes I again: its root, less I, goes into the loadings, and their mean into the rows'.
    whole = u * core.strengths[:, None, :] + moved
    values, vectors = np.linalg.eigh(found / beside.factors[:, :, None])
    values = np.maximum(values, (t**-2.0).min(axis=1, keepdims=True))  # rounding may leave less, and below 0
    if beside.pull.any():
        cost = (beside.pull / beside.factors)[:, :, None] * (
            np.swapaxes(whole, 1, 2) @ (whole * (params.noise_variances / after.noise_variances)[:, :, None])
        )
        values, vectors = _less_expanded(values, vectors, cost)
    stretch = (vectors * ((values - 1) / (np.sqrt(values) + 1))[:, None, :]) @ np.swapaxes(vectors, 1, 2)
    moved += whole @ stretch
    return after._replace(loadings=params.loadings + core.deviations[:, :, None] * (moved @ core.vt))


def _less_expanded(values: np.ndarray, vectors: np.ndarray, cost: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues (K, m) and vectors of R, R + R cost R = M, from those of M: see `factor_prior`."""
    root = (vectors * np.sqrt(values)[:, None, :]) @ np.swapaxes(vectors, 1, 2)
    costs, along = np.linalg.eigh(root @ cost @ root)
    half = root @ along
    shares = 2.0 / (1.0 + np.sqrt(1.0 + 4.0 * np.maximum(costs, 0.0)))
    values, vectors = np.linalg.eigh((half * shares[:, None, :]) @ np.swapaxes(half, 1, 2))
    return np.maximum(values, np.finfo(float).tiny), vectors


def _moments(statistics: FactorStatistics, core: Core, centred: bool) -> tuple[np.ndarray, ...]:
    """The means of y (K, d), and about those of y and z the moments ee (K, d), ez (K, d, m) and zz (K, m, m).

    About 0, in the place of the means, unless `centred`.
    """
    sum_w, t = np.maximum(statistics.sum_w, np.finfo(float).tiny)[:, None], core.roots
    y = statistics.sum_y / sum_w * centred
    g = np.einsum("kjf,kj->kf", core.u, y)
    z, e = g / t, y - np.einsum("kjf,kf->kj", core.u, g)
    ee = statistics.sum_ee / sum_w - e**2
    ez = np.swapaxes(statistics.sum_ge / (sum_w * t)[:, :, None], 1, 2) - e[:, :, None] * z[:, None, :]
    zz = statistics.sum_gg / (sum_w[:, :, None] * t[:, :, None] * t[:, None, :]) - z[:, :, None] * z[:, None, :]
    return y, ee, ez, zz


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
