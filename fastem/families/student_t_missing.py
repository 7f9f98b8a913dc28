r"""Student's t of rows with missing entries (NaN): the likelihood is that of the entries that are there.

Density
    log p(x_o | k), the t of the d_o entries o that are there, with the same nu, and S_oo. With x^ as in
    `gaussian_missing`, the q of x_o is that of x^, and log(1 + q / nu) comes from Student's own kernel; d_o takes the
    place of d in the rest. 1 where nothing is there.
Statistics
    Given x_o, u = (nu + d_o) / (nu + q), and E log tau is as in `student_t`, both with d_o. The entries m that are
    missing are normal about x^_m with covariance C / tau, C = ((S^-1)_mm)^-1: the sums are those of x^, and sum_xx has
    sum r C beside, without u.
M-step
    Student's. A row without any entry adds what the parameters say of it.

Entries must be missing at random: whether they are may depend on what is there, not on what they would have been.

Liu and Rubin (1995), ML estimation of the t distribution using EM and its extensions, ECM and ECME, Statistica Sinica
5; Wang, Zhang, Luo and Wei (2004), Estimation of mixtures of t distributions in the presence of missing data, Pattern
Recognition Letters 25; Lin (2014), Learning from incomplete data via parameterized t mixture models through eigenvalue
decomposition, Computational Statistics and Data Analysis 71.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastem.families.gamma_function import log_rise
from fastem.families.gaussian_missing import GaussianMissing
from fastem.families.student_t import LEAST_TAIL, StudentT, StudentTParams
from fastem.families.student_t_bricks import (
    diag_accumulate_of,
    diag_log_prob_of,
    full_accumulate_of,
    full_log_prob_of,
)
from fastem.families.student_t_slots import Prepared, mean_log
from fastem.kernels import completion, holes
from fastem.kernels.jit import brick


class MissingPrepared(NamedTuple):
    """As Student's `Prepared`, and as the Gaussian's precisions, covariances and inflated, with its constants (1, K).

    Float64, by component and number of holes (K, d + 1): what these change in the constant of log p, in sqrt(u), as a
    factor, and in E log tau. shares (K,) are 1 / (1 + d / nu), by which the kernel's sums are too small.
    """

    shift: np.ndarray
    means: np.ndarray
    scales: np.ndarray
    constant: np.ndarray
    tails: np.ndarray
    powers: np.ndarray
    precisions: np.ndarray
    covariances: np.ndarray
    inflated: np.ndarray
    normal: np.ndarray
    constants: np.ndarray
    roots: np.ndarray
    logs: np.ndarray
    shares: np.ndarray


@brick
def put_observed(tile, prepared, k, out):
    """out = log p(x | k) of what there is of the rows with holes; spare becomes what the sums take of d_o features."""
    roots, logs, count = tile.spare[0], tile.spare[1], tile.extra.count
    for b in range(count.size):
        m = count[b]
        if m > 0:
            out[k, b] += tile.extra.level[0, b] + prepared.constants[k, m] + 0.5 * m * logs[k, b]
            roots[k, b] *= prepared.roots[k, m]
            logs[k, b] += prepared.logs[k, m]


@brick
def missing_log_prob(tile, prepared, out):
    """out[k, b] = log p(x_b | k) of what there is of x_b."""
    holes.find_holes(tile, prepared.shift.size)
    for k in range(prepared.constant.shape[1]):
        completion.fill_full(tile, prepared, k, prepared.normal[0, k])
        full_log_prob_of(tile, prepared, k, out)
        put_observed(tile, prepared, k, out)


@brick
def missing_accumulate(tile, resp, prepared, statistics, s):
    """All sums of the tile with its holes filled, and the covariances of what was filled in."""
    for k in range(prepared.constant.shape[1]):
        completion.fill_full_and_add(tile, resp, prepared, k, prepared.shares[k], statistics.sum_xx[s, k])
        full_accumulate_of(tile, resp, prepared, statistics, s, k)


@brick
def missing_diag_log_prob(tile, prepared, out):
    """out[k, b] = log p(x_b | k) of what there is of x_b."""
    holes.find_holes(tile, prepared.shift.size)
    for k in range(prepared.constant.shape[1]):
        completion.fill_diag(tile, prepared, k, prepared.normal[0, k])
        diag_log_prob_of(tile, prepared, k, out)
        put_observed(tile, prepared, k, out)


@brick
def missing_diag_accumulate(tile, resp, prepared, statistics, s):
    """All sums of what there is, and the variances of what there is not."""
    for k in range(prepared.constant.shape[1]):
        completion.fill_diag_and_add(tile, resp, prepared, k, prepared.shares[k], statistics.sum_xx[s])
        diag_accumulate_of(tile, resp, prepared, statistics, s, k)


class StudentTMissing(StudentT):
    """The family of t distributions where NaN is an entry that was not observed."""

    gaussian: GaussianMissing
    gaussian_type = GaussianMissing

    def extra(self, dtype: np.dtype, d: int, k: int, lanes: int) -> holes.Holes:
        """The Gaussian's."""
        return self.gaussian.extra(dtype, d, k, lanes)

    def order(self, X: np.ndarray) -> np.ndarray:
        """The Gaussian's."""
        return self.gaussian.order(X)

    def statistic(self, X: np.ndarray) -> np.ndarray:
        """The Gaussian's: rows with their holes filled."""
        return self.gaussian.statistic(X)

    def bricks(self, prepared: Any) -> tuple[Callable, Callable]:
        """Log_prob and accumulate."""
        if self.covariance_type == "diag":
            return missing_diag_log_prob, missing_diag_accumulate
        return missing_log_prob, missing_accumulate

    def prepare(self, params: StudentTParams, dtype: np.dtype, weights: np.ndarray) -> MissingPrepared:
        """Student's, and what the numbers of holes change."""
        gaussian = self.gaussian.prepare(params.gaussian, dtype, weights)
        plain: Prepared = self._with_tails(gaussian, params, dtype)
        d = params.means.shape[1]
        tails, there = params.tails[:, None], d - np.arange(d + 1)
        rises = log_rise(0.5 / np.maximum(tails, LEAST_TAIL[np.dtype(dtype).itemsize]), 0.5 * there)
        # By the constants as they were rounded: of nothing log p is 0.
        normal = gaussian.constant.astype(np.float64) - plain.constant
        logs = mean_log(tails, d) - mean_log(tails, there)
        return MissingPrepared(
            *plain,
            gaussian.precisions,
            gaussian.covariances,
            gaussian.inflated,
            gaussian.constant,
            normal.T + rises,
            np.sqrt((1.0 + there * tails) / (1.0 + d * tails)),
            logs,
            1.0 / (1.0 + d * params.tails),
        )
