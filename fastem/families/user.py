"""A family that somebody wrote in NumPy, as the engine wants it: what it does not say is made of what it does."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastem.families.base import Plain

EPS = float(np.finfo(float).eps)


class UserSums(NamedTuple):
    """sum_w (K,), and what the family's own `statistics` gives."""

    sum_w: np.ndarray
    given: Any


class UserFamily(Plain):
    """The protocol over ``log_prob(X, params)``, ``statistics(X, resp)`` and ``m_step(statistics, params)``.

    `mapped` is the engine's `tree.mapped`, since parameters and statistics may be trees; `rows` (n, d) are those that
    components are spread over before they are moved to one of them.
    """

    def __init__(self, family: Any, mapped: Callable):
        self.family, self.mapped = family, mapped
        self.rows = np.zeros((0, 0))

    def log_prob(self, X: np.ndarray, params: Any) -> np.ndarray:
        """log p(x_i | k) (n, K), checked."""
        given = np.asarray(self.family.log_prob(X, params), dtype=np.float64)
        if given.ndim != 2 or len(given) != len(X):
            raise ValueError(
                f"log_prob of {self._name()} gave an array of shape {given.shape} for {len(X)} rows; "
                f"({len(X)}, K) is wanted: one column for each component"
            )
        if np.isnan(given).any() or (given == np.inf).any():
            row, k = np.argwhere(np.isnan(given) | (given == np.inf))[0]
            raise ValueError(
                f"log_prob of {self._name()} gave {given[row, k]} for row {row} of a chunk and component {k}; a "
                "number or -inf is wanted: keep its parameters off the border in m_step, e.g. variances above 0"
            )
        return given

    def statistics(self, X: np.ndarray, resp: np.ndarray, params: Any = None) -> UserSums:
        """The family's sums, with responsibilities (n, K) times the weights of the rows."""
        given = self.mapped(lambda leaf: np.asarray(leaf, dtype=np.float64), self.family.statistics(X, resp))
        return UserSums(resp.sum(axis=0), given)

    def m_step(self, statistics: UserSums, params: Any) -> Any:
        """The family's own; its arrays must have an axis of the components."""
        return self._checked(self.family.m_step(statistics.given, params), len(statistics.sum_w))

    def _checked(self, found: Any, k: int) -> Any:
        found = self.mapped(lambda leaf: np.array(leaf, float), found)
        self.mapped(lambda leaf: self._check_leaf(leaf, k), found)
        return found

    def _check_leaf(self, leaf: np.ndarray, k: int) -> None:
        if leaf.ndim < 1 or len(leaf) != k:
            raise ValueError(
                f"m_step of {self._name()} gave an array of shape {leaf.shape} for {k} components; the first axis is "
                f"theirs: ({k}, ...) is wanted"
            )

    def _name(self) -> str:
        return type(self.family).__name__

    def prepare(self, params: Any, dtype: np.dtype, weights: np.ndarray) -> Any:
        """Nothing: whether parameters have a density is seen in the E-step."""

    def log_prior(self, params: Any) -> float:
        """The family's own, or 0."""
        return float(self.family.log_prior(params)) if hasattr(self.family, "log_prior") else 0.0

    def rounding(self, params: Any, weights: np.ndarray) -> float:
        """Of sums of some ten terms."""
        return 10 * EPS

    def collapsed(self, params: Any, statistics: UserSums) -> np.ndarray:
        """Mask (K,) of the components that hold no row."""
        return statistics.sum_w <= 10 * EPS * statistics.sum_w.sum() / len(statistics.sum_w)

    def singular(self, params: Any) -> np.ndarray:
        """None: a family without a density raises."""
        return np.zeros(1, bool)

    def alike(self, params: Any, weights: np.ndarray) -> bool:
        """Unknown."""
        return False

    def kept(self, params: Any, mask: np.ndarray) -> Any:
        """The components in the mask alone."""
        return self.mapped(lambda leaf: leaf[mask], params)

    def floored(self, params: Any, mask: np.ndarray, scale: Any) -> Any:
        """Unchanged."""
        return params

    def spread_about(self, rows: np.ndarray, scale: Any) -> Any:
        """Components of which half the weight is a row, and half the sample."""
        n, k = len(self.rows), len(rows)
        resp = np.vstack([np.full((n, k), 0.5), 0.5 * n * np.eye(k)])
        return self.m_step(self.statistics(np.vstack([self.rows, rows]), resp), None)

    def reseeded(self, params: Any, k: int, row: np.ndarray, scale: Any) -> Any:
        """Component k so spread about `row`."""

        def moved(leaf: np.ndarray, fresh: np.ndarray) -> np.ndarray:
            leaf = leaf.copy()
            leaf[k] = fresh[0]
            return leaf

        return self.mapped(moved, params, self.spread_about(row[None], scale))

    def from_responsibilities(self, X: np.ndarray, resp: np.ndarray, scale: Any) -> tuple[np.ndarray, Any]:
        """sum_w and Params of an M-step, in which every component gets a thousandth of all rows besides."""
        blurred = resp + 1e-3 * resp.sum(axis=1, keepdims=True) / resp.shape[1]
        return resp.sum(axis=0), self.m_step(self.statistics(X, blurred), None)

    def n_parameters(self, params: Any) -> int:
        """The family's own number, or that of all numbers in the parameters."""
        if hasattr(self.family, "n_parameters"):
            return int(self.family.n_parameters(params))
        sizes: list[int] = []
        self.mapped(lambda leaf: sizes.append(np.size(leaf)), params)
        return sum(sizes)

    def sample(self, params: Any, counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The family's own."""
        if not hasattr(self.family, "sample"):
            raise ValueError(f"{self._name()} has no method sample(params, counts, rng); give it one to draw rows")
        return np.asarray(self.family.sample(params, counts, rng))
