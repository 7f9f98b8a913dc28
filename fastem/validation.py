"""Arrays and weights, and what a person is told when they are not what they should be."""

import reprlib
from collections.abc import Mapping
from functools import cache
from inspect import signature
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import validate_data

from fastem.columns import (
    FINITE_ROWS,
    DataTypeError,
    RowError,
    check_finite,
    check_numeric,
    nan_for_missing,
    unmasked,
)
from fastem.engine.chunks import Chunk
from fastem.wording import listed, plural

ALGORITHMS = "batch", "stepwise", "incremental"


def check_data(estimator: Any, X: Any, *, reset: bool) -> np.ndarray:
    """X as a C-contiguous float32 or float64 array of finite numbers; not copied if it is one.

    NaN may be among them if the estimator says ``missing='nan'``.
    """
    check_numeric(X)
    missing = missing_of(estimator)
    X = unmasked("X", X, missing)
    try:
        array = validate_data(
            estimator,
            X,
            reset=reset,
            dtype=[np.float64, np.float32],
            order="C",
            ensure_all_finite=False,
            ensure_min_samples=1,
        )
    except (ValueError, OverflowError) as error:
        raise ValueError(_helpful(str(error), X)) from error
    except TypeError as error:
        if "NAType" in str(error):  # pandas.NA among objects
            return check_data(estimator, nan_for_missing(X), reset=reset)
        raise DataTypeError(_helpful(str(error), X)) from error
    names = getattr(estimator, "feature_names_in_", None)
    check_finite(array, names, missing, _finite_rows_of(X))
    return array


def check_names(estimator: Any, X: Any) -> None:
    """`ValueError` where the columns of a frame are not those of the fit: what they hold is looked at by column."""
    if hasattr(X, "columns"):
        try:
            validate_data(estimator, X, reset=False, skip_check_array=True)
        except ValueError as error:
            raise ValueError(_helpful(str(error), X)) from error


def missing_of(estimator: Any) -> str | None:
    """The estimator's `missing`, or None where entries cannot be missing."""
    return getattr(estimator, "missing", None) if getattr(estimator, "_may_miss", True) else None


# What to try, by words in scikit-learn's and NumPy's messages; those that are not here say it themselves.
_ADVICE = {
    "features as input": "Give the columns that the model was fitted on",
    "feature names should match": "Give the columns of the fit in their order: X[model.feature_names_in_]",
    "0 sample(s)": "Give at least one row",
    "0 feature(s)": "Give at least one column",
    "at least one array or dtype": "X is a frame without columns: give at least one",
    "unique column names": "Give each column of X a name of its own",
    "Found array with dim": "Reshape it: X.reshape(len(X), -1)",
    "could not convert": "Convert text to numbers first, or leave it out",
    "float() argument must be": "Give an array, a list of rows or a frame of numbers",
    "inhomogeneous": "Give rows of equal length",
    "too large to convert": "Give numbers below 1.8e308, or scale the data down",
}


def _helpful(message: str, X: Any) -> str:
    """scikit-learn's message with what to try, and without a copy of the data in it."""
    if message.startswith("Expected 2D array"):
        given = (
            f"1D array instead: X has shape {np.shape(X)}" if np.ndim(X) else f"scalar instead: X is {reprlib.repr(X)}"
        )
        return (
            f"Expected 2D array, got {given}; rows and columns are wanted. "
            "Reshape your data: X.reshape(-1, 1) if it is one column, X.reshape(1, -1) if it is one row"
        )
    advice = [text for words, text in _ADVICE.items() if words in message]
    return ". ".join([message.rstrip().rstrip("."), *advice])


def _finite_rows_of(X: Any) -> str:
    """What leaves out the rows with NaN, null or infinity, as one writes it for an array or frame of this kind."""
    if type(X).__module__.partition(".")[0] == "polars":
        return "X.filter(polars.all_horizontal(polars.all().is_finite()))"
    return ("" if hasattr(X, "shape") else "X = np.array(X); ") + FINITE_ROWS


def check_number(name: str, value: Any, kind: Any, least: float, example: Any) -> None:
    """`ValueError` where a parameter is no number of a kind (`Integral` or `Real`), or less than `least`."""
    if not isinstance(value, kind) or isinstance(value, bool) or not value >= least or value == float("inf"):
        noun = "a whole number" if kind is Integral else "a number"
        raise ValueError(f"{name} is {value!r}; {noun} of at least {least} is wanted: try {name}={example!r}")


