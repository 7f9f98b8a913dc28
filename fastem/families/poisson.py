r"""Poisson components: counts in every column, independent of the others given the component.

Density
    log p(x | k) = sum_j x_j log(e r_kj) - e r_kj - log x_j!, with e the exposure of the row: 1, or the numbers of one
    column of X.
M-step
    r_kj = sum_i r_ik x_ij / sum_i r_ik e_i.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import gammaln, xlogy

from fastem.families.base import Plain
from fastem.families.linear import LinearFamily, logs


class PoissonParams(NamedTuple):
    """rates (K, d), of one unit of exposure."""

    rates: np.ndarray


class Poisson(LinearFamily):
    """The family of independent counts; `exposure` is the column of X that holds it, or None."""

    between = {"rates": (0.0, np.inf)}

    def __init__(self, exposure: int | None = None, prior: float = 0.0):
        super().__init__(prior)
        self.exposure = exposure

    def terms(self, params: PoissonParams) -> tuple[np.ndarray, np.ndarray]:
        """c = -r of one unit of exposure, s = log r; zeros in the column of the exposure."""
        (r,) = params
        if not (r >= 0).all():
            raise ValueError(f"rates are as low as {r.min():.3g}; rates are 0 or more. Start elsewhere")
        if self.exposure is None:
            return -r, logs(r)
        return np.insert(-r, self.exposure, 0.0, axis=1), np.insert(logs(r), self.exposure, 0.0, axis=1)

    def natural(self, params: PoissonParams) -> tuple[np.ndarray, np.ndarray]:
        """s = log r, and -sum_j r as c, or as the slope of the exposure."""
        constant, slopes = super().natural(params)
        if self.exposure is None:
            return constant, slopes
        slopes[:, self.exposure] = constant
        return np.zeros(len(constant)), slopes

    def expected(self, params: PoissonParams) -> np.ndarray:
        """The rates times the exposure."""
        if self.exposure is None:
            return params.rates
        exposure = self.prior_mean[self.exposure] if self.prior_mean.size else 1.0
        return np.insert(params.rates * exposure, self.exposure, exposure, axis=1)

    def admitted(self, params: PoissonParams, plain: PoissonParams) -> PoissonParams:
        """The same but below 0; `ValueError` where they are none."""
        params = Plain.admitted(self, params, plain)
        self.natural(params)
        return params

    def maximum(self, means: np.ndarray) -> PoissonParams:
        """The means, over that of the exposure."""
        if self.exposure is None:
            return PoissonParams(np.maximum(means, 0.0))
        counts = np.delete(means, self.exposure, axis=1)
        return PoissonParams(np.maximum(counts, 0.0) / means[:, [self.exposure]])

    def base(self, X: np.ndarray) -> np.ndarray:
        """sum_j x_j log e - log x_j!."""
        counts = self.statistic(X)
        if self.exposure is None:
            return -log_factorials(counts).sum(axis=1)
        exposure, counts = counts[:, self.exposure], np.delete(counts, self.exposure, axis=1)
        return xlogy(counts.sum(axis=1), exposure) - log_factorials(counts).sum(axis=1)

    def n_parameters(self, params: PoissonParams) -> int:
        """One a component and column."""
        return params.rates.size

    def sample(self, params: PoissonParams, counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """counts[k] rows of each component, in order, with an exposure of 1."""
        X = rng.poisson(np.repeat(params.rates, counts, axis=0)).astype(float)
        return X if self.exposure is None else np.insert(X, self.exposure, 1.0, axis=1)


def log_factorials(counts: np.ndarray) -> np.ndarray:
    """log x! of whole numbers: looked up where they are small, which takes a tenth of the time."""
    most = float(counts.max(initial=0.0))
    if most > 1 << 16:
        return gammaln(counts + 1.0)
    return gammaln(np.arange(most + 1) + 1.0)[counts.astype(np.intp)]
