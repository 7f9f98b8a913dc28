"""A family that somebody wrote as two bricks, as the engine wants it, and at the engine's speed."""

import functools
from collections import namedtuple
from collections.abc import Callable
from inspect import signature
from typing import Any, NamedTuple

import numpy as np

from fastem.families.rehearsal import UNTOUCHED, check_filled, check_sums
from fastem.families.user import UserFamily
from fastem.kernels import jit
from fastem.kernels.jit import scalar_brick
from fastem.kernels.mixture import load_tile, make_tile

ARGUMENTS = {"log_prob": ("tile", "params", "out"), "accumulate": ("tile", "resp", "params", "sums", "s")}
"""What the two bricks are called with."""

REHEARSED = 64
"""Rows with which the bricks run uncompiled before the fit: compiled they know no bounds."""


def brick(function: Callable) -> Callable:
    """Mark a function as a brick: a loop over a tile of rows that :class:`fastem.Mixture` compiles into its own.

    Parameters
    ----------
    function : function
        ``log_prob(tile, params, out)`` or ``accumulate(tile, resp, params, sums, s)`` of a family, or what they call.
        Plain loops over numbers are vectorised, and sums are taken in any order; nothing is allocated.

    Returns
    -------
    function
        The same; called as it is, it runs as Python.

    Raises
    ------
    ValueError
        If it is no plain function.

    Examples
    --------
    >>> import fastem
    >>> @fastem.brick
    ... def square(x):
    ...     return x * x
    >>> square(3.0)
    9.0
    """
    if hasattr(function, "py_func"):
        raise ValueError(
            f"brick was given {function!r}, compiled by Numba already; a plain function is wanted: "
            "take the other decorator off"
        )
    if not hasattr(function, "__code__"):
        raise ValueError(
            f"brick was given {function!r}; a function is wanted: put @fastem.brick above a def, and "
            "@staticmethod above both"
        )
    return scalar_brick(function)


class BrickPrepared(NamedTuple):
    """shift (d,) of zeros, and the arrays that the bricks read, in the dtype of the data.

    A plain tuple: Numba's index of what is cached names the types of all arguments, and a class of the user's there
    would make it unreadable to processes that cannot import it.
    """

    shift: np.ndarray
    given: tuple[np.ndarray, ...]


class Slots(NamedTuple):
    """bad (slots, 1) counts the rows without a density; the user's sums as a plain tuple, with a slot axis."""

    bad: np.ndarray
    given: tuple[np.ndarray, ...]


@functools.cache
def named(fields: tuple[str, ...]) -> Any:
    """A NamedTuple of these fields, by whose name in this module alone the key of a cached kernel holds it."""
    name = "_".join(("Fields", *fields))
    globals()[name] = found = namedtuple(name, fields, module=__name__)  # noqa: PYI024
    return found


@jit.brick
def cover(tile, d):
    """Rows of weight 0, and lanes past the data, get the numbers of a row that counts: 0 may have no density.

    False where no row does.
    """
    weight, lanes, idle = tile.weight, tile.weight.shape[1], 0
    for b in range(lanes):
        idle += 1 if weight[0, b] == 0.0 else 0
    if idle == 0 or idle == lanes:
        return idle == 0
    live = 0
    while weight[0, live] == 0.0:
        live += 1
    for j in range(d):
        x = tile.columns[j, live]
        for b in range(lanes):
            tile.columns[j, b] = x if weight[0, b] == 0.0 else tile.columns[j, b]
    return True


@functools.cache
def log_prob_of(user: Callable, params: Any) -> Callable:
    """The brick of the protocol over the user's, which reads NamedTuples `params`."""

    @jit.brick
    def log_prob(tile, prepared, out):
        """out[k, b] = log p(x_b | k), and infinite where that is no number: `normalize` would take it for 0."""
        if not cover(tile, prepared.shift.size):
            out[:] = 0.0
            return
        user(tile, params(*prepared.given), out)
        for k in range(out.shape[0]):
            for b in range(out.shape[1]):
                out[k, b] = out[k, b] if out[k, b] < np.inf else np.inf

    return log_prob


