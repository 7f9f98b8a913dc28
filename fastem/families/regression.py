r"""Regressions: the response y of a row given its features x, by a linear predictor in each component.

A row is x and, as its last column, y; sums are about a centre of the data, so that an offset of the features costs no
digit. With eta_k = level_k + coef_k . (x - centre_x):

Statistics
    sum_w_k = sum_i r_ik; then, with weights u_ik = r_ik v_ik and the working residual z_ik, where v is the Fisher
    information of the row's eta and v z the derivative of its log-density, sum_v = sum u, sum_x = sum u (x, z) and
    sum_xx = sum u (x, z)(x, z)^T, x centred. All are under the current parameters.
M-step
    One Newton step: the weighted least squares fit of z on x is added to level and coef. It is the maximum where the
    log-density is quadratic in eta; elsewhere it is generalized EM, whose step the engine halves where it was too long.
    Directions in which the weighted features do not vary keep their coefficients.

DeSarbo and Cron (1988), A maximum likelihood methodology for clusterwise linear regression, Journal of Classification
5; Wedel and DeSarbo (1995), A mixture likelihood approach for generalized linear models, ibid. 12.
"""

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import numpy as np

from fastem.families.base import Plain, Scale
from fastem.families.least_squares import EPS, LeastSquares, RegressionStatistics
from fastem.families.linear import up_to
from fastem.kernels.simd import NATIVE_OF

ALIKE = 0.02
"""Divergence from the heaviest component under which components have not parted yet."""


class RegressionParams(NamedTuple):
    """coef (K, p), and levels (K,): the linear predictor where the features are at the centre."""

    coef: np.ndarray
    levels: np.ndarray


class RegressionPrepared(NamedTuple):
    """shift (d,), the centre; slopes (K, d) with 0 for y, constant (1, K) and scales (2, K), padded; components (K,).

    size (1,) int64 is the column of the rows' sizes, or -1.
    """

    shift: np.ndarray
    slopes: np.ndarray
    constant: np.ndarray
    scales: np.ndarray
    components: np.ndarray
    size: np.ndarray


