"""The weighted least squares fit of a response on features, from sums: what the M-steps of regressions begin with."""

from typing import NamedTuple

import numpy as np

EPS = float(np.finfo(float).eps)


class RegressionStatistics(NamedTuple):
    """sum_w (K,), sum_v (K,), sum_x (K, d) and sum_xx (K, d, d)."""

    sum_w: np.ndarray
    sum_v: np.ndarray
    sum_x: np.ndarray
    sum_xx: np.ndarray


class Step(NamedTuple):
    """A weighted least squares fit of z on x: coef (K, p), levels (K,), and by how much it lowers the squares (K,)."""

    coef: np.ndarray
    levels: np.ndarray
    gain: np.ndarray


def pulled(sum_xx: np.ndarray, coef: np.ndarray, pull: np.ndarray) -> np.ndarray:
    """sum_xx (K, d, d) under `coef` (K, p), and a density of these about 0 of precisions `pull` (p,)."""
    sum_xx = sum_xx.copy()
    np.einsum("kjj->kj", sum_xx)[:, :-1] += pull
    sum_xx[:, :-1, -1] -= pull * coef
    sum_xx[:, -1, :-1] -= pull * coef
    return sum_xx


class LeastSquares:
    """The fit, for a family whose features are summed about `centre`."""

    fit_intercept: bool
    size: int | None
    eps: float
    centre: np.ndarray
    narrow: bool

    def newton(self, statistics: RegressionStatistics, fixed: frozenset[str] = frozenset()) -> Step:
        """The weighted least squares fit of the working residuals by what is not fixed."""
        _, sum_v, sum_x, sum_xx = statistics
        safe = np.maximum(sum_v, np.finfo(float).tiny)
        second, cross = sum_xx[:, :-1, :-1], sum_xx[:, :-1, -1]
        level = sum_x[:, -1] / safe
        if "coef" in fixed:
            level = level * (self.fit_intercept and "intercept" not in fixed)
            return Step(np.zeros_like(cross), level, sum_x[:, -1] * level)
        if not self.fit_intercept or "intercept" in fixed:
            return self._through_origin(statistics)
        mean = sum_x[:, :-1] / safe[:, None]
        centred = second - sum_x[:, :-1, None] * mean[:, None, :]
        about = cross - sum_x[:, :-1] * level[:, None]
        coef = self._solved(centred, about, second)
        gain = (coef * about).sum(axis=1) + sum_x[:, -1] * level
        return Step(coef, level - (coef * mean).sum(axis=1), gain)

    def _through_origin(self, statistics: RegressionStatistics) -> Step:
        """That fit without an intercept where the features are 0, which is at -centre of those that are summed."""
        _, sum_v, sum_x, sum_xx = statistics
        c, sum_z = self._middle(sum_x.shape[1] - 1), sum_x[:, -1]
        outer = sum_x[:, :-1, None] * c
        second = sum_xx[:, :-1, :-1] + outer + np.swapaxes(outer, 1, 2) + sum_v[:, None, None] * np.outer(c, c)
        cross = sum_xx[:, :-1, -1] + sum_z[:, None] * c
        coef = self._solved(second, cross, second)
        return Step(coef, coef @ c, (coef * cross).sum(axis=1))

    def _middle(self, p: int) -> np.ndarray:
        """The centre of the features (p,)."""
        return self.centre[:-1] if self.centre.size else np.zeros(p)

    def watch(self, statistics: RegressionStatistics) -> None:
        """Look whether the sums of the next E-step must be in float64 though the rows are not."""
        if self.eps > EPS and self.fit_intercept:
            raw = np.einsum("kjj->kj", statistics.sum_xx)[:, :-1]
            mean = statistics.sum_x[:, :-1] / np.maximum(statistics.sum_v, np.finfo(float).tiny)[:, None]
            varied = raw - statistics.sum_x[:, :-1] * mean
            self.narrow = bool((varied < 64 * self.eps * raw).any())

    def _solved(self, matrices: np.ndarray, right: np.ndarray, raw: np.ndarray) -> np.ndarray:
        """matrices (K, p, p) into right (K, p), without the directions that hold nothing but rounding of `raw`."""
        p = right.shape[1]
        if not p:
            return np.zeros_like(right)
        diagonal, size = np.einsum("kjj->kj", matrices), np.einsum("kjj->kj", raw)
        live = diagonal > 64 * (EPS if self.narrow else self.eps) * size
        if self.size is not None:
            live[:, self.size] = False
        scale = np.where(live, 1.0 / np.sqrt(np.where(live, diagonal, 1.0)), 0.0)
        values, vectors = np.linalg.eigh(matrices * scale[:, :, None] * scale[:, None, :])
        kept = values > 16 * p * (EPS if self.narrow else self.eps)
        inverse = np.where(kept, 1.0 / np.where(kept, values, 1.0), 0.0)
        along = np.einsum("kji,kj->ki", vectors, right * scale)
        return scale * np.einsum("kij,kj->ki", vectors, inverse * along)