@functools.cache
def accumulate_of(user: Callable, params: Any, sums: Any) -> Callable:
    """The brick of the protocol over the user's, which reads NamedTuples `params` and adds to `sums`."""

    @jit.brick
    def accumulate(tile, resp, prepared, statistics, s):
        """statistics[s] += sum_b resp[k, b] T(x_b)."""
        if not cover(tile, prepared.shift.size):
            return
        bad = 0
        for b in range(resp.shape[1]):
            bad += 1 if tile.log_prob[0, b] == np.inf else 0
        if bad > 0:
            for b in range(resp.shape[1]):
                statistics.bad[s, 0] += 1.0 if tile.log_prob[0, b] == np.inf and tile.weight[0, b] > 0.0 else 0.0
        user(tile, resp, params(*prepared.given), sums(*statistics.given), s)

    return accumulate


class BrickFamily(UserFamily):
    """The protocol over bricks ``log_prob`` and ``accumulate``, ``zeros(k, d)`` and ``m_step(sums, params)``.

    `summed` is the engine's `compiled_sums`, ``e_step_of(family, X)`` gives its E-step of rows X by parameters, `d` is
    the number of columns; the rest as in `UserFamily`.
    """

    def __init__(self, family: Any, mapped: Callable, summed: Callable, e_step_of: Callable, d: int):
        super().__init__(family, mapped)
        self.summed, self.e_step_of, self.d = summed, e_step_of, d
        self._e_step: Callable | None = None
        self.first: Any = None
        self.log_prob_brick, self.accumulate_brick = (self._brick(name) for name in ARGUMENTS)

    def _brick(self, name: str) -> Callable:
        """The user's brick; `ValueError` where it is none."""
        given, wanted = getattr(self.family, name), ARGUMENTS[name]
        given = getattr(given, "__func__", given)  # a method: there is no self in a loop
        form = f"@fastem.brick above def {name}({', '.join(wanted)})"
        if not hasattr(given, "is_brick"):
            raise ValueError(
                f"{name} of {self._name()} is {given!r}, and no brick; a function that is marked as one is wanted, "
                f"since the family has accumulate: put {form}"
            )
        count = len(signature(given).parameters)
        if count != len(wanted):
            raise ValueError(
                f"{name} of {self._name()} has {count} arguments; {len(wanted)} are wanted, and no self: write {form}"
            )
        return given

    def rehearse(self, rows: np.ndarray, k: int) -> None:
        """Run the bricks uncompiled on some rows, which finds most of what is wrong, and parameters of their form."""
        X = np.ascontiguousarray(rows[np.linspace(0, len(rows) - 1, REHEARSED).astype(int)], dtype=np.float64)
        tile = make_tile(X.dtype, self.d, k, REHEARSED)
        load_tile(X, np.zeros(0), 0, REHEARSED, np.zeros(self.d), tile)
        tile.resp[:k] = 1.0 / k
        # Without the padding, of which an index out of bounds would read zeros.
        tile = tile._replace(columns=tile.columns[: self.d], resp=tile.resp[:k], root=tile.root[:k])
        sums = self._zeros(k)
        self.first = self.family.start(X, k) if hasattr(self.family, "start") else None
        slots = type(sums)(*(leaf[None] for leaf in sums))
        params = self._read(self.first)
        hint = "; at the start params is None: sums.sum_w.shape[1] is K, or give the family start(X, k) to begin with"
        hint = hint if self.first is None else ""
        self._called("accumulate", hint, tile, tile.resp, params, slots, 0)
        once = type(sums)(*(leaf.copy() for leaf in slots))
        self._called("accumulate", hint, tile, tile.resp, params, slots, 0)
        check_sums(self._name(), once, slots, k, REHEARSED)
        if self.first is None:
            self.first = self.m_step(type(sums)(*(leaf[0] for leaf in once)), None)
        tile.resp[:] = UNTOUCHED
        self._called("log_prob", "", tile, self._read(self.first), tile.resp)
        check_filled(self._name(), tile.resp)

    def _called(self, name: str, hint: str, *arguments: Any) -> None:
        try:
            with np.errstate(all="ignore"):
                getattr(self, f"{name}_brick")(*arguments)
        except Exception as error:
            raise ValueError(
                f"{name} of {self._name()}, run as Python on {REHEARSED} rows, raised {type(error).__name__}: "
                f"{error}{hint}"
            ) from error

    def _zeros(self, k: int) -> Any:
        """The user's sums of zeros, checked."""
        sums = self.family.zeros(k, self.d)
        if not hasattr(sums, "_fields") or np.shape(getattr(sums, "sum_w", ())) != (k,):
            raise ValueError(
                f"zeros of {self._name()} gave {sums!r} for {k} components; a NamedTuple of arrays is wanted, with "
                f"sum_w ({k},), the sums of the responsibilities, among them"
            )
        return type(sums)(*(np.zeros(np.shape(leaf)) for leaf in sums))

    def _read(self, params: Any) -> Any:
        """What the bricks read: `params`, or what the family's own `prepare` makes of them."""
        if params is None or not hasattr(self.family, "prepare"):
            return params
        prepared = self.family.prepare(params)
        if not hasattr(prepared, "_fields"):
            raise ValueError(f"prepare of {self._name()} gave a {type(prepared).__name__}; a NamedTuple is wanted")
        return prepared

    # The verbs that differ from those of a family in NumPy.

    def prepare(self, params: Any, dtype: np.dtype, weights: np.ndarray) -> BrickPrepared:
        """What the bricks read, in the dtype of the data."""
        given = self._read(params)
        self._fields = type(given)._fields
        return BrickPrepared(np.zeros(self.d), tuple(np.array(leaf, dtype=dtype, order="C", ndmin=1) for leaf in given))

    def bricks(self, prepared: BrickPrepared) -> tuple[Callable, Callable]:
        """The user's, with rows that count in all lanes."""
        params, sums = named(self._fields), named(type(self._zeros(1))._fields)
        return log_prob_of(self.log_prob_brick, params), accumulate_of(self.accumulate_brick, params, sums)

    def zeros(self, params: Any, slots: int, prepared: BrickPrepared) -> Slots:
        """Sums of zeros."""
        sums = self._zeros(len(params[0]))
        return Slots(np.zeros((slots, 1)), tuple(np.zeros((slots, *leaf.shape)) for leaf in sums))

    def unpad(self, statistics: Slots, params: Any, prepared: BrickPrepared) -> Any:
        """Slots summed in their order; `ValueError` where rows had no density."""
        self._check_bad(int(statistics.bad.sum()))
        return type(self._zeros(1))(*(leaf.sum(axis=0) for leaf in statistics.given))

    def check_log_prob(self, log_prob: np.ndarray) -> None:
        """`ValueError` where rows have no density."""
        self._check_bad(int(np.count_nonzero(~(log_prob < np.inf))))

    def _check_bad(self, bad: int) -> None:
        if bad:
            raise ValueError(
                f"log_prob of {self._name()} gave NaN or infinity for {bad} row(s); numbers or -inf are wanted:"
                " keep its parameters off the border in m_step, e.g. variances above 0, and leave out rows that it is "
                "not for"
            )

    def base(self, X: np.ndarray) -> np.ndarray | None:
        """The family's own, of what is the same for all components, or nothing."""
        if not hasattr(self.family, "base"):
            return None
        base = np.asarray(self.family.base(X), dtype=np.float64)
        if base.shape != (len(X),):
            raise ValueError(f"base of {self._name()} gave shape {base.shape}; ({len(X)},) is wanted: one for each row")
        return base

    def statistics(self, X: np.ndarray, resp: np.ndarray, params: Any = None) -> Any:
        """The family's sums of rows with given responsibilities."""
        k = np.arange(resp.shape[1])
        return self.summed(self, self.kept(self.first, k), np.ascontiguousarray(X), np.ascontiguousarray(resp))

    def _try(self, X: np.ndarray, params: Any) -> None:
        """Raises a `ValueError` where a row has no number."""
        self._e_step = self._e_step or self.e_step_of(self, X)  # made once, for a race asks it at every step
        self._e_step(params)

    def m_step(self, statistics: Any, params: Any) -> Any:
        """The family's own: a NamedTuple of arrays with an axis of the components."""
        found = self.family.m_step(statistics, self._copied(params))
        if not hasattr(found, "_fields"):
            raise ValueError(
                f"m_step of {self._name()} gave a {type(found).__name__}; a NamedTuple of arrays is wanted, whose "
                "fields the bricks read by name"
            )
        return self._checked(found, len(statistics.sum_w))
