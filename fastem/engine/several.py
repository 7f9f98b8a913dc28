"""Several mixtures of as many components each, stepped at once: on few rows nearly all of a step is Python's."""

from collections.abc import Callable
from typing import Any

import numpy as np

from fastem.engine import accumulate, tree
from fastem.engine.chunks import Chunk
from fastem.engine.em import em_step
from fastem.engine.model import Mixture, MixtureParams
from fastem.kernels.mixture import Tile, mixture_e_step

Step = Callable[[list[Any]], tuple[list[float], list[Any]]]
"""Mixtures -> the objective of each, and each after an EM step."""


def is_separable(model: Any) -> bool:
    """Whether mixtures can be stepped as one with the components of all."""
    return type(model) is Mixture and not model.fixed and getattr(model.family, "separable", False)


def joined(mixtures: list[MixtureParams]) -> MixtureParams:
    """Mixtures as if they were one, with the components of all."""
    components = tree.mapped(lambda *parts: np.concatenate(parts), *(mixture.components for mixture in mixtures))
    return MixtureParams(np.concatenate([mixture.weights for mixture in mixtures]), components)


def parted(together: MixtureParams, r: int) -> list[MixtureParams]:
    """The r mixtures that were joined."""
    weights, components = together
    leaves = zip(*(leaf.reshape(r, -1, *leaf.shape[1:]) for leaf in components))
    return [MixtureParams(w, type(components)(*own)) for w, own in zip(weights.reshape(r, -1), leaves)]


def step_of_one(model: Any, sample: Chunk, repair: Callable[[Any], Any]) -> Step:
    """An EM step on `sample` of one mixture."""

    def step(mixtures: list[Any]) -> tuple[list[float], list[Any]]:
        statistics, after = em_step(model, mixtures[0], [sample])
        return [model.objective(mixtures[0], statistics)], [repair(after)]

    return step


def step_of_several(model: Any, sample: Chunk, repair: Callable[[Any], Any]) -> Step | None:
    """An EM step on `sample` of several mixtures at once, or None where the family or the number of rows has none.

    All is done for all components together, as if they were of one mixture, but for the softmax of each. On rows enough
    for several slots the loop over the rows is what takes the time, and nothing is won.
    """
    if not is_separable(model):
        return None
    family = model.family
    (n, d), dtype = sample.X.shape, sample.X.dtype
    lanes, *slots = accumulate.grid(n, d, dtype)
    if max(slots) > 1:
        return None
    order, base = model.order(sample), model.base(sample)
    tiles: list[Tile] = []

    def tile_of(components: int) -> Tile:
        """Scratch that is made once, for the most components: there never are more than at first."""
        if not tiles or len(tiles[0].resp) < components:
            tiles[:] = [accumulate.scratch(family, dtype, d, components, lanes)._replace(order=order)]
        tile = tiles[0]
        tile.resp[components:] = tile.root[components:] = 0.0
        return tile

    def step(mixtures: list[MixtureParams]) -> tuple[list[float], list[MixtureParams]]:
        r, k = len(mixtures), len(mixtures[0].weights)
        weights, together = joined(mixtures)
        log_weights, prepared = model.prepare(MixtureParams(weights, together), dtype)
        sums, log_likelihood = family.zeros(together, 1, prepared), np.zeros(r)
        kernel = accumulate.from_factory(mixture_e_step, *family.bricks(prepared))
        kernel(0, 1, *sample, log_weights.reshape(r, k), prepared, sums, log_likelihood, tile_of(r * k))
        statistics = family.unpad(sums, together, prepared)
        stepped = family.m_step(statistics, together)
        if family.blurred(together, stepped, prepared):
            slower = Mixture(family.careful(), model.n_jobs, concentration=model.concentration)
            careful = step_of_several(slower, sample, repair)
            assert careful is not None
            return careful(mixtures)
        after = repair(MixtureParams(model.weights_of(statistics.sum_w.reshape(r, k)).ravel(), stepped))
        objectives = log_likelihood + base + [model.log_prior(one) for one in mixtures]
        return objectives.tolist(), parted(after, r)

    return step
