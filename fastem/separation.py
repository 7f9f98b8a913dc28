"""Responses that a line parts, of which the likelihood has no maximum."""

import warnings
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from fastem.responses import names_of

SEPARATED = 50.0
"""Log-odds that a standard deviation of a column is worth; past them, rows of a component are taken as separated."""


def warn_of_separation(estimator: Any, deviation: np.ndarray) -> None:
    """Where coefficients of log-odds are too large, of columns of these standard deviations."""
    spread = np.abs(estimator.coef_) * deviation
    if spread.max(initial=0.0) <= SEPARATED:
        return
    k, j = divmod(int(np.argmax(spread)), spread.shape[1])
    warnings.warn(
        f"component {k} has the coefficient {estimator.coef_[k, j]:.3g} of column {names_of(estimator, j + 2)[j]!r}: "
        "its rows are separated, so that the likelihood grows with the coefficients without end, and where they "
        "stopped says nothing. Use prior=1.0, or fewer components, leave the column out, or give more rows, or trials "
        "a row",
        ConvergenceWarning,
        stacklevel=6,
    )
