"""Starts of mixtures of regressions: lines through a few rows each, since rows near each other share no line."""

from collections.abc import Iterator

import numpy as np

from fastem.engine.initialize import race
from fastem.engine.model import MixtureParams
from fastem.starts import RUNNERS, Start, starting_params


def starting_lines(init_params: str, start: Start, random_state: np.random.RandomState) -> MixtureParams:
    """The parameters EM begins with: "race" is one between lines through few rows, the others are those of mixtures."""
    if init_params == "race":
        rng = np.random.default_rng(random_state.randint(np.iinfo(np.int32).max))
        return race(start.model, _candidates(start, rng), start.sample, start.floored, start.stop)
    return starting_params(init_params, start, random_state)


def _candidates(start: Start, rng: np.random.Generator) -> Iterator[MixtureParams]:
    """Sets of K lines: the rows of half of them are drawn far from the lines so far, as in k-means++."""
    work = start.T.size * start.k
    runners = int(np.clip(4_000_000 // work, RUNNERS, 4 * RUNNERS))
    for r in range(runners):
        yield start.floored(_lines(start, rng, far=r % 2 == 0))


def _lines(start: Start, rng: np.random.Generator, far: bool) -> MixtureParams:
    family, T, k = start.model.family, start.T, start.k
    n, d = T.shape
    weight = start.sample.sample_weight if start.sample.sample_weight.size else np.ones(n)
    linked = family.linked(T)
    centre = family.centre if family.centre.size else np.zeros(d)
    x = T[:, :-1] - centre[:-1]
    nearest, chosen = np.full(n, np.inf), np.zeros((n, k))
    for c in range(k):
        odds = weight * (nearest if far and c else 1.0)
        total = odds.sum()
        odds = odds / total if np.isfinite(total) and total > 0 else weight / weight.sum()
        rows = rng.choice(n, min(family.start_rows * (d + 1), int((odds > 0).sum())), replace=False, p=odds)
        chosen[rows, c] = weight[rows]
        coef, levels, _ = family.least_squares(T, chosen[:, [c]])
        nearest = np.minimum(nearest, (linked - x @ coef[0] - levels[0]) ** 2)
    coef, levels, _ = family.least_squares(T, chosen)
    variance = max(float(weight @ nearest / weight.sum()), 0.0)
    return MixtureParams(np.full(k, 1.0 / k), family.make(coef, levels, np.full(k, variance)))
