"""Sizes of numbers whose squares a float type can hold; beyond them a fit would end in infinities or zeros."""

from typing import Any

import numpy as np

from fastem.wording import column_called


def check_scale(X: np.ndarray, estimator: Any) -> None:
    """`ValueError` where squares of the numbers overflow, or those of their differences underflow, in X's dtype."""
    largest, spread = float(np.abs(X).max()), float(np.ptp(X.astype(np.float64) / 2, axis=0).max())
    most = 1e-2 * float(np.sqrt(np.finfo(X.dtype).max))
    least = 1e5 * float(np.sqrt(np.finfo(X.dtype).tiny))
    if largest > most:
        column = int(np.abs(X).max(axis=0).argmax())
        what = f"{column_called(column, estimator)} has values up to {largest:.3g} in size"
        limit, cure = f"at most {most:.1g}", "If they are errors or fill values, leave them out. Else divide"
    elif 0 < 2 * spread < least:
        what = f"X has values that spread over {2 * spread:.3g} at most"
        limit, cure = f"a spread of at least {least:.1g}", "Divide"
    else:
        return
    raise ValueError(
        f"{what}; {limit} is wanted, since their squares must be {X.dtype} numbers. {cure} X by a constant, or use "
        "sklearn.preprocessing.StandardScaler" + (", or convert X to float64" if X.dtype == np.float32 else "")
    )


def check_weight_range(sample_weight: np.ndarray | None, dtype: np.dtype) -> np.ndarray | None:
    """The weights; `ValueError` where their sums, or sums of them times log-densities, could overflow or vanish."""
    if sample_weight is not None:
        most, largest = float(np.sqrt(np.finfo(dtype).max)), float(sample_weight.max())
        if not 1 / most <= largest <= most:
            raise ValueError(
                f"sample_weight has the largest value {largest:.3g}; one from {1 / most:.1g} to {most:.1g} is wanted "
                f"for {dtype} data. Divide the weights by their largest: only what they are to one another matters"
            )
    return sample_weight
