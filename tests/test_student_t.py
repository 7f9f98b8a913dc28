"""Mixtures of Student's t: bricks, siblings, SciPy's own fit, outliers, degrees of freedom, bad input."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from family_cases import student_t_density, student_t_rows
from scipy import stats
from scipy.optimize import brentq
from scipy.special import digamma, gammaln, logsumexp
from sklearn.exceptions import ConvergenceWarning

import fastem
from fastem.families.gamma_function import log_less_digamma, log_rise, shape_of, stirling
from fastem.families.student_t import StudentT, StudentTParams
from fastem.kernels import mixture, softmax

# Newcomb's 66 measurements of the passage time of light, 1882, two of them outliers (Stigler 1977, Annals of
# Statistics 5).
NEWCOMB = np.array(
    "28 26 33 24 34 -44 27 16 40 -2 29 22 24 21 25 30 23 29 31 19 24 20 36 32 36 28 25 21 28 29 37 25 28 26 30 32 36 "
    "26 30 22 36 23 27 27 28 27 31 27 26 33 26 32 32 24 39 28 24 25 32 25 29 27 28 29 16 23".split(),
    float,
)[:, None]


def quietly(model: Any, X: Any, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(X, **options)


def rows(n: int = 400, seed: int = 0) -> np.ndarray:
    return student_t_rows(np.random.default_rng(seed), n)


def test_differences_of_gamma_functions() -> None:
    x = np.concatenate([np.linspace(0.3, 40, 200), np.logspace(1.5, 12, 50)])
    np.testing.assert_allclose(log_rise(x, 1.0), 0, atol=2e-14)
    np.testing.assert_allclose(log_rise(x, 2.0), np.log1p(1 / x), rtol=1e-12, atol=2e-14)
    gap = 1 / x - np.log1p(1 / x)
    np.testing.assert_allclose(log_less_digamma(x) - log_less_digamma(x + 1), gap, rtol=1e-9, atol=1e-15)
    small = x[x < 100]
    np.testing.assert_allclose(log_less_digamma(small), np.log(small) - digamma(small), rtol=1e-12)
    wanted = gammaln(small) - ((small - 0.5) * np.log(small) - small + 0.5 * np.log(2 * np.pi))
    np.testing.assert_allclose(stirling(small), wanted, atol=2e-13)
    assert log_rise(np.array(np.inf), 4.0) == pytest.approx(0, abs=1e-12) and log_less_digamma(np.array(np.inf)) == 0


def test_shapes_of_gamma_distributions() -> None:
    gaps = np.logspace(-5, 1, 60)
    wanted = [brentq(lambda x, g=g: np.log(x) - digamma(x) - g, 1e-3, 1e6, xtol=1e-14) for g in gaps]
    np.testing.assert_allclose(shape_of(gaps, 1e-3, 1e6), wanted, rtol=1e-7)
    np.testing.assert_allclose(shape_of(np.array([-1.0, 0.0, 1e9]), 0.5, 5e5), [5e5, 5e5, 0.5], rtol=1e-9)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("covariance_type", ["full", "diag"])
@pytest.mark.parametrize("d", [1, 2, 3, 4, 5, 9, 21])
def test_bricks_uncompiled_are_the_textbook(covariance_type: str, d: int, dtype: type) -> None:
    rng, k, n, lanes = np.random.default_rng(d), 3, 70, 128
    a = rng.standard_normal((k, d, d))
    full = a @ a.swapaxes(1, 2) + np.eye(d)
    if covariance_type == "diag":
        full = full * np.eye(d)
    scales = full if covariance_type == "full" else np.diagonal(full, axis1=1, axis2=2).copy()
    df = np.array([1.5, 6.0, 500.0])  # of more, SciPy loses digits
    params = StudentTParams(rng.standard_normal((k, d)), scales, 1 / df)
    X, weight = 3 * rng.standard_normal((n, d)).astype(dtype), rng.random(n)
    X[0, 0] = 1e5
    family, tile = StudentT(covariance_type, 0.0), mixture.make_tile(np.dtype(dtype), d, k, lanes)
    prepared = family.prepare(params, np.dtype(dtype), np.ones(k))
    mixture.load_tile(X, weight, 0, n, prepared.shift, tile)
    log_prob, accumulate = family.bricks(prepared)
    log_prob(tile, prepared, tile.resp)
    wanted = np.stack([stats.multivariate_t(params.means[c], full[c], df[c]).logpdf(X).reshape(-1) for c in range(k)])
    eps = 1e-11 if dtype == np.float64 else 2e-4
    np.testing.assert_allclose(tile.resp[:k, :n], wanted, rtol=eps, atol=eps)
    softmax.normalize(tile, np.zeros((1, k), dtype))
    resp = np.exp(wanted - logsumexp(wanted, axis=0)) * weight
    statistics = family.zeros(params, 1, prepared)
    accumulate(tile, tile.resp, prepared, statistics, 0)
    sums = family.unpad(statistics, params, prepared)
    y = X.astype(float) - params.means[:, None]
    u = (df + d)[:, None] / (df[:, None] + np.einsum("kni,kij,knj->kn", y, np.linalg.inv(full), y))
    mean_log = np.log(u) + (digamma((df + d) / 2) - np.log((df + d) / 2))[:, None]
    sum_xx = np.einsum("kn,kni,knj->kij", resp * u, y, y)
    expected = [
        resp.sum(axis=1),
        (resp * u).sum(axis=1),
        (resp * mean_log).sum(axis=1),
        np.einsum("kn,knj->kj", resp * u, y),
        sum_xx if covariance_type == "full" else np.diagonal(sum_xx, axis1=1, axis2=2),
    ]
    for found, value in zip(sums, expected, strict=True):
        np.testing.assert_allclose(found, value, rtol=20 * eps, atol=20 * eps * np.abs(value).max())


@pytest.mark.parametrize("covariance_type", ["full", "diag"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_without_tails_it_is_the_gaussian_mixture(covariance_type: str, dtype: str) -> None:
    X = rows().astype(dtype)
    few = quietly(fastem.GaussianMixture(3, covariance_type=covariance_type, random_state=0, max_iter=2), X)
    options = {"covariance_type": covariance_type, "tol": 0.0, "max_iter": 8, "weights_init": few.weights_}
    covariances = few.covariances_.astype(float)
    precisions = np.linalg.inv(covariances) if covariance_type == "full" else 1 / covariances
    gaussian = fastem.GaussianMixture(3, means_init=few.means_, precisions_init=precisions, **options)
    start = {"means": few.means_, "scales": few.covariances_}
    student = fastem.StudentTMixture(3, df=np.inf, params_init=start, **options)
    quietly(gaussian, X), quietly(student, X)
    tolerance = 1e-9 if dtype == "float64" else 2e-4
    for a, b in (
        (student.weights_, gaussian.weights_),
        (student.means_, gaussian.means_),
        (student.scales_, gaussian.covariances_),
        (student.covariances_, gaussian.covariances_),
        (student.score_samples(X), gaussian.score_samples(X)),
        (student.lower_bounds_, gaussian.lower_bounds_),
    ):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
    assert student.bic(X) == pytest.approx(gaussian.bic(X), rel=tolerance) and np.isinf(student.df_).all()


def test_siblings_of_one_feature_and_one_component() -> None:
    X = rows()
    one = [
        quietly(fastem.StudentTMixture(1, random_state=0, tol=1e-8, accelerate=None, **options), X[:, :1])
        for options in ({}, {"covariance_type": "diag"}, {"share_df": True})
    ]
    for other in one[1:]:
        np.testing.assert_allclose(other.means_, one[0].means_, rtol=1e-9)
        np.testing.assert_allclose(np.ravel(other.scales_), np.ravel(one[0].scales_), rtol=1e-9)
        np.testing.assert_allclose(other.df_, one[0].df_, rtol=1e-9)
        assert other.bic(X[:, :1]) == pytest.approx(one[0].bic(X[:, :1]))


@pytest.mark.parametrize("accelerate", [None, "squarem", "anderson"])
def test_newcombs_light_as_scipy_fits_it(accelerate: str | None) -> None:
    df, loc, scale = stats.t.fit(NEWCOMB[:, 0], 2.0, loc=27.0, scale=4.0)
    model = fastem.StudentTMixture(1, tol=1e-12, reg_covar=0.0, max_iter=10_000, accelerate=accelerate).fit(NEWCOMB)
    assert model.score(NEWCOMB) * 66 == pytest.approx(stats.t.logpdf(NEWCOMB, df, loc, scale).sum(), abs=1e-6)
    found = float(model.df_[0]), float(model.means_[0, 0]), float(np.sqrt(model.scales_[0, 0, 0]))
    np.testing.assert_allclose(found, (df, loc, scale), rtol=2e-4)
    assert NEWCOMB.mean() == pytest.approx(26.2121, abs=1e-4)  # the outliers' pull
    assert found[1] > 27.2


@pytest.mark.parametrize("options", [{}, {"share_df": True}, {"covariance_type": "diag"}])
def test_a_fit_ends_at_a_maximum(options: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.standard_t(df, (300, 2)) + centre for df, centre in ((2, -5), (3, 0), (4, 6))])
    model = fastem.StudentTMixture(3, random_state=0, tol=1e-10, reg_covar=0.0, accelerate="anderson", **options)
    model.fit(X)
    assert model.converged_ and model.df_.max() < 20

    def log_likelihood() -> float:
        return float(logsumexp(student_t_density(X, model) + np.log(model.weights_), axis=1).sum())

    top = log_likelihood()
    assert top == pytest.approx(model.score(X) * len(X), rel=1e-10)
    for name, steps in (("df_", (0.9, 1.1)), ("scales_", (0.97, 1.03)), ("means_", (0.99, 1.01))):
        best = getattr(model, name)
        for k in range(1 if options.get("share_df") and name == "df_" else 3):
            for step in steps:
                moved = best.copy()
                moved[slice(None) if options.get("share_df") and name == "df_" else k] *= step
                setattr(model, name, moved)
                assert log_likelihood() <= top + 1e-6, (name, k, step)
        setattr(model, name, best)


def test_long_leaps_keep_the_sum_of_the_weights() -> None:
    """A component without heavy tails makes a plateau, on which SQUAREM's steps grow."""
    X = rows(800)
    model = quietly(fastem.StudentTMixture(3, random_state=0, tol=1e-9, accelerate="squarem", max_iter=800), X)
    assert model.stop_reason_ != "decreased" and model.weights_.sum() == pytest.approx(1, abs=1e-14)
    assert model.df_.max() > 100


