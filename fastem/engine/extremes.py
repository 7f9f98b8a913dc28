"""The rows with the least and the greatest number of each column, which a sample of many rows seldom holds."""

import numpy as np

WIDTHS = 100.0
"""Of a sample's range, times the rows for each of the sample, beyond which a row is added to it."""

BLOCK = 512
"""Numbers of several rows that are compared at once: NumPy takes ten times as long for rows of three."""


class Extremes:
    """Those of the rows seen so far; of equal ones the first."""

    def __init__(self) -> None:
        self.least = self.greatest = np.empty(0)
        self.rows: dict[tuple[bool, int], tuple[int, np.ndarray, float]] = {}
        """Place, numbers and weight of the row with the least (False) or the greatest (True) number of each column."""
        self.seen = 0

    def see(self, X: np.ndarray, weight: np.ndarray) -> None:
        """Look at rows (n, d) and their weights (n,); NaN is not looked at."""
        if not len(X):
            return
        least, greatest = _folded(np.fmin, X), _folded(np.fmax, X)
        if not self.seen:
            self.least = self.greatest = np.full(X.shape[1], np.nan)
        with np.errstate(invalid="ignore"):
            lower, higher = (~(least >= self.least), ~(greatest <= self.greatest)) & ~np.isnan(least)
        for j in np.flatnonzero(lower):
            self._keep(False, int(j), int(np.nanargmin(X[:, j])), X, weight)
        for j in np.flatnonzero(higher):
            self._keep(True, int(j), int(np.nanargmax(X[:, j])), X, weight)
        self.least, self.greatest = np.fmin(self.least, least), np.fmax(self.greatest, greatest)
        self.seen += len(X)

    def _keep(self, greatest: bool, j: int, i: int, X: np.ndarray, weight: np.ndarray) -> None:
        self.rows[greatest, j] = self.seen + i, X[i : i + 1].copy(), float(weight[i])

    def beyond(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows far outside the range of a sample X (n, d) of them in some column, and their weights; in their order.

        That is by more of its widths than a heavy tail is likely to have, whose range grows with the rows. Of a column
        in which X holds NaN alone, all that are kept.
        """
        low, high = (_folded(side, X).astype(np.float64) for side in (np.fmin, np.fmax))
        with np.errstate(over="ignore", invalid="ignore"):
            reach = WIDTHS * self.seen / len(X) * (high - low)
            far = {False: ~(self.least >= low - reach), True: ~(self.greatest <= high + reach)}
        found = {place: (row, w) for (side, j), (place, row, w) in self.rows.items() if far[side][j]}
        rows = [found[place] for place in sorted(found)]
        return np.concatenate([X[:0], *(row for row, _ in rows)]), np.array([w for _, w in rows])


def _folded(least_or_greatest: np.ufunc, X: np.ndarray) -> np.ndarray:
    """The least or the greatest number of each column, NaN where there is none."""
    n, d = X.shape
    m = max(1, BLOCK // d)
    whole = n - n % m
    if m == 1 or not whole or not X.flags.c_contiguous:
        return least_or_greatest.reduce(X, axis=0)
    folded = least_or_greatest.reduce(X[:whole].reshape(-1, m * d), axis=0).reshape(m, d)
    return least_or_greatest.reduce(np.concatenate([folded, X[whole:]]), axis=0)
