"""A fit: a start, or the place where a checkpoint left off, then EM in one of its three forms; the best of several."""

from collections.abc import Callable
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from fastem.checkpoint import Checkpoint, Saved
from fastem.data import Data
from fastem.engine import stepwise
from fastem.engine.accelerate import Acceleration
from fastem.engine.collapse import Collapse
from fastem.engine.em import Position, fit_em
from fastem.engine.incremental import Incremental, Place, fit_incremental
from fastem.engine.model import Mixture, MixtureParams
from fastem.engine.monitor import ConvergenceMonitor, Rules
from fastem.engine.progressive import ProgressiveMonitor
from fastem.starts import Start

CUT_SHORT = "interrupted", "callback", "max_time"
"""Reasons to stop after which no other start is tried."""


class Plan(NamedTuple):
    """How the data are gone through."""

    algorithm: str = "batch"
    batch_size: int | None = None
    step: Callable[[int], float] | None = None
    held_out: Any = None
    accelerate: str | None = None
    labels: Any = None
    fixed: tuple[str, ...] = ()


def batch_size(plan: Plan, data: Data, k: int) -> int:
    """Rows of a batch, enough to move K components: many small ones for "stepwise", some 200 for "incremental"."""
    if plan.batch_size is not None:
        return plan.batch_size
    least = max(2000, 50 * k)
    rows = data.n_rows or 200 * least
    return min(rows, least if plan.algorithm == "stepwise" else int(np.clip(rows // 200, least, 1 << 18)))


class Outcome(NamedTuple):
    """Where a fit ended, and how."""

    params: Any
    monitor: Any
    collapse: Collapse
    acceleration: Acceleration | None = None

    def record(self) -> dict[str, Any]:
        """What happened on the way, for `diagnostics_`."""
        return self.collapse.record() | ({"extrapolated": self.acceleration.record()} if self.acceleration else {})

    @property
    def score(self) -> float:
        """Log-likelihood per unit weight, by which fits from several starts are compared."""
        return self.monitor.history[-1][0] / self.monitor.weight if self.monitor.history else -np.inf


class Fitting(NamedTuple):
    """What all fits from one estimator's starts share; `starting()` gives the parameters of the next start."""

    model: Mixture
    data: Data
    start: Start
    rules: Rules
    plan: Plan
    on_collapse: str
    starting: Callable[[], Any]
    checkpoint: Checkpoint
    random_state: np.random.RandomState
    rng: np.random.Generator
    seed: int
    started: float

    def run(self, n_init: int, saved: Saved | None) -> Outcome:
        """The best of `n_init` fits; the first of them goes on where `saved` left off."""
        best = self._best_of(saved)
        for i in range(saved.plain["start"] if saved else 0, n_init):
            outcome = self._one(i, best, saved)
            saved = None
            if best is None or outcome.score > best.score:
                best = outcome
            if outcome.monitor.stop_reason in CUT_SHORT:
                break
        assert best is not None
        return best

    def _one(self, i: int, best: Outcome | None, saved: Saved | None) -> Outcome:
        collapse, monitor = Collapse(self.on_collapse, self.start.sample, self.start.scale, self.rng), self._monitor()
        repair, data, plan = collapse.bind(self.model), self.data, self.plan
        batch = plan.algorithm == "batch"
        acceleration = Acceleration(plan.accelerate, self.rules.tol) if batch and plan.accelerate else None
        place = self._resumed(saved, monitor, collapse, acceleration) if saved else self._begin()

        def keep(place: Any) -> None:
            self._write(i, place, monitor, collapse, best, acceleration)

        if batch:
            params = fit_em(self.model, place, data.chunks, monitor, repair, keep, acceleration)
            params = params if monitor.stop_reason in CUT_SHORT else collapse.settled(params, monitor)
        elif plan.algorithm == "incremental":
            chunks = data.batches(batch_size(self.plan, self.data, self.start.k))
            params = fit_incremental(self.model, place, chunks, monitor, repair, keep)
        else:
            batches = data.batches(batch_size(self.plan, self.data, self.start.k), self.seed, monitor.n_passes)
            schedule = stepwise.Schedule(plan.step or stepwise.StepSize())
            state = stepwise.fit_stepwise(self.model, place, batches, monitor, schedule, repair, keep)
            params = stepwise.estimate(self.model, state)
        return Outcome(params, monitor, collapse, acceleration)

    def _monitor(self) -> Any:
        if self.plan.algorithm == "stepwise":
            return ProgressiveMonitor(self.rules, self.plan.held_out)
        eps = float(np.finfo(self.data.dtype).eps)
        return ConvergenceMonitor(self.rules, eps, self.data.n_rows or 0, self.started)

    def _begin(self) -> Any:
        params = self.starting()
        if self.plan.algorithm == "stepwise":
            return stepwise.begin(self.model, params)
        return Position(params) if self.plan.algorithm == "batch" else Place(params)

    # To a checkpoint and back.

    def _write(self, i: int, place: Any, monitor: Any, collapse: Collapse, best: Outcome | None, acceleration) -> None:
        if self.checkpoint.path is None:
            return
        plain = {"start": i, "seed": self.seed, "monitor": monitor.state(), "collapse": collapse.record()}
        plain["rng"] = [self.random_state.get_state(), self.rng.bit_generator.state]
        trees = {"params": place.params}
        if collapse.unparted is not None:
            trees["unparted"] = collapse.unparted
        if self.plan.algorithm == "batch":
            plain["may_fall"] = place.may_fall(place.params)
            trees["before"] = place.before
            if acceleration is not None:
                plain["acceleration"], leaps = acceleration.state()
                trees["leaps"] = tuple(leaps)
            if place.plain is not None:
                trees["plain"] = place.plain
                plain["plain_may_fall"] = place.may_fall(place.plain)
        elif self.plan.algorithm == "stepwise":
            trees["state"] = place
            if monitor.best is not None:
                trees["best_state"] = monitor.best
        elif place.state is not None:
            trees |= {"state": place.state, "records": place.records.blocks()}
        if best is not None:
            plain["best"] = {"monitor": best.monitor.state(), "collapse": best.collapse.record()}
            trees["best_params"] = best.params
        self.checkpoint.write(plain, trees)

    def _resumed(self, saved: Saved, monitor: Any, collapse: Collapse, acceleration: Acceleration | None) -> Any:
        """Restore monitor, collapse, acceleration and random numbers; return the place."""
        collapse.restore(saved.plain["collapse"])
        legacy, state = saved.plain["rng"]
        self.random_state.set_state(tuple(legacy))
        self.rng.bit_generator.state = state
        params = saved.tree("params", any_params(self.start))
        if "unparted" in saved.arrays:
            collapse.unparted = saved.tree("unparted", params)
        if self.plan.algorithm == "batch":
            monitor.restore(saved.plain["monitor"])
            if acceleration is not None:
                acceleration.restore(saved.plain["acceleration"], list(saved.arrays.get("leaps", [])))
            leap = saved.tree("plain", params) if "plain" in saved.arrays else None
            fall, plain_fall = saved.plain["may_fall"], saved.plain.get("plain_may_fall", 0.0)
            return Position(params, saved.tree("before", params), lambda at: plain_fall if at is leap else fall, leap)
        expected = self.model.expected_statistics(params)
        if self.plan.algorithm == "stepwise":
            like = stepwise.begin(self.model, params)
            best = saved.tree("best_state", like) if "best_state" in saved.arrays else None
            monitor.restore(saved.plain["monitor"], best)
            return saved.tree("state", like)
        monitor.restore(saved.plain["monitor"])
        if "state" not in saved.arrays:
            return Place(params)
        records = chain.from_iterable(saved.arrays["records"])
        return Place(params, saved.tree("state", Incremental(params, expected, params)), records)

    def _best_of(self, saved: Saved | None) -> Outcome | None:
        if saved is None or "best" not in saved.plain:
            return None
        monitor = ConvergenceMonitor(self.rules, 0.0, started=self.started)
        collapse = Collapse(self.on_collapse, self.start.sample, self.start.scale, self.rng)
        # Progressive or not, what is asked of the monitor of a fit that is over stands in both.
        vars(monitor).update({k: v for k, v in saved.plain["best"]["monitor"].items() if k != "seconds"})
        monitor.history = [(float(a), float(b)) for a, b in monitor.history]
        collapse.restore(saved.plain["best"]["collapse"])
        return Outcome(saved.tree("best_params", any_params(self.start)), monitor, collapse)


def any_params(start: Start) -> Any:
    """Parameters of the form that the model has, whatever their values."""
    return MixtureParams(
        np.ones(1), start.model.family.spread_about(start.sample.X[:1].astype(np.float64), start.scale)
    )
