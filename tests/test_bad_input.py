"""What bad input gets: a ValueError that says what was given and wanted and what to try, or no error."""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Callable
from typing import Any

import cases
import numpy as np
import pandas as pd
import pytest
import reference
from cases import OVERLAPPING, SEPARATED, fit, fitted, starting_from
from scipy.sparse import csr_array
from sklearn.exceptions import ConvergenceWarning, NotFittedError

import fastem
from fastem.validation import RowError

RNG = np.random.default_rng(11)
X = RNG.standard_normal((40, 2))
ADVICE = re.compile(
    r"\b(try|use|pass|give|drop|remove|replace|impute|fill|reshape|set|lower|raise|reduce|fewer|convert|check|fit"
    r"|consider|invert|add|provide|make|leave|choose|divide|cast|encode|clean|select)\b",
    re.IGNORECASE,
)


def mixture(n_components: int = 2, **options: Any) -> fastem.GaussianMixture:
    return fastem.GaussianMixture(n_components, random_state=0, **options)


def with_bad(value: float) -> np.ndarray:
    rows = X.copy()
    rows[7, 1] = rows[23, 0] = value
    return rows


def weighted(sample_weight: Any) -> Callable[[], Any]:
    return lambda: mixture().fit(X, sample_weight=sample_weight)


def started(**inits: Any) -> Callable[[], Any]:
    return lambda: mixture(**inits).fit(X)