def test_degrees_of_freedom_are_recovered() -> None:
    model = fastem.StudentTMixture(3, random_state=0, tol=1e-8, accelerate="squarem").fit(rows(30_000, 1))
    order = np.argsort(-model.weights_)
    np.testing.assert_allclose(1 / model.df_[order], [1 / 3, 1 / 8, 1 / 30], atol=0.02)
    scales = [[1, 0.6, 1], [4, -2, 1.25], [0.49, 0, 2.25]]
    np.testing.assert_allclose(model.scales_[order][:, [0, 0, 1], [0, 1, 1]], scales, rtol=0.1, atol=0.08)
    normal = fastem.StudentTMixture(1).fit(np.random.default_rng(0).standard_normal((20_000, 2)))
    assert normal.df_[0] > 60


@pytest.mark.parametrize("distance", [1e3, 1e9, 1e15])
@pytest.mark.parametrize("covariance_type", ["full", "diag"])
def test_an_outlier_moves_nothing(distance: float, covariance_type: str) -> None:
    X = rows(600)
    start = fastem.StudentTMixture(3, covariance_type=covariance_type, df=4.0, random_state=0).fit(X)
    given = {"means": start.means_, "scales": start.scales_}
    far = np.vstack([X, [[distance, -distance]]])
    model = fastem.StudentTMixture(
        3, covariance_type=covariance_type, df=4.0, weights_init=start.weights_, params_init=given
    ).fit(far)
    assert np.abs(model.means_ - start.means_).max() < 0.05
    np.testing.assert_allclose(model.scales_, start.scales_, rtol=0.05, atol=0.05)
    assert (np.diff(model.history_["log_likelihood"]) >= -1e-9 * abs(model.lower_bound_)).all()
    density = student_t_density(far, model) + np.log(model.weights_)
    np.testing.assert_allclose(model.score_samples(far), logsumexp(density, axis=1), rtol=1e-9)
    resp = np.exp(density - logsumexp(density, axis=1, keepdims=True))
    np.testing.assert_allclose(model.predict_proba(far)[-1], resp[-1], atol=1e-9)


