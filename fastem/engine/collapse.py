"""What is done about components that lost their rows or their volume, or that all are one and the same."""

from typing import Any

import numpy as np

from fastem.engine.chunks import Chunk, chunk


class Collapse:
    """The policy for collapsed components, and the record of what it did.

    Parameters
    ----------
    policy : {"restart", "drop", "raise"}
    sample : Chunk
        Rows among which a restarted component looks for the worst explained.
    scale : NamedTuple
        Spread of the data, as the family's `reseeded` and `floored` want it.
    rng : numpy.random.Generator
    """

    RESTARTS = 3
    WORST = 0.05
    ALONE = 1e12
    """Nats that a row loses with its component, from which on the one that got it would lose its own rows."""

    def __init__(self, policy: str, sample: Chunk, scale: Any, rng: np.random.Generator):
        self.policy, self.sample, self.scale, self.rng = policy, sample, scale, rng
        self.restarted: list[dict[str, int]] = []
        self.dropped: list[dict[str, int]] = []
        self.floored: list[int] = []
        self.parted: list[int] = []
        self.alone: set[int] = set()
        """Those of `floored` that hold rows far from all other components."""
        self.unparted: Any = None
        """Parameters of a fit that had converged where all components were nearly the same."""
        self._hopeless: bool | None = None

    def settled(self, params: Any, monitor: Any) -> Any:
        """The end of a fit: `params`, or those from which the components were parted, if that gained nothing."""
        if self.unparted is None or not monitor.lost_since(self.parted[-1]):
            return params
        monitor.back_to(self.parted[-1])
        return self.unparted

    def bind(self, model: Any) -> "Bound":
        """The repair of `fit_em` for one model."""
        return Bound(self, model)

    def record(self) -> dict[str, list]:
        """What was done, for `diagnostics_` and for a checkpoint."""
        return {name: getattr(self, name) for name in ("restarted", "dropped", "floored", "parted")}

    def restore(self, record: dict[str, list]) -> None:
        """Go on from a record."""
        vars(self).update(record)

    @property
    def only_alone(self) -> bool:
        """Whether nothing was done but to keep such components."""
        return not self.restarted and not self.dropped and self.alone.issuperset(self.floored)

    def __bool__(self) -> bool:
        return bool(self.restarted or self.dropped or self.floored)


