r"""Multinomial components: the columns count what kinds a number of trials had; rows may differ in that number.

Density
    log p(x | k) = log n! - sum_j log x_j! + sum_j x_j log p_kj, with n = sum_j x_j trials, given which it is.
M-step
    p_kj = sum_x_kj / sum_j sum_x_kj.
"""

from typing import NamedTuple

import numpy as np

from fastem.families.linear import LinearFamily, logs
from fastem.families.poisson import log_factorials


class MultinomialParams(NamedTuple):
    """probabilities (K, d); those of a component sum to 1."""

    probabilities: np.ndarray


class Multinomial(LinearFamily):
    """The family of counts of kinds; `trials` is the number that `sample` draws."""

    between = {"probabilities": (0.0, 1.0)}

    def __init__(self, trials: int = 1, prior: float = 0.0):
        super().__init__(prior)
        self.trials = trials

    def natural(self, params: MultinomialParams) -> tuple[np.ndarray, np.ndarray]:
        """c = 0, s = log p."""
        (p,) = params
        if not (p >= 0).all() or not np.allclose(p.sum(axis=1), 1.0, atol=1e-4):
            raise ValueError("probabilities are negative, or do not sum to 1 in each component. Start elsewhere")
        return np.zeros(len(p)), logs(p)

    def expected(self, params: MultinomialParams) -> np.ndarray:
        """The probabilities times the trials."""
        return params.probabilities * (float(self.prior_mean.sum()) or 1.0)

    def maximum(self, means: np.ndarray) -> MultinomialParams:
        """The shares of the kinds; equal ones where there were no trials."""
        means = np.maximum(means, 0.0)
        total = means.sum(axis=1, keepdims=True)
        return MultinomialParams(np.where(total > 0, means / np.where(total > 0, total, 1.0), 1.0 / means.shape[1]))

    def base(self, X: np.ndarray) -> np.ndarray:
        """log n! - sum_j log x_j!."""
        counts = self.statistic(X)
        return log_factorials(counts.sum(axis=1)) - log_factorials(counts).sum(axis=1)

    def n_parameters(self, params: MultinomialParams) -> int:
        """d - 1 a component."""
        k, d = params.probabilities.shape
        return k * (d - 1)

    def sample(self, params: MultinomialParams, counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """counts[k] rows of each component, in order, of `trials` trials."""
        p = params.probabilities / params.probabilities.sum(axis=1, keepdims=True)
        return np.concatenate([rng.multinomial(self.trials, p[k], size=c) for k, c in enumerate(counts)]).astype(float)
