"""Mixtures in which some rows' components are known: those keep them, and the E-step is of the others."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from fastem.engine import tree
from fastem.engine.chunks import Chunk
from fastem.engine.model import Mixture, MixtureParams, MixtureStatistics


class LabelledMixture(Mixture):
    """`known` are the rows of each component that is known of some; in the other chunks these have the weight 0."""

    def __init__(
        self,
        family: Any,
        n_jobs: int | None,
        known: dict[int, Chunk],
        fixed: frozenset[str] = frozenset(),
        concentration: float = 1.0,
    ):
        super().__init__(family, n_jobs, fixed, concentration)
        self.known = known

    def e_step(self, params: MixtureParams, chunks: Iterable[Chunk]) -> MixtureStatistics:
        """Expected statistics; a known row adds log a_k p(x | k) and its moments to its own component."""
        total = super().e_step(params, chunks)
        for k, chunk in self.known.items():
            one = np.arange(len(params.weights)) == k
            alone = MixtureParams(np.ones(1), self.family.kept(params.components, one))
            part = super().e_step(alone, [chunk])
            with np.errstate(divide="ignore"):
                log_weight = float(np.log(params.weights[k]))
            total = MixtureStatistics(
                total.log_likelihood + part.log_likelihood + part.weight * log_weight,
                total.weight + part.weight,
                tree.mapped(lambda whole, one, k=k: _added(whole, one, k), total.components, part.components),
            )
        return total


def _added(whole: np.ndarray, part: np.ndarray, k: int) -> np.ndarray:
    """Sums of component k alone added to those of all; of a kind that all share they have the same shape."""
    whole = np.array(whole)
    if whole.shape == part.shape:
        return whole + part
    if part.shape != (1, *whole.shape[1:]):
        raise ValueError(
            f"statistics of one component have the shape {part.shape}, and those of all {whole.shape}; with labels "
            "each of the family's statistics must have its first axis over the components"
        )
    whole[k] += part[0]
    return whole
