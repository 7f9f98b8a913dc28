"""Rows that are far from all others, by a fill value or an error: they may cost a component, and no more."""

from __future__ import annotations

import warnings
from typing import Any

import cases
import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

import fastem
from fastem.engine.chunks import chunk
from fastem.engine.extremes import Extremes
from fastem.engine.initialize import subsample
from fastem.families import covariance
from fastem.families.gaussian import Gaussian, GaussianParams
from fastem.far_rows import far_rows
from fastem.starts import INIT_PARAMS, scale_of

Rows = NDArray[np.float64]
NETCDF = 9.969209968386869e36
"""The fill value of netCDF."""


def clusters(n: int, d: int = 4) -> Rows:
    """Rows of three clusters far apart."""
    rng = np.random.default_rng(3)
    return rng.normal(0, 10, (3, d))[rng.integers(3, size=n)] + rng.standard_normal((n, d))


def quiet(estimator: Any, X: Any, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return estimator.fit(X, **options)


@pytest.mark.parametrize("value", [1e10, 1e20, -NETCDF, 1e150])
@pytest.mark.parametrize("kind", cases.COVARIANCE_TYPES)
def test_a_far_row_costs_a_component_and_no_more(kind: str, value: float) -> None:
    X, (row, column) = clusters(1500), (17, 2)
    X[row, column] = value
    others = np.delete(X, row, axis=0)
    alone = quiet(fastem.GaussianMixture(3, covariance_type=kind, random_state=0), others)
    for init_params in INIT_PARAMS[:3]:
        options = {"covariance_type": kind, "init_params": init_params, "random_state": 0}
        both = quiet(fastem.GaussianMixture(4, **options), X)
        assert both.converged_
        # The least that a component for one row in 1500 takes from the others: log(1 - 1 / 1500).
        assert both.score(others) == pytest.approx(alone.score(others) - 1 / 1500, abs=1e-4)
        assert (both.predict(others) != both.predict(X[[row]])).all()


@pytest.mark.parametrize(
    ("estimator", "value"),
    [
        (fastem.GaussianMixture, 1e16),
        (fastem.StudentTMixture, NETCDF),
        (fastem.FactorAnalyzerMixture, NETCDF),
        (fastem.PoissonMixture, 1e30),
        (fastem.NegativeBinomialMixture, 1e30),
        (fastem.GammaMixture, 1e30),
        (fastem.ExponentialMixture, 1e30),
    ],
)
def test_families_share_the_start_that_is_made_in_parts(estimator: Any, value: float) -> None:
    X = np.abs(clusters(1500)) + 0.5
    if estimator in (fastem.PoissonMixture, fastem.NegativeBinomialMixture):
        X = np.floor(X)
    X[17, 1] = value
    X = X.astype(np.float32) if estimator is fastem.GaussianMixture else X
    others = np.delete(X, 17, axis=0)
    alone, both = (quiet(estimator(k, random_state=0), rows) for k, rows in ((3, others), (4, X)))
    assert both.score(others) == pytest.approx(alone.score(others) - 1 / 1500, abs=5e-4)


@pytest.mark.parametrize("value", [1e6, 1e20, 1e100])
def test_a_far_row_among_many_is_in_the_sample(value: float) -> None:
    X = clusters(50_000)
    alone = fastem.GaussianMixture(3, random_state=0).fit(X).score(X)
    X[[30_000, 41_000], [1, 3]] = value, -value
    both = quiet(fastem.GaussianMixture(5, random_state=0), X)
    assert both.score(np.delete(X, [30_000, 41_000], axis=0)) == pytest.approx(alone, abs=1e-3)


@pytest.mark.parametrize("kind", cases.COVARIANCE_TYPES)
def test_a_far_row_keeps_its_component_where_others_are_dropped(kind: str) -> None:
    X = clusters(1500)
    X[17] = NETCDF
    others = np.delete(X, 17, axis=0)
    options: dict[str, Any] = {"covariance_type": kind, "on_collapse": "drop", "random_state": 0}
    alone = quiet(fastem.GaussianMixture(3, **options), others)
    means = np.stack([*alone.means_, X[17], X[17]])  # two of them collapse, and one has to stay
    model = quiet(fastem.GaussianMixture(5, means_init=means, **options), X)
    assert len(model.weights_) == 4
    assert (model.predict(others) != model.predict(X[[17]])).all()
    assert model.score(others) == pytest.approx(alone.score(others), abs=0.01)


def test_two_levels_of_far_rows_and_weights() -> None:
    X = clusters(1500)
    X[3], X[[5, 9], 1] = 1e140, 1e20
    near = np.delete(X, [3, 5, 9], axis=0)
    weight = np.random.default_rng(0).uniform(0.5, 1.5, 1500)
    model = quiet(fastem.GaussianMixture(5, random_state=0), X, sample_weight=weight)
    alone = quiet(fastem.GaussianMixture(3, random_state=0), near)
    assert model.score(near) == pytest.approx(alone.score(near), abs=0.03)  # one of five components may go unused
    weight[[3, 5, 9]] = 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # rows that do not count are not warned of
        fastem.GaussianMixture(3, random_state=0).fit(X, sample_weight=weight)


def test_the_warning_names_column_value_and_what_to_do() -> None:
    pandas = pytest.importorskip("pandas")
    X = clusters(1500)
    X[17, 2] = NETCDF
    frame = pandas.DataFrame(X, columns=["t", "p", "wind", "rain"])
    with pytest.warns(UserWarning) as caught:
        fastem.GaussianMixture(4, random_state=0).fit(frame)
    words = str(caught[0].message)
    for part in ("1 row of X lies", "column 'wind' has 9.96921e+36", "leave them out", "missing='nan'"):
        assert part in words
    frame.loc[17, "wind"] = np.nan
    fastem.GaussianMixture(3, random_state=0, missing="nan").fit(frame)


@pytest.mark.parametrize("value", [1e10, 1e15, -NETCDF])
@pytest.mark.parametrize("share", [0.3, 0.48, 0.7])
def test_fill_values_may_outnumber_every_other_component(share: float, value: float) -> None:
    rng = np.random.default_rng(0)
    sea = np.column_stack([rng.standard_normal(2000), rng.normal(15.0, 4.0, 2000)])
    land = rng.random(2000) < share
    X = np.where(np.column_stack([np.zeros(2000), land]) > 0, value, sea)
    estimators = [fastem.GaussianMixture(2, covariance_type=kind, random_state=0) for kind in cases.COVARIANCE_TYPES]
    estimators += [
        fastem.GaussianMixture(2, missing="nan", random_state=0),
        fastem.StudentTMixture(2, df=np.inf, random_state=0),
        fastem.FactorAnalyzerMixture(2, random_state=0),
    ]
    for estimator in estimators:
        model = quiet(estimator, X)
        k = int(np.argmin(np.abs(model.means_[:, 1])))
        np.testing.assert_allclose(model.means_[k], sea[~land].mean(axis=0), rtol=1e-9)
        assert model.weights_[k] == pytest.approx(1 - land.mean(), rel=1e-9)
        if getattr(estimator, "covariance_type", "") == "full":
            np.testing.assert_allclose(model.covariances_[k][1, 1], sea[~land, 1].var(), rtol=1e-6)


@pytest.mark.parametrize("kind", cases.COVARIANCE_TYPES)
def test_two_groups_of_far_rows_have_a_component_each(kind: str) -> None:
    X = clusters(3000)
    X[:30, 0], X[30:60, 1] = 1e20, -1e20
    model = quiet(fastem.GaussianMixture(5, covariance_type=kind, random_state=0), X)
    labels = model.predict(X)
    near, one, other = (set(labels[rows]) for rows in (slice(60, None), slice(30), slice(30, 60)))
    assert len(one) == len(other) == 1 and not near & (one | other) and one != other


@pytest.mark.parametrize("value", [1e12, 3e90, 1e140])
@pytest.mark.parametrize("kind", ["full", "tied"])
def test_far_rows_among_far_rows(kind: str, value: float) -> None:
    X = np.random.default_rng(0).standard_normal((1000, 3))
    X[:100, 0], X[:50, 1] = value, value
    for init_params in INIT_PARAMS:
        for n_components in (1, 2, 4):
            options: dict[str, Any] = {"covariance_type": kind, "init_params": init_params, "random_state": 0}
            model = quiet(fastem.GaussianMixture(n_components, **options), X)
            assert np.isfinite(model.score(X))
            assert n_components < 4 or init_params != "race" or model.score(X[100:]) > -5


def test_no_more_components_than_rows_are_begun_on_either_side() -> None:
    X, weight = np.random.default_rng(0).standard_normal((200, 3)), np.ones(200)
    X[0], weight[0] = 1e20, 1e5
    for init_params in INIT_PARAMS:
        model = quiet(fastem.GaussianMixture(5, init_params=init_params, random_state=0), X, sample_weight=weight)
        assert len(set(model.predict(X[1:]))) == 4 and np.isfinite(model.means_).all()
    X = np.random.default_rng(0).standard_normal((6, 3))
    X[:2] *= 1e20
    assert np.isfinite(quiet(fastem.GaussianMixture(5, random_state=0), X).weights_).all()


def test_the_central_component_is_the_heaviest_but_where_others_lose_their_digits() -> None:
    def found(means: list[float], deviations: list[float], weights: list[float]) -> int:
        return covariance.central(np.array(means)[:, None], np.square(deviations)[:, None], np.array(weights))

    assert found([0.0, 1e6, 5.0], [1.0, 1.0, 1.0], [0.2, 0.5, 0.3]) == 1
    assert found([1e8, 1e8 + 3, 1e8 - 4], [1e-3, 1.0, 1.0], [0.2, 0.5, 0.3]) == 1
    assert found([0.0, 1e20, 5.0], [1.0, 4e4, 1.0], [0.2, 0.5, 0.3]) == 0
    # Rows of one value, here 0, lose nothing about a mean that is far from them.
    assert found([0.0, 1e5, 1e5 + 9], [1e-3, 1.0, 1.0], [0.1, 0.5, 0.4]) == 1
    assert found([3.0], [0.0], [1.0]) == 0


def test_what_is_told_of_far_rows_is_what_is_done() -> None:
    X = clusters(1500)
    X[17, 1] = 1e20
    begun = "Components of their own"
    with pytest.warns(UserWarning) as caught:
        fastem.GaussianMixture(4, random_state=0).fit(X)
    words, ending = (str(warning.message) for warning in caught)
    assert begun in words and ending.endswith("they hold rows that are far from all others")
    with pytest.warns(UserWarning) as caught:
        fastem.GaussianMixture(4, random_state=0).partial_fit(X)
    assert str(caught[0].message) == words
    with pytest.warns(UserWarning, match="far from the others") as caught:
        fastem.GaussianMixture(1).fit(X)
    assert begun not in str(caught[0].message)
    X[3, 0] = np.nan
    with pytest.warns(UserWarning, match=r"column 1 of X has 1e\+20.* make them NaN$"):
        fastem.GaussianImputer().fit(X)


def test_columns_of_products_keep_their_names() -> None:
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({"age": clusters(200)[:, 0], "cost": np.abs(clusters(200)[:, 1]) + 1})
    table.loc[7, "cost"] = 1e300
    with pytest.raises(ValueError, match=r"^column 'cost' has values up to 1e\+300"):
        fastem.ProductMixture({"age": "gaussian", "cost": "gamma"}, 2).fit(table)


def test_the_warning_knows_y_and_what_an_estimator_can_do() -> None:
    X = clusters(1500)
    y = X[:, 0] + 1.0
    y[17] = 1e100
    with pytest.warns(UserWarning, match=r": y has 1e\+100.* leave them out or give them weight 0$"):
        fastem.LinearRegressionMixture(2, random_state=0).fit(X, y)
    y[17] = 1e160
    with pytest.raises(ValueError, match=r"^y has values up to 1e\+160"):
        fastem.LinearRegressionMixture(2, random_state=0).fit(X, y)


def test_what_is_far_and_what_is_not() -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((1000, 3))
    assert not far_rows(X).any() and not far_rows(1e-12 * X + 1e8).any() and not far_rows(X[:1]).any()
    assert not far_rows(np.ones((50, 2))).any()
    assert not far_rows(np.full((50, 2), np.nan)).any()
    assert not far_rows(rng.standard_cauchy((1000, 3))).any()
    sparse = np.where(rng.random((1000, 1)) < 0.01, 1e12 * rng.random((1000, 1)), 0.0)
    assert not far_rows(sparse).any()
    noise = np.where(rng.random((1000, 1)) < 0.1, X[:, :1], 1e-16 * rng.standard_normal((1000, 1)))
    assert far_rows(noise).any() and not far_rows(noise, least=1e-3).any()
    X[[4, 7], [0, 2]] = 1e9, -1e30
    X[8] = np.nan
    np.testing.assert_array_equal(np.flatnonzero(far_rows(X)), [4, 7])
    np.testing.assert_array_equal(np.flatnonzero(far_rows(X.astype(np.float32))), [4, 7])
    weight = np.ones(1000)
    weight[4], weight[7] = 1e-20, 1e-50  # the first is not worth a component
    np.testing.assert_array_equal(np.flatnonzero(far_rows(X, weight)), [7])
    assert not far_rows(np.array([[1e10, 0, 1], [0, 1e10, 2], [2, 1, 1e10]])).any(), "none is, where all are"


def test_each_far_row_in_a_column_of_its_own() -> None:
    X = clusters(1500)
    X[[5, 6, 7], [0, 1, 2]] = 1e10
    near = np.delete(X, [5, 6, 7], axis=0)
    alone = fastem.GaussianMixture(3, random_state=0).fit(near).score(near)
    for estimator in (fastem.GaussianMixture(5, random_state=0), fastem.GaussianMixture(5, missing="nan")):
        for init_params in INIT_PARAMS:
            model = quiet(estimator.set_params(init_params=init_params, random_state=0), X)
            assert model.score(near) == pytest.approx(alone, abs=0.01) or init_params.startswith("random")


def test_probabilities_of_a_confident_classifier_are_not_far() -> None:
    logits = 30 * np.random.default_rng(0).standard_normal((2000, 5))
    P = np.exp(logits - logits.max(axis=1, keepdims=True))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.simplefilter("ignore", ConvergenceWarning)
        fastem.GaussianMixture(5, random_state=0).fit(P / P.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.uint8])
