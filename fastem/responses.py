"""Features and a response as one table, whose last column is the response: what mixtures of regressions read."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from fastem.columns import RowError, unmasked
from fastem.data import Check, Data, check_columns, in_memory
from fastem.domains import check_values
from fastem.engine.chunks import chunk
from fastem.ranges import check_weight_range
from fastem.validation import check_data, check_weights
from fastem.wording import plural


class Labelled(NamedTuple):
    """X and y as one argument."""

    X: Any
    y: Any


def both(method: str, X: Any, y: Any) -> Labelled:
    """X and y, without which a method cannot answer."""
    if y is None:
        raise ValueError(
            f"{method} was given X alone; X and the response y of its rows are wanted, for which component a row is of "
            f"shows in y: {method}(X, y). Of X alone predict(X) gives the mean of y, and predict_components(X) that in "
            "each component"
        )
    return Labelled(X, y)


@contextmanager
def opened_with_response(
    estimator: Any, X: Any, y: Any, sample_weight: Any = None, *, reset: bool, on_rows: Callable | None = None
) -> Iterator[Data]:
    """Rows [x, y] for the block that follows; of arrays one copy, of a source its columns with y as the last."""
    from fastem.sources import open_rows

    if not in_memory(X):
        with open_rows(response_last(X, y), sample_weight=sample_weight, on_rows=on_rows) as rows:
            names = rows.source.feature_names
            features = SimpleNamespace(
                name=rows.source.name,
                n_features=rows.source.n_features - 1,
                feature_names=None if names is None else names[:-1],
            )
            check_columns(estimator, features, reset)
            rows.check = Check(estimator, reset)
            yield Data(rows, rows.source.n_features, rows.source.dtype, None, rows)
        return
    X = check_data(estimator, X, reset=reset)
    table = np.empty((len(X), X.shape[1] + 1), X.dtype)
    table[:, :-1] = X
    table[:, -1] = check_response(y, len(X), X.dtype)
    estimator._check_rows(table, reset)
    weight = check_weight_range(check_weights(sample_weight, len(X)), X.dtype)
    yield Data([chunk(table, weight)], table.shape[1], X.dtype, len(X))


def check_response(y: Any, n: int, dtype: np.dtype) -> np.ndarray:
    """Y (n,) as finite numbers of the dtype of X."""
    if y is None or isinstance(y, str):
        raise ValueError(
            f"y is {y!r}; one number for each row of X is wanted. Give an array (n,): fit(X, y). Of a source that is "
            "read in chunks y names a column"
        )
    given = np.asarray(unmasked("y", y))
    if given.dtype.kind not in "biuf":
        raise ValueError(f"y has dtype {given.dtype}; real numbers are wanted. Convert it to float")
    if given.shape not in ((n,), (n, 1)):
        raise ValueError(f"y has shape {given.shape}; ({n},) is wanted. Give one number for each row of X")
    with np.errstate(over="ignore"):
        response = given.reshape(n).astype(dtype, copy=False)
    bad = np.flatnonzero(~np.isfinite(response))
    if bad.size:
        more = f", and so it is in {plural(len(bad) - 1, 'row')} more" if len(bad) > 1 else ""
        raise RowError(
            f"y is {given.reshape(n)[bad[0]]} in row {bad[0]}, no finite {np.dtype(dtype)} number{more}; finite ones "
            "are wanted. Drop these rows, or scale y",
            int(bad[0]),
        )
    return response


def response_last(X: Any, y: Any) -> Any:
    """`Chunks` of a source with the features, then the column that `y` names."""
    from fastem.sources import Chunks
    from fastem.sources.opening import open_source

    if not isinstance(y, str | int | np.integer) or isinstance(y, bool):
        raise ValueError(
            f"y is {type(y).__name__}, and X a source that is read in chunks; the name or number of the source's "
            "column with the response is wanted: fit(source, y='name')"
        )
    y = y if isinstance(y, str) else int(y)
    chosen = X if isinstance(X, Chunks) else Chunks(X)
    if isinstance(chosen.columns, list | tuple):
        return replace(chosen, columns=[column for column in chosen.columns if column != y] + [y])
    if isinstance(chosen.source, Iterator):
        raise ValueError(
            "X is an iterator, whose columns are not known before it is read; name them: "
            "fit(fastem.Chunks(X, columns=[0, 1, 2]), y=2), or give a callable that returns the iterator"
        )
    header = open_source(replace(chosen, rows=None))
    response = open_source(replace(chosen, rows=None, columns=[y]))
    if header.feature_names is not None and response.feature_names is not None:
        (name,) = response.feature_names
        return replace(chosen, columns=[other for other in header.feature_names if other != name] + [name])
    width = header.n_features + (chosen.weights is not None)
    # Columns without names: y and the weights are numbers, or there would have been no such column.
    taken = {range(width)[int(j)] for j in (y, chosen.weights) if j is not None}
    return replace(chosen, columns=[j for j in range(width) if j not in taken] + [y])


def names_of(estimator: Any, d: int) -> list[Any]:
    """What messages call the d columns of a table."""
    names = getattr(estimator, "feature_names_in_", None)
    return [*(range(d - 1) if names is None else names), "y"]


def check_counts_of(X: np.ndarray, names: Any, size: int | None, *, trials: bool) -> None:
    """y: whole numbers of at least 0, and of `trials` at most as many; sizes above 0, of trials whole."""

    def column(j: int, bad: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
        def mask(block: np.ndarray) -> np.ndarray:
            found = np.zeros(block.shape, bool)
            found[:, j] = bad(block)
            return found

        return mask

    if size is not None:
        what = "numbers of trials, whole and above 0," if trials else "exposures above 0"
        sizes = column(size, lambda b: (b[:, size] <= 0) | (trials & (b[:, size] != np.floor(b[:, size]))))
        check_values(X, sizes, f"{what} are wanted. Leave these rows out", names)
    elif trials:
        zero_or_one = column(-1, lambda b: (b[:, -1] != 0) & (b[:, -1] != 1))
        advice = "0 and 1 are wanted. Give (y == value).astype(float), or the column of X with the numbers of trials"
        check_values(X, zero_or_one, advice, names)
        return
    counts = column(-1, lambda b: (b[:, -1] < 0) | (b[:, -1] != np.floor(b[:, -1])))
    check_values(X, counts, "whole numbers of at least 0 are wanted. Round them, or use another family", names)
    if trials:
        most = column(-1, lambda b: b[:, -1] > b[:, size])
        check_values(X, most, "at most as many successes as trials are wanted. Leave these rows out", names)
