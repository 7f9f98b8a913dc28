"""When EM stops, and the record of how it went."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

HISTORY = np.dtype([("log_likelihood", np.float64), ("seconds", np.float64)])


UNFINISHED = ("max_iter", "max_time", "callback", "interrupted")
"""Reasons to stop that a longer fit does not have."""


class Progress(NamedTuple):
    """What a callback is told after every iteration.

    log_likelihood is the total over rows of total weight `weight`; gain (inf where the parameters came from something
    else than an M-step) and remaining (the gain expected to come, inf where nothing tells yet) are in nats
    per unit weight; seconds count from the start of the fit.
    """

    n_iter: int
    log_likelihood: float
    weight: float
    gain: float
    remaining: float
    seconds: float
    rows_per_second: float
    params: Any


class Rules(NamedTuple):
    """tol in nats per unit weight; callback(progress) stops the fit by returning True; interrupted() likewise."""

    tol: float = 1e-4
    max_iter: int = 1000
    max_time: float | None = None
    callback: Callable[[Progress], Any] | None = None
    interrupted: Callable[[], bool] = lambda: False


class ConvergenceMonitor:
    """Follows the log-likelihood and says when to stop and why.

    EM converges linearly, so the gains g_t fall like a geometric series of rate a = g_t / g_{t-1}, and g_t a / (1 - a)
    is still to come (Aitken; Boehning et al. 1994, Annals of the Institute of Statistical Mathematics 46). Where rates
    mix, and above all near a saddle, where some are above 1, the rate rises as the faster modes die away. So the larger
    of the last two is used, and expected to go on rising for as long as the gains would last at it; and the fit ends
    when `PATIENCE` predictions in a row were below the tolerance.

    Leaps gain by fits and starts, so in an accelerated fit this is asked only of the plain steps since the last one.
    A few of them cannot tell near a flat top or a saddle, where their rate goes to 1 while hardly anything is gained.
    So such a fit is judged by its later half as well, leaps and all: where what remains falls at least like 1 / t, it
    is no more than that half has gained. This ends the fit, too; of less than `HALF` iterations, in which leaps leave
    most plateaus that they can leave, it judges none. A change of the parameters, at which SQUAREM, turboEM and daarem
    stop by default, is in the parameters' units, and small on every plateau.
    """

    PATIENCE = 3
    HALF = 100

    def __init__(self, rules: Rules, precision: float, n_rows: int = 0, started: float | None = None):
        self.rules, self.n_rows = rules, n_rows
        # Relative to the log-likelihood a row: a fall within `noise` is rounding, a gain within `still` is none.
        self.noise, self.still = (1e-11, 1e-12) if precision < 1e-10 else (2e-6, 2e-8)
        self.last = time.perf_counter()
        self.started = self.last if started is None else started
        self.history: list[tuple[float, float]] = []
        self.stop_reason: str | None = None
        self.fall = 0.0
        self.weight = 1.0
        self._gains: list[float] = []
        self._gains_from = 0.0
        self._below = 0
        self._since, self._leap = 0, -1

    @property
    def converged(self) -> bool:
        """Whether less than the tolerance is expected to be gained by going on."""
        return self.stop_reason == "converged"

    @property
    def n_iter(self) -> int:
        """Iterations whose log-likelihood is in the history."""
        return len(self.history)

    def begin(self) -> None:
        """The first E-step begins: rows per second count from here, not from the search for a start."""
        self.last = time.perf_counter()
        if self.stop_reason is None and self.n_iter >= self.rules.max_iter:
            self.stop_reason = "max_iter"

    def state(self) -> dict[str, Any]:
        """What `restore` needs to go on as if the fit had never stopped: numbers, texts and lists of them."""
        seconds = time.perf_counter() - self.started
        names = "history", "stop_reason", "weight", "_gains", "_gains_from", "_below", "_since", "_leap"
        return {"seconds": seconds, **{name: getattr(self, name) for name in names}}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from there; a fit that ended before it converged goes on too."""
        state = dict(state)
        self.started = time.perf_counter() - state.pop("seconds")
        vars(self).update(state)
        self.history = [(float(a), float(b)) for a, b in self.history]
        if self.stop_reason in UNFINISHED:
            self.stop_reason = None

    def leapt(self) -> None:
        """The parameters of the coming iteration are extrapolated, and its gain says nothing of the next."""
        self._gains, self._leap = [], self.n_iter

    def forget_gains(self) -> None:
        """After a repaired component the log-likelihood may fall, and all gains before predict nothing."""
        self._gains, self._below, self._since = [], 0, self.n_iter
        if self.stop_reason == "converged":
            self.stop_reason = "max_iter" if self.n_iter >= self.rules.max_iter else None

    def lost_since(self, n_iter: int) -> bool:
        """Whether the log-likelihood is lower than it was in that iteration."""
        return self.history[-1][0] < self.history[n_iter - 1][0]

    def back_to(self, n_iter: int) -> None:
        """The fit ends at that iteration, in which it had converged; what came after led to less."""
        del self.history[n_iter:]
        self.stop_reason = "converged"

    def rises(self, log_likelihood: float, weight: float, may_fall: Callable[[], float]) -> bool:
        """Whether a leap ended no further below the last iteration's log-likelihood than it may.

        ``may_fall()`` may be negative: it is then what must have been gained. An M-step's rounding is no excuse.
        """
        return self._fall(log_likelihood, weight, self.still) <= may_fall() / weight

    def fell(self, log_likelihood: float, weight: float) -> bool:
        """Whether it is lower than that of the last iteration, from which nothing but an M-step led here."""
        return bool(self._gains) and self._fall(log_likelihood, weight, self.noise) > 0

    def _fall(self, log_likelihood: float, weight: float, slack: float) -> float:
        """How far it is below that of the last iteration, per unit weight, beyond a relative slack."""
        if not np.isfinite(log_likelihood):
            return np.inf
        last = self.history[-1][0] / weight if self.history else -np.inf
        return float(last - log_likelihood / weight - slack * (1 + abs(last)))

    def last_gain(self) -> tuple[float, float]:
        """What the last iteration gained per unit weight, and the size of a gain that is rounding."""
        last = self.history[-1][0] / self.weight
        gain = last - self.history[-2][0] / self.weight if self.n_iter > 1 else np.inf
        return gain, self.still * (1 + abs(last))

    def observe(
        self, log_likelihood: float, weight: float, params: Any, may_fall: Callable[[], float] = lambda: 0.0
    ) -> bool:
        """Record an iteration's log-likelihood; False if it fell or is no number: its parameters are no improvement.

        ``may_fall()`` is how far a sound M-step may have lowered it.
        """
        self.weight = weight = max(weight, np.finfo(float).tiny)
        now = time.perf_counter()
        if not np.isfinite(log_likelihood):
            self.stop_reason = "not_finite"
            return False
        mean = log_likelihood / weight
        gain = mean - self._gains_from / weight if self._gains else np.inf
        noise = self.noise * (1 + abs(mean))
        if gain < -noise and -gain - noise > may_fall() / weight:
            self.stop_reason, self.fall = "decreased", -gain
            return False
        self._gains.append(gain)
        self._gains_from = log_likelihood
        self.history.append((log_likelihood, now - self.started))
        predicted = self._remaining(self.still * (1 + abs(mean)), noise)
        remaining = min(predicted, self._later_half(1)[0])
        speed = self.n_rows / max(now - self.last, 1e-9)
        self.last = now
        progress = Progress(self.n_iter, log_likelihood, weight, gain, remaining, now - self.started, speed, params)
        self.stop_reason = self._stop(progress, predicted)
        return True

    def _remaining(self, still: float, noise: float) -> float:
        if -noise <= self._gains[-1] <= still:
            return 0.0
        if len(self._gains) > 1 and self._gains[-1] * self._gains[-2] < 0:
            return abs(self._gains[-1])  # it turns, under a penalty or in rounding: no series to extrapolate
        gains = [abs(g) for g in self._gains[-4:] if np.isfinite(g)]  # a penalised fit may come from above
        rates = [b / a if a > 0 else np.inf for a, b in zip(gains, gains[1:], strict=False)][-2:]
        if len(rates) < 2 or max(rates) >= 1:
            return np.inf
        rate = max(rates) + max(rates[1] - rates[0], 0.0) / (1 - max(rates))
        return gains[-1] * rate / (1 - rate) if rate < 1 else np.inf

    def _later_half(self, least: int) -> tuple[float, bool]:
        """Gained by the later half of the iterations since a repair, or the last `least`; inf if there are fewer.

        And whether no more than that remains: there are leaps in that half, and its gains fall like 1 / t^2, by half
        from its first part to its second, at which a third more is allowed for what leaps leave to chance.
        """
        last = self.n_iter - 1
        first = last - max((last - self._since + 1) // 2, least)
        if first < self._since or self._leap < 0:
            return np.inf, False
        before, middle, now = (self.history[i][0] for i in (first, (first + last) // 2, last))
        falls = self._leap >= first and abs(now - middle) <= 2 / 3 * abs(middle - before)
        return abs(now - before) / self.weight, falls

    def _stop(self, progress: Progress, predicted: float) -> str | None:
        rules = self.rules
        wants_stop = rules.callback is not None and bool(rules.callback(progress))
        self._below = self._below + 1 if predicted < rules.tol else 0
        gained, falls = self._later_half(self.HALF)
        if self._below >= self.PATIENCE or (self._below and predicted == 0) or (falls and gained < rules.tol):
            return "converged"
        if wants_stop:
            return "callback"
        if rules.interrupted():
            return "interrupted"
        if rules.max_time is not None and progress.seconds >= rules.max_time:
            return "max_time"
        return "max_iter" if self.n_iter >= rules.max_iter else None
