"""Rows with holes: the likelihood of what is there, by SciPy, by R's norm, by formulas, and by direct maximisation."""

from __future__ import annotations

import json
import warnings
from typing import Any

import cases
import numpy as np
import pandas
import pytest
import reference
from cases import COVARIANCE_TYPES, WITH_HOLES, fit, fitted, punched, starting_from
from conftest import DATA
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

import fastem
from fastem.columns import words_of_single_values
from fastem.engine.chunks import chunk
from fastem.families.gaussian import GaussianParams
from fastem.families.gaussian_missing import GaussianMissing
from fastem.kernels import holes, mixture, softmax
from fastem.together import Together

KINDS = pytest.mark.parametrize("kind", COVARIANCE_TYPES)
NORM = json.loads((DATA / "norm.json").read_text(encoding="utf-8"))
HOLES, WIDE = WITH_HOLES[1:]


def missing(k: int = 1, **options: Any) -> fastem.GaussianMixture:
    return fastem.GaussianMixture(k, missing="nan", **{"random_state": 0, "reg_covar": 0.0} | options)


def correlated(rng: np.random.Generator, n: int, d: int = 3) -> np.ndarray:
    return rng.standard_normal((n, d)) @ (np.eye(d) + 0.5 * rng.standard_normal((d, d))) + rng.standard_normal(d)


