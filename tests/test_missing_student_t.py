"""Student's t with holes: SciPy's density of what is there, loops over rows, siblings, direct maximisation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cases import punched, quietly
from family_cases import holed_density, student_t_rows, student_t_step
from hypothesis import given
from hypothesis import strategies as st
from reference import completed, tailed
from scipy.optimize import minimize
from scipy.special import logsumexp
from scipy.stats import multivariate_t

import fastem
from fastem.families.student_t import COVARIANCE_TYPES, StudentTParams
from fastem.families.student_t_missing import StudentTMissing
from fastem.kernels import mixture, softmax

KINDS = pytest.mark.parametrize("kind", COVARIANCE_TYPES)


def missing(k: int = 1, **options: Any) -> fastem.StudentTMixture:
    return fastem.StudentTMixture(k, missing="nan", **{"random_state": 0, "reg_covar": 0.0} | options)


def tailed_rows(rng: np.random.Generator, n: int, d: int, df: float = 4.0) -> np.ndarray:
    """Correlated columns with outliers, in two clusters."""
    X = rng.standard_normal((n, d)) @ (np.eye(d) + 0.5 * rng.standard_normal((d, d)))
    return X / np.sqrt(rng.chisquare(df, (n, 1)) / df) + np.where(rng.random((n, 1)) < 0.4, 0.0, 5.0)


def beginning(kind: str, k: int, d: int, **options: Any) -> fastem.StudentTMixture:
    """A model that starts somewhere, and makes plain EM steps."""
    rng = np.random.default_rng(d)
    a = rng.standard_normal((k, d, d))
    full = a @ a.swapaxes(1, 2) + np.eye(d)
    scales = full if kind == "full" else np.diagonal(full, axis1=1, axis2=2).copy()
    start = {"means": 5.0 * np.arange(k)[:, None] + rng.standard_normal((k, d)), "scales": scales}
    if options.get("df") is None:
        start["df"] = np.full(k, 6.0) if options.get("share_df") else np.linspace(1.5, 40.0, k)
    options = {"tol": 0.0, "accelerate": None, "weights_init": rng.dirichlet(np.full(k, 9.0)), **options}
    return missing(k, covariance_type=kind, params_init=start, **options)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("d", [1, 3, 7])
@KINDS
def test_bricks_uncompiled_are_the_textbook(kind: str, d: int, dtype: type) -> None:
    rng, k, n, lanes, kept = np.random.default_rng(d), 2, 70, 128, np.dtype(dtype)
    a = rng.standard_normal((k, d, d))
    full = a @ a.swapaxes(1, 2) + np.eye(d)
    full = full if kind == "full" else full * np.eye(d)
    scales, df = full if kind == "full" else np.diagonal(full, axis1=1, axis2=2), np.array([1.5, 60.0])
    params = StudentTParams(rng.standard_normal((k, d)), scales, 1 / df)
    X, weight = punched(3 * rng.standard_normal((n, d)), 0.4, rng).astype(dtype), rng.random(n)
    X[0, 0] = 1e5
    family = StudentTMissing(kind, 0.0)
    tile = mixture.make_tile(kept, d, k, lanes)._replace(extra=family.extra(kept, d, k, lanes), order=family.order(X))
    prepared = family.prepare(params, kept, np.ones(k))
    mixture.load_tile(X, weight, 0, n, prepared.shift, tile)
    log_prob, accumulate = family.bricks(prepared)
    log_prob(tile, prepared, tile.resp)
    said = [
        [np.array(a) for a in zip(*(tailed(x, *each) for x in X[tile.order].astype(float)), strict=True)]
        for each in zip(params.means, full, df, strict=True)
    ]
    wanted = np.array([part[0] for part in said])
    eps = 1e-11 if dtype == np.float64 else 2e-4
    np.testing.assert_allclose(tile.resp[:k, :n], wanted, rtol=eps, atol=eps)
    softmax.normalize(tile, np.zeros((1, k), dtype))
    statistics = family.zeros(params, 1, prepared)
    accumulate(tile, tile.resp, prepared, statistics, 0)
    sums = family.unpad(statistics, params, prepared)
    resp = np.exp(wanted - logsumexp(wanted, axis=0)) * weight[tile.order]
    for c, (_, u, mean_log, rows, within) in enumerate(said):
        r, y = resp[c], rows - params.means[c]
        sum_xx = (r * u * y.T) @ y + np.tensordot(r, within, 1)
        sum_xx = sum_xx if kind == "full" else np.diagonal(sum_xx)
        for found, value in zip(sums, (r.sum(), r @ u, r @ mean_log, (r * u) @ y, sum_xx), strict=True):
            np.testing.assert_allclose(found[c], value, rtol=20 * eps, atol=20 * eps * np.abs(value).max())


@pytest.mark.parametrize("d", [3, 9])
@pytest.mark.parametrize("options", [{}, {"df": 2.5}, {"share_df": True}], ids=["each", "fixed", "shared"])
def test_a_step_is_that_of_the_textbook(options: dict[str, Any], d: int) -> None:
    rng, k, n = np.random.default_rng(0), 3, 131
    X, weight = punched(tailed_rows(rng, n, d), 0.4, rng), rng.uniform(0.2, 3.0, n)
    before = quietly(beginning("full", k, d, max_iter=0, **options).fit, X, sample_weight=weight)
    after = quietly(beginning("full", k, d, max_iter=1, **options).fit, X, sample_weight=weight)
    joint = holed_density(X, before) + np.log(before.weights_)
    total = logsumexp(joint, axis=1)
    resp = weight[:, None] * np.exp(joint - total[:, None])
    assert after.history_["log_likelihood"][0] == pytest.approx(weight @ total, rel=1e-11)
    means, scales, tails = student_t_step(X, resp, before)
    wanted = resp.sum(axis=0) / weight.sum(), means, scales, 1 / tails
    for found, value in zip((after.weights_, after.means_, after.scales_, after.df_), wanted, strict=True):
        np.testing.assert_allclose(found, value, rtol=1e-9, atol=1e-9)


def test_scores_are_of_what_is_there() -> None:
    rng = np.random.default_rng(1)
    X = punched(tailed_rows(rng, 203, 3), 0.4, rng)
    model = quietly(beginning("full", 2, 3, max_iter=3).fit, X)
    joint = holed_density(X, model) + np.log(model.weights_)
    np.testing.assert_allclose(model.score_samples(X), logsumexp(joint, axis=1), rtol=1e-10, atol=1e-12)
    resp = np.exp(joint - logsumexp(joint, axis=1, keepdims=True))
    np.testing.assert_allclose(model.predict_proba(X), resp, atol=1e-11)
    empty = np.isnan(X).all(axis=1)
    assert empty.any()
    np.testing.assert_allclose(model.score_samples(X[empty]), 0.0, atol=1e-14)
    np.testing.assert_allclose(model.predict_proba(X[empty]), np.tile(model.weights_, (empty.sum(), 1)), rtol=1e-13)
    assert (
        model.__sklearn_tags__().input_tags.allow_nan
        and not fastem.StudentTMixture().__sklearn_tags__().input_tags.allow_nan
    )


@KINDS
def test_without_tails_it_is_the_gaussian_mixture(kind: str) -> None:
    rng = np.random.default_rng(2)
    X, weight = punched(tailed_rows(rng, 203, 3), 0.3, rng), rng.uniform(0.2, 3.0, 203)
    student = beginning(kind, 2, 3, df=np.inf, max_iter=5)
    given = student.params_init
    gaussian = fastem.GaussianMixture(
        2,
        covariance_type=kind,
        weights_init=student.weights_init,
        means_init=given["means"],
        precisions_init=np.linalg.inv(given["scales"]) if kind == "full" else 1 / given["scales"],
        **{"reg_covar": 0.0, "tol": 0.0, "max_iter": 5, "accelerate": None, "missing": "nan"},
    )
    for model in (student, gaussian):
        quietly(model.fit, X, sample_weight=weight)
    for a, b in (
        (student.weights_, gaussian.weights_),
        (student.means_, gaussian.means_),
        (student.scales_, gaussian.covariances_),
        (student.score_samples(X), gaussian.score_samples(X)),
        (student.lower_bounds_, gaussian.lower_bounds_),
    ):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


@KINDS
def test_complete_rows_are_fitted_as_ever(kind: str) -> None:
    X, weight = tailed_rows(np.random.default_rng(3), 203, 3), np.random.default_rng(4).uniform(0.2, 3.0, 203)
    holed, plain = (beginning(kind, 2, 3, max_iter=5).set_params(missing=m) for m in ("nan", "error"))
    for model in (holed, plain):
        quietly(model.fit, X, sample_weight=weight)
    for name in ("weights_", "means_", "scales_", "df_", "lower_bounds_"):
        np.testing.assert_allclose(getattr(holed, name), getattr(plain, name), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(holed.score_samples(X), plain.score_samples(X), rtol=1e-12)


def test_rows_with_one_entry_are_columns_apart() -> None:
    """A row of one entry tells of its own column alone, also by u; columns that share rows are not apart."""
    rng = np.random.default_rng(5)
    X = rng.standard_t(4, (300, 3)) * [1.0, 3.0, 0.2] + [0.0, 5.0, -1.0]
    X[np.arange(300)[:, None] % 3 != np.arange(3)] = np.nan
    options = {"covariance_type": "diag", "df": 4.0, "tol": 1e-14, "max_iter": 10_000}
    model = missing(**options).fit(X)
    for j in range(3):
        apart = fastem.StudentTMixture(1, reg_covar=0.0, **options).fit(X[j::3, [j]])
        assert model.means_[0, j] == pytest.approx(apart.means_[0, 0], abs=1e-5)
        assert model.scales_[0, j] == pytest.approx(apart.scales_[0, 0], rel=1e-5)


def test_nothing_observed_moves_nothing() -> None:
    """At a maximum it stays one, whatever the number of rows without any entry."""
    rng = np.random.default_rng(6)
    X = punched(tailed_rows(rng, 200, 2), 0.2, rng)
    model = missing(2, tol=1e-12, accelerate="anderson", max_iter=5000, share_df=True).fit(X)
    given = {"means": model.means_, "scales": model.scales_, "df": model.df_}
    options = {"weights_init": model.weights_, "params_init": given, "tol": 0.0, "max_iter": 5, "accelerate": None}
    again = quietly(missing(2, share_df=True, **options).fit, np.vstack([X, np.full((500, 2), np.nan)]))
    for name, value in (("means_", model.means_), ("scales_", model.scales_), ("weights_", model.weights_)):
        np.testing.assert_allclose(getattr(again, name), value, rtol=1e-4, atol=1e-5)
    assert again.score(X) == pytest.approx(model.score(X), abs=1e-10)


def test_direct_maximisation_ends_there() -> None:
    rng = np.random.default_rng(7)
    X = rng.standard_normal((80, 2)) @ [[1.0, 0.7], [0.0, 0.8]] / np.sqrt(rng.chisquare(3, (80, 1)) / 3)
    X[rng.random(X.shape) < 0.25] = np.nan
    model = missing(tol=1e-14, max_iter=10_000, accelerate="anderson").fit(X)

    patterns = [np.array(there) for there in ((True, True), (True, False), (False, True))]
    groups = [(there, X[(~np.isnan(X) == there).all(axis=1)][:, there]) for there in patterns]

    def negative(p: np.ndarray) -> float:
        factor = np.array([[np.exp(p[2]), 0.0], [p[3], np.exp(p[4])]])
        scale, df = factor @ factor.T, 1.0 + np.exp(p[5])
        densities = (multivariate_t(p[:2][t], scale[np.ix_(t, t)], df).logpdf(rows) for t, rows in groups)
        return -float(sum(np.sum(density) for density in densities))

    found = minimize(negative, np.zeros(6), method="BFGS", options={"gtol": 1e-5})
    assert len(X) * model.score(X) == pytest.approx(-found.fun, abs=1e-6)
    np.testing.assert_allclose(model.means_[0], found.x[:2], atol=1e-4)
    assert model.df_[0] < 20 and model.df_[0] == pytest.approx(1.0 + np.exp(found.x[5]), rel=1e-3)


@st.composite
def punched_problems(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int, dict[str, Any]]:
    """Draw rows with any holes: rows with nothing, columns with one value, outliers; and weights, some of them 0."""
    k, n, d = draw(st.integers(1, 3)), draw(st.integers(45, 90)), draw(st.integers(1, 5))
    options = {
        "covariance_type": draw(st.sampled_from(COVARIANCE_TYPES)),
        "df": draw(st.sampled_from([None, 0.7, 5.0, np.inf])),
        "share_df": draw(st.booleans()),
    }
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    X = rng.standard_t(2, (n, d)) + 3.0 * rng.integers(k, size=(n, 1))
    X[rng.random((n, d)) < draw(st.sampled_from([0.05, 0.3, 0.8]))] = np.nan
    if draw(st.booleans()):
        X[1:, 0] = np.nan
    X[0] = rng.standard_normal(d)
    weight = rng.choice([0.0, 0.5, 1.0, 2.0], size=n)
    weight[0] = 1.0
    return X, weight, k, options


@given(punched_problems())
def test_the_objective_never_falls(drawn: tuple[np.ndarray, np.ndarray, int, dict[str, Any]]) -> None:
    X, weight, k, options = drawn
    model = missing(k, tol=0.0, max_iter=25, init_params="random", accelerate=None, **options)
    quietly(model.fit, X, sample_weight=weight)
    history = model.history_["log_likelihood"]
    assert np.isfinite(history).all()
    if not any(model.diagnostics_[event] for event in ("restarted", "floored", "parted")):
        assert np.diff(history).min(initial=0) >= -1e-11 * (weight.sum() + abs(history).max())


@pytest.mark.parametrize("accelerate", [None, "squarem", "anderson"])
def test_long_runs_are_climbs_to_one_top(accelerate: str | None) -> None:
    rng = np.random.default_rng(8)
    X = punched(tailed_rows(rng, 400, 3, df=3.0), 0.2, rng)
    model = missing(2, tol=1e-10, accelerate=accelerate, share_df=True, init_params="kmeans", max_iter=3000).fit(X)
    assert model.converged_ and (np.diff(model.history_["log_likelihood"]) >= -1e-9).all()
    best = missing(2, tol=1e-10, share_df=True, init_params="kmeans", accelerate="anderson").fit(X)
    assert model.score(X) == pytest.approx(best.score(X), abs=1e-8)


def test_an_offset_changes_nothing_else() -> None:
    X = punched(tailed_rows(np.random.default_rng(9), 129, 9), 0.4, np.random.default_rng(10))
    offset = 2.0**27
    X = np.round(X / np.spacing(2 * offset)) * np.spacing(2 * offset)
    near, far = beginning("full", 2, 9, max_iter=3), beginning("full", 2, 9, max_iter=3)
    far.params_init["means"] = far.params_init["means"] + offset
    quietly(near.fit, X), quietly(far.fit, X + offset)
    np.testing.assert_allclose(far.means_ - offset, near.means_, atol=1e-7)
    np.testing.assert_allclose(far.scales_, near.scales_, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(far.df_, near.df_, rtol=1e-6)


def test_order_threads_and_weights() -> None:
    X = punched(tailed_rows(np.random.default_rng(11), 129, 9), 0.4, np.random.default_rng(12))
    counts = np.random.default_rng(13).integers(0, 3, len(X)).astype(float)

    def run(X: Any, weight: Any = None, **options: Any) -> list[np.ndarray]:
        model = quietly(beginning("full", 2, 9, max_iter=4, **options).fit, X, sample_weight=weight)
        return [model.weights_, model.means_, model.scales_, model.df_]

    pairs = [
        (run(X, counts), run(np.repeat(X, counts.astype(int), axis=0))),
        (run(X), run(X[np.random.default_rng(14).permutation(len(X))])),
        (run(X), run(fastem.Chunks(lambda: (X[i : i + 50] for i in range(0, len(X), 50)), rows_per_chunk=37))),
    ]
    for a, b in (leaves for pair in pairs for leaves in zip(*pair, strict=True)):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10)
    many = np.tile(X, (30, 1))
    assert all((a == b).all() for a, b in zip(run(many, n_jobs=1), run(many, n_jobs=2), strict=True))


def test_parameters_are_recovered() -> None:
    """Entries are missing at random, by what is seen of their rows: what is left has another mean."""
    rng = np.random.default_rng(15)
    mean, scale = np.array([1.0, -2.0]), np.array([[2.0, 1.2], [1.2, 1.5]])
    X = mean + rng.multivariate_normal([0, 0], scale, 20_000) / np.sqrt(rng.chisquare(4, (20_000, 1)) / 4)
    X[rng.random(20_000) < 1 / (1 + np.exp(1 - X[:, 0])), 1] = np.nan
    assert np.nanmean(X[:, 1]) < -2.2
    model = missing(tol=1e-9).fit(X)
    np.testing.assert_allclose(model.means_[0], mean, atol=0.05)
    np.testing.assert_allclose(model.scales_[0], scale, rtol=0.06)
    assert 1 / model.df_[0] == pytest.approx(1 / 4, abs=0.02)


@pytest.mark.parametrize("distance", [1e3, 1e12])
@KINDS
def test_an_outlier_with_holes_moves_nothing(kind: str, distance: float) -> None:
    rng = np.random.default_rng(16)
    X = punched(tailed_rows(rng, 600, 2), 0.2, rng)
    far = np.vstack([X, [[distance, np.nan], [np.nan, -distance]]])
    start = missing(2, covariance_type=kind, df=4.0).fit(X)
    given = {"means": start.means_, "scales": start.scales_}
    model = missing(2, covariance_type=kind, df=4.0, weights_init=start.weights_, params_init=given).fit(far)
    np.testing.assert_allclose(model.means_, start.means_, atol=0.06)
    np.testing.assert_allclose(model.scales_, start.scales_, rtol=0.06, atol=0.06)
    joint = holed_density(far, model) + np.log(model.weights_)
    np.testing.assert_allclose(model.score_samples(far), logsumexp(joint, axis=1), rtol=1e-9, atol=1e-12)


def test_outliers_in_the_start() -> None:
    """The race too must not end with a component for outliers, nor be run without those that alone have a column."""
    rng = np.random.default_rng(17)
    X = student_t_rows(rng, 600)
    X[rng.random(X.shape) < 0.2] = np.nan
    noise = rng.uniform(-200, 200, (15, 2))
    noise[::2, 0] = np.nan
    clean, model = (missing(3, df=4.0).fit(rows) for rows in (X, np.vstack([X, noise])))
    order, other = np.argsort(clean.means_[:, 1]), np.argsort(model.means_[:, 1])
    np.testing.assert_allclose(model.means_[other], clean.means_[order], atol=0.2)
    X[:, 1] = np.nan
    X[:6] = noise[1:12:2] * [1e3, 1.0]
    alone = quietly(missing(2, df=4.0, reg_covar=1e-6).fit, X)
    assert np.isfinite(alone.score(X)) and (abs(alone.means_[:, 1]) < 200).all()


def test_collinear_holes_keep_their_digits() -> None:
    """Two columns that are nearly the same: of the precision matrix their block is near singular."""
    rng = np.random.default_rng(16)
    a = rng.standard_normal((5, 5))
    a[1] = a[0] + 1e-6 * a[1]
    scale = a @ a.T
    X = rng.standard_normal((40, 5)) @ a.T
    X[:, :2] = np.nan
    family, params = StudentTMissing("full", 0.0), StudentTParams(np.zeros((1, 5)), scale[None], np.array([0.25]))
    prepared = family.prepare(params, X.dtype, np.ones(1))
    assert prepared.inflated[0]
    tile = mixture.make_tile(X.dtype, 5, 1, 64)._replace(extra=family.extra(X.dtype, 5, 1, 64), order=family.order(X))
    mixture.load_tile(X, np.zeros(0), 0, 40, prepared.shift, tile)
    family.bricks(prepared)[0](tile, prepared, tile.resp)
    wanted = [tailed(x, np.zeros(5), scale, 4.0).log_prob for x in X]
    np.testing.assert_allclose(tile.resp[0, :40], wanted, rtol=1e-8)
    np.testing.assert_allclose(tile.columns[:2, 0], completed(X[tile.order[0]], np.zeros(5), scale)[0][:2], rtol=1e-8)


def test_files_samples_and_criteria(tmp_path: Any) -> None:
    X = punched(tailed_rows(np.random.default_rng(17), 400, 3), 0.2, np.random.default_rng(18))
    model = missing(2, df=4.0, init_params="kmeans").fit(X)
    model.save(tmp_path / "model.npz")
    loaded = fastem.load(tmp_path / "model.npz")
    assert loaded.missing == "nan" and (loaded.score_samples(X) == model.score_samples(X)).all()
    drawn, labels = loaded.sample(50, random_state=0)
    assert np.isfinite(drawn).all() and set(labels) == {0, 1}
    assert model.bic(X) == pytest.approx(-2 * 400 * model.score(X) + 19 * np.log(400))


def test_bad_input_is_told() -> None:
    X = punched(tailed_rows(np.random.default_rng(19), 60, 3), 0.3, np.random.default_rng(20))
    source = fastem.Chunks(lambda: iter([X]))
    with pytest.raises(ValueError, match="missing is 'drop'; one of 'error', 'nan' is wanted"):
        fastem.StudentTMixture(missing="drop").fit(X)
    for rows in (X, source):
        with pytest.raises(ValueError, match="NaN in row.*fit what there is of each row: missing='nan'"):
            fastem.StudentTMixture().fit(rows)
    infinite = X.copy()
    infinite[7, 2] = np.inf
    with pytest.raises(ValueError, match="infinity in row 7.*column 2.*or NaN"):
        missing().fit(infinite)
    model = missing(df=3.0).fit(X)
    X[:, 1] = np.nan
    assert np.isfinite(model.score(X))  # what was fitted may be missing later
    for rows in (X, source):
        with pytest.raises(ValueError, match="all values are missing in column 1 of the 60 rows.*Leave such"):
            missing().fit(rows)
