r"""Components of multivariate Student's t: Gaussians with heavy tails, full or diagonal scale matrices.

Density
    log p(x | k) = log gamma((nu + d) / 2) - log gamma(nu / 2) - d / 2 log(nu pi) - log |S| / 2
    - (nu + d) / 2 log(1 + q / nu), with q = (x - mu)^T S^-1 (x - mu), and nu, mu and S those of k. It is that of a
    Gaussian of covariance S / tau, where tau has the gamma distribution of shape and rate nu / 2 and is not observed.
Statistics
    Given x, the mean of tau is u = (nu + d) / (nu + q), and that of log tau is
    log u + digamma((nu + d) / 2) - log((nu + d) / 2). sum_w = sum r, sum_u = sum r u, sum_log = sum r E log tau,
    sum_x = sum r u (x - mu), sum_xx = sum r u (x - mu)(x - mu)^T, about the current mu.
M-step
    mu += delta = sum_x / sum_u; S = (sum_xx - sum_u delta delta^T) / sum_w + reg_covar I; nu solves
    log(nu / 2) - digamma(nu / 2) = (sum_u - sum_log) / sum_w - 1, the sums those over all components where they share
    it. This is the maximum, given the other sums; the ridge is the Gaussian's. So is a prior of mu and S
    (`gaussian_prior`): given tau the rows are Gaussian, so that its kappa rows at mu_P add to sum_u, sum_x and sum_xx,
    L to sum_xx and e to the sum_w over which S is taken, while nu, of which it says nothing, has the maximum of before.

Params hold 1 / nu, in which the Gaussian is 0 and extrapolation is safe.

Lange, Little and Taylor (1989), Robust statistical modeling using the t distribution, JASA 84; Peel and McLachlan
(2000), Robust mixture modelling using the t distribution, Statistics and Computing 10.
"""

import copy
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import numpy as np

from fastem.families import gaussian_slots
from fastem.families import student_t_bricks as bricks
from fastem.families.base import Plain, Scale
from fastem.families.gamma_function import log_less_digamma, log_rise, shape_of, stirling
from fastem.families.gaussian import Gaussian, GaussianParams
from fastem.families.gaussian_moments import GaussianStatistics
from fastem.families.gaussian_prior import GaussianPrior
from fastem.families.student_t_slots import (
    NearPrepared,
    NearSlots,
    Prepared,
    StudentTStatistics,
    along,
    halves_of_df,
    mean_log,
)

COVARIANCE_TYPES = ("full", "diag")

LEAST_DF, MOST_DF = 1.0, 1e6
"""Bounds of degrees of freedom that are estimated. Below those of Cauchy's distribution few rows that are equal, or one
of a small component, suffice for a density without bound; above, a Gaussian could not be told apart by 1e9 rows."""

FIRST_DF = 10.0
"""Degrees of freedom that a start begins with."""

LEAST_TAIL = {4: 1e-30, 8: 1e-150}
"""1 / nu of the Gaussian in the kernel, by bytes of the float: log(1 + q / nu) nu is q to the last bit."""

ALIKE = 0.1
"""Difference of 1 / nu below which components whose Gaussians are alike have not parted."""


class StudentTParams(NamedTuple):
    """means (K, d), the locations; scales (K, d, d) or (K, d); tails (K,), 1 / degrees of freedom."""

    means: np.ndarray
    scales: np.ndarray
    tails: np.ndarray

    @property
    def gaussian(self) -> GaussianParams:
        """Means and scales as those of Gaussians."""
        return GaussianParams(self.means, self.scales)


