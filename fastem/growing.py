"""Starts of a mixture from a fit with one component less, as `select` makes them.

Verbeek, Vlassis and Kröse (2003), Efficient greedy learning of Gaussian mixture models, Neural Computation 15.
"""

import numpy as np

from fastem.engine.model import MixtureParams
from fastem.engine.several import joined, parted
from fastem.starts import Start

NEWCOMERS = 12
"""Starts with a component about a row that is badly explained, in a race."""

WORST = 0.05
"""Part of the rows that counts as badly explained."""


class Growth:
    """What the parameters `before` of a fit give to one of a component more; `raced` once its starts were in a race."""

    def __init__(self, before: MixtureParams):
        self.before = before
        self.raced = False

    def one(self, start: Start, rng: np.random.Generator) -> MixtureParams:
        """A component more about a row that those before explain badly, with the covariance of the data."""
        return self._about(start, self._worst(start, 1, rng)[0])

    def starts(self, start: Start, rng: np.random.Generator) -> list[MixtureParams]:
        """For a race: components more about several such rows, and each of those before cut in two."""
        self.raced = True
        family, (weights, components) = start.model.family, self.before
        grown = [self._about(start, row) for row in self._worst(start, NEWCOMERS, rng)]
        for k in range(len(weights)):
            halves = np.append(weights, weights[k] / 2)
            halves[k] /= 2
            grown.append(MixtureParams(halves, family.split(components, k, start.scale)))
        return parted(start.floored(joined(grown)), len(grown))

    def _worst(self, start: Start, size: int, rng: np.random.Generator) -> np.ndarray:
        """That many rows (m, d) of those explained worst, or fewer."""
        log_prob = start.model.rows(self.before, start.sample, "log_prob")["log_prob"]
        worst = np.argsort(log_prob, kind="stable")[: max(size, int(WORST * len(log_prob)))]
        rows = rng.choice(worst, size=min(size, len(worst)), replace=False)
        return start.sample.X[rows].astype(np.float64)

    def _about(self, start: Start, row: np.ndarray) -> MixtureParams:
        family, (weights, components) = start.model.family, self.before
        k = len(weights)
        components = family.kept(components, np.append(np.arange(k), np.argmax(weights)))
        components = family.reseeded(components, k, row, start.scale)
        return MixtureParams(np.append(weights * k, 1.0) / (k + 1), components)