@cache
def _parameters_of(kind: Any) -> Mapping[str, Any]:
    """Of the constructor; this takes part of a millisecond, and is asked for several times a fit."""
    return signature(kind).parameters


def check_numbers(estimator: Any, kind: Any, least: Mapping[str, float]) -> None:
    """`check_number` of parameters of an estimator by name; their defaults are the examples."""
    defaults = _parameters_of(estimator.__class__)
    for name, smallest in least.items():
        example = defaults[name].default if name in defaults else smallest
        check_number(name, getattr(estimator, name), kind, smallest, example)


def check_choice(name: str, value: Any, choices: tuple[Any, ...]) -> None:
    """`ValueError` where a parameter is none of the choices."""
    if isinstance(value, np.ndarray) or value not in choices:
        raise ValueError(f"{name} is {value!r}; one of {', '.join(map(repr, choices))} is wanted: choose one")


def check_concentration(value: Any) -> None:
    """The Dirichlet prior of the weights: None, or a number of at least 1."""
    real = isinstance(value, Real) and not isinstance(value, bool)
    if value is None or (real and 1 <= float(value) < float("inf")):
        return
    raise ValueError(
        f"weight_concentration_prior is {value!r}; None for maximum likelihood, or a finite number of at least 1, is "
        "wanted, for below 1 the density is highest where weights are 0: try 2.0, which counts a row more in each "
        "component"
    )


def check_verbose(verbose: Any, interval: Any) -> None:
    """Verbosity: a bool, or how much to print; and iterations between lines."""
    check_number("verbose", int(verbose) if isinstance(verbose, bool) else verbose, Integral, 0, 1)
    check_number("verbose_interval", interval, Integral, 1, 10)


def check_seed(random_state: Any) -> np.random.RandomState:
    """scikit-learn's `check_random_state`, with advice."""
    try:
        return check_random_state(random_state)
    except ValueError as error:
        raise ValueError(
            f"random_state is {random_state!r}; a whole number from 0 to {2**32 - 1}, a numpy RandomState, or None for "
            "another result in every fit, is wanted: try random_state=0"
        ) from error


def check_reg_covar(estimator: Any, mean: np.ndarray, covariance: np.ndarray, names: Any) -> str:
    """What to warn of where `reg_covar` exceeds the variance of columns that are not constant, or is 0 where some are.

    Nothing where it is well.
    """
    variance, ridge = np.diagonal(covariance), estimator.reg_covar
    constant = variance <= (1e-9 * mean) ** 2
    small = np.flatnonzero((variance < ridge) & ~constant)
    called = [j if names is None else repr(names[j]) for j in range(len(mean))]
    if small.size:
        return (
            f"reg_covar is {ridge:g}, more than the whole variance of {listed([called[j] for j in small], 'column')} "
            f"({variance[small[0]]:.2g} in column {called[small[0]]}): the fit sees little of what varies there. Lower "
            "reg_covar, or scale the data up, e.g. with sklearn.preprocessing.StandardScaler"
        )
    pooled = getattr(estimator, "covariance_type", "") == "spherical" and not constant.all()
    if ridge or pooled or not constant.any() or getattr(estimator, "prior", None) is not None:
        return ""
    which = listed([called[j] for j in np.flatnonzero(constant)], "column")
    return (
        f"{which} of X {'is' if constant.sum() == 1 else 'are'} constant and reg_covar is 0: the likelihood has no "
        "bound, and a least variance is kept there. Leave such columns out, or let reg_covar be above 0"
    )


def distinct_rows(X: np.ndarray, enough: int) -> int:
    """Number of distinct rows, or `enough` as soon as there are as many; looks at a block of rows at a time."""
    found = X[:0]
    for first in range(0, len(X), 1 << 12):
        found = np.unique(np.concatenate([found, X[first : first + (1 << 12)]]), axis=0)
        if len(found) >= enough:
            return enough
    return len(found)


