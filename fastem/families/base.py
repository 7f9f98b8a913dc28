"""The protocol between a family and the engine.

A family says what one component of a mixture is. It has three NamedTuples of arrays, each with a leading axis over
the K components, and five verbs:

- ``Params``: what a user reads. No derived array is among them, so that two of them can be combined linearly.
- ``Prepared``: what the kernels read, in the dtype of the data, made from Params once an iteration. It has a field
  ``shift`` (d,) in float64, which is subtracted from every row as it is loaded.
- ``Statistics``: additive sums over rows, float64, each with a further leading axis over the slots of a parallel loop.
  One of them is ``sum_w`` (K,), the sums of the responsibilities.

A family whose M-step may be too long, and lower the log-likelihood, has an attribute ``halvings``: how often `fit_em`
may go half the way back before it calls that the end.

A family whose components cannot give some rows has a method ``impossible(X, params, log_prob)``: the mask (n,) of the
rows that none of them can give. `log_prob` is finite there, so that a fit is.

Three more verbs are optional. Online algorithms (`fastem.engine.stepwise`, `fastem.engine.incremental`) ask for them,
since they keep statistics while the parameters, about which these are summed, move on: ``recentre``,
``expected_log_prob`` and ``expected_statistics``.

A product of families has no bricks but ``groups``: each with a `family`, and the number of columns that are its, from
`first` on. The engine runs their bricks (`fastem.engine.product`).

A family whose bricks may give no number has ``check_log_prob(log_prob)``, which raises where log p(x) is infinite.
One whose sums may lose digits, where ``blurs(prepared)`` says so, and it shows in the M-step only, tells by
``blurred(params, after, prepared)``, of the parameters before and after it, whether they did; then ``careful()`` is the
same family with slower sums that lose none.
One is for races on few rows: ``separable`` tells that several mixtures can be stepped as one with the components of
all; then all statistics have an axis over the components, and rows are computed with in their own dtype. Two more are
for bricks that need them: ``extra(dtype, d, k, lanes)`` is scratch that every tile gets beside its own, and
``order(X)`` the order (n,) in which tiles take the rows, or an empty one.

The two bricks see a tile of lanes (`fastem.kernels.mixture.Tile`), are compiled into the loop, and never allocate.
"""

from collections.abc import Callable, Collection
from typing import Any, NamedTuple, Protocol

import numpy as np


class Scale(NamedTuple):
    """Where the data lie and how far they spread: mean (d,), covariance (d, d), standard deviations (d,), all > 0."""

    mean: np.ndarray
    covariance: np.ndarray
    deviation: np.ndarray


def within(point: np.ndarray, plain: np.ndarray, low: float, high: float) -> np.ndarray:
    """`point`, in which a number beyond low or high goes half the way from `plain` to there instead."""
    point = np.where(point < low, (plain + low) / 2, point)
    return np.where(point > high, (plain + high) / 2, point)


class Plain:
    """The verbs of families that have no prior, sum about nothing that is held, and are seeded by their rows.

    `between` are the least and the largest values of those parameters that have some.
    """

    between: dict[str, tuple[float, float]] = {}

    def statistic(self, X: np.ndarray) -> np.ndarray:
        """The rows themselves."""
        return X.astype(np.float64, copy=False)

    def base(self, X: np.ndarray) -> np.ndarray | None:
        """Nothing."""
        return None

    def held_m_step(self, statistics: Any, params: Any, fixed: frozenset[str]) -> Any:
        """The M-step, where the best value of what is free does not depend on what is held."""
        return self.holding(self.m_step(statistics, params), params, fixed)  # type: ignore[attr-defined]

    def holding(self, params: Any, before: Any, fixed: frozenset[str]) -> Any:
        """With the fields of these names."""
        return params._replace(**{name: getattr(before, name) for name in fixed})

    def wide(self, params: Any) -> bool:
        """No."""
        return False

    def admitted(self, params: Any, plain: Any) -> Any:
        """The same but `between`: `prepare` tells whether they have a density."""
        if not self.between:
            return params
        return params._replace(
            **{name: within(getattr(params, name), getattr(plain, name), *ends) for name, ends in self.between.items()}
        )

    def n_held(self, params: Any, fixed: Collection[str]) -> int:
        """All, or the numbers in those arrays."""
        if set(params._fields) <= set(fixed):
            return self.n_parameters(params)  # type: ignore[attr-defined]
        return sum(getattr(params, name).size for name in params._fields if name in fixed)

    def log_prior(self, params: Any) -> float:
        """Nothing."""
        return 0.0

    def penalty(self, params: Any, sum_w: np.ndarray) -> float:
        """Nothing."""
        return 0.0