def test_outliers_in_the_start() -> None:
    """The race too must not end with a component for outliers."""
    X = rows(2000)
    clean = fastem.StudentTMixture(3, df=4.0, random_state=0).fit(X)
    noise = np.random.default_rng(1).uniform(-200, 200, (40, 2))
    model = fastem.StudentTMixture(3, df=4.0, random_state=0).fit(np.vstack([X, noise]))
    order, other = np.argsort(clean.means_[:, 1]), np.argsort(model.means_[:, 1])
    np.testing.assert_allclose(model.means_[other], clean.means_[order], atol=0.2)


def test_offsets_change_nothing_else() -> None:
    X = rows()
    first = fastem.StudentTMixture(3, random_state=0, max_iter=50, tol=0.0)
    quietly(first, X)
    moved = fastem.StudentTMixture(
        3,
        weights_init=first.weights_,
        params_init={"means": first.means_ + 1e7, "scales": first.scales_, "df": first.df_},
        max_iter=20,
        tol=0.0,
        accelerate=None,  # leaps enlarge what rounding leaves at 1e7
    )
    quietly(moved, X + 1e7)
    quietly(first.set_params(warm_start=True, max_iter=20, accelerate=None), X)
    np.testing.assert_allclose(moved.means_ - 1e7, first.means_, atol=1e-6)
    np.testing.assert_allclose(moved.scales_, first.scales_, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(1 / moved.df_, 1 / first.df_, atol=1e-6)


def test_statistics_move_with_their_centres() -> None:
    rng, family = np.random.default_rng(0), StudentT()
    old, new = (StudentTParams(rng.standard_normal((2, 3)), np.stack([np.eye(3)] * 2), np.full(2, 0.2)) for _ in "ab")
    X, tau = rng.standard_normal((50, 3)), rng.random((2, 50))

    def about(means: np.ndarray) -> list[np.ndarray]:
        y = X - means[:, None]
        first = np.einsum("kn,kni->ki", tau, y)
        return [tau.sum(axis=1), tau.sum(axis=1), np.zeros(2), first, np.einsum("kn,kni,knj->kij", tau, y, y)]

    sums = family.zeros(old, 1, None)
    moved = family.recentre(type(sums)(*about(old.means)), old, new)
    for found, wanted in zip(moved, about(new.means), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-12)


def test_an_m_step_of_expected_statistics_stays() -> None:
    rng = np.random.default_rng(0)
    params = StudentTParams(rng.standard_normal((3, 2)), np.stack([2 * np.eye(2)] * 3), np.array([0.5, 0.01, 1e-5]))
    family = StudentT()
    after = family.m_step(family.expected_statistics(params, np.array([0.2, 0.3, 0.5])), params)
    for found, wanted in zip(after, params, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-6)


@pytest.mark.parametrize("policy", ["restart", "drop"])
def test_components_that_collapse(policy: str) -> None:
    X = np.vstack([rows(), np.tile([[500.0, 500.0]], (60, 1))])
    model = quietly(fastem.StudentTMixture(4, random_state=0, reg_covar=0.0, on_collapse=policy), X)
    assert np.isfinite(model.score(X)) and np.isfinite(model.scales_).all()
    assert model.diagnostics_["dropped"] if policy == "drop" else model.diagnostics_["floored"]


def test_covariances_are_those_of_a_sample() -> None:
    model = fastem.StudentTMixture(2, df=9.0, random_state=0).fit(rows(3000))
    X, labels = model.sample(200_000, random_state=0)
    for k in range(2):
        np.testing.assert_allclose(np.cov(X[labels == k].T), model.covariances_[k], rtol=0.1, atol=0.2)
    model.df_ = np.array([2.0, 1.5])
    assert np.isinf(model.covariances_).all()


def test_a_warm_start_may_change_df() -> None:
    X = rows()
    model = quietly(fastem.StudentTMixture(3, random_state=0, warm_start=True), X)
    for options in ({"df": 5.0}, {"df": None, "share_df": True}):
        quietly(model.set_params(**options), X)
        assert model.stop_reason_ == "converged" and np.ptp(model.df_) == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"df": 0.0}, "df is 0.0; one number above 0 for all components is wanted"),
        ({"df": "four"}, "df is 'four'"),
        ({"df": [3, 4]}, r"df is \[3, 4\]; one number above 0 for all components"),
        ({"df": np.nan}, "df is nan"),
        ({"covariance_type": "tied"}, "covariance_type"),
        ({"share_df": "yes"}, "share_df"),
        ({"reg_covar": -1.0}, "reg_covar"),
        ({"params_init": {"means": np.zeros((2, 2))}}, "params_init has 'means'; a dict of 'means', 'scales', 'df'"),
        ({"params_init": [1.0]}, "params_init has a list"),
        (
            {"df": 3.0, "params_init": {"means": np.eye(2), "scales": np.ones((2, 2, 2)), "df": [4.0, 4.0]}},
            "3.0, which df fixes",
        ),
        (
            {"params_init": {"means": np.eye(2), "scales": np.stack([-np.eye(2)] * 2), "df": [4.0, 4.0]}},
            "not positive definite",
        ),
        (
            {"params_init": {"means": np.eye(2), "scales": np.stack([np.eye(2)] * 2), "df": [4.0, -1.0]}},
            "numbers above 0",
        ),
    ],
)
def test_bad_parameters(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        fastem.StudentTMixture(2, **options).fit(rows(50))


def test_scales_are_not_taken_for_those_of_another_kind() -> None:
    model = quietly(fastem.StudentTMixture(2, df=4.0, random_state=0, warm_start=True), rows(100))
    model.set_params(covariance_type="diag")
    with pytest.raises(ValueError, match="that of covariance_type='full', and covariance_type is 'diag': set it"):
        model.predict(rows(10))
    assert quietly(model, rows(100)).scales_.shape == (2, model.n_features_in_)


def test_degrees_of_freedom_are_held_where_they_may_be() -> None:
    X = student_t_rows(np.random.default_rng(0), 200)
    given = {"means": [[0.0, 0.0]], "scales": [np.eye(2)]}
    held = fastem.StudentTMixture(1, params_init=given | {"df": [7.0]})
    np.testing.assert_allclose(quietly(held, X, fixed=("df",)).df_, 7.0, rtol=1e-15)
    np.testing.assert_array_equal(quietly(fastem.StudentTMixture(1, df=0.5), X, fixed=("df",)).df_, 0.5)
    with pytest.raises(ValueError, match="fixed has 'df', and it is .*; numbers from 1 to 1e[+]06 are wanted"):
        held.set_params(params_init=given | {"df": [0.5]}).fit(X, fixed=("df",))
    with pytest.raises(ValueError, match="give params_init, with 'df' in it"):
        held.set_params(params_init=given).fit(X, fixed=("df",))
