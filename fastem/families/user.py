"""A family that somebody wrote in NumPy, as the engine wants it: what it does not say is made of what it does."""

from collections.abc import Callable, Collection
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
        given = np.asarray(self.family.log_prob(X, params))
        k = self._count(params) or given.shape[-1:]
        if given.shape != (len(X), *k) or given.dtype.kind not in "fiu":
            raise ValueError(
                f"log_prob of {self._name()} gave an array of shape {given.shape} and dtype {given.dtype} for {len(X)} "
                f"rows; ({len(X)}, K) real numbers are wanted: one column for each component"
                + (f", and there are {k[0]}" if k else "")
            )
        given = given.astype(np.float64, copy=False)
        if np.isnan(given).any() or (given == np.inf).any():
            row, k = np.argwhere(np.isnan(given) | (given == np.inf))[0]
            raise ValueError(
                f"log_prob of {self._name()} gave {given[row, k]} for row {row} of a chunk and component {k}; a "
                "number or -inf is wanted: keep its parameters off the border in m_step, e.g. variances above 0"
            )
        return given

    def statistics(self, X: np.ndarray, resp: np.ndarray, params: Any = None) -> UserSums:
        """The family's sums, with responsibilities (n, K) times the weights of the rows."""
        found = self.family.statistics(X, resp)
        if found is None:
            raise ValueError(f"statistics of {self._name()} gave None; sums over the rows are wanted: return them")
        given = self.mapped(lambda leaf: np.array(leaf, dtype=np.float64), found)  # not the family's own buffer
        return UserSums(resp.sum(axis=0), given)

    def m_step(self, statistics: UserSums, params: Any) -> Any:
        """The family's own; its arrays must have an axis of the components."""
        return self._checked(self.family.m_step(statistics.given, self._copied(params)), len(statistics.sum_w))

    def holding(self, params: Any, before: Any, fixed: frozenset[str]) -> Any:
        """Those of before: "params" are all that there are."""
        return before

    def n_held(self, params: Any, fixed: Collection[str]) -> int:
        """All."""
        return self.n_parameters(params)

    def _copied(self, params: Any) -> Any:
        """What an m_step may write into: the fit returns to the parameters before where it lowers the objective."""
        return None if params is None else self.mapped(np.array, params)

    def _count(self, params: Any) -> tuple[int, ...]:
        """(K,), or nothing of a family that has no parameters."""
        shapes: list[tuple[int, ...]] = []
        self.mapped(lambda leaf: shapes.append(np.shape(leaf)), params)
        return shapes[0][:1] if shapes else ()

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
        """Mask (K,) of the components that hold no row, or have no density."""
        idle = statistics.sum_w <= 10 * EPS * statistics.sum_w.sum() / len(statistics.sum_w)
        return idle | self.singular(params)

    def singular(self, params: Any) -> np.ndarray:
        """Mask (K,) of the components that give a row no number."""
        components = np.arange(*self._count(params) or (1,))
        if self._is_defined(params):
            return np.zeros(len(components), bool)
        return np.array([not self._is_defined(self.kept(params, components == k)) for k in components])

    def _is_defined(self, params: Any) -> bool:
        """Whether these components give a row a number or -inf."""
        try:
            with np.errstate(all="ignore"):
                self._try(self.rows[:1], params)
        except ValueError:  # a `LinAlgError` among them
            return False
        return True

    def _try(self, X: np.ndarray, params: Any) -> None:
        """Raises a `ValueError` where a row has no number."""
        self.log_prob(X, params)

    def alike(self, params: Any, weights: np.ndarray) -> bool:
        """Unknown."""
        return False

    def kept(self, params: Any, mask: np.ndarray) -> Any:
        """The components in the mask alone."""
        return self.mapped(lambda leaf: leaf[mask], params)

    def floored(self, params: Any, mask: np.ndarray, scale: Any) -> Any:
        """The masked components as one of all rows."""
        whole = self.m_step(self.statistics(self.rows, np.ones((len(self.rows), len(mask)))), None)
        return self.mapped(lambda leaf, of_all: np.where(_along(mask, leaf), of_all, leaf), params, whole)

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


def _along(mask: np.ndarray, leaf: np.ndarray) -> np.ndarray:
    """The mask (K,) with the axes of a leaf (K, ...)."""
    return mask.reshape(-1, *[1] * (leaf.ndim - 1))