class Bound:
    """`Collapse` with its model: called after every M-step."""

    def __init__(self, policy: Collapse, model: Any):
        self.policy, self.model = policy, model

    def __call__(self, params: Any, statistics: Any, n_iter: int, converged: bool = False) -> tuple[Any, bool]:
        """Parameters without collapsed components, and whether any was moved, dropped or floored for the first time."""
        policy, family = self.policy, self.model.family
        mask = family.collapsed(params.components, statistics.components)
        held = np.zeros(len(mask), bool)
        if policy.floored and policy.policy != "drop":
            held = np.isin(np.arange(len(mask)), policy.floored)
        none_left = bool((mask | held).all())
        if held.any():  # collapsed or not: with missing entries EM shrinks them from their floor by and by
            params = self.model.floored(params, held, policy.scale)
            mask &= ~held
        if not mask.any():
            return self._parted(params, n_iter) if converged else (params, False)
        if policy.policy == "raise":
            raise ValueError(
                f"component(s) {', '.join(map(str, np.flatnonzero(mask)))} collapsed in iteration {n_iter}: "
                "they hold no row, or rows of a subspace. Use fewer components, a larger reg_covar (or prior), or "
                "on_collapse='restart' or 'drop'"
            )
        params = self.model.floored(params, mask, policy.scale)
        labels = self.model.rows(params, policy.sample, "labels")["labels"]
        if policy.policy == "drop":
            return self._dropped(params, mask, labels, n_iter)
        events = len(policy.restarted) + len(policy.floored)
        for k in np.flatnonzero(mask):
            alone = not none_left and self._alone(params, int(k), labels)
            params = self._restart_or_keep(params, int(k), n_iter, none_left, alone)
        return params, len(policy.restarted) + len(policy.floored) > events

    def _dropped(self, params: Any, mask: np.ndarray, labels: np.ndarray, n_iter: int) -> tuple[Any, bool]:
        """Without the components in the mask but those that have rows of their own; the heaviest, where all are."""
        policy = self.policy
        drop = mask & [not (m and self._alone(params, k, labels)) for k, m in enumerate(mask)]
        if drop.all():
            drop[np.argmax(params.weights)] = False
        policy.floored = np.flatnonzero((mask & ~drop)[~drop]).tolist()
        policy.alone = set() if mask.all() else set(policy.floored)
        if not drop.any():
            return params, False
        policy.dropped += [{"iteration": n_iter, "component": int(k)} for k in np.flatnonzero(drop)]
        keep = params.weights[~drop]
        kept = self.model.family.kept(params.components, ~drop)
        return params._replace(weights=keep / keep.sum(), components=kept), True

    def _restart_or_keep(self, params: Any, k: int, n_iter: int, none_left: bool, alone: bool) -> Any:
        policy = self.policy
        times = sum(event["component"] == k for event in policy.restarted)
        if alone or none_left or times >= policy.RESTARTS or self._hopeless():
            if k not in policy.floored:
                policy.floored.append(k)
                policy.alone |= {k} if alone else set()
            return params
        policy.restarted.append({"iteration": n_iter, "component": k})
        return self._moved(params, k)

    def _alone(self, params: Any, k: int, labels: np.ndarray) -> bool:
        """Whether k, to which rows of the sample belong as the labels say, holds one far from all other components."""
        X = self.policy.sample.X[labels == k]
        if not len(X):
            return False
        weights = np.where(np.arange(len(params.weights)) == k, 0.0, params.weights)
        with_it = self.model.rows(params, chunk(X), "log_prob")["log_prob"]
        try:
            without = self.model.rows(params._replace(weights=weights), chunk(X), "log_prob")["log_prob"]
        except ValueError:  # of a family whose densities overflow there
            return True
        return bool((with_it - without > self.policy.ALONE).any())

    def _parted(self, params: Any, n_iter: int) -> tuple[Any, bool]:
        """Once in a fit, if it would end where all components are nearly the same: all but the heaviest moved.

        Such a point is a saddle of the log-likelihood or close to one. EM leaves it very slowly, for the gains are of
        fourth order in the distances, and a random start on many rows begins there.
        """
        policy, weights = self.policy, params.weights
        alike = len(weights) > 1 and self.model.family.alike(params.components, weights)
        if not alike or policy.parted or self._hopeless():
            return params, False
        policy.parted.append(n_iter)
        policy.unparted = params
        for k in np.flatnonzero(np.arange(len(weights)) != np.argmax(weights)):
            params = self._moved(params, int(k))
        return params, True

    def _moved(self, params: Any, k: int) -> Any:
        """Component k about one of the rows that are explained worst."""
        policy, family = self.policy, self.model.family
        log_prob = self.model.rows(params, policy.sample, "log_prob")["log_prob"]
        worst = np.argsort(log_prob, kind="stable")[: max(1, int(policy.WORST * len(log_prob)))]
        row = policy.sample.X[policy.rng.choice(worst)].astype(np.float64)
        weights = params.weights.copy()
        weights[k] = 1.0 / len(weights)
        components = family.reseeded(params.components, k, row, policy.scale)
        return params._replace(weights=weights / weights.sum(), components=components)

    def _hopeless(self) -> bool:
        """Whether the data themselves have no volume, so that a new place cannot help."""
        policy, family = self.policy, self.model.family
        if self.model.fixed:
            return True  # what is held must not be moved
        if policy._hopeless is None:
            spread = family.spread_about(policy.sample.X[:1].astype(np.float64), policy.scale)
            policy._hopeless = bool(family.singular(spread).any())
        return policy._hopeless
