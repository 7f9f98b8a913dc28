"""What a user's bricks leave behind when they run uncompiled on a few rows: sums added to, and all of `out`."""

from typing import Any

import numpy as np

UNTOUCHED = -7.25e250
"""What `out` holds before: no log-density of a row."""


def check_sums(family: str, once: Any, twice: Any, k: int, rows: int) -> None:
    """`ValueError` where sums of rows of responsibilities 1 / k are not theirs, or after two calls not twice that."""
    if not np.allclose(once.sum_w[0], rows / k, rtol=1e-3):
        raise ValueError(
            f"accumulate of {family} left sum_w at {once.sum_w[0]} of {rows} rows of responsibilities 1/{k}; "
            f"{rows / k:g} are wanted: sums.sum_w[s, k] += resp[k, b] for every row"
        )
    for name, first, second in zip(once._fields, once, twice, strict=True):
        with np.errstate(all="ignore"):
            if not np.allclose(second, 2.0 * first, rtol=1e-6, equal_nan=True):
                raise ValueError(
                    f"accumulate of {family} was called twice with the same rows, and sums.{name} is not twice what it "
                    f"was after the first call: rows come in many tiles, so add to it, sums.{name}[s, ...] += ..., and "
                    "never assign"
                )


def check_filled(family: str, out: np.ndarray) -> None:
    """`ValueError` where `log_prob` left entries of `out` as they were."""
    k, b = np.nonzero(out == UNTOUCHED)
    if k.size:
        raise ValueError(
            f"log_prob of {family} left out[{k[0]}, {b[0]}] as it was; out[k, b] = log p(x_b | k) is wanted for every "
            "k < out.shape[0] and b < out.shape[1]"
        )
