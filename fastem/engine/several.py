"""Several mixtures of as many components each, stepped at once: on few rows nearly all of a step is Python's."""

from collections.abc import Callable
from typing import Any

import numpy as np

from fastem.engine import accumulate, tree
from fastem.engine.chunks import Chunk
from fastem.engine.em import em_step
from fastem.engine.model import Mixture, MixtureParams

Step = Callable[[list[Any]], tuple[list[float], list[Any]]]
"""Mixtures -> the objective of each, and each after an EM step."""


def step_of_one(model: Any, sample: Chunk, repair: Callable[[Any], Any]) -> Step:
    """An EM step on `sample` of one mixture."""

    def step(mixtures: list[Any]) -> tuple[list[float], list[Any]]:
        statistics, after = em_step(model, mixtures[0], [sample])
        return [model.objective(mixtures[0], statistics)], [repair(after)]

    return step


def step_of_several(model: Any, sample: Chunk, repair: Callable[[Any], Any]) -> Step | None:
    """An EM step on `sample` of several mixtures at once, or None where the family or the number of rows has none.

    What is sized by the parameters is done for all components together, as if they were of one mixture; the loop over
    the rows runs for each mixture. On rows enough for several slots that loop is what takes the time.
    """
    if type(model) is not Mixture or model.fixed or not getattr(model.family, "separable", False):
        return None
    family = model.family
    (n, d), dtype = sample.X.shape, sample.X.dtype
    lanes, *slots = accumulate.grid(n, d, dtype)
    if max(slots) > 1:
        return None
    kernel_of, order, base = accumulate.from_factory, model.order(sample), model.base(sample)

    def step(mixtures: list[MixtureParams]) -> tuple[list[float], list[MixtureParams]]:
        r, k = len(mixtures), len(mixtures[0].weights)
        weights = np.stack([mixture.weights for mixture in mixtures])
        together = tree.mapped(lambda *parts: np.concatenate(parts), *(mixture.components for mixture in mixtures))
        log_weights, prepared = model.prepare(MixtureParams(weights.ravel(), together), dtype)
        parts = family.parts(prepared, r)
        sums = family.zeros(mixtures[0].components, r, parts[0])
        kernel = kernel_of(accumulate.mixture_e_step, *family.bricks(parts[0]))
        tiles = model.tiles.setdefault((dtype, d, k), [])
        tile = tiles.pop() if tiles else accumulate.scratch(family, dtype, d, k, lanes)
        log_likelihood = np.zeros((r, 1))
        slots = zip(*(leaf[:, None] for leaf in sums))
        ordered = tile._replace(order=order)
        for part, logs, slot, total in zip(parts, log_weights.reshape(r, 1, k), slots, log_likelihood):
            kernel(0, 1, *sample, logs, part, type(sums)(*slot), total, ordered)
        tiles.append(tile)
        whole = type(sums)(*(leaf[:, :k].reshape(1, r * k, *leaf.shape[2:]) for leaf in sums))
        statistics = family.unpad(whole, together, prepared)
        stepped = family.m_step(statistics, together)
        if family.blurred(together, stepped, parts[0]):
            careful = step_of_several(Mixture(family.careful(), model.n_jobs), sample, repair)
            assert careful is not None
            return careful(mixtures)
        sum_w = np.maximum(statistics.sum_w, 0.0).reshape(r, k)
        sum_w /= np.maximum(sum_w.sum(axis=1, keepdims=True), np.finfo(float).tiny)
        after = repair(MixtureParams(sum_w.ravel(), stepped))
        leaves = zip(*(leaf.reshape(r, k, *leaf.shape[1:]) for leaf in after.components))
        components = (type(together)(*own) for own in leaves)
        objectives = (log_likelihood[:, 0] + base + [family.log_prior(one.components) for one in mixtures]).tolist()
        return objectives, [MixtureParams(*own) for own in zip(sum_w, components)]

    return step