@pytest.mark.parametrize("d", [1, 3, 700])
def test_extremes_are_those_of_the_columns(d: int, dtype: Any) -> None:
    rng = np.random.default_rng(d)
    X = rng.integers(0, 200, (301, d)).astype(dtype)
    if dtype is not np.uint8:
        X[rng.random(X.shape) < 0.2] = np.nan
        X[:, 0] = np.nan if d > 1 else X[:, 0]
    extremes = Extremes()
    for rows in np.split(X, [0, 1, 100, 205]):
        extremes.see(rows, np.ones(len(rows)))
    for (greatest, j), (place, row, weight) in extremes.rows.items():
        column = X[:, j].astype(float)
        assert place == (np.nanargmax if greatest else np.nanargmin)(column) and weight == 1.0
        np.testing.assert_array_equal(row, X[place : place + 1])
    assert len(extremes.rows) == 2 * (d - (d > 1 and dtype is not np.uint8))


@pytest.mark.parametrize("missing", [False, True])
def test_a_sample_holds_the_extremes_far_outside_its_range(missing: bool) -> None:
    X = np.random.default_rng(0).uniform(size=(5000, 2))
    X[90, 0] = 3.0  # a heavy tail has such rows: not far enough
    weight = np.random.default_rng(1).uniform(0.5, 1.5, 5000)
    plain = subsample([chunk(X, weight)], 100, np.random.default_rng(1))
    assert len(plain.X) == 100 and not plain.sample_weight.size
    X[[40, 4000], [0, 1]] = 1e5, -1e5
    if missing:
        X[:, 1] = np.nan
        X[[7, 11], 1] = 5.0, 4.0
    wanted = [7, 11, 40] if missing else [40, 4000]
    for cuts in ([], [41, 900], range(500, 5000, 500)):
        chunks = [chunk(*rows) for rows in zip(np.split(X, cuts), np.split(weight, cuts), strict=True)]
        sample = subsample(chunks, 100, np.random.default_rng(1))
        np.testing.assert_array_equal(sample.X[100:], X[wanted])
        # Each of the rows drawn stands for a hundredth of the weight.
        np.testing.assert_allclose(sample.sample_weight[100:], 100 * weight[wanted] / weight.sum(), rtol=1e-12)
        assert (sample.sample_weight[:100] == 1).all()


@pytest.mark.parametrize(("kind", "shape"), [("full", (2, 2, 2)), ("diag", (2, 2)), ("spherical", (2,))])
def test_a_component_that_is_kept_at_its_floor_is_not_pinned(kind: str, shape: tuple[int, ...]) -> None:
    means = np.array([[1e30, 0.0], [0.0, 3.0]])
    covariances = np.broadcast_to(1e-6 * np.eye(2), shape) if kind == "full" else np.full(shape, 1e-6)
    family = Gaussian(kind, 1e-6)
    params = GaussianParams(means, np.array(covariances))
    assert covariance.pinned(params.covariances, kind, means, family.eps).tolist() == [True, False]
    floored = family.floored(params, np.array([True, False]), scale_of(clusters(100, 2), None))
    assert not covariance.pinned(floored.covariances, kind, means, family.eps).any()
    np.testing.assert_array_equal(floored.covariances[1], covariances[1])