I2 = np.eye(2)
not_definite = np.stack([I2, np.diag([1.0, -1.0])])
not_symmetric = np.stack([I2, np.array([[1.0, 0.5], [0.0, 1.0]])])
ones = np.ones(40)
BAD: dict[str, tuple[Callable[[], Any], list[str]]] = {
    # what was done, and the words by which the message names what was given and what was wanted
    "NaN": (lambda: mixture().fit(with_bad(np.nan)), ["NaN", r"\b7\b", r"\b23\b"]),
    "infinity": (lambda: mixture().fit(with_bad(np.inf)), ["inf", r"\b7\b"]),
    "minus infinity": (lambda: mixture().fit(with_bad(-np.inf)), ["inf", r"\b7\b"]),
    "NaN in predict": (lambda: fit(mixture(), X).predict(with_bad(np.nan)), ["NaN", r"\b7\b"]),
    "NaN in score": (lambda: fit(mixture(), X).score(with_bad(np.nan)), ["NaN", r"\b7\b"]),
    "one dimension": (lambda: mixture().fit(X[:, 0]), ["1D|1 dim", "2D|2 dim"]),
    "three dimensions": (lambda: mixture().fit(X.reshape(20, 2, 2)), ["dim 3|3D|3 dim", "2"]),
    "a scalar": (lambda: mixture().fit(3.0), ["scalar|0D|0 dim", "2D|2 dim"]),
    "no rows": (lambda: mixture().fit(X[:0]), [r"0 sample|\(0, 2\)|no rows", "1"]),
    "no columns": (lambda: mixture().fit(X[:, :0]), ["0 feature", "1"]),
    "a frame without columns": (lambda: mixture().fit(pd.DataFrame(X)[[]]), ["frame without columns", "one"]),
    "two columns of one name": (
        lambda: mixture().fit(pd.DataFrame(X, columns=["a", "a"])),
        ["unique column names", "'a'", "a name of its own"],
    ),
    "other features": (lambda: fit(mixture(), X).predict(np.ones((3, 5))), ["5 features", "2 features"]),
    "fewer rows than components": (lambda: mixture(8).fit(X[:5]), [r"\b5\b", r"\b8\b", "n_components"]),
    "fewer rows of weight than components": (
        lambda: mixture(3).fit(X, sample_weight=np.r_[1, 1, 0 * ones[2:]]),
        ["2 rows of positive weight", r"\b3\b", "n_components"],
    ),
    "missing counts of a multinomial": (
        lambda: fastem.MultinomialMixture(2, missing="nan").fit(np.ones((9, 2))),
        ["missing is 'nan'", "number of trials", r"PoissonMixture\(missing='nan'\)"],
    ),
    "NaN in a multinomial": (
        lambda: fastem.MultinomialMixture().fit([[1, 2], [np.nan, 1]]),
        [r"row 1 .*rows\b(?!.*missing)"],
    ),
    "complex": (lambda: mixture().fit(X + 1j), ["[Cc]omplex"]),
    # A ValueError here, and for check_estimator's check_dtype_object a TypeError as well.
    "objects": (lambda: mixture().fit(np.array([[{}, {}]] * 9, dtype=object)), ["dict", "number"]),
    "sparse": (lambda: mixture().fit(csr_array(X)), ["[Ss]parse", "dense"]),
    "masked": (lambda: mixture().fit(np.ma.masked_greater(X, 1)), ["masked", r"row \d+, column \d", "filled"]),
    "masked weights": (weighted(np.ma.masked_less(np.r_[ones[1:], 0], 1)), ["sample_weight", "masked", "row 39"]),
    "times": (lambda: mixture().fit(np.full((9, 2), np.datetime64("2020-01-01"))), ["datetime64"]),
    "rows of several lengths": (lambda: mixture().fit([[1, 2], [3]]), ["inhomogeneous", "equal length"]),
    "numbers too large": (lambda: mixture().fit([[10**400, 1], [2, 3]]), ["too large"]),
    "words": (lambda: mixture().fit([["a", "b"], ["c", "d"]]), ["numeric|float|number|str"]),
    "negative weights": (weighted(-ones), ["sample_weight", "negative|-1"]),
    "one negative weight": (weighted(np.r_[ones[:-1], -0.5]), ["sample_weight", r"-0\.5|\b39\b"]),
    "weights all zero": (weighted(0 * ones), ["sample_weight", "zero|0"]),
    "weights too few": (weighted(ones[:-1]), ["sample_weight", r"\b39\b", r"\b40\b"]),
    "weights in a square": (weighted(np.ones((40, 2))), ["sample_weight", r"\(40, 2\)|2D", r"40|1D"]),
    "weights NaN": (weighted(np.r_[ones[:-1], np.nan]), ["sample_weight", "NaN|nan"]),
    "weights infinite": (weighted(np.r_[ones[:-1], np.inf]), ["sample_weight", "inf"]),
    "weights in score": (
        lambda: fit(mixture(), X).score(X, sample_weight=ones[:3]),
        ["sample_weight", r"\b3\b", r"\b40\b"],
    ),
    "squares too large": (lambda: mixture().fit(X * 1e160), [r"e\+160", r"1e\+152", "float64"]),
    "numbers too small": (lambda: mixture().fit(X * 1e-200), ["e-200", "1e-149", "float64"]),
    "numbers too large for float32": (lambda: mixture().fit((X * 1e20).astype("f")), [r"e\+20", r"2e\+17", "float32"]),
    "weights too large": (lambda: mixture().fit(X.astype("f"), sample_weight=1e39 * ones), [r"1e\+39", r"2e\+19"]),
    "weights of infinite sum": (weighted(1e308 * ones), ["sample_weight", r"1e\+308"]),
    "weights too large in score": (
        lambda: fit(mixture(), X).score(X, sample_weight=1e308 * ones),
        ["sample_weight", r"1e\+308"],
    ),
    "weights_init too many": (started(weights_init=np.ones(3) / 3), ["weights_init", r"\(3,\)", r"\(2,\)"]),
    "weights_init negative": (started(weights_init=[1.5, -0.5]), ["weights_init", r"-0\.5", "less than 0"]),
    "weights_init of sum 2": (started(weights_init=[1.0, 1.0]), ["weights_init", r"\b2(\.0*)?\b", r"\b1\b"]),
    "weights_init NaN": (started(weights_init=[np.nan, 1.0]), ["weights_init", "NaN"]),
    "means_init too wide": (started(means_init=np.ones((2, 3))), ["means_init", r"\(2, 3\)", r"\(2, 2\)"]),
    "means_init complex": (started(means_init=1j * np.eye(2)), ["means_init", "complex128", r"\(2, 2\)"]),
    "means_init NaN": (started(means_init=[[0, np.nan], [1, 1]]), ["means_init", "NaN"]),
    "precisions_init of another shape": (
        started(precisions_init=I2),
        ["precisions_init", r"\(2, 2\)", r"\(2, 2, 2\)", "full"],
    ),
    "precisions_init diag as full": (
        started(precisions_init=np.stack([I2, I2]), covariance_type="diag"),
        ["precisions_init", r"\(2, 2, 2\)", r"\(2, 2\)", "diag"],
    ),
    "precisions_init not definite": (started(precisions_init=not_definite), ["precisions_init", "positive"]),
    "precisions_init not symmetric": (
        started(precisions_init=not_symmetric),
        ["precisions_init", "symmetric"],
    ),
    "precisions_init NaN": (
        started(precisions_init=np.full((2, 2, 2), np.nan)),
        ["precisions_init", "NaN|finite"],
    ),
    "tied precision not definite": (
        started(precisions_init=-I2, covariance_type="tied"),
        ["precisions_init", "positive"],
    ),
    "diag precision negative": (
        started(precisions_init=[[1, 1], [1, -1]], covariance_type="diag"),
        ["precisions_init", "positive"],
    ),
    "spherical precision zero": (
        started(precisions_init=[1, 0], covariance_type="spherical"),
        ["precisions_init", "positive"],
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_data_get_a_value_error_that_helps(name: str) -> None:
    act, words = BAD[name]
    with pytest.raises(ValueError) as caught:
        act()
    message = str(caught.value)
    for word in words:
        assert re.search(word, message), f"{word!r} is not in: {message}"
    assert ADVICE.search(message), f"nothing to try in: {message}"
    assert len(message) < 400, "the data are in the message"


@pytest.mark.parametrize(
    ("option", "value", "wanted"),
    [
        ("n_components", 0, "at least 1"),
        ("n_components", 2.5, "whole number"),
        ("covariance_type", "ful", "'full'"),
        ("covariance_type", np.array(["full", "full"]), "'full'"),
        ("tol", -1.0, "at least 0"),
        ("reg_covar", -1e-3, "at least 0"),
        ("max_iter", -1, "at least 0"),
        ("n_init", 0, "at least 1"),
        ("init_params", "k-means", "'kmeans'"),
        ("on_collapse", "ignore", "'restart'"),
        ("n_jobs", 0, "None"),
        ("max_time", -1.0, "at least 0"),
        ("callback", 3, "function"),
        ("random_state", "seed", "whole number from 0 to 4294967295.*try random_state=0"),
        ("random_state", -1, "whole number from 0 to 4294967295"),
        ("verbose", -1, "at least 0"),
        ("verbose", 1.5, "whole number"),
        ("verbose_interval", 0, "at least 1"),
        ("max_time", "1", "try max_time=None"),
    ],
)
def test_bad_parameters_are_told_in_fit(option: str, value: Any, wanted: str) -> None:
    estimator = mixture().set_params(**{option: value})
    with pytest.raises(ValueError) as caught:
        estimator.fit(X)
    message = str(caught.value)
    assert option in message and repr(value) in message and re.search(wanted, message), message


@pytest.mark.parametrize("n_samples", [0, -1, 2.5, True, "3", None])
def test_a_positive_number_of_rows_is_sampled(n_samples: Any) -> None:
    with pytest.raises(ValueError, match=f"n_samples is {n_samples!r}; a whole number of at least 1 .* try"):
        fit(mixture(), X).sample(n_samples)


def test_errors_of_rows_reach_other_processes_whole() -> None:
    error = pickle.loads(pickle.dumps(RowError("row 3", 3, 1, np.inf)))
    assert (str(error), error.row, error.column, error.value) == ("row 3", 3, 1, np.inf)


@pytest.mark.parametrize("names", [None, ["a", "b", "c"]])
def test_a_ridge_above_the_variances_is_a_warning(names: list[str] | None) -> None:
    rows = np.column_stack([X, 1e-3 * X[:, :1]])
    data = rows if names is None else pd.DataFrame(rows, columns=names)
    called = "2" if names is None else "'c'"
    with pytest.warns(UserWarning) as caught:
        mixture(reg_covar=1e-2).fit(data)
    (message,) = [str(warning.message) for warning in caught if "reg_covar" in str(warning.message)]
    assert re.match(rf"reg_covar is 0.01, more than the whole variance of column {called} \(\S+ in", message), message
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mixture(reg_covar=1e-2).fit(np.column_stack([X, np.full(40, 7.0)]))  # constant: nothing varies there


@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
def test_a_constant_column_without_a_ridge_is_named(kind: str) -> None:
    rows = pd.DataFrame(np.column_stack([X, np.full(40, 7.0)]), columns=["a", "b", "c"])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        mixture(covariance_type=kind, reg_covar=0).fit(rows)
    named = [str(warning.message).startswith("column 'c' of X is constant and reg_covar is 0") for warning in caught]
    assert any(named) == (kind != "spherical")
    with pytest.warns(UserWarning, match="^columns 0, 1 of X are constant and reg_covar is 0"):
        mixture(1, covariance_type=kind, reg_covar=0).fit(X[:1])


@pytest.mark.parametrize("method", "predict predict_proba score_samples score bic aic icl".split())
def test_nothing_is_predicted_before_a_fit(method: str) -> None:
    with pytest.raises(NotFittedError, match="fit"):
        getattr(mixture(), method)(X)
    with pytest.raises(NotFittedError):
        mixture().sample()
    with pytest.raises(NotFittedError):
        mixture().to_sklearn()


def assert_sound(estimator: fastem.GaussianMixture, rows: Any) -> None:
    """Assert that everything that a fit leaves is finite, and that it can predict."""
    for name in ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_"):
        assert np.isfinite(getattr(estimator, name)).all(), name
    assert estimator.weights_.sum() == pytest.approx(1, rel=1e-5)
    assert np.isfinite(estimator.score_samples(rows)).all()
    np.testing.assert_allclose(estimator.predict_proba(rows).sum(axis=1), 1, rtol=1e-5)
    assert np.isfinite(estimator.history_["log_likelihood"]).all()


kinds = pytest.mark.parametrize("kind", cases.COVARIANCE_TYPES)
starts = pytest.mark.parametrize("init_params", ["race", "kmeans", "k-means++", "random", "random_from_data"])


@kinds
@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_one_row_is_enough(kind: str, dtype: str) -> None:
    row = np.array([[3.0, -2.0, 1e3]], dtype=dtype)
    estimator = fit(mixture(1, covariance_type=kind), row)
    np.testing.assert_allclose(estimator.means_, row)
    # Nothing varies, and so the covariance is what is added to it.
    np.testing.assert_allclose(reference.matrices(fitted(estimator), kind)[0], 1e-6 * np.eye(3), rtol=1e-3)
    assert_sound(estimator, row)


@starts
def test_one_feature_is_enough(init_params: str) -> None:
    column = np.r_[RNG.normal(0, 1, 80), RNG.normal(9, 2, 60)][:, None]
    estimator = fit(mixture(2, init_params=init_params), column)
    assert_sound(estimator, column)
    assert estimator.means_.shape == (2, 1) and estimator.covariances_.shape == (2, 1, 1)


@kinds
@pytest.mark.parametrize("reg_covar", [1e-6, 0.0])
def test_constant_columns_are_survived(kind: str, reg_covar: float) -> None:
    rows = np.column_stack([X, np.full(40, 7.0), np.zeros(40)])
    estimator = fit(mixture(2, covariance_type=kind, reg_covar=reg_covar), rows)
    assert_sound(estimator, rows)
    np.testing.assert_allclose(estimator.means_[:, 2], 7)
    # What is kept at its floor again in every iteration still comes to rest.
    assert estimator.converged_ and estimator.n_iter_ < 300


@kinds
@pytest.mark.parametrize("reg_covar", [1e-6, 0.0])
def test_equal_rows_are_survived(kind: str, reg_covar: float) -> None:
    rows = np.repeat(X[:4], 10, axis=0)
    estimator = fit(mixture(3, covariance_type=kind, reg_covar=reg_covar), rows)
    assert_sound(estimator, rows)
    assert estimator.converged_ and estimator.n_iter_ < 300


@kinds
@starts
def test_more_components_than_distinct_rows_is_a_warning(kind: str, init_params: str) -> None:
    rows = np.repeat(X[:2], 6, axis=0)
    with pytest.warns(UserWarning, match="X has 2 distinct rows") as caught:
        estimator = mixture(4, covariance_type=kind, init_params=init_params).fit(rows)
    assert_sound(estimator, rows)
    assert not any("clusters" in str(warning.message) for warning in caught), "scikit-learn's words of the same"


def test_rows_of_weight_zero_are_not_counted_among_the_distinct() -> None:
    rows = np.vstack([np.repeat(X[:2], 6, axis=0), X])
    with pytest.warns(UserWarning, match=r"X has 2 distinct"):
        mixture(4).fit(rows, sample_weight=np.r_[np.ones(12), np.zeros(40)])


@pytest.mark.parametrize(("dtype", "scale"), [("float64", 1e100), ("float64", 1e-100), ("float32", 1e-14)])
def test_numbers_whose_squares_can_be_held_are_welcome(dtype: str, scale: float) -> None:
    plain, scaled = (fit(mixture(reg_covar=0.0), (X * unit).astype(dtype)).lower_bound_ for unit in (1.0, scale))
    assert scaled + 2 * np.log(scale) == pytest.approx(plain, abs=1e-3)


@kinds
def test_as_many_components_as_rows(kind: str) -> None:
    assert_sound(fit(mixture(5, covariance_type=kind), X[:5]), X[:5])


@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_a_row_far_from_everything_has_a_density(dtype: str) -> None:
    rows, _, start = cases.problem(SEPARATED, "full", dtype)
    estimator = fit(starting_from(start, "full", max_iter=5), rows)
    far = np.array([[1e5, -1e5]], dtype=dtype)
    assert np.isfinite(estimator.score_samples(far)).all()
    np.testing.assert_allclose(estimator.predict_proba(far).sum(), 1, rtol=1e-6)


def test_a_clean_fit_warns_of_nothing() -> None:
    rows, _, _ = cases.problem(OVERLAPPING, "full")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_sound(mixture(2, max_iter=5000).fit(rows), rows)


LARGE = [(np.float32, 1e20, 1e14, 1e15), (np.float64, 1e160, 1e120, 1e150)]
"""A dtype, a number whose square it cannot hold, and rows and weights whose product with the squares it cannot."""


@pytest.mark.parametrize(("dtype", "value"), [case[:2] for case in LARGE])
def test_one_row_too_large_among_many_is_refused_at_once(dtype: type, value: float) -> None:
    rows = np.random.default_rng(0).normal(size=(60_000, 2)).astype(dtype)
    rows[777, 1] = -value
    with pytest.raises(ValueError, match=r"column 1 of X has values up to 1e\+.* leave them out"):
        mixture().fit(rows)


@pytest.mark.parametrize(("dtype", "size", "weight"), [(case[0], *case[2:]) for case in LARGE])
def test_sums_that_overflow_end_a_fit_without_convergence(dtype: type, size: float, weight: float) -> None:
    rows = (size * np.random.default_rng(0).normal(size=(6000, 2))).astype(dtype)
    weights = np.full(len(rows), weight)
    with pytest.warns(ConvergenceWarning, match="not_finite"):
        model = mixture(init_params="random_from_data").fit(rows, sample_weight=weights)
    assert not model.converged_ and np.isfinite(model.means_).all() and np.abs(model.means_).max() < 10 * size
    with pytest.raises(ValueError, match="squares overflow"):
        mixture(init_params="random_from_data").fit(rows, sample_weight=weights, algorithm="incremental")