class RegressionFamily(LeastSquares, Plain):
    """What regressions share. `size` is the column that holds exposures or trials, whose coefficient stays 0."""

    halvings = 30
    """How often the engine may halve an M-step that lowered the log-likelihood."""

    start_rows = 4
    """Rows that a line is drawn through at the start, in units of its coefficients: counts and successes say little."""

    log_prob: Callable
    accumulate: Callable

    def __init__(self, fit_intercept: bool = True, size: int | None = None, eps: float = EPS):
        self.fit_intercept, self.size, self.eps = bool(fit_intercept), size, float(eps)
        self.centre = np.zeros(0)
        self.narrow = False
        """Whether features vary so little in a component that sums about one centre must be in float64."""
        self.scale: Scale | None = None

    def centred_at(self, mean: np.ndarray) -> np.ndarray:
        """The centre (d,) for data of that mean: that of the features, and without an intercept 0."""
        centre = np.array(mean, float) if self.fit_intercept else np.zeros(len(mean))
        centre[-1] = 0.0
        if self.size is not None:
            centre[self.size] = 0.0
        return centre

    # What a family says.

    def link(self, y: np.ndarray, m: np.ndarray) -> np.ndarray:
        """A finite linear predictor for which y is about the mean of a row of size m."""
        raise NotImplementedError

    def mean(self, eta: np.ndarray, m: np.ndarray) -> np.ndarray:
        """Mean of y, of a row of size m."""
        raise NotImplementedError

    def make(self, coef: np.ndarray, levels: np.ndarray, variances: np.ndarray) -> Any:
        """Params; `variances` are those of the link of y, which some families do not have."""
        return RegressionParams(coef, levels)

    def draw(self, mean: np.ndarray, m: np.ndarray, labels: np.ndarray, params: Any, rng: np.random.Generator) -> Any:
        """y (n,) of rows with these means and sizes, of the components `labels`."""
        raise NotImplementedError

    def information(self, params: Any) -> np.ndarray:
        """About the Fisher information of eta in a row of each component (K,), for `alike`."""
        raise NotImplementedError

    def mean_size(self) -> float:
        """Mean of the data's exposures or trials, as far as it is known."""
        return 1.0 if self.size is None or self.scale is None else float(self.scale.mean[self.size])

    # The verbs of the protocol.

    def bricks(self, prepared: Any) -> tuple[Callable, Callable]:
        """Those of the family."""
        return type(self).log_prob, type(self).accumulate

    def prepare(self, params: Any, dtype: np.dtype, weights: np.ndarray) -> RegressionPrepared:
        """Slopes and constants, padded; `ValueError` where they are no numbers."""
        k, p = params.coef.shape
        centre = self.centre if self.centre.size else np.zeros(p + 1)
        if not (np.isfinite(params.coef).all() and np.isfinite(params.levels).all()):
            raise ValueError("coefficients are no finite numbers. Start elsewhere")
        slopes = np.zeros((up_to(4, k), up_to(max(8, NATIVE_OF[np.dtype(dtype)]), p + 1)), dtype)
        slopes[:k, :p] = params.coef
        constant, scales = np.zeros((1, up_to(4, k)), dtype), np.zeros((2, up_to(4, k)), dtype)
        constant[0, :k] = params.levels
        scales[:, :k] = self.scales(params)
        size = np.array([-1 if self.size is None else self.size], np.int64)
        return RegressionPrepared(centre, slopes, constant, scales, np.zeros(k), size)

    def scales(self, params: Any) -> np.ndarray:
        """What else the bricks read of each component, (2, K)."""
        return np.zeros((2, len(params.levels)))

    def zeros(self, params: Any, slots: int, prepared: Any) -> RegressionStatistics:
        """Statistics of zeros, padded."""
        k, d = len(prepared.slopes), up_to(16, prepared.shift.size)
        sums = np.zeros((slots, k)), np.zeros((slots, k)), np.zeros((slots, k, d))
        return RegressionStatistics(*sums, np.zeros((slots, k, d, d)))

    def unpad(self, statistics: RegressionStatistics, params: Any, prepared: Any) -> RegressionStatistics:
        """Slots summed in their order, padding off, the triangle mirrored."""
        k, d = len(params.levels), prepared.shift.size
        sum_w, sum_v, sum_x, sum_xx = (leaf.sum(axis=0)[:k] for leaf in statistics)
        upper = np.triu(sum_xx[:, :d, :d])
        sum_xx = upper + np.swapaxes(np.triu(upper, 1), 1, 2)
        return RegressionStatistics(sum_w, sum_v, np.ascontiguousarray(sum_x[:, :d]), sum_xx)

    def wide(self, params: Any) -> bool:
        """Where features hardly vary in a component."""
        return self.narrow

    def holding(self, params: Any, before: Any, fixed: frozenset[str]) -> Any:
        """With those; "intercept" is where the features are 0, and levels where they are at the centre."""
        params = params._replace(**{name: getattr(before, name) for name in fixed - {"intercept"}})
        if "intercept" not in fixed:
            return params
        coef = params.coef - before.coef
        return params._replace(levels=before.levels + coef @ self._middle(coef.shape[1]))

    def rounding(self, params: Any, weights: np.ndarray) -> float:
        """Nats a row that rounding may hide or feign: that of sums of as many terms."""
        deviation = 1.0 if self.scale is None else self.scale.deviation[:-1]
        return 8 * self.eps * float(weights @ (1.0 + np.abs(params.levels) + (np.abs(params.coef) * deviation).sum(1)))

    def collapsed(self, params: Any, statistics: RegressionStatistics) -> np.ndarray:
        """Mask (K,) of the components that hold no row, or have no proper density."""
        sum_w = statistics.sum_w
        return (sum_w <= 10 * np.finfo(float).eps * sum_w.sum() / len(sum_w)) | self.singular(params)

    def singular(self, params: Any) -> np.ndarray:
        """Mask (K,) of the components without a proper density."""
        return np.zeros(len(params.levels), bool)

    def alike(self, params: Any, weights: np.ndarray) -> bool:
        """Whether no component's predictor differs much from the heaviest's."""
        if self.scale is None:
            return False
        heaviest = int(np.argmax(weights))
        coef, levels = params.coef - params.coef[heaviest], params.levels - params.levels[heaviest]
        levels = levels + coef @ (self.scale.mean - self.centre)[:-1]
        covariance = self.scale.covariance[:-1, :-1]
        squares = levels**2 + np.einsum("ki,ij,kj->k", coef, covariance, coef)
        return bool((squares * self.information(params) < ALIKE).all())

    def kept(self, params: Any, mask: np.ndarray) -> Any:
        """The components in the mask alone."""
        return type(params)(*(leaf[mask] for leaf in params))

    def floored(self, params: Any, mask: np.ndarray, scale: Scale) -> Any:
        """Unchanged: every component has a density."""
        return params

    # Starts.

    def linked(self, X: np.ndarray) -> np.ndarray:
        """The link of y in each row (n,)."""
        return self.link(X[:, -1], np.ones(len(X)) if self.size is None else X[:, self.size])

    def least_squares(self, X: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """coef (K, p), levels (K,) and variances (K,) of the link of y, by weights (n, K) of the rows."""
        rows = X - (self.centre if self.centre.size else 0.0)
        rows[:, -1] = self.linked(X)
        k, d = weight.shape[1], rows.shape[1]
        sum_w, sum_x, sum_xx = weight.sum(axis=0), weight.T @ rows, np.zeros((k, d, d))
        for c in range(k):
            sum_xx[c] = (weight[:, c, None] * rows).T @ rows
        step = self.newton(RegressionStatistics(sum_w, sum_w, sum_x, sum_xx))
        residual = rows[:, -1:] - rows[:, :-1] @ step.coef.T - step.levels
        squares = (weight * residual**2).sum(axis=0)
        return step.coef, step.levels, squares / np.maximum(sum_w, np.finfo(float).tiny)

    def from_responsibilities(self, X: np.ndarray, resp: np.ndarray, scale: Scale) -> tuple[np.ndarray, Any]:
        """sum_w and Params from rows (n, d) and their weighted responsibilities (n, K)."""
        return resp.sum(axis=0), self.make(*self.least_squares(X, resp))

    def spread_about(self, rows: np.ndarray, scale: Scale) -> Any:
        """Components that are flat in the features, half way between each row and the mean of the data."""
        k, p = len(rows), rows.shape[1] - 1
        middle = np.array(scale.mean, float)[None]
        levels = (self.linked(rows) + self.linked(middle)) / 2 if self.fit_intercept else np.zeros(k)
        return self.make(np.zeros((k, p)), levels, np.full(k, max(float(scale.covariance[-1, -1]), 0.0)))

    def reseeded(self, params: Any, k: int, row: np.ndarray, scale: Scale) -> Any:
        """Component k flat, between `row` and the mean of the data."""
        (fresh,) = zip(*self.spread_about(row[None], scale), strict=True)
        copies = [leaf.copy() for leaf in params]
        for leaf, value in zip(copies, fresh, strict=True):
            leaf[k] = value
        return type(params)(*copies)

    def n_parameters(self, params: Any) -> int:
        """Coefficients and levels."""
        return self.n_held(params, ("coef", "intercept"))

    def n_held(self, params: Any, fixed: Collection[str]) -> int:
        """Coefficients but that of the sizes, and intercepts where there are any."""
        k, p = params.coef.shape
        return k * ((p - (self.size is not None)) * ("coef" in fixed) + self.fit_intercept * ("intercept" in fixed))
