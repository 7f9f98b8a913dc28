"""Mixtures of regressions: SciPy's densities, the textbook's steps, published fits, models that must coincide."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from scipy import optimize, stats
from scipy.special import expit, logsumexp
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

import fastem
from fastem.engine.chunks import chunk
from fastem.engine.model import Mixture, MixtureParams
from fastem.families.least_squares import RegressionStatistics
from fastem.families.linear_regression import LinearRegression
from fastem.families.logistic_regression import LogisticRegression
from fastem.families.poisson_regression import PoissonRegression
from fastem.kernels import mixture, softmax
from fastem.responses import check_response

DATA = Path(__file__).parent / "data"
N, K = 331, 2


class Case(NamedTuple):
    """`density(X, y, model)` is log p(y_i | x_i, k) (n, K) from the fitted attributes, by SciPy."""

    name: str
    make: Callable[..., Any]
    rows: Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]
    density: Callable[[np.ndarray, np.ndarray, Any], np.ndarray]
    size: int | None = None


def eta(X: np.ndarray, model: Any) -> np.ndarray:
    """Linear predictors (n, K)."""
    return X.astype(float) @ model.coef_.T + model.intercept_


def drawn(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Three features, and the predictors of two components, one of which each row has."""
    X = rng.uniform(-1, 1, (n, 3))
    lines = X @ np.array([[1.5, -0.5, 0.3], [-1.0, 0.8, 0.3]]).T + [0.5, 2.0]
    return X, lines[np.arange(n), (rng.random(n) < 0.4).astype(int)]


