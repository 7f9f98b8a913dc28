r"""Bernoulli components: every column is 0 or 1, independent of the others given the component.

Density
    log p(x | k) = sum_j x_j log p_kj + (1 - x_j) log(1 - p_kj).
M-step
    p_k = sum_x_k / sum_w_k.
"""

from typing import NamedTuple

import numpy as np

from fastem.families.linear import LinearFamily, logs


class BernoulliParams(NamedTuple):
    """probabilities (K, d) of a 1."""

    probabilities: np.ndarray


class Bernoulli(LinearFamily):
    """The family of independent zeros and ones."""

    between = {"probabilities": (0.0, 1.0)}

    def terms(self, params: BernoulliParams) -> tuple[np.ndarray, np.ndarray]:
        """c = log(1 - p), s = log p - log(1 - p)."""
        (p,) = params
        _check_probabilities(p)
        no, yes = logs(1 - p), logs(p)
        return no, yes - no

    def expected(self, params: BernoulliParams) -> np.ndarray:
        """The probabilities."""
        return params.probabilities

    def excluded(self, X: np.ndarray, params: BernoulliParams) -> np.ndarray:
        """Those that have no 1 where the row has it, or no 0."""
        return super().excluded(X, params) | ((X < 1).astype(float) @ (params.probabilities == 1).T.astype(float) > 0)

    def maximum(self, means: np.ndarray) -> BernoulliParams:
        """The means, within 0 and 1 whatever rounding did."""
        return BernoulliParams(np.clip(means, 0.0, 1.0))

    def n_parameters(self, params: BernoulliParams) -> int:
        """One a component and column."""
        return params.probabilities.size

    def sample(self, params: BernoulliParams, counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """counts[k] rows of each component, in order."""
        p = np.repeat(params.probabilities, counts, axis=0)
        return (rng.random(p.shape) < p).astype(float)


def _check_probabilities(p: np.ndarray) -> None:
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"probabilities go from {p.min():.3g} to {p.max():.3g}; they lie in 0 to 1. Start elsewhere")