class Family(Protocol):
    """What the engine asks of a model of one component."""

    def statistic(self, X: np.ndarray) -> np.ndarray:
        """What starts are made from, (n, m) float64 for rows X (n, d): seeding measures distances there.

        NaN where an entry is missing; starts put the mean of the column in its place.
        """

    def base(self, X: np.ndarray) -> np.ndarray | None:
        """The part of log p(x | k) that `log_prob` leaves out, being the same for all k, (n,); None for 0."""

    def prepare(self, params: Any, dtype: np.dtype, weights: np.ndarray) -> Any:
        """Params, and the weights (K,) of the components -> Prepared. Rejects bad parameters with a `ValueError`."""

    def bricks(self, prepared: Any) -> tuple[Callable, Callable]:
        """The bricks that read `prepared`.

        log_prob(tile, prepared, out): out[k, b] = log p(x_b | k).
        accumulate(tile, resp, prepared, statistics, s): statistics[s] += sum_b resp[k, b] T(x_b).
        """

    def wide(self, params: Any) -> bool:
        """Whether float32 rows are to be computed with in float64."""

    def zeros(self, params: Any, slots: int, prepared: Any) -> Any:
        """Statistics of zeros with a leading slot axis, padded as the bricks need it."""

    def unpad(self, statistics: Any, params: Any, prepared: Any) -> Any:
        """Statistics without slot axis and padding: additive over chunks of one iteration."""

    def m_step(self, statistics: Any, params: Any) -> Any:
        """Statistics -> Params that maximise, or at least raise, the expected log-likelihood."""

    def held_m_step(self, statistics: Any, params: Any, fixed: frozenset[str]) -> Any:
        """The M-step among Params that have the parameters of these names, one or more, from `params`."""

    def holding(self, params: Any, before: Any, fixed: frozenset[str]) -> Any:
        """Params with the parameters of these names as they were `before`."""

    def admitted(self, params: Any, plain: Any) -> Any:
        """Params that were extrapolated, with sums of 1 to the last digit; `ValueError` if there are none.

        Numbers that left their domain fall back towards the EM step `plain`, each by itself: one probability that goes
        to 0 must not hold the others up.
        """

    def log_prior(self, params: Any) -> float:
        """Logarithm of the prior density of the parameters, but for a constant; 0 without one."""

    def penalty(self, params: Any, sum_w: np.ndarray) -> float:
        """What `m_step` takes off what it maximises, the expected log-likelihood and the prior's logarithm."""

    def rounding(self, params: Any, weights: np.ndarray) -> float:
        """Nats per unit weight by which rounding may hide or feign a change of the log-likelihood."""

    def recentre(self, statistics: Any, old: Any, new: Any) -> Any:
        """Statistics that were summed about `old` Params, as the same rows would give them about `new` ones. Exact."""

    def expected_log_prob(self, statistics: Any, params: Any) -> float:
        """sum_ik r_ik log p(x_i | k) from statistics summed about `params`."""

    def expected_statistics(self, params: Any, sum_w: np.ndarray) -> Any:
        """Statistics of components of total weights sum_w (K,) that are as `params` says: m_step gives `params`."""

    def collapsed(self, params: Any, statistics: Any) -> np.ndarray:
        """Mask (K,) of the components without a proper density."""

    def alike(self, params: Any, weights: np.ndarray) -> bool:
        """Whether all components are nearly the same."""

    def floored(self, params: Any, mask: np.ndarray, scale: Scale) -> Any:
        """Params with the masked components given the least proper density."""

    def reseeded(self, params: Any, k: int, row: np.ndarray, scale: Scale) -> Any:
        """Params with component k spread as the data about `row`."""

    def n_parameters(self, params: Any) -> int:
        """Free parameters of all components, without the mixture's weights."""

    def n_held(self, params: Any, fixed: Collection[str]) -> int:
        """How many of those are not free where the parameters of these names are held."""

    def sample(self, params: Any, counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """counts[k] rows of each component, in order."""