def check_weights(sample_weight: Any, n: int) -> np.ndarray | None:
    """Weights (n,) in float64, finite, at least 0 and not all 0; None stays None."""
    if sample_weight is None:
        return None
    given = np.asarray(unmasked("sample_weight", sample_weight))
    if np.iscomplexobj(given) or given.dtype == object:
        raise ValueError(f"sample_weight has dtype {given.dtype}; real numbers are wanted. Convert it to float")
    try:
        weight = np.full(n, float(given)) if given.ndim == 0 else given.astype(np.float64, copy=False)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"sample_weight has dtype {given.dtype}; real numbers are wanted. Convert it to float"
        ) from error
    if weight.shape != (n,):
        raise ValueError(f"sample_weight has shape {weight.shape}; ({n},) is wanted. Give one weight for each row of X")
    bad = np.flatnonzero(~(np.isfinite(weight) & (weight >= 0)))
    if bad.size:
        more = f" (and wrong in {len(bad) - 1} more)" if len(bad) > 1 else ""
        raise RowError(
            f"sample_weight is {_spell(weight[bad[0]])} in row {bad[0]}{more}; finite weights of at least 0 are "
            "wanted. Give 0 to rows that should not count",
            int(bad[0]),
            value=float(weight[bad[0]]),
        )
    if not weight.any():
        raise ValueError(
            "sample_weight is zero in every row; a positive one is wanted. Leave it out to count all rows alike"
        )
    return np.ascontiguousarray(weight)


LIGHT = 0.03
"""Mean weight of a row below which it was hardly meant: a prior counts rows of weight 1."""


def warning_of_light_rows(weight: float, rows: int) -> str:
    """What to warn of where a prior meets weights that sum to 1, or whose mean is far below it; else nothing."""
    if rows < 2 or (weight >= LIGHT * rows and abs(weight - 1.0) > 1e-6):
        return ""
    return (
        f"sample_weight sums to {weight:.6g} over {rows} rows, and the prior is in units of rows of weight 1, next to "
        "which the data count for little. If the weights were normalised, give them a mean of 1: sample_weight * "
        f"({rows} / sample_weight.sum())"
    )


def check_enough_rows(sample: Chunk, n_components: int) -> None:
    """`ValueError` where there are fewer rows of positive weight, which are those of the sample, than components."""
    rows = len(sample.X)
    given = plural(rows, "row") + " of positive weight" * bool(sample.sample_weight.size)
    if rows < n_components:
        raise ValueError(
            f"X has {given} and n_components is {n_components}; at least one row for each component is wanted. "
            f"Use n_components <= {rows}, or give more rows"
        )


def _spell(x: float) -> str:
    return "NaN" if np.isnan(x) else f"{x:.6g}"


def check_plan(algorithm: Any, batch_size: Any, step: Any, held_out: Any, checkpoint: Any, resume: Any) -> None:
    """Arguments of `fit` that say how the data are gone through."""
    check_choice("algorithm", algorithm, ALGORITHMS)
    if batch_size is not None:
        check_number("batch_size", batch_size, Integral, 1, 10_000)
    if batch_size is not None and algorithm == "batch":
        raise ValueError(
            "batch_size is given, and algorithm='batch' has no batches: choose 'stepwise' or 'incremental'"
        )
    if step is not None and (algorithm != "stepwise" or not callable(step)):
        raise ValueError(
            f"step is {step!r} and algorithm {algorithm!r}; a callable is wanted, such as fastem.StepSize(alpha=0.7), "
            "with algorithm='stepwise'"
        )
    if held_out is not None and algorithm != "stepwise":
        raise ValueError(
            f"held_out is given, and algorithm={algorithm!r} stops by the rows that it learns: leave it out, or choose "
            "'stepwise'"
        )
    if resume and checkpoint is None:
        raise ValueError("resume=True, and no checkpoint was given; name the file: fit(X, checkpoint='run.npz', ...)")


def check_algorithm(estimator: Any, algorithm: str, known: tuple[str, ...]) -> None:
    """`ValueError` for an online algorithm where the family's sums cannot be kept while the parameters move on."""
    if algorithm not in known:
        raise ValueError(
            f"algorithm is {algorithm!r}, and {type(estimator).__name__} has {', '.join(map(repr, known))} alone: its "
            "sums are taken under the parameters of an iteration, and cannot be moved to others without the rows. "
            f"Use fit(X, algorithm={known[0]!r}), which reads sources larger than memory too"
        )
