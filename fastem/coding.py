"""Categories of a source: its texts as numbers, and the numbers as codes."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from fastem.categories import factorized, never_observed, wanted
from fastem.columns import DataTypeError
from fastem.domains import MOST


class Coding:
    """Categories of a source: texts are numbered as they come; of these numbers, or its own, codes are made then.

    Parameters
    ----------
    categories : list of list, optional
        Those of a fit; else `learn` finds them.
    once : bool
        Whether the source can be read only once: texts have no numbers then.
    """

    def __init__(self, categories: list[list] | None = None, *, once: bool = False):
        self.once = once
        self._texts: dict[int, dict[str, int]] = {}
        self._kinds: dict[int, str] = {}
        self._tables: list[tuple[np.ndarray, np.ndarray]] = []
        self._known = categories or []
        for j, known in enumerate(self._known):
            texts = isinstance(known[0], str)
            self._kinds[j] = "texts" if texts else "numbers"
            if texts:
                self._texts[j] = {text: number for number, text in enumerate(known)}
            values = np.arange(len(known)) if texts else np.array(known)
            self._tables.append((values.astype(float), np.arange(len(known))))

    @property
    def codes_differ(self) -> bool:
        """Whether the codes are known, and others than the numbers."""
        same = (
            np.array_equal(values, code) and np.array_equal(code, range(len(code))) for values, code in self._tables
        )
        return bool(self._tables) and not (all(same) and not self._texts)

    def numbers(self, j: int, column: Any, called: str) -> np.ndarray:
        """The numbers of a column's rows; NaN for what is missing. A column is an array, or what `factorized` gives."""
        plain = isinstance(column, np.ndarray) and column.dtype.kind in "biuf"
        levels, index = ([0], column) if plain else column if isinstance(column, tuple) else factorized(column, called)
        if not levels:
            return np.full(len(index), np.nan)
        kind = "texts" if isinstance(levels[0], str) else "numbers"
        if self._kinds.setdefault(j, kind) != kind:
            raise DataTypeError(f"{called} holds {kind} here, and {self._kinds[j]} elsewhere; give one of the two")
        if plain:
            return column
        if kind == "texts" and self.once:
            raise DataTypeError(
                f"{called} holds texts, and a source that can be read only once must have its categories numbered "
                "0, 1, ... already. Number them, or give a callable that returns a fresh iterator at each call"
            )
        if kind == "texts":
            texts = self._texts.setdefault(j, {})
            levels = [texts.setdefault(level, len(texts)) for level in levels]
        return np.array([*levels, np.nan], dtype=float)[index]

    def learn(self, chunks: Iterable[Any], names: list[str] | None) -> list[list]:
        """The categories of each column, sorted: those that rows of positive weight have."""
        every: list[set[float]] = []
        counted: list[set[float]] = []
        for X, weight in chunks:
            if not every:
                every, counted = [set() for _ in X.T], [set() for _ in X.T]
            for j, column in enumerate(X.T):
                every[j].update(_distinct(column))
                counted[j].update(_distinct(column[weight > 0]) if weight.size else every[j])
                if len(every[j]) > MOST:
                    raise ValueError(
                        f"column {names[j] if names else j!r} has more than {MOST} categories: leave it out, e.g. with "
                        "fastem.Chunks(source, columns=[...])"
                    )
        for j, (seen, used) in enumerate(zip(every, counted, strict=True)):
            texts = {number: text for text, number in self._texts.get(j, {}).items()}
            known = sorted((texts[int(v)] if texts else int(v), v) for v in used)
            if not known:
                raise ValueError(never_observed(f"column {names[j] if names else j!r}"))
            codes = {number: code for code, (_, number) in enumerate(known)}
            values = np.array(sorted(seen))
            self._known.append([level for level, _ in known])
            self._tables.append((values, np.array([codes.get(value, 0) for value in values])))
        return self._known

    def codes(self, X: np.ndarray, names: list[str] | None) -> np.ndarray:
        """The codes of numbers; NaN stays what it is."""
        out = np.full_like(X, np.nan)
        for j, (values, codes) in enumerate(self._tables):
            column = X[:, j]
            place = np.minimum(np.searchsorted(values, column), len(values) - 1)
            same = values[place] == column
            strange = column[~same & ~np.isnan(column)]
            if strange.size:
                texts = {number: text for text, number in self._texts.get(j, {}).items()}
                value = texts.get(int(strange[0]), strange[0])
                called = repr(names[j]) if names else j
                raise ValueError(f"column {called} holds {_shown(value)}; {wanted(self._known[j])}")
            out[same, j] = codes[place[same]]
        return out


def _shown(value: Any) -> str:
    return repr(value) if isinstance(value, str) else f"{value:.6g}"


def _distinct(column: np.ndarray) -> list[float]:
    """The values of a column of whole numbers, without what is missing."""
    column = column[~np.isnan(column)]
    if len(column) and column.min() >= 0 and column.max() < MOST:
        return np.flatnonzero(np.bincount(column.astype(np.intp))).astype(float).tolist()
    return np.unique(column).astype(float).tolist()