@pytest.mark.parametrize("d", [1, 3, 7])
@pytest.mark.parametrize("kind", ["tied", "spherical"])
def test_bricks_uncompiled_are_the_textbook(kind: str, d: int, rng: np.random.Generator) -> None:
    k, n, lanes = 2, 40, 64
    a = rng.standard_normal((d, d))
    start = reference.Parameters(
        np.array([0.3, 0.7]),
        rng.standard_normal((k, d)),
        a @ a.T + np.eye(d) if kind == "tied" else np.array([0.5, 2.0]),
    )
    family, X = GaussianMissing(kind, 0.0), punched(rng.standard_normal((n, d)), 0.4, rng)
    params = GaussianParams(start.means, start.covariances)
    prepared, dtype = family.prepare(params, X.dtype, start.weights), X.dtype
    tile = mixture.make_tile(dtype, d, k, lanes)._replace(extra=family.extra(dtype, d, k, lanes), order=family.order(X))
    mixture.load_tile(X, np.zeros(0), 0, n, prepared.shift, tile)
    log_prob, accumulate = family.bricks(prepared)
    log_prob(tile, prepared, tile.resp)
    joint = reference.joint_log_prob(X, start, kind)[tile.order] - np.log(start.weights)
    np.testing.assert_allclose(tile.resp[:k, :n].T, joint, rtol=1e-12, atol=1e-12)
    softmax.normalize(tile, np.log(start.weights)[None])
    statistics = family.zeros(params, 1, prepared)
    accumulate(tile, tile.resp, prepared, statistics, 0)
    after = family.m_step(family.unpad(statistics, params, prepared), params)
    expected = reference.m_step(X, reference.responsibilities(X, start, kind), kind, before=start)
    np.testing.assert_allclose(after.means, expected.means, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(after.covariances, expected.covariances, rtol=1e-11, atol=1e-12)


def test_both_regressions_agree(rng: np.random.Generator) -> None:
    d, m = 6, 2
    a = rng.standard_normal((d, d))
    S = a @ a.T + 0.1 * np.eye(d)
    scratch = holes.make_holes(np.dtype(float), d, 8)
    scratch.index[0, :d], scratch.runs[2, 0] = [1, 4, 0, 2, 3, 5], m
    P, wide = np.zeros((d, 8)), np.zeros((d, 8))
    P[:, :d], wide[:, :d] = np.linalg.inv(S), S
    gone, there = [1, 4], [0, 2, 3, 5]
    B = np.linalg.solve(S[np.ix_(there, there)], S[np.ix_(there, gone)]).T
    for by_covariance, block in ((False, np.linalg.inv(S)[np.ix_(gone, gone)]), (True, S[np.ix_(there, there)])):
        log_det = holes.regress(scratch, 0, P, wide, 0, by_covariance)
        assert log_det == pytest.approx(np.linalg.slogdet(block)[1])
        np.testing.assert_allclose(scratch.coefficients[np.ix_([0, 1], there)], -B, rtol=1e-9)
        within = S[np.ix_(gone, gone)] - B @ S[np.ix_(there, gone)]
        np.testing.assert_allclose(scratch.coefficients[np.ix_([0, 1], gone)], within, rtol=1e-9)


@KINDS
def test_complete_rows_are_fitted_as_ever(kind: str) -> None:
    X, weight, start = cases.problem(cases.WEIGHTED, kind)
    plain, same = (fit(starting_from(start, kind, max_iter=5, missing=m), X, weight) for m in ("error", "nan"))
    if kind in ("tied", "spherical"):  # sums about each mean, not about one centre
        cases.assert_same(fitted(same), fitted(plain), 1e-12)
    else:
        assert all((a == b).all() for a, b in zip(fitted(same), fitted(plain), strict=True))


@pytest.mark.parametrize("entry", NORM, ids=lambda entry: entry["table"])
def test_one_gaussian_is_that_of_norm(entry: dict[str, Any]) -> None:
    path = DATA / f"{entry['table']}.csv"
    header = path.read_text(encoding="utf-8").split("\n")[0].replace('"', "").split(",")
    columns = [header.index(name) for name in entry["columns"]]
    X = np.genfromtxt(path, delimiter=",", skip_header=1, usecols=columns, missing_values="NA")
    assert X.shape[0] == entry["n"] and np.isnan(X).sum() == entry["missing"]
    model = fit(missing(tol=0.0, max_iter=200), X)
    mean, covariance = np.array(entry["mu"]), np.array(entry["sigma"])
    scale = np.sqrt(np.diag(covariance))
    assert len(X) * model.score(X) == pytest.approx(entry["loglik"], rel=1e-11)
    assert model.bic(X) == pytest.approx(entry["bic"], rel=1e-11)
    # norm stops where no parameter moves by more than 1e-6 of itself or so.
    np.testing.assert_allclose(model.means_[0] / scale, mean / scale, atol=1e-6)
    np.testing.assert_allclose(
        model.covariances_[0] / np.outer(scale, scale), covariance / np.outer(scale, scale), atol=1e-6
    )


def test_a_column_that_stops_is_a_regression(rng: np.random.Generator) -> None:
    """Anderson 1957, Maximum likelihood estimates for a multivariate normal when some observations are missing."""
    X = correlated(rng, 200, 2)
    X[120:, 1] = np.nan
    there, (x, y) = X[:120], X[:120].T
    b = np.cov(x, y, bias=True)[0, 1] / x.var()
    mean = np.array([X[:, 0].mean(), y.mean() + b * (X[:, 0].mean() - x.mean())])
    variance = X[:, 0].var()
    residual = (there[:, 1] - y.mean() - b * (x - x.mean())).var()
    covariance = np.array([[variance, b * variance], [b * variance, residual + b**2 * variance]])
    model = missing(tol=1e-13, max_iter=10_000).fit(X)
    np.testing.assert_allclose(model.means_[0], mean, rtol=1e-7)
    np.testing.assert_allclose(model.covariances_[0], covariance, rtol=1e-6)


@pytest.mark.parametrize("kind", ["diag", "spherical"])
def test_uncorrelated_columns_are_fitted_apart(kind: str, rng: np.random.Generator) -> None:
    X = punched(correlated(rng, 301, 5), 0.3, rng)
    model = missing(covariance_type=kind, tol=1e-14, max_iter=10_000).fit(X)
    # The likelihood is flat to its last digit over half of the digits of its maximum.
    np.testing.assert_allclose(model.means_[0], np.nanmean(X, axis=0), atol=2e-6)
    there = (~np.isnan(X)).sum(axis=0)
    variances = np.nanvar(X, axis=0)
    if kind == "spherical":
        variances = (variances * there).sum() / there.sum()
    np.testing.assert_allclose(model.covariances_[0], variances, rtol=1e-5)


def test_direct_maximisation_ends_there(rng: np.random.Generator) -> None:
    X = punched(correlated(rng, 60, 2), 0.25, rng)
    model = missing(tol=1e-13, max_iter=10_000).fit(X)

    patterns = {tuple(there) for there in ~np.isnan(X)} - {(False, False)}
    groups = [(list(there), X[(~np.isnan(X) == there).all(axis=1)][:, list(there)]) for there in sorted(patterns)]

    def negative(p: np.ndarray) -> float:
        factor = np.array([[np.exp(p[2]), 0.0], [p[3], np.exp(p[4])]])
        matrix = factor @ factor.T
        densities = (multivariate_normal(p[:2][t], matrix[np.ix_(t, t)]).logpdf(rows) for t, rows in groups)
        return -float(sum(np.sum(density) for density in densities))

    found = minimize(negative, np.zeros(5), method="BFGS", options={"gtol": 1e-6})
    assert len(X) * model.score(X) == pytest.approx(-found.fun, abs=1e-6)
    np.testing.assert_allclose(model.means_[0], found.x[:2], atol=1e-5)


@st.composite
def punched_problems(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int, str]:
    """Draw rows with any holes: rows with nothing, columns with one value; and weights."""
    kind, k = draw(st.sampled_from(COVARIANCE_TYPES)), draw(st.integers(1, 3))
    n, d = draw(st.integers(15 * k, 90)), draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    X = rng.standard_normal((n, d)) + 3.0 * rng.integers(k, size=(n, 1))
    X[rng.random((n, d)) < draw(st.sampled_from([0.05, 0.3, 0.8]))] = np.nan
    if draw(st.booleans()):
        X[1:, 0] = np.nan
    X[0] = rng.standard_normal(d)
    return X, rng.choice([0.5, 1.0, 2.0], size=n), k, kind


@given(punched_problems())
def test_the_objective_never_falls(drawn: tuple[np.ndarray, np.ndarray, int, str]) -> None:
    X, weight, k, kind = drawn
    options = {"covariance_type": kind, "tol": 0.0, "max_iter": 25, "init_params": "random", "accelerate": None}
    model = fit(missing(k, **options), X, weight)
    history = model.history_["log_likelihood"]
    assert np.isfinite(history).all()
    if not any(model.diagnostics_[event] for event in ("restarted", "floored", "parted")):
        assert np.diff(history).min(initial=0) >= -1e-11 * (weight.sum() + abs(history).max())


def test_nothing_observed_says_nothing() -> None:
    X, weight, start = cases.problem(HOLES, "full")
    empty = np.isnan(X).all(axis=1)
    model = fit(starting_from(start, "full", max_iter=3, missing="nan"), X, weight)
    assert empty.any()
    np.testing.assert_allclose(model.score_samples(X[empty]), 0.0, atol=1e-15)  # the logarithm of the weights' sum
    np.testing.assert_allclose(model.predict_proba(X[empty]), np.tile(model.weights_, (empty.sum(), 1)), rtol=1e-14)


@KINDS
def test_weights_chunks_threads_and_order(kind: str) -> None:
    X, _, start = cases.problem(WIDE, kind)
    counts = np.random.default_rng(0).integers(0, 3, len(X)).astype(float)

    def run(X: Any, weight: Any = None, **options: Any) -> reference.Parameters:
        return fitted(fit(starting_from(start, kind, max_iter=4, missing="nan", **options), X, weight))

    cases.assert_same(run(X, counts), run(np.repeat(X, counts.astype(int), axis=0)), 1e-10)
    whole = run(X)
    cases.assert_same(
        run(fastem.Chunks(lambda: (X[i : i + 50] for i in range(0, len(X), 50)), rows_per_chunk=37)), whole, 1e-10
    )
    cases.assert_same(run(X[np.random.default_rng(1).permutation(len(X))]), whole, 1e-10)
    many = np.tile(X, (30, 1))
    for a, b in zip(run(many, n_jobs=1), run(many, n_jobs=2), strict=True):
        assert (a == b).all()


@pytest.mark.parametrize(("dtype", "offset", "rtol"), [("float64", 2.0**27, 1e-7), ("float32", 2.0**13, 2e-3)])
@KINDS
def test_an_offset_changes_nothing_else(kind: str, dtype: str, offset: float, rtol: float) -> None:
    X, _, start = cases.problem(WIDE, kind, dtype)
    step = np.spacing(np.dtype(dtype).type(2 * offset))
    X = (np.round(X / step) * step).astype(dtype)
    far = start._replace(means=start.means + offset)
    near = fitted(fit(starting_from(start, kind, max_iter=3, missing="nan"), X))
    moved = fitted(fit(starting_from(far, kind, max_iter=3, missing="nan"), X + np.dtype(dtype).type(offset)))
    cases.assert_same(moved._replace(means=moved.means - offset), near, rtol)


def test_collinear_holes_keep_their_digits(rng: np.random.Generator) -> None:
    """Two columns that are nearly the same, both missing: of the precision matrix their block is near singular."""
    d, m, gone, there = 5, 2, [0, 1], [2, 3, 4]
    a = rng.standard_normal((d, d))
    a[1] = a[0] + 1e-6 * a[1]
    S = a @ a.T
    family = GaussianMissing("full", 0.0)
    prepared = family.prepare(GaussianParams(np.zeros((1, d)), S[None]), np.dtype(float), np.ones(1))
    scratch = family.extra(np.dtype(float), d, 1, 8)
    scratch.index[0, :d], scratch.runs[2, 0] = range(d), m
    assert prepared.inflated[0]
    holes.regress(scratch, 0, prepared.precisions, prepared.covariances, 0, True)
    B = np.linalg.solve(S[np.ix_(there, there)], S[np.ix_(there, gone)]).T
    np.testing.assert_allclose(scratch.coefficients[:m, there], -B, rtol=1e-12)
    holes.regress(scratch, 0, prepared.precisions, prepared.covariances, 0, False)
    assert abs(scratch.coefficients[:m, there] / -B - 1).max() > 1e-8  # what the other way would have lost


def test_estimates_are_where_they_should_be() -> None:
    """Thirty data sets: the mean error of each parameter is within three of its standard errors."""
    rng = np.random.default_rng(5)
    mean, covariance = np.array([1.0, -2.0, 0.5]), np.array([[2.0, 1.2, 0.3], [1.2, 1.5, -0.2], [0.3, -0.2, 1.0]])
    found = []
    for _ in range(30):
        X = rng.multivariate_normal(mean, covariance, 300)
        X[rng.random(300) < 1 / (1 + np.exp(-X[:, 0])), 1] = np.nan  # at random, but not completely
        X[rng.random(300) < 0.2, 2] = np.nan
        model = missing(tol=1e-8).fit(X)
        found.append(np.concatenate([model.means_[0], (300 / 299 * model.covariances_[0])[np.triu_indices(3)]]))
    error = np.mean(found, axis=0) - np.concatenate([mean, covariance[np.triu_indices(3)]])
    assert (abs(error) < 3 * np.std(found, axis=0) / np.sqrt(30)).all()


@KINDS
def test_from_any_start_components_are_found(kind: str) -> None:
    rng = np.random.default_rng(3)
    X = rng.standard_normal((900, 3)) + np.repeat([[0, 0, 0], [6, 6, -6], [-6, 6, 6]], 300, axis=0)
    X = punched(X, 0.2, rng)
    for init in ("race", "kmeans", "k-means++", "random_from_data"):
        model = fit(missing(3, covariance_type=kind, init_params=init), X)
        order = np.argsort(model.means_[:, 2])
        np.testing.assert_allclose(model.means_[order], [[6, 6, -6], [0, 0, 0], [-6, 6, 6]], atol=0.4)


def test_online_algorithms_files_and_checkpoints(tmp_path: Any) -> None:
    rng = np.random.default_rng(4)
    X = punched(rng.standard_normal((2000, 3)) + np.where(rng.random((2000, 1)) < 0.4, 0.0, 5.0), 0.2, rng)
    batch = fit(missing(2, init_params="kmeans"), X)
    for algorithm in ("stepwise", "incremental"):
        model = cases.quietly(missing(2, init_params="kmeans").fit, X, algorithm=algorithm, batch_size=200)
        assert model.score(X) == pytest.approx(batch.score(X), abs=3e-3)
    online = missing(2)
    for i in range(0, 2000, 250):
        online.partial_fit(X[i : i + 500])
    assert online.score(X) == pytest.approx(batch.score(X), abs=0.02)
    batch.save(tmp_path / "model.npz")
    loaded = fastem.load(tmp_path / "model.npz")
    assert loaded.missing == "nan" and (loaded.score_samples(X) == batch.score_samples(X)).all()
    path, options = tmp_path / "run.npz", {"tol": 0.0, "init_params": "random"}
    whole = fit(missing(2, max_iter=14, **options), X)
    cases.quietly(missing(2, max_iter=9, **options).fit, X, checkpoint=path)
    again = cases.quietly(missing(2, max_iter=14, **options).fit, X, checkpoint=path, resume=True)
    assert (again.means_ == whole.means_).all() and (again.covariances_ == whole.covariances_).all()


def apart(n: int = 600) -> np.ndarray:
    """Four columns: the first and the last are never there together but in a row of weight 0."""
    X = np.random.default_rng(3).standard_normal((n, 4))
    X[: n // 2, 0] = X[n // 2 : -1, 3] = np.nan
    return X


def test_columns_that_no_row_has_both_of() -> None:
    X, weight = apart(), np.r_[np.ones(599), 0.0]
    parts = [chunk(X[:250], weight[:250]), chunk(X[250:], weight[250:])]
    together = Together(parts, np.ones((4, 4), bool))
    assert list(together) == parts
    assert "both of the columns 0 and 3: beyond" in together.words(None)
    assert "both of the columns 'a' and 'd': beyond" in together.words("abcd")
    blocks = np.kron(np.eye(2), np.ones((2, 2))).astype(bool)  # two groups of columns
    for others in (Together(parts, blocks), Together([chunk(X, None)], np.ones((4, 4), bool))):
        assert list(others) and others.words(None) == ""
    X[:, 2] = np.nan  # which is an error by itself
    X[-1, 3] = np.nan
    X[300:, 1] = np.nan
    together = Together([chunk(X, None)], np.ones((4, 4), bool))
    assert list(together) and "0 and 1, 0 and 3: beyond" in together.words(None)


def test_a_fit_warns_of_columns_that_no_row_has_both_of() -> None:
    X, weight = apart(), np.r_[np.ones(599), 0.0]
    frame = pandas.DataFrame(X, columns=list("abcd"))
    source = fastem.Chunks(frame, rows_per_chunk=100)
    once = {"max_iter": 1, "tol": 1e6, "init_params": "random_from_data"}
    for rows in (frame, source):
        with pytest.warns(UserWarning, match="both of the columns 'a' and 'd'"):
            missing(1, **once).fit(rows, sample_weight=weight)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "no row has both")
        missing(1, covariance_type="diag", **once).fit(frame, sample_weight=weight)
        missing(1, **once).fit(frame)
    families = {("a", "b"): "gaussian", ("c", "d"): "gaussian"}
    for product, expected in ((families, None), ({("a", "d"): "gaussian", "b": "gaussian"}, "'a' and 'd'")):
        model = fastem.ProductMixture(product, missing="nan")
        with model._opened(frame, weight, reset=True) as data:
            pairs = model._covarying(data.n_features)
            together = Together(data.chunks, pairs)
            assert list(together) and (expected or "") in together.words(model.feature_names_in_)
            assert (together.words(None) == "") == (expected is None)


def test_a_column_with_one_value_is_warned_of() -> None:
    X = np.random.default_rng(4).standard_normal((50, 3))
    X[1:, 2] = np.nan
    frame = pandas.DataFrame(X, columns=list("abc"))
    for model in (missing(max_iter=1, reg_covar=1e-3), missing(max_iter=1, reg_covar=1e-3, covariance_type="diag")):
        with pytest.warns(UserWarning, match="one value alone is observed in column 'c' of the 50 rows"):
            model.fit(frame)
    assert words_of_single_values(X[:1]) == words_of_single_values(X[:, :2]) == ""
    assert "in column 2 of the 2 rows" in words_of_single_values(X[:2])


def test_leaps_end_where_em_does_under_a_ridge() -> None:
    """Of a column with one value the ridge alone keeps variances up: a leap that shrinks them gains, and is wrong."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 5)) + np.where(np.arange(300)[:, None] < 150, -4.0, 4.0)
    X[rng.random(X.shape) < 0.2] = np.nan
    X[:, 4] = np.where(np.arange(300) == 3, 5.0, np.nan)
    plain = fit(missing(2, reg_covar=1e-6, accelerate=None, tol=1e-7, max_iter=9999), X)
    for accelerate in ("squarem", "anderson"):
        model = fit(missing(2, reg_covar=1e-6, accelerate=accelerate), X)
        assert model.converged_ and model.n_iter_ < 150
        assert model.score(X) == pytest.approx(plain.score(X), abs=1e-3)


def test_bad_input_is_told() -> None:
    X, _, _ = cases.problem(HOLES, "full")
    source = fastem.Chunks(lambda: iter([X]))
    with pytest.raises(ValueError, match="missing is 'drop'; one of 'error', 'nan' is wanted"):
        fastem.GaussianMixture(missing="drop").fit(X)
    for rows in (X, source):
        with pytest.raises(ValueError, match="NaN in row.*fit what there is of each row: missing='nan'"):
            fastem.GaussianMixture().fit(rows)
    infinite = X.copy()
    infinite[7, 2] = np.inf
    for rows in (infinite, fastem.Chunks(lambda: iter([infinite]))):
        with pytest.raises(ValueError, match="infinity in row 7.*column 2.*or NaN"):
            missing().fit(rows)
    model = missing().fit(X)
    X[:, 1] = np.nan
    assert np.isfinite(model.score(X))  # what was fitted may be missing later
    for rows in (X, source):
        with pytest.raises(
            ValueError, match="all values are missing in column 1 of the 203 rows.*Leave such columns out"
        ):
            missing().fit(rows)


def test_scores_are_of_what_is_there(rng: np.random.Generator) -> None:
    X = correlated(rng, 300)
    model = missing().fit(X)
    half = X.copy()
    half[:, 1] = np.nan
    mean, matrix = model.means_[0, [0, 2]], model.covariances_[0][np.ix_([0, 2], [0, 2])]
    np.testing.assert_allclose(model.score_samples(half), multivariate_normal(mean, matrix).logpdf(X[:, [0, 2]]))
    assert model.__sklearn_tags__().input_tags.allow_nan


def test_a_column_that_is_hardly_ever_observed(rng: np.random.Generator) -> None:
    X = rng.normal(size=(20_000, 2))
    X[:, 1][np.arange(len(X)) % 9_000 != 5] = np.nan
    model = fit(missing(max_iter=3), X)
    assert model.means_[0, 1] == pytest.approx(np.nanmean(X[:, 1]), abs=0.5)
    model = fit(missing(max_iter=3), lambda: iter(np.split(X, 10)))
    assert np.isfinite(model.score(X))


def test_a_component_at_its_floor_stays_there() -> None:
    rng = np.random.default_rng(32)
    X = rng.normal(size=(60, 3)) @ rng.normal(size=(3, 3))
    X[:30] += 3
    X[rng.random(X.shape) < 0.3] = np.nan
    model = fit(missing(3, random_state=1, reg_covar=1e-6), X * 1e5)
    assert model.stop_reason_ == "converged" and model.diagnostics_["floored"], model.diagnostics_