def linear_rows(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    X, line = drawn(rng, n)
    return X, line + 0.3 * rng.standard_normal(n)


def poisson_rows(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    X, line = drawn(rng, n)
    return X, rng.poisson(np.exp(line)).astype(float)


def exposed_rows(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    X, line = drawn(rng, n)
    X[:, 1] = rng.uniform(0.5, 4.0, n)
    return X, rng.poisson(np.exp(line) * X[:, 1]).astype(float)


def logistic_rows(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    X, line = drawn(rng, n)
    return X, (rng.random(n) < expit(line)).astype(float)


def trial_rows(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    X, line = drawn(rng, n)
    X[:, 2] = rng.integers(5, 30, n)
    return X, rng.binomial(X[:, 2].astype(int), expit(1.5 * line - 1.5)).astype(float)


def column(y: np.ndarray) -> np.ndarray:
    return y.astype(float)[:, None]


CASES = [
    Case(
        "linear",
        fastem.LinearRegressionMixture,
        linear_rows,
        lambda X, y, m: stats.norm.logpdf(column(y), eta(X, m), np.sqrt(m.variances_)),
    ),
    Case(
        "shared",
        lambda *a, **o: fastem.LinearRegressionMixture(*a, share_variance=True, **o),
        linear_rows,
        lambda X, y, m: stats.norm.logpdf(column(y), eta(X, m), np.sqrt(m.variances_)),
    ),
    Case(
        "poisson",
        fastem.PoissonRegressionMixture,
        poisson_rows,
        lambda X, y, m: stats.poisson.logpmf(column(y), np.exp(eta(X, m))),
    ),
    Case(
        "exposure",
        lambda *a, **o: fastem.PoissonRegressionMixture(*a, exposure=1, **o),
        exposed_rows,
        lambda X, y, m: stats.poisson.logpmf(column(y), X[:, [1]] * np.exp(eta(X, m))),
        1,
    ),
    Case(
        "logistic",
        fastem.LogisticRegressionMixture,
        logistic_rows,
        lambda X, y, m: stats.bernoulli.logpmf(column(y), expit(eta(X, m))),
    ),
    Case(
        "trials",
        lambda *a, **o: fastem.LogisticRegressionMixture(*a, trials=2, **o),
        trial_rows,
        lambda X, y, m: stats.binom.logpmf(column(y), X[:, [2]].astype(int), expit(eta(X, m))),
        2,
    ),
]
EACH = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def rows(case: Case, n: int = N, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    return case.rows(np.random.default_rng(seed), n)


def fit(model: Any, *data: Any, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(*data, **options)


def params(model: Any) -> list[np.ndarray]:
    return [np.asarray(getattr(model, f"{name}_"), float) for name in ("weights", *model.fields)]


def given(model: Any) -> dict[str, np.ndarray]:
    return {name: np.asarray(getattr(model, f"{name}_"), float) for name in model.fields}


def start(case: Case, **options: Any) -> Any:
    """A model that begins near the parameters of the rows."""
    coef = np.array([[1.4, -0.4, 0.3], [-0.9, 0.8, 0.2]])
    if case.size is not None:
        coef[:, case.size] = 0.0
    near = {"coef": coef, "intercept": [0.4, 1.8]}
    if case.name in ("linear", "shared"):
        near["variances"] = [0.1, 0.1]
    return case.make(K, weights_init=[0.55, 0.45], params_init=near, **{"tol": 0.0, "max_iter": 5} | options)


def joint(case: Case, X: np.ndarray, y: np.ndarray, model: Any) -> np.ndarray:
    return case.density(X, y, model) + np.log(np.asarray(model.weights_, float))


@EACH
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_densities_are_scipys(case: Case, dtype: str) -> None:
    X, y = (a.astype(dtype) for a in rows(case))
    model = fit(start(case), X, y)
    expected = joint(case, X, y, model)
    tolerance = 1e-10 if dtype == "float64" else 2e-4
    np.testing.assert_allclose(model.score_samples(X, y), logsumexp(expected, axis=1), rtol=tolerance, atol=tolerance)
    resp = np.exp(expected - logsumexp(expected, axis=1, keepdims=True))
    np.testing.assert_allclose(model.predict_proba(X, y), resp, atol=tolerance)
    clear = abs(resp[:, 0] - resp[:, 1]) > 1e-3
    assert (model.predict_labels(X, y)[clear] == resp.argmax(axis=1)[clear]).all()
    assert model.score_samples(X, y).dtype == dtype and model.weights_.dtype == dtype
    assert model.n_features_in_ == 3 and model.coef_.shape == (K, 3) and model.intercept_.shape == (K,)


def naive_step(case: Case, X: np.ndarray, y: np.ndarray, weight: np.ndarray, model: Any) -> tuple[np.ndarray, ...]:
    """Iteratively reweighted least squares on [1, x], component by component."""
    j = joint(case, X, y, model)
    resp = weight[:, None] * np.exp(j - logsumexp(j, axis=1, keepdims=True))
    used = [c for c in range(3) if c != case.size]
    design = np.column_stack([np.ones(len(X)), X[:, used]])
    m = np.ones(len(X)) if case.size is None else X[:, case.size]
    coef, intercept, squares = np.zeros((K, 3)), np.zeros(K), np.zeros(K)
    for k in range(K):
        line = eta(X, model)[:, k]
        if "coef" in case.name or case.name in ("linear", "shared"):
            v, residual = np.ones(len(X)), y - line
        elif case.name in ("poisson", "exposure"):
            v, residual = m * np.exp(line), y - m * np.exp(line)
        else:
            p = expit(line)
            v, residual = m * p * (1 - p), y - m * p
        information = (design.T * (resp[:, k] * v)) @ design
        step = np.linalg.solve(information, design.T @ (resp[:, k] * residual))
        intercept[k], coef[k, used] = model.intercept_[k] + step[0], model.coef_[k, used] + step[1:]
        squares[k] = resp[:, k] @ (y - design @ np.r_[intercept[k], coef[k, used]]) ** 2
    sum_w = resp.sum(axis=0)
    variances = squares / sum_w if case.name == "linear" else np.full(K, squares.sum() / sum_w.sum())
    wanted = [sum_w / sum_w.sum(), coef, intercept, variances + 1e-6]
    return (logsumexp(j, axis=1) @ weight, *wanted[: 1 + len(model.fields)])


@EACH
def test_a_step_is_that_of_the_textbook(case: Case) -> None:
    (X, y), weight = rows(case), np.random.default_rng(1).uniform(0.2, 3.0, N)
    before = fit(start(case, max_iter=0), X, y, sample_weight=weight)
    after = fit(start(case, max_iter=1), X, y, sample_weight=weight)
    total, *wanted = naive_step(case, X, y, weight, before)
    assert after.history_["log_likelihood"][0] == pytest.approx(total, rel=1e-11)
    for found, expected in zip(params(after), wanted, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-11)


def falls(model: Any) -> int:
    """Iterations that lowered the log-likelihood, but for those after which components were moved."""
    history = model.history_["log_likelihood"]
    down = np.flatnonzero(np.diff(history) < -1e-9 * abs(history[-1])) + 1
    return len(set(down.tolist()) - set(model.diagnostics_["parted"]))


@EACH
@pytest.mark.parametrize("accelerate", [None, "squarem", "anderson"])
def test_the_log_likelihood_never_falls(case: Case, accelerate: str | None) -> None:
    X, y = rows(case)
    for seed in range(3):
        model = case.make(
            K,
            random_state=seed,
            init_params="random",
            tol=1e-6,
            accelerate=accelerate,
            max_iter=3000,
            fit_intercept=seed < 2,
        )
        assert falls(fit(model, X, y)) == 0
        assert model.stop_reason_ == "converged"


def test_a_newton_step_that_goes_too_far_is_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few rows far out, where all rows of the rest are known: the Newton step overshoots."""
    rng = np.random.default_rng(0)
    rng.standard_t(1.5, (300, 1)), rng.poisson(2.0, 300)
    X = rng.standard_t(1.0, (300, 1)).clip(-300, 300)
    y = (rng.random(300) < expit(3 * X[:, 0])).astype(float)
    y[X[:, 0] > 100] = 0
    model = fastem.LogisticRegressionMixture(1, params_init={"coef": [[4.0]], "intercept": [8.0]}, tol=1e-10)
    fit(model, X, y)
    assert model.stop_reason_ == "converged" and falls(model) == 0 and model.n_iter_ > 3
    best = fit(fastem.LogisticRegressionMixture(1, tol=1e-10), X, y)
    np.testing.assert_allclose(model.coef_, best.coef_, rtol=1e-4)
    monkeypatch.setattr(LogisticRegression, "halvings", 0)
    assert fit(clone(model), X, y).stop_reason_ == "decreased"


@EACH
def test_weights_count_rows(case: Case) -> None:
    X, y = rows(case)
    counts = np.random.default_rng(2).integers(0, 3, N)
    weighted = fit(start(case), X, y, sample_weight=counts)
    twice = np.repeat(X, counts, axis=0), np.repeat(y, counts)
    repeated = fit(start(case), *twice)
    for a, b in zip(params(weighted), params(repeated), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)
    assert weighted.bic(X, y, sample_weight=counts) == pytest.approx(repeated.bic(*twice))
    assert weighted.icl(X, y) >= weighted.bic(X, y) and np.isfinite(weighted.aic(X, y))


@EACH
def test_chunks_of_a_source_are_the_whole(case: Case, tmp_path: Path) -> None:
    X, y = rows(case)
    table = np.insert(X, 1, y, axis=1)  # the response in the midst of the features
    np.save(tmp_path / "x.npy", table)
    whole = fit(start(case), X, y)
    for size in (1, 50, N):
        cut = fit(start(case), fastem.Chunks(lambda: iter([table[:100], table[100:]]), rows_per_chunk=size), 1)
        for a, b in zip(params(whole), params(cut), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-13)
    assert cut.n_features_in_ == 3
    file = fit(start(case), fastem.Chunks(str(tmp_path / "x.npy"), rows_per_chunk=64), 1)
    np.testing.assert_allclose(file.score_samples(str(tmp_path / "x.npy"), 1), whole.score_samples(X, y), rtol=1e-9)
    assert file.score(str(tmp_path / "x.npy"), 1) == pytest.approx(whole.score(X, y), rel=1e-10)


def test_names_of_a_table(tmp_path: Path) -> None:
    X, y = rows(CASES[0])
    header = "a,weight,y,b,c"
    table = np.column_stack([X[:, 0], np.ones(N), y, X[:, 1:]])
    np.savetxt(tmp_path / "t.csv", table, delimiter=",", header=header, comments="", fmt="%.17g")
    whole = fit(start(CASES[0]), X, y)
    for named in ("y", 2):
        cut = fit(start(CASES[0]), fastem.Chunks(str(tmp_path / "t.csv"), weights="weight"), named)
        assert list(cut.feature_names_in_) == ["a", "b", "c"]
        np.testing.assert_allclose(cut.coef_, whole.coef_, rtol=1e-9)


@EACH
def test_same_bits_for_any_number_of_threads(case: Case) -> None:
    X, y = rows(case)
    X, y = np.tile(X, (9, 1)), np.tile(y, 9)
    one, two = (fit(start(case, n_jobs=n), X, y) for n in (1, 2))
    for a, b in zip(params(one), params(two), strict=True):
        assert (a == b).all()
    mixed = np.random.default_rng(0).permutation(len(X))
    for a, b in zip(params(one), params(fit(start(case), X[mixed], y[mixed])), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-11)


@EACH
def test_a_fit_of_a_sample_recovers_the_parameters(case: Case) -> None:
    X, y = rows(case, 4000)
    model = fit(case.make(K, random_state=0, tol=1e-6), X, y)
    many = case.rows(np.random.default_rng(5), 40_000)[0]
    drawn, labels = model.sample(many, random_state=3)
    assert drawn.shape == labels.shape == (40_000,) and set(labels) == {0, 1}
    np.testing.assert_allclose(drawn.mean(), model.predict(many).mean(), rtol=0.05, atol=0.02)
    again = fit(clone(model).set_params(weights_init=model.weights_, params_init=given(model)), many, drawn)
    assert again.score(many, drawn) >= model.score(many, drawn)
    if case.name != "logistic":  # of single trials the components are identified only weakly
        for a, b in zip(params(model), params(again), strict=True):
            np.testing.assert_allclose(b, a, rtol=0.15, atol=0.1)


@EACH
def test_a_file_holds_all_of_it(case: Case, tmp_path: Path) -> None:
    X, y = rows(case)
    model = fit(start(case), X, y)
    model.save(tmp_path / "model.npz")
    loaded = fastem.load(tmp_path / "model.npz")
    assert type(loaded) is type(model) and (loaded.predict(X) == model.predict(X)).all()
    assert (loaded.score_samples(X, y) == model.score_samples(X, y)).all() and loaded.bic(X, y) == model.bic(X, y)


@EACH
def test_a_killed_fit_goes_on_where_it_was(case: Case, tmp_path: Path) -> None:
    X, y = rows(case)
    for accelerate in (None, "squarem"):
        options, path = {"accelerate": accelerate, "max_iter": 12}, tmp_path / f"{accelerate}.npz"
        whole = fit(start(case, **options), X, y)
        fit(start(case, **options | {"max_iter": 7}), X, y, checkpoint=path)
        again = fit(start(case, **options), X, y, checkpoint=path, resume=True)
        for a, b in zip(params(whole), params(again), strict=True):
            assert (a == b).all()


@EACH
def test_odd_data(case: Case) -> None:
    """One row, constant columns, more components than distinct rows, columns that are one another's multiples."""
    X, y = rows(case)
    twin = X.copy()
    twin[:, 0] = 2 * X[:, 3 - (case.size or 1)]
    flat = X.copy()
    flat[:, 0] = 7.0
    for features, response, k in (
        (X[:1], y[:1], 1),
        (np.repeat(X[:1], 20, axis=0), np.repeat(y[:1], 20), 3),
        (twin, y, 2),
        (flat, y, 2),
        (X, np.zeros(N), 2),
    ):
        model = fit(case.make(k, random_state=0), features, response)
        assert np.isfinite(model.score(features, response)) and np.isfinite(model.weights_).all()
        assert np.isfinite(model.predict(features)).all()


@EACH
@pytest.mark.parametrize(("dtype", "offset", "tolerance"), [("float64", 1e8, 1e-6), ("float32", 2.0**13, 2e-3)])
def test_offsets_of_the_features_change_intercepts_only(
    case: Case, dtype: str, offset: float, tolerance: float
) -> None:
    X, y = (np.round(a * 64) / 64 if case.size is None else a for a in rows(case))
    X, y = X.astype(dtype), (y if case.name in ("linear", "shared") else rows(case)[1]).astype(dtype)
    moved = X.copy()
    moved[:, 0] += np.asarray(offset, dtype)
    X[:, 0] = moved[:, 0] - np.asarray(offset, dtype)
    model = fit(case.make(K, random_state=0, max_iter=20, tol=0), X, y)
    other = fit(case.make(K, random_state=0, max_iter=20, tol=0), moved, y)
    one, two = (m.coef_[np.argsort(m.coef_[:, 0])] for m in (other, model))  # starts may tie in another order
    np.testing.assert_allclose(one, two, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(other.score_samples(moved, y), model.score_samples(X, y), rtol=tolerance, atol=tolerance)
    if dtype == "float64" and case.name == "linear":
        up = fit(case.make(K, random_state=0, max_iter=20, tol=0), X, y + offset)
        np.testing.assert_allclose(up.coef_, model.coef_, rtol=1e-5, atol=1e-5)


def table(name: str) -> np.ndarray:
    return np.genfromtxt(
        DATA / f"{name}.csv", delimiter=",", skip_header=1, usecols=None if name != "npreg" else (0, 1, 2)
    )


TONE, NITRIC = table("tonedata"), table("no_data")
SIMULATED = table("npreg")
PARABOLA = np.column_stack([SIMULATED[:, 0], SIMULATED[:, 0] ** 2])


@pytest.mark.parametrize(
    ("X", "y", "log_likelihood", "weights", "beta", "sigma"),
    [
        (
            TONE[:, :1],
            TONE[:, 1],
            141.198402299684,
            [0.69772027242517, 0.30227972757483],
            [[1.91638013629076, -0.0192747316276609], [0.0425485141405513, 0.992295500410995]],
            [0.0461920681400521, 0.132834069839579],
        ),
        (
            NITRIC[:, :1],
            NITRIC[:, 1],
            122.038355785474,
            [0.510275522599852, 0.489724477400148],
            [[1.24708115080273, 0.564985904112238], [-0.0829994906791359, 0.0850229372124136]],
            [0.0241411672781918, 0.0433131965881433],
        ),
        (
            PARABOLA,
            SIMULATED[:, 1],
            -642.532013736093,
            [0.506000297673002, 0.493999702326998],
            [
                [14.7129159640559, -0.208565620153731],
                [9.84843776721023, 4.814486383631],
                [-0.968527985240648, 0.0365380883252583],
            ],
            [3.45093079753038, 3.44440384123189],
        ),
    ],
    ids=["tone", "nitric oxide", "npreg"],
)
def test_mixtools_regressions(X, y, log_likelihood, weights, beta, sigma) -> None:
    """mixtools 2.0, regmixEM: its fits are fixed points, and are reached from our own starts."""
    beta = np.array(beta)
    published = {"coef": beta[1:].T, "intercept": beta[0], "variances": np.square(sigma)}
    options = {"reg_covar": 0.0, "tol": 1e-9, "max_iter": 5000}
    fixed = fastem.LinearRegressionMixture(2, weights_init=weights, params_init=published, **options).fit(X, y)
    assert fixed.history_["log_likelihood"][0] == pytest.approx(log_likelihood, abs=1e-8)
    np.testing.assert_allclose(fixed.coef_, published["coef"], rtol=1e-3)
    np.testing.assert_allclose(fixed.variances_, published["variances"], rtol=1e-3)
    found = fastem.LinearRegressionMixture(2, random_state=0, n_init=5, **options).fit(X, y)
    assert found.score(X, y) * len(X) >= log_likelihood - 1e-7
    assert found._n_parameters() == 2 * (X.shape[1] + 2) + 1


def test_mixtools_equal_variances() -> None:
    X, y = TONE[:, :1], TONE[:, 1]
    model = fastem.LinearRegressionMixture(
        2, share_variance=True, reg_covar=0.0, tol=1e-10, max_iter=5000, random_state=0, n_init=5
    ).fit(X, y)
    assert model.score(X, y) * 150 >= 107.25669763939 - 1e-6
    assert model.bic(X, y) <= -184.449583514202 + 1e-5


def test_flexmix_poisson_regression() -> None:
    X, y = SIMULATED[:, :1], SIMULATED[:, 2]
    given = {"coef": [[0.0647074078856753], [-0.161920186589232]], "intercept": [1.24733243444384, 1.86431475530828]}
    weights = np.array([0.461869940455745, 0.538130059544255])
    options = {"tol": 1e-10, "max_iter": 5000}
    fixed = fastem.PoissonRegressionMixture(2, params_init=given, weights_init=weights / weights.sum(), **options).fit(
        X, y
    )
    assert fixed.history_["log_likelihood"][0] == pytest.approx(-440.640294319689, abs=1e-7)
    np.testing.assert_allclose(fixed.coef_, given["coef"], rtol=1e-3)
    found = fastem.PoissonRegressionMixture(2, random_state=0, n_init=3, **options).fit(X, y)
    assert found.score(X, y) * 200 >= -440.640294319689 - 1e-6
    assert found._n_parameters() == 5


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_one_component_is_least_squares(fit_intercept: bool) -> None:
    X, y = rows(CASES[0])
    weight = np.random.default_rng(0).uniform(0.1, 2, N)
    model = fastem.LinearRegressionMixture(1, reg_covar=0.0, fit_intercept=fit_intercept).fit(X, y, weight)
    design = np.column_stack([X, np.ones(N)]) if fit_intercept else X
    beta, *_ = np.linalg.lstsq(design * np.sqrt(weight)[:, None], y * np.sqrt(weight), rcond=None)
    np.testing.assert_allclose(model.coef_[0], beta[:3], rtol=1e-10)
    np.testing.assert_allclose(model.intercept_[0], beta[3] if fit_intercept else 0.0, rtol=1e-10)
    np.testing.assert_allclose(model.variances_[0], weight @ (y - design @ beta) ** 2 / weight.sum(), rtol=1e-10)
    np.testing.assert_allclose(model.predict(X), design @ beta, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.name not in ("linear", "shared")], ids=lambda c: c.name
)
def test_one_component_is_a_generalized_linear_model(case: Case) -> None:
    X, y = rows(case)
    used = [j for j in range(3) if j != case.size]

    class Point(NamedTuple):
        coef_: np.ndarray
        intercept_: np.ndarray

    def loss(beta: np.ndarray) -> float:
        coef = np.zeros((1, 3))
        coef[0, used] = beta[1:]
        return -float(case.density(X, y, Point(coef, beta[:1])).sum())

    best = optimize.minimize(loss, np.zeros(1 + len(used)), method="BFGS", options={"gtol": 1e-7})
    model = fit(case.make(1, tol=1e-12), X, y)
    assert model.score(X, y) * N >= -best.fun - 1e-8
    np.testing.assert_allclose(np.r_[model.intercept_, model.coef_[0, used]], best.x, rtol=1e-4, atol=1e-5)


def test_regressions_on_a_constant_are_distributions() -> None:
    rng = np.random.default_rng(0)
    y = np.concatenate([rng.normal(0, 1, 300), rng.normal(5, 2, 300)])
    flat = np.full((600, 1), 3.0)
    given = {"coef": np.zeros((2, 1)), "intercept": [1.0, 4.0], "variances": [1.0, 1.0]}
    lines = fit(fastem.LinearRegressionMixture(2, params_init=given, tol=0, max_iter=20, accelerate=None), flat, y)
    points = fit(
        fastem.GaussianMixture(
            2,
            weights_init=[0.5, 0.5],
            means_init=[[1.0], [4.0]],
            precisions_init=[[[1.0]], [[1.0]]],
            tol=0,
            max_iter=20,
            accelerate=None,
        ),
        y[:, None],
    )
    np.testing.assert_allclose(lines.intercept_, points.means_[:, 0], rtol=1e-9)
    np.testing.assert_allclose(lines.variances_, points.covariances_[:, 0, 0], rtol=1e-9)
    np.testing.assert_allclose(lines.score_samples(flat, y), points.score_samples(y[:, None]), rtol=1e-9)
    counts = rng.poisson(np.where(rng.random(500) < 0.5, 2.0, 9.0)).astype(float)
    start = {"coef": np.zeros((2, 1)), "intercept": np.log([1.0, 8.0])}
    logs = fastem.PoissonRegressionMixture(2, params_init=start, tol=1e-11, max_iter=5000).fit(flat[:500], counts)
    rates = fastem.PoissonMixture(2, params_init=[[1.0], [8.0]], tol=1e-11, max_iter=5000).fit(counts[:, None])
    np.testing.assert_allclose(np.exp(logs.intercept_), rates.rates_[:, 0], rtol=1e-4)
    assert logs.lower_bound_ == pytest.approx(rates.lower_bound_, abs=1e-9)


@pytest.mark.parametrize("algorithm", ["stepwise", "incremental"])
def test_online_algorithms_end_near_the_optimum(algorithm: str) -> None:
    case = CASES[0]
    X, y = rows(case, 6000)
    batch = fit(case.make(K, random_state=0, tol=1e-7), X, y)
    nearby = case.make(K, weights_init=[0.5, 0.5], params_init=given(batch), random_state=0)
    model = fit(nearby, X, y, algorithm=algorithm, batch_size=300)
    assert model.score(X, y) == pytest.approx(batch.score(X, y), abs=5e-3)


def test_partial_fit_learns() -> None:
    case = CASES[0]
    X, y = rows(case, 8000)
    model = case.make(K, random_state=0)
    for i in range(0, len(X), 1000):
        model.partial_fit(X[i : i + 1000], y[i : i + 1000])
    assert model.score(X, y) == pytest.approx(fit(case.make(K, random_state=0), X, y).score(X, y), abs=0.02)


def test_sums_move_exactly_to_other_lines() -> None:
    """`recentre`: the statistics about new lines are those that the rows give there."""
    rng = np.random.default_rng(0)
    family = LinearRegression()
    X, resp = rng.standard_normal((50, 4)), rng.dirichlet(np.ones(2), 50)
    coef, levels = rng.standard_normal((2, 2, 3)), rng.standard_normal((2, 2))
    found = []
    for c, a in zip(coef, levels, strict=True):
        rows = [np.column_stack([X[:, :-1], X[:, -1] - X[:, :-1] @ c[k] - a[k]]) for k in range(2)]
        sum_x = np.stack([resp[:, k] @ rows[k] for k in range(2)])
        sum_xx = np.stack([(resp[:, k, None] * rows[k]).T @ rows[k] for k in range(2)])
        found.append((resp.sum(axis=0), resp.sum(axis=0), sum_x, sum_xx))
    old, new = (family.make(c, a, np.ones(2)) for c, a in zip(coef, levels, strict=True))
    moved = family.recentre(RegressionStatistics(*found[0]), old, new)
    for a, b in zip(moved, found[1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("p", [0, 1, 2, 3, 7, 8])
@pytest.mark.parametrize("kind", [LinearRegression, PoissonRegression, LogisticRegression])
def test_bricks_uncompiled_are_the_textbook(kind: type, p: int, dtype: type) -> None:
    rng = np.random.default_rng(p)
    n, k, lanes = 100, 3, 128
    X = np.column_stack([rng.standard_normal((n, p)), rng.integers(0, 2, n)]).astype(dtype)
    family = kind()
    coef, levels = rng.standard_normal((k, p)) / 2, rng.standard_normal(k)
    given = family.make(coef, levels, np.array([0.5, 1.0, 2.0]) - 1e-6)
    tile = mixture.make_tile(np.dtype(dtype), p + 1, k, lanes)
    prepared = family.prepare(given, np.dtype(dtype), np.ones(k))
    weight = rng.random(n)
    mixture.load_tile(X, weight, 0, n, prepared.shift, tile)
    log_prob, accumulate = family.bricks(prepared)
    log_prob(tile, prepared, tile.resp)
    line = X[:, :-1].astype(float) @ coef.T + levels
    y = X[:, -1:].astype(float)
    wanted, v, residual = {
        LinearRegression: lambda: (stats.norm.logpdf(y, line, np.sqrt([0.5, 1.0, 2.0])), np.ones((n, k)), y - line),
        PoissonRegression: lambda: (stats.poisson.logpmf(y, np.exp(line)), np.exp(line), y - np.exp(line)),
        LogisticRegression: lambda: (
            stats.bernoulli.logpmf(y, expit(line)),
            expit(line) * expit(-line),
            y - expit(line),
        ),
    }[kind]()
    eps = 1e-11 if dtype == np.float64 else 3e-5
    np.testing.assert_allclose(tile.resp[:k, :n], wanted.T, rtol=eps, atol=eps)
    softmax.normalize(tile, np.zeros((1, k), dtype))
    statistics = family.zeros(given, 1, prepared)
    accumulate(tile, tile.resp, prepared, statistics, 0)
    sums = family.unpad(statistics, given, prepared)
    resp = weight[:, None] * np.exp(wanted - logsumexp(wanted, axis=1, keepdims=True))
    for c in range(k):
        rows = np.column_stack([X[:, :-1].astype(float), residual[:, c] / v[:, c]])
        u = resp[:, c] * v[:, c]
        np.testing.assert_allclose(sums.sum_w[c], resp[:, c].sum(), rtol=10 * eps)
        np.testing.assert_allclose(sums.sum_v[c], u.sum(), rtol=10 * eps)
        np.testing.assert_allclose(sums.sum_x[c], u @ rows, rtol=100 * eps, atol=100 * eps)
        np.testing.assert_allclose(sums.sum_xx[c], (u[:, None] * rows).T @ rows, rtol=100 * eps, atol=1e3 * eps)


@pytest.mark.parametrize(("p", "k", "n"), [(0, 1, 1), (1, 5, 129), (2, 2, 257), (7, 3, 64), (8, 3, 300)])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("kind", [LinearRegression, LogisticRegression])
def test_kernels_stay_within_bounds(kind: type, dtype: type, p: int, k: int, n: int, either: None) -> None:
    """NaN around the rows would show in the sums, and Python checks the indices."""
    rng, family = np.random.default_rng(0), kind()
    guarded = np.full((n + 2, p + 1), np.nan, dtype)
    guarded[1:-1] = rng.integers(0, 2, (n, p + 1))
    data, components = chunk(guarded[1:-1]), family.make(rng.standard_normal((k, p)), np.zeros(k), np.ones(k))
    params, model = MixtureParams(np.full(k, 1 / k), components), Mixture(family)
    statistics = model.e_step(params, [data])
    rows = model.rows(params, data, "log_prob", "labels", "responsibilities")
    assert np.isfinite(statistics.log_likelihood)
    assert all(np.isfinite(leaf).all() for leaf in statistics.components)
    assert statistics.log_likelihood == pytest.approx(float(rows["log_prob"].sum(dtype=float)), rel=1e-5)
    assert statistics.components.sum_w.sum() == pytest.approx(n, rel=1e-5)
    assert np.isnan(guarded[[0, -1]]).all()


def test_separated_responses_are_warned_of() -> None:
    x = np.random.default_rng(0).normal(size=(N, 1))
    model = fastem.LogisticRegressionMixture()
    with pytest.warns(ConvergenceWarning, match="component 0 has the coefficient .* of column 0: its rows are sep"):
        model.fit(x, (x[:, 0] > 0).astype(float))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit(x, (x[:, 0] + 0.1 * np.sin(50 * x[:, 0]) > 0).astype(float))


def test_bad_input_is_told() -> None:
    X, y = rows(CASES[0])
    linear, poisson = fastem.LinearRegressionMixture(2), fastem.PoissonRegressionMixture(2)
    logistic = fastem.LogisticRegressionMixture(2)
    hole = y.copy()
    hole[7] = np.nan
    for model, data, words in (
        (linear, (X,), "one number for each row"),
        (linear, (X, y[:-1]), r"y has shape \(330,\); \(331,\) is wanted"),
        (linear, (X, hole), "row 7"),
        (linear, (X, np.array(["a"] * N)), "dtype"),
        (linear, ("x.npy", y), "the name or number"),
        (poisson, (X, y), "'y'.*whole numbers"),
        (poisson, (X, -np.ones(N)), "'y'.*rows 0"),
        (logistic, (X, 2 * np.ones(N)), "0 and 1 are wanted"),
        (fastem.PoissonRegressionMixture(2, exposure=5), (X, np.ones(N)), "exposure is 5"),
        (fastem.PoissonRegressionMixture(2, exposure=0), (X, np.ones(N)), "exposures above 0"),
        (fastem.LogisticRegressionMixture(2, trials=0), (np.ones_like(X), 3 * np.ones(N)), "as many successes"),
        (fastem.LinearRegressionMixture(2, params_init={"coef": 1}), (X, y), "'coef', 'intercept', 'variances'"),
        (fastem.LinearRegressionMixture(2, reg_covar=-1), (X, y), "reg_covar is -1"),
        (fastem.LinearRegressionMixture(2, fit_intercept="no"), (X, y), "fit_intercept"),
    ):
        with pytest.raises(ValueError, match=words):
            model.fit(*data)
    with pytest.raises(ValueError, match="algorithm='batch'"):
        poisson.fit(X, np.ones(N), algorithm="stepwise")
    with pytest.raises(ValueError, match="algorithm='batch'"):
        poisson.partial_fit(X, np.ones(N))
    with pytest.raises(ValueError, match="3 features"):
        fit(linear, X, y).predict(X[:, :2])


def test_how_many_responses_are_not_finite():
    with pytest.raises(
        ValueError, match="y is 1e\\+40 in row 1, no finite float32 number, and so it is in 2 rows more; fin"
    ):
        check_response([1.0, 1e40, np.nan, np.inf], 4, np.dtype(np.float32))
    with pytest.raises(ValueError, match="y is nan in row 0, no finite float64 number; finite"):
        check_response([np.nan], 1, np.dtype(np.float64))


def test_a_ridge_above_the_variance_of_y_is_a_warning() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 1))
    y = 1e-4 * (np.where(rng.random(200) < 0.5, 1 + 2 * x[:, 0], 8 - x[:, 0]) + rng.normal(0, 0.3, 200))
    with pytest.warns(UserWarning, match="reg_covar is 1e-06, more than the whole variance of column 'y'"):
        fastem.LinearRegressionMixture(2, random_state=0).fit(x, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lines = fastem.LinearRegressionMixture(2, random_state=0, reg_covar=1e-14).fit(x, y)
    np.testing.assert_allclose(np.sort(lines.coef_[:, 0]), [-1e-4, 2e-4], rtol=0.1)


def test_what_needs_y_says_so() -> None:
    x = np.linspace(0, 1, 30)[:, None]
    model = fit(fastem.LinearRegressionMixture(1), x, 2 * x[:, 0])
    for name in ("predict_labels", "predict_proba", "score_samples", "score", "bic", "aic", "icl"):
        with pytest.raises(ValueError, match=rf"{name} was given X alone; .* {name}\(X, y\)\. Of X alone predict\(X\)"):
            getattr(model, name)(x)
    with pytest.raises(ValueError, match="y is None; one number for each row"):
        model.fit_predict(x)
