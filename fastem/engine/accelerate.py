r"""Fewer EM steps: parameters extrapolated from the last ones, and never at the price of a lower log-likelihood.

EM is a map g whose error shrinks by a constant factor a step, near 1 where much is unobserved. Both methods see the
parameters as one vector x, and the residual f = g(x) - x.

SQUAREM (Varadhan and Roland 2008, Scandinavian Journal of Statistics 35, scheme S3): after the two steps x, g(x),
g(g(x)) with r = f(x), v = f(g(x)) - r and a = -|r| / |v|, go to x - 2 a r + a^2 v; here |v| / |r| is the largest of
those of each kind of parameter, so that units do not matter.

Anderson (Henderson and Varadhan 2019, Journal of Computational and Graphical Statistics 28, DAAREM): the last m
differences dx and df of x and f; go to g(x) - (dx + df) c, with c the least squares solution of df c = f, damped, and
begun anew after m steps.

A point to go to is only proposed: `fit_em` takes it if it has a density and the log-likelihood, which its E-step
gives anyway, has not fallen (under a ridge: no more than the penalty has); else it goes on from g(x), and has lost that
one E-step.
"""

from typing import Any, Protocol

import numpy as np
from scipy.optimize import brentq

from fastem.engine import tree

FIRST = 2
"""Plain steps before the first leap is prepared, in which easy fits end."""

REST = 8
"""Plain steps in which Aitken's prediction settles, and an accelerated fit may end."""

STILL = 64 * float(np.finfo(float).eps)
"""Change of a kind of parameter, relative to its size, below which it is rounding and says nothing of the rate."""

HALVINGS = 6
"""Times that a point without a density is moved half the way back to the plain step."""

METHODS = "squarem", "anderson"


class Accelerator(Protocol):
    """Where to go from x with g(x) = `after`, both as vectors; None to go to `after`."""

    def propose(self, x: np.ndarray, after: np.ndarray, parts: list[slice]) -> np.ndarray | None:
        """The point to go to; `parts` are where in x each kind of parameter stands."""

    def judged(self, accepted: bool) -> None:
        """Whether the point that was proposed last was an improvement."""

    def reset(self) -> None:
        """Forget: the next x does not follow from the last."""

    def state(self) -> tuple[list[float], list[np.ndarray]]:
        """Numbers and vectors for `restore`."""

    def restore(self, numbers: list[float], vectors: list[np.ndarray]) -> None:
        """Go on from a `state`."""


class Squarem:
    """Steps of length a, at most `most`, which grows fourfold while the longest are accepted."""

    GROWTH = 4.0

    def __init__(self) -> None:
        self.most = self.GROWTH
        self.length = 1.0
        self.first: np.ndarray | None = None

    def reset(self) -> None:
        """Begin with two plain steps."""
        self.first = None

    def propose(self, x: np.ndarray, after: np.ndarray, parts: list[slice]) -> np.ndarray | None:
        """After every second step the extrapolated point."""
        if self.first is None:
            self.first = x
            return None
        r, f = x - self.first, after - x
        v, start = f - r, self.first
        self.first = None
        ratios = [np.linalg.norm(v[part]) / norm for part, norm in zip(parts, _moved(r, after, parts)) if norm > 0]
        if not any(ratios):
            return None
        # The fastest kind sets the pace: where Gaussians overlap, a mean of the kinds takes more E-steps.
        self.length = min(1.0 / float(max(ratios)), self.most)
        if self.length <= 1.0:
            self.length = 1.0
            return None
        return start + 2 * self.length * r + self.length**2 * v

    def state(self) -> tuple[list[float], list[np.ndarray]]:
        """Numbers and vectors for `restore`."""
        return [self.most, self.length], [] if self.first is None else [self.first]

    def restore(self, numbers: list[float], vectors: list[np.ndarray]) -> None:
        """Go on from a `state`."""
        self.most, self.length = numbers
        self.first = vectors[0] if vectors else None

    def judged(self, accepted: bool) -> None:
        """Longer steps after the longest was accepted, shorter ones after a refusal."""
        if not accepted:
            self.most = max(self.GROWTH, self.most / self.GROWTH)
        elif self.length == self.most:
            self.most *= self.GROWTH