class StudentT(Plain):
    """The family of t distributions; `df` is a number, or None to estimate it, with `share_df` one for all."""

    gaussian_type: type[Gaussian] = Gaussian

    def __init__(
        self,
        covariance_type: str = "full",
        reg_covar: float = 1e-6,
        eps: float = np.finfo(float).eps,
        df: float | None = None,
        share_df: bool = False,
    ):
        self.gaussian = self.gaussian_type(covariance_type, reg_covar, eps)
        self.gaussian.together &= covariance_type == "full"
        self.covariance_type, self.df, self.share_df = covariance_type, df, share_df
        self.between = {"tails": (1.0 / MOST_DF if df is None else 0.0, np.inf)}  # an M-step goes back to the bound
        if covariance_type == "diag":
            self.between["scales"] = (self.gaussian.reg_covar, np.inf)

    @property
    def eps(self) -> float:
        """Precision of the data."""
        return self.gaussian.eps

    @property
    def prior(self) -> GaussianPrior | None:
        """That of locations and scale matrices."""
        return self.gaussian.prior

    @prior.setter
    def prior(self, prior: GaussianPrior | None) -> None:
        self.gaussian.prior = prior

    def bricks(self, prepared: Any) -> tuple[Callable, Callable]:
        """Log_prob and accumulate."""
        if self.covariance_type == "diag":
            return bricks.diag_log_prob, bricks.diag_accumulate
        near = isinstance(prepared, NearPrepared)
        return bricks.full_log_prob, bricks.near_accumulate if near else bricks.full_accumulate

    def prepare(self, params: StudentTParams, dtype: np.dtype, weights: np.ndarray) -> Any:
        """Factor the scale matrices; `ValueError` if one is not positive definite, or no t has these tails."""
        return self._with_tails(self.gaussian.prepare(params.gaussian, dtype, weights), params, dtype)

    def _with_tails(self, gaussian: Any, params: StudentTParams, dtype: np.dtype) -> Any:
        """`prepare`, with what the Gaussian prepares.

        Estimated tails are refused above their bound, where extrapolation may lead.
        """
        most = 1.0 / LEAST_DF if self.df is None else np.inf
        if not ((params.tails >= 0) & (params.tails <= most * (1 + 1e-12))).all():
            raise ValueError(
                f"1 / degrees of freedom is {params.tails.min():.3g} to {params.tails.max():.3g}; numbers from 0 to "
                f"{most:.3g} are wanted. Start elsewhere, or fix df"
            )
        d, itemsize = params.means.shape[1], np.dtype(dtype).itemsize
        tails = np.maximum(params.tails, LEAST_TAIL[itemsize])
        constant = gaussian.constant + log_rise(0.5 / tails, 0.5 * d)
        rows = ((row.reshape(1, -1)).astype(dtype) for row in (constant, -tails, -0.5 * (1.0 / tails + d)))
        kind = NearPrepared if isinstance(gaussian, gaussian_slots.NearPrepared) else Prepared
        return kind(gaussian.shift, gaussian.means, gaussian.scales, *rows)

    def zeros(self, params: StudentTParams, slots: int, prepared: Any) -> Any:
        """Statistics of zeros, padded."""
        near = isinstance(prepared, NearPrepared)
        gaussian = gaussian_slots.NearPrepared(*prepared[:4]) if near else prepared
        sum_w, *moments = self.gaussian.zeros(params.gaussian, slots, gaussian)
        kind = NearSlots if near else StudentTStatistics
        return kind(np.zeros_like(sum_w), sum_w, np.zeros_like(sum_w), *moments)

    def unpad(self, statistics: Any, params: StudentTParams, prepared: Any) -> StudentTStatistics:
        """Slots summed in their order, padding off.

        The kernel weighs with 1 / (1 + q / nu), which is u / (1 + d / nu), and sums log(1 + q / nu).
        """
        k, d = params.means.shape
        sums = self.gaussian.unpad(statistics.gaussian, params.gaussian, prepared)
        sum_w, sum_log = statistics.sum_w.sum(axis=0)[:k], statistics.sum_log.sum(axis=0)[:k]
        rise = 1.0 + d * params.tails
        sum_u, sum_x, sum_xx = (leaf * along(rise, leaf) for leaf in sums)
        return StudentTStatistics(sum_w, sum_u, sum_w * mean_log(params.tails, d) - sum_log, sum_x, sum_xx)

    def blurs(self, prepared: Any) -> bool:
        """Whether sums of what is so prepared may lose digits."""
        return isinstance(prepared, NearPrepared)

    def blurred(self, params: StudentTParams, after: StudentTParams, prepared: Any) -> bool:
        """Whether the sums that led from `params` to `after` lost too many digits, and are wanted from `careful`."""
        gaussian = gaussian_slots.NearPrepared(*prepared[:4]) if self.blurs(prepared) else prepared
        return self.gaussian.blurred(params.gaussian, after.gaussian, gaussian)

    def careful(self) -> "StudentT":
        """This family with every sum about its location."""
        other = copy.copy(self)
        other.gaussian = self.gaussian.careful()
        return other

    def m_step(self, statistics: StudentTStatistics, params: StudentTParams) -> StudentTParams:
        """The maximum of the expected log-likelihood of rows and scales tau, and of the prior, with the ridge."""
        of_rows = self.gaussian.maximum(statistics.gaussian, statistics.sum_w, params.gaussian)
        return StudentTParams(*of_rows, self._tails(statistics, params))

    def _tails(self, statistics: StudentTStatistics, params: StudentTParams) -> np.ndarray:
        """1 / nu of the M-step; components without a row keep theirs."""
        if self.df is not None:
            return self.settled(params.tails)
        sum_w, gap = statistics.sum_w, statistics.sum_u - statistics.sum_log - statistics.sum_w
        if self.share_df:
            sum_w, gap = sum_w.sum(keepdims=True), gap.sum(keepdims=True)
        live = sum_w > 0
        x = shape_of(gap / np.where(live, sum_w, 1.0), 0.5 * LEAST_DF, 0.5 * MOST_DF)
        return np.where(live, np.broadcast_to(0.5 / x, len(params.tails)), params.tails)

    def settled(self, tails: np.ndarray) -> np.ndarray:
        """Tails that this family may have: those of `df`, or within the bounds, or their mean where one is shared."""
        if self.df is not None:
            return np.full(len(tails), 1.0 / self.df)
        tails = np.clip(tails, 1.0 / MOST_DF, 1.0 / LEAST_DF)
        return np.full(len(tails), tails.mean()) if self.share_df else tails

    def held_m_step(
        self, statistics: StudentTStatistics, params: StudentTParams, fixed: frozenset[str]
    ) -> StudentTParams:
        """The M-step; where means are held, of statistics about means that stay."""
        sum_x = self.gaussian.held_sum_x(statistics.gaussian, params.gaussian, fixed)
        return self.holding(self.m_step(statistics._replace(sum_x=sum_x), params), params, fixed)

    def holding(self, params: StudentTParams, before: StudentTParams, fixed: frozenset[str]) -> StudentTParams:
        """With those; "df" are the tails."""
        return super().holding(params, before, frozenset("tails" if name == "df" else name for name in fixed))

    def log_prior(self, params: StudentTParams) -> float:
        """The Gaussian's of locations and scale matrices; degrees of freedom have none."""
        return self.gaussian.log_prior(params.gaussian)

    def penalty(self, params: StudentTParams, sum_w: np.ndarray) -> float:
        """The Gaussian's, reg_covar / 2 sum_k sum_w_k tr S_k^-1 where there is no prior."""
        return self.gaussian.penalty(params.gaussian, sum_w)

    def rounding(self, params: StudentTParams, weights: np.ndarray) -> float:
        """The Gaussian's, steeper by at most (nu + d) / nu."""
        steepest = 1.0 + params.means.shape[1] * float(params.tails.max())
        return steepest * self.gaussian.rounding(params.gaussian, weights)

    def recentre(self, statistics: StudentTStatistics, old: StudentTParams, new: StudentTParams) -> StudentTStatistics:
        """Moments moved to the new locations; u and log tau are no distances, and stay."""
        _, sum_x, sum_xx = self.gaussian.recentre(statistics.gaussian, old.gaussian, new.gaussian)
        return statistics._replace(sum_x=sum_x, sum_xx=sum_xx)

    def expected_log_prob(self, statistics: StudentTStatistics, params: StudentTParams) -> float:
        """sum_ik r_ik E log p(x_i, tau_i | k), but for terms of the sums that no parameter to be estimated is in."""
        moments = GaussianStatistics(statistics.sum_w, statistics.sum_x, statistics.sum_xx)
        of_rows = self.gaussian.expected_log_prob(moments, params.gaussian)
        if self.df is not None:
            return of_rows
        x, (sum_w, sum_u, sum_log, *_) = halves_of_df(params.tails), statistics
        of_scales = sum_w * (0.5 * np.log(x / (2 * np.pi)) - stirling(x)) + x * (sum_log - sum_u + sum_w)
        return of_rows + float(of_scales.sum())

    def expected_statistics(self, params: StudentTParams, sum_w: np.ndarray) -> StudentTStatistics:
        """Statistics of components of total weights sum_w that are as `params` says: the mean of tau is 1."""
        sums = self.gaussian.expected_statistics(params.gaussian, sum_w)
        sum_log = -sum_w * log_less_digamma(halves_of_df(params.tails))
        return StudentTStatistics(sums.sum_w.copy(), sums.sum_w, sum_log, sums.sum_x, sums.sum_xx)

    def collapsed(self, params: StudentTParams, statistics: StudentTStatistics) -> np.ndarray:
        """Mask (K,) of the components that hold no row, or whose scale matrix is singular in spite of the ridge."""
        sum_w = statistics.sum_w
        return (sum_w <= 10 * np.finfo(float).eps * sum_w.sum() / len(sum_w)) | self.singular(params)

    def singular(self, params: StudentTParams) -> np.ndarray:
        """Mask (K,) of the components without a proper scale matrix."""
        return self.gaussian.singular(params.gaussian)

    def alike(self, params: StudentTParams, weights: np.ndarray) -> bool:
        """Whether Gaussians of these scale matrices are alike, and the tails too."""
        return bool(np.ptp(params.tails) < ALIKE) and self.gaussian.alike(params.gaussian, weights)

    def kept(self, params: StudentTParams, mask: np.ndarray) -> StudentTParams:
        """The components in the mask alone."""
        return StudentTParams(*(leaf[mask] for leaf in params))

    def floored(self, params: StudentTParams, mask: np.ndarray, scale: Scale) -> StudentTParams:
        """The masked components with at least the Gaussian's least variance."""
        return params._replace(scales=self.gaussian.floored(params.gaussian, mask, scale).covariances)

    def reseeded(self, params: StudentTParams, k: int, row: np.ndarray, scale: Scale) -> StudentTParams:
        """Component k about `row`, with the covariance of the data, and the tails of a start unless they are shared."""
        tails = params.tails.copy()
        if not self.share_df:
            tails[k] = self._first(1)[0]
        return StudentTParams(*self.gaussian.reseeded(params.gaussian, k, row, scale), tails)

    def spread_about(self, means: np.ndarray, scale: Scale) -> StudentTParams:
        """Components at `means`, each with the covariance of the data."""
        return StudentTParams(*self.gaussian.spread_about(means, scale), self._first(len(means)))

    def from_responsibilities(self, X: np.ndarray, resp: np.ndarray, scale: Scale) -> tuple:
        """sum_w and Params: means and covariances of the rows by their weighted responsibilities (n, K)."""
        sum_w, gaussian = self.gaussian.from_responsibilities(X, resp, scale)
        return sum_w, StudentTParams(gaussian.means, gaussian.covariances, self._first(len(sum_w)))

    def _first(self, k: int) -> np.ndarray:
        return self.settled(np.full(k, 1.0 / FIRST_DF))

    def n_parameters(self, params: StudentTParams) -> int:
        """Those of locations and scale matrices, and the degrees of freedom that are estimated."""
        return self.n_held(params, ("means", "scales", "df"))

    def n_held(self, params: StudentTParams, fixed: Collection[str]) -> int:
        """Those of the locations, of the scale matrices, and the degrees of freedom."""
        tails = 0 if self.df is not None else 1 if self.share_df else len(params.tails)
        names = ["covariances" if name == "scales" else name for name in fixed]
        return self.gaussian.n_held(params.gaussian, names) + tails * ("df" in fixed)

    def sample(self, params: StudentTParams, counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """counts[k] rows of each component, in order."""
        rows = self.gaussian.sample(params.gaussian, counts, rng)
        means, tails = (np.repeat(leaf, counts, axis=0) for leaf in (params.means, params.tails))
        heavy = np.flatnonzero(tails > 0)
        tau = rng.gamma(0.5 / tails[heavy], 2.0 * tails[heavy])
        rows[heavy] = means[heavy] + (rows[heavy] - means[heavy]) / np.sqrt(tau)[:, None]
        return rows