class Anderson:
    """Differences of up to `order` steps, damped the less the longer all went well."""

    KAPPA, BASE, LEAST = 10, 1.2, -50

    def __init__(self, order: int = 10) -> None:
        self.order = order
        self.trust = 0
        self.reset()

    def reset(self) -> None:
        """Forget the differences."""
        self.last: tuple[np.ndarray, np.ndarray] | None = None
        self.dx: list[np.ndarray] = []
        self.df: list[np.ndarray] = []

    def propose(self, x: np.ndarray, after: np.ndarray, parts: list[slice]) -> np.ndarray | None:
        """The combination of the last points whose residual is least."""
        f = after - x
        if len(self.dx) >= min(self.order, max(1, x.size // 2)):
            del self.dx[0], self.df[0]
        if self.last is not None:
            self.dx.append(x - self.last[0])
            self.df.append(f - self.last[1])
        self.last = x, f
        if not self.dx:
            return None
        scale = np.zeros(x.size)
        for part, norm in zip(parts, _moved(f, after, parts)):  # in units of its own change
            scale[part] = 1.0 / norm if norm > 0 else 0.0
        c = self._damped(scale[:, None] * np.stack(self.df, axis=1), scale * f)
        return after - (np.stack(self.dx, axis=1) + np.stack(self.df, axis=1)) @ c

    def _damped(self, df: np.ndarray, f: np.ndarray) -> np.ndarray:
        """Ridge regression whose coefficients have a share of the least squares ones' length."""
        u, s, vt = np.linalg.svd(df, full_matrices=False)
        live = s > 1e-12 * s[0] if s[0] > 0 else np.zeros(len(s), bool)
        if not live.any():
            return np.zeros(df.shape[1])
        s, projected, vt = s[live], (u.T @ f)[live], vt[live]
        share = 1.0 / (1.0 + self.BASE ** (self.KAPPA - self.trust))
        whole = np.linalg.norm(projected / s)

        def excess(log_ridge: float) -> float:
            return float(np.linalg.norm(s * projected / (s**2 + np.exp(log_ridge))) - np.sqrt(share) * whole)

        low, high = 2 * np.log(s[-1]) - 40, 2 * np.log(s[0]) + 40
        ridge = np.exp(brentq(excess, low, high)) if excess(low) > 0 > excess(high) else 0.0
        return vt.T @ (s * projected / (s**2 + ridge))

    def state(self) -> tuple[list[float], list[np.ndarray]]:
        """Numbers and vectors for `restore`."""
        return [self.trust], [*(self.last or ()), *self.dx, *self.df]

    def restore(self, numbers: list[float], vectors: list[np.ndarray]) -> None:
        """Go on from a `state`."""
        self.reset()
        self.trust = int(numbers[0])
        if vectors:
            self.last = vectors[0], vectors[1]
            rest = vectors[2:]
            self.dx, self.df = rest[: len(rest) // 2], rest[len(rest) // 2 :]

    def judged(self, accepted: bool) -> None:
        """Trust grows by one, and falls by the order."""
        self.trust = min(self.trust + 1, self.KAPPA) if accepted else max(self.trust - self.order, self.LEAST)
        if not accepted:
            self.reset()


def _moved(change: np.ndarray, after: np.ndarray, parts: list[slice]) -> list[float]:
    """Norm of the change of each kind of parameter; 0 where that is rounding."""
    norms = [float(np.linalg.norm(change[part])) for part in parts]
    return [norm if norm > STILL * np.linalg.norm(after[part]) else 0.0 for norm, part in zip(norms, parts)]


class Acceleration:
    """When to extrapolate in one fit, and what became of it.

    Soonest seen is convergence in plain steps, whose gains can be predicted: after two leaps that gained less than the
    tolerance come `REST` of them, and where they do not end the fit, leaps must gain less before the next. Where no
    rest can tell, the later half of the fit does (`ConvergenceMonitor`).
    """

    def __init__(self, method: str, tol: float) -> None:
        self.method: Accelerator = Squarem() if method == "squarem" else Anderson()
        self.tol = tol
        self.accepted = self.refused = 0
        self._small = self._rests = 0
        self._rest = FIRST
        self._gain, self._leapt = 0.0, False

    def next(self, model: Any, params: Any, after: Any) -> Any:
        """Parameters to go to in place of `after`, between it and the method's point; None where there are none."""
        if self._rest:
            self._rest -= 1
            return None
        x, plain = tree.to_vector(params), tree.to_vector(after)
        ends = np.cumsum([0, *(np.size(leaf) for leaf in tree.leaves(after))])
        point = self.method.propose(x, plain, [slice(a, b) for a, b in zip(ends, ends[1:])])
        if point is None or not np.isfinite(point).all():
            return None
        for _ in range(HALVINGS):
            guess = model.admitted(tree.from_vector(after, point), after)
            if guess is not None:
                return guess
            point = (point + plain) / 2
        self.judged(False)
        return None

    def judged(self, accepted: bool) -> None:
        """Whether the log-likelihood of the last point was higher."""
        self._leapt = accepted
        self.accepted += accepted
        self.refused += not accepted
        self.method.judged(accepted)

    def watch(self, gain: float, still: float) -> None:
        """Told the gain of every iteration, in nats per unit weight; `still` is one that is rounding."""
        self._gain += gain
        if not self._leapt or self._rest:
            return
        self._small = self._small + 1 if abs(self._gain) <= max(self.tol / 4**self._rests, still) else 0
        self._gain, self._leapt = 0.0, False
        if self._small >= 2:
            self._small, self._rest = 0, REST
            self._rests += 1
            self.method.reset()

    def reset(self) -> None:
        """The parameters were changed by something else than EM."""
        self._small, self._gain = 0, 0.0
        self.method.reset()

    def state(self) -> tuple[list[float], list[np.ndarray]]:
        """Numbers and vectors for `restore`."""
        numbers, vectors = self.method.state()
        mine = [self.accepted, self.refused, self._small, self._rest, self._rests, int(self._leapt), self._gain]
        return [*mine, *numbers], vectors

    def restore(self, numbers: list[float], vectors: list[np.ndarray]) -> None:
        """Go on from a `state`."""
        self.accepted, self.refused, self._small, self._rest, self._rests = map(int, numbers[:5])
        self._leapt, self._gain = bool(numbers[5]), numbers[6]
        self.method.restore(numbers[7:], vectors)

    def record(self) -> dict[str, int]:
        """How many extrapolations were taken, and how many were not."""
        return {"accepted": self.accepted, "refused": self.refused}
