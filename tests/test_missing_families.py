"""Counts, categories and amounts with holes: the likelihood of what is there, by SciPy, row by row."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from cases import punched, quietly
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.optimize import brentq
from scipy.special import digamma

import fastem
from fastem.categories import encoded
from fastem.families.categorical import CategoricalParams
from fastem.families.categorical_missing import CategoricalMissing
from fastem.families.gamma_missing import GammaMissing
from fastem.families.linear import Sums
from fastem.families.linear_missing import BernoulliMissing, MissingSums, PoissonMissing
from fastem.families.negative_binomial import levels_of
from fastem.families.negative_binomial_missing import NegativeBinomialMissing
from fastem.families.poisson import PoissonParams
from fastem.kernels import mixture, softmax

K, N = 2, 60
WEIGHTS = np.array([0.3, 0.7])
THREE = slice(0, 3), slice(3, 5), slice(5, 9)
"""Levels of the columns of the categorical case among its probabilities."""


class Case(NamedTuple):
    """A mixture, its parameters, rows with holes, and log p of an entry x of column j; e is the exposure.

    params are (K, d), or (K, 2, d) where there are two a column.
    """

    kind: Callable[..., Any]
    options: dict[str, Any]
    params: np.ndarray
    rows: Callable[[np.random.Generator], np.ndarray]
    log_prob: Callable[[float, np.ndarray, int, float], float]


def binary(rng: np.random.Generator) -> np.ndarray:
    return punched((rng.random((N, 3)) < 0.4).astype(float), 0.3, rng)


def levels(rng: np.random.Generator) -> np.ndarray:
    X = np.column_stack([rng.integers(m, size=N) for m in (3, 2, 4)]).astype(float)
    X[:4] = np.arange(4)[:, None] % [3, 2, 4]  # all levels are there
    return np.concatenate([X[:4], punched(X[4:], 0.3, rng)])


def counts(rng: np.random.Generator) -> np.ndarray:
    return punched(rng.poisson([1.0, 5.0, 2.0], (N, 3)).astype(float), 0.3, rng)


def exposed(rng: np.random.Generator) -> np.ndarray:
    return np.insert(counts(rng), 1, rng.uniform(0.5, 3.0, N), axis=1)


def waits(rng: np.random.Generator) -> np.ndarray:
    return punched(rng.exponential([1.0, 5.0, 0.1], (N, 3)), 0.3, rng)


def amounts(rng: np.random.Generator) -> np.ndarray:
    return punched(rng.gamma([0.7, 5.0, 30.0], [2.0, 1.0, 0.01], (N, 3)), 0.3, rng)


def dispersed(rng: np.random.Generator) -> np.ndarray:
    """Those of the last column are beyond the tables."""
    return punched(rng.poisson(rng.gamma([0.7, 5.0, 30.0], [2.0, 1.0, 25.0], (N, 3))).astype(float), 0.3, rng)


P = np.array([[0.2, 0.5, 0.9], [0.6, 0.1, 0.4]])
TABLE = np.array([[0.2, 0.5, 0.3, 0.9, 0.1, 0.25, 0.25, 0.4, 0.1], [0.6, 0.1, 0.3, 0.4, 0.6, 0.1, 0.2, 0.3, 0.4]])
RATES = np.array([[0.5, 3.0, 2.0], [2.0, 6.0, 1.0]])
GAMMAS = np.array([[[0.5, 4.0, 20.0], [2.0, 1.0, 0.02]], [[1.5, 6.0, 40.0], [1.0, 1.2, 0.01]]])
SIZES = np.array([[[0.5, 3.0, 20.0], [2.0, 4.0, 700.0]], [[1.5, 6.0, 40.0], [1.0, 7.0, 800.0]]])

CASES = {
    "bernoulli": Case(fastem.BernoulliMixture, {}, P, binary, lambda x, p, j, e: stats.bernoulli.logpmf(x, p[j])),
    "categorical": Case(fastem.CategoricalMixture, {}, TABLE, levels, lambda x, p, j, e: np.log(p[THREE[j]][int(x)])),
    "poisson": Case(fastem.PoissonMixture, {}, RATES, counts, lambda x, p, j, e: stats.poisson.logpmf(x, p[j])),
    "exposure": Case(
        fastem.PoissonMixture, {"exposure": 1}, RATES, exposed, lambda x, p, j, e: stats.poisson.logpmf(x, e * p[j])
    ),
    "exponential": Case(
        fastem.ExponentialMixture, {}, RATES, waits, lambda x, p, j, e: stats.expon.logpdf(x, scale=p[j])
    ),
    "gamma": Case(
        fastem.GammaMixture, {}, GAMMAS, amounts, lambda x, p, j, e: stats.gamma.logpdf(x, p[0, j], scale=p[1, j])
    ),
    "negative_binomial": Case(
        fastem.NegativeBinomialMixture,
        {},
        SIZES,
        dispersed,
        lambda x, p, j, e: stats.nbinom.logpmf(x, p[0, j], p[0, j] / (p[0, j] + p[1, j])),
    ),
}
EVERY = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def model(case: Case, k: int = K, **options: Any) -> Any:
    return case.kind(k, missing="nan", random_state=0, accelerate=None, **case.options, **options)


def begun(case: Case, **options: Any) -> Any:
    """From the parameters of the case."""
    params = case.params if case.params.ndim == 2 else list(np.swapaxes(case.params, 0, 1))
    return model(case, weights_init=WEIGHTS, params_init=params, **options)


def parameters(fitted: Any) -> np.ndarray:
    first, *others = (getattr(fitted, f"{name}_") for name in fitted._fields)
    return np.stack([first, *others], axis=1) if others else first


def entries(case: Case, row: np.ndarray) -> tuple[np.ndarray, float]:
    """The row without its exposure, and that."""
    e = case.options.get("exposure")
    return (row, 1.0) if e is None else (np.delete(row, e), float(row[e]))


def twin(case: Case, X: np.ndarray, params: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """log(a_k p(x | k)) of each row, (n, K), entry by entry."""
    joint = np.tile(np.log(weights), (len(X), 1))
    for i, row in enumerate(X):
        row, exposure = entries(case, row)
        for j in np.flatnonzero(~np.isnan(row)):
            for k in range(len(weights)):
                joint[i, k] += case.log_prob(row[j], params[k], int(j), exposure)
    return joint


def gamma_step(x: np.ndarray, w: np.ndarray) -> list[float]:
    """Shape and scale of greatest likelihood of rows of weights w."""
    mean, excess = w @ x / w.sum(), np.log(w @ x / w.sum()) - w @ np.log(x) / w.sum()
    shape = brentq(lambda a: np.log(a) - digamma(a) - excess, 1e-3, 1e4, xtol=1e-14, rtol=1e-15)
    return [shape, mean / shape]


def dispersed_step(x: np.ndarray, w: np.ndarray, size: float) -> list[float]:
    """Size and mean of greatest likelihood; to large counts by the tangent at the present size."""
    mean, large = w @ x / w.sum(), x >= levels_of(3)

    def score(r: float) -> float:
        return float(w @ (digamma(x + np.where(large, size, r)) - digamma(r)) / w.sum() - np.log1p(mean / r))

    return [brentq(score, 1e-3, 1e4, xtol=1e-14, rtol=1e-15), mean]


def step(case: Case, X: np.ndarray, resp: np.ndarray, before: np.ndarray) -> np.ndarray:
    """The M-step, column by column, of the rows that have an entry there."""
    bare = np.array([entries(case, row)[0] for row in X])
    exposure = np.array([entries(case, row)[1] for row in X])
    columns = []
    for j, x in enumerate(bare.T):
        r, x, e = (a[~np.isnan(x)] for a in (resp, x, exposure))
        if case.kind is fastem.CategoricalMixture:
            shares = np.stack([r[x == level].sum(axis=0) for level in range(len(case.params[0][THREE[j]]))], axis=1)
            columns.append(shares / shares.sum(axis=1, keepdims=True))
        elif case.kind is fastem.GammaMixture:
            columns.append(np.array([gamma_step(x, w) for w in r.T])[..., None])
        elif case.kind is fastem.NegativeBinomialMixture:
            columns.append(
                np.array([dispersed_step(x, w, p[0, j]) for w, p in zip(r.T, before, strict=True)])[..., None]
            )
        else:
            columns.append((r.T @ x / (r.T @ e))[:, None])
    return np.concatenate(columns, axis=-1)


@EVERY
def test_density_and_step_are_those_of_what_is_there(case: Case, rng: np.random.Generator) -> None:
    X = case.rows(rng)
    X[-1, [j for j in range(X.shape[1]) if j != case.options.get("exposure")]] = np.nan
    weight = rng.integers(0, 3, N).astype(float)
    weight[:4] = 1.0
    joint = twin(case, X, case.params, WEIGHTS)
    log_prob = np.logaddexp.reduce(joint, axis=1)
    resp = np.exp(joint - log_prob[:, None])
    one = quietly(begun(case, max_iter=1).fit, X, sample_weight=weight)
    assert one.history_["log_likelihood"][0] == pytest.approx(weight @ log_prob, rel=1e-12)
    np.testing.assert_allclose(parameters(one), step(case, X, resp * weight[:, None], case.params), rtol=1e-11)
    np.testing.assert_allclose(one.weights_, weight @ resp / weight.sum(), rtol=1e-12)
    after = twin(case, X, parameters(one), one.weights_)
    np.testing.assert_allclose(one.score_samples(X), np.logaddexp.reduce(after, axis=1), rtol=1e-11, atol=1e-12)
    assert one.score_samples(X)[-1] == pytest.approx(0.0, abs=1e-12)
    np.testing.assert_allclose(one.predict_proba(X)[-1], one.weights_, rtol=1e-12)


@EVERY
def test_complete_rows_are_fitted_as_ever(case: Case, rng: np.random.Generator) -> None:
    X = case.rows(rng)
    X = np.where(np.isnan(X), X[0] if case.kind is fastem.CategoricalMixture else 1.0, X)
    for prior in (0.0, 2.0):
        missing = begun(case, prior=prior, tol=0.0, max_iter=8)
        plain = quietly(model(case, prior=prior).set_params(**missing.get_params() | {"missing": "error"}).fit, X)
        quietly(missing.fit, X)
        np.testing.assert_allclose(parameters(missing), parameters(plain), rtol=1e-12)
        np.testing.assert_allclose(missing.lower_bounds_, plain.lower_bounds_, rtol=1e-12)
        assert missing.bic(X) == pytest.approx(plain.bic(X), rel=1e-12)
        np.testing.assert_allclose(missing.sample(20, 0)[0], plain.sample(20, 0)[0], rtol=1e-11)


@EVERY
@pytest.mark.parametrize("accelerate", [None, "squarem"])
def test_one_component_is_the_column(case: Case, accelerate: str | None, rng: np.random.Generator) -> None:
    X = case.rows(rng)
    found = parameters(quietly(model(case, 1, tol=0.0, max_iter=60).set_params(accelerate=accelerate).fit, X))
    np.testing.assert_allclose(found, step(case, X, np.ones((N, 1)), found), rtol=1e-10)


@EVERY
def test_likelihood_never_falls_and_rows_count_by_weight(case: Case, rng: np.random.Generator) -> None:
    X, weight = case.rows(rng), np.r_[np.ones(4), rng.integers(0, 3, N - 4)].astype(int)
    weighted = quietly(begun(case, tol=0.0, max_iter=30).fit, X, sample_weight=weight)
    assert (np.diff(weighted.lower_bounds_) >= -1e-12).all()
    repeated = quietly(begun(case, tol=0.0, max_iter=30).fit, np.repeat(X, weight, axis=0))
    np.testing.assert_allclose(weighted.lower_bounds_, repeated.lower_bounds_, rtol=1e-11)
    np.testing.assert_allclose(parameters(weighted), parameters(repeated), rtol=1e-8, atol=1e-12)


@st.composite
def punched_rows(draw: st.DrawFn) -> tuple[str, np.ndarray, np.ndarray, int]:
    """Draw rows with any holes, with nothing in some and one value in a column, and weights; one row is complete."""
    name, k = draw(st.sampled_from(sorted(CASES))), draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    X = CASES[name].rows(rng)
    kept = 1 if CASES[name].options else None
    complete = np.where(np.isnan(X), np.nanmax(X, axis=0), X)
    holes = rng.random(X.shape) < draw(st.sampled_from([0.05, 0.3, 0.8]))
    holes[1:, 2] |= draw(st.booleans())
    holes[0] = False
    if kept is not None:
        holes[:, kept] = False
    return name, np.where(holes, np.nan, complete), rng.choice([0.5, 1.0, 2.0], size=N), k


@given(punched_rows())
def test_the_objective_never_falls(drawn: tuple[str, np.ndarray, np.ndarray, int]) -> None:
    name, X, weight, k = drawn
    options: dict[str, Any] = {"tol": 0.0, "max_iter": 25, "init_params": "random"}
    found = quietly(model(CASES[name], k, **options).fit, X, sample_weight=weight)
    history = found.history_["log_likelihood"]
    assert np.isfinite(history).all()
    if not any(found.diagnostics_[event] for event in ("restarted", "floored", "parted")):
        assert np.diff(history).min(initial=0) >= -1e-11 * (weight.sum() + abs(history).max())


@EVERY
def test_accelerated_and_selected(case: Case, rng: np.random.Generator) -> None:
    X = case.rows(rng)
    plain = quietly(begun(case, tol=0.0, max_iter=40).fit, X)
    fast = quietly(begun(case, tol=0.0, max_iter=40).set_params(accelerate="squarem").fit, X)
    assert (np.diff(fast.lower_bounds_) >= -1e-12).all() and fast.lower_bound_ >= plain.lower_bound_ - 1e-12
    options = {**case.options, "missing": "nan", "random_state": 0}
    chosen = quietly(fastem.select, X, [1, 2], estimator=case.kind, **options)
    assert chosen.best.missing == "nan" and np.isfinite(chosen.best.bic(X))


@EVERY
def test_chunks_online_and_files(case: Case, rng: np.random.Generator, tmp_path: Path) -> None:
    X = case.rows(rng)
    np.save(tmp_path / "x.npy", X)
    source = fastem.Chunks(tmp_path / "x.npy", rows_per_chunk=17)
    options: dict[str, Any] = {"tol": 0.0, "max_iter": 5}
    whole, chunked = (quietly(begun(case, **options).fit, rows) for rows in (X, source))
    np.testing.assert_allclose(parameters(chunked), parameters(whole), rtol=1e-12)
    np.testing.assert_allclose(chunked.score_samples(source), whole.score_samples(X), rtol=1e-12, atol=1e-12)
    online = quietly(begun(case, **options).fit, X, algorithm="incremental", batch_size=20)
    assert (np.diff(online.lower_bounds_) >= -1e-12).all()  # the free energy, under the likelihood
    assert max(online.lower_bound_, whole.score(X)) <= online.score(X)
    online.save(tmp_path / "model.npz")
    again = fastem.load(tmp_path / "model.npz")
    assert again.missing == "nan" and again.score(X) == online.score(X)


@EVERY
@pytest.mark.parametrize("init_params", ["kmeans", "random_from_data"])
def test_starts_have_no_holes(case: Case, init_params: str, rng: np.random.Generator) -> None:
    X = case.rows(rng)
    labels = np.r_[0, 0, 1, np.full(N - 3, -1)] if init_params == "kmeans" else None
    found = quietly(model(case, 3, init_params=init_params, max_iter=2).fit, X, labels=labels)
    assert np.isfinite(parameters(found)).all() and np.isfinite(found.lower_bounds_).all()
    assert not np.isnan(found.sample(10)[0]).any()


def test_two_levels_are_yes_and_no(rng: np.random.Generator) -> None:
    X = binary(rng)
    table = np.stack([1 - P, P], axis=2).reshape(K, -1)
    options: dict[str, Any] = {
        "tol": 0.0,
        "max_iter": 20,
        "accelerate": None,
        "missing": "nan",
        "weights_init": WEIGHTS,
    }
    for prior in (0.0, 1.5):
        yes = quietly(fastem.BernoulliMixture(K, params_init=P, prior=prior, **options).fit, X)
        two = quietly(fastem.CategoricalMixture(K, params_init=table, prior=prior, **options).fit, X)
        np.testing.assert_allclose(two.probabilities_[:, 1::2], yes.probabilities_, rtol=1e-10)
        np.testing.assert_allclose(two.lower_bounds_, yes.lower_bounds_, rtol=1e-12)
        assert two.bic(X) == pytest.approx(yes.bic(X), rel=1e-12)


def test_what_is_missing_is_not_impossible() -> None:
    nothing = np.zeros((20, 2))
    gaps = [[1.0, np.nan], [np.nan, 0.0], [np.nan, np.nan]]
    for kind in (fastem.BernoulliMixture, fastem.PoissonMixture):
        assert kind(missing="nan").fit(nothing).score_samples(gaps).tolist() == [-np.inf, 0.0, 0.0]
    ones = fastem.BernoulliMixture(missing="nan").fit(nothing + 1)
    assert ones.score_samples([[0.0, np.nan], [np.nan, 1.0]]).tolist() == [-np.inf, 0.0]
    apart = {"weights_init": WEIGHTS, "params_init": [[0.0, 0.5], [0.5, 0.0]], "max_iter": 0, "missing": "nan"}
    two = quietly(fastem.BernoulliMixture(2, **apart).fit, nothing)
    np.testing.assert_allclose(two.predict_proba([[1.0, np.nan], [np.nan, np.nan]]), [[0, 1], WEIGHTS], atol=1e-12)
    assert two.score_samples([[1.0, 1.0]]).tolist() == [-np.inf]
    assert two.score_samples([[1.0, np.nan]])[0] == pytest.approx(np.log(0.35))


def test_a_prior_is_rows_at_the_mean_of_what_is_there(rng: np.random.Generator) -> None:
    X = counts(rng)
    weight = rng.integers(1, 4, N)
    one = fastem.PoissonMixture(1, prior=7.0, missing="nan").fit(X, sample_weight=weight)
    there = ~np.isnan(X)
    mean = weight @ np.where(there, X, 0) / (weight @ there)
    np.testing.assert_allclose(one.prior_mean_, mean, rtol=1e-12)
    np.testing.assert_allclose(one.rates_[0], mean, rtol=1e-12)


FAMILIES: dict[str, Callable[[Any], Any]] = {
    "bernoulli": lambda dtype: BernoulliMissing(),
    "categorical": lambda dtype: CategoricalMissing([3, 2, 4]),
    "exposure": lambda dtype: PoissonMissing(1),
    "gamma": lambda dtype: GammaMissing(dtype=dtype),
    "negative_binomial": lambda dtype: NegativeBinomialMissing(),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", FAMILIES)
def test_bricks_uncompiled(name: str, dtype: Any, rng: np.random.Generator) -> None:
    case, family = CASES[name], FAMILIES[name](dtype)
    X = case.rows(rng).astype(dtype)
    params = case.kind.params_type(*(np.swapaxes(case.params, 0, 1) if case.params.ndim == 3 else [case.params]))
    prepared = family.prepare(params, X.dtype, WEIGHTS)
    tile = mixture.make_tile(X.dtype, X.shape[1], K, 64)
    if hasattr(family, "extra"):
        tile = tile._replace(extra=family.extra(X.dtype, X.shape[1], K, 64))
    mixture.load_tile(X, np.zeros(0), 0, N, prepared.shift, tile)
    log_prob, accumulate = family.bricks(prepared)
    log_prob(tile, prepared, tile.resp)
    joint = twin(case, X, case.params, WEIGHTS)
    base = family.base(X)
    wanted = joint - np.log(WEIGHTS) - (0.0 if base is None else base[:, None])
    rtol = 2e-5 if dtype is np.float32 else 1e-11
    np.testing.assert_allclose(tile.resp[:K, :N].T, wanted, rtol=rtol, atol=rtol)
    softmax.normalize(tile, np.log(WEIGHTS)[None].astype(dtype))
    statistics = family.zeros(params, 1, prepared)
    accumulate(tile, tile.resp, prepared, statistics, 0)
    sums = family.unpad(statistics, params, prepared)
    resp = np.exp(joint - np.logaddexp.reduce(joint, axis=1)[:, None])
    found = family.m_step(sums, params)
    after = found[0] if case.params.ndim == 2 else np.stack(found, axis=1)
    np.testing.assert_allclose(after, step(case, X.astype(float), resp, case.params), rtol=rtol)
    if case.kind is not fastem.NegativeBinomialMixture:  # its large counts have a tangent there
        expected = np.where(resp > 0, resp * wanted, 0.0).sum()
        assert family.expected_log_prob(sums, params) == pytest.approx(expected, rel=rtol)


def test_numbers_of_frames_may_be_missing() -> None:
    pd = pytest.importorskip("pandas")
    whole = pd.DataFrame({"a": pd.array([1, 2, None, 4], "Int64"), "b": pd.array([0, None, 3, 1], "Int64")})
    given = np.array([[1, 0], [2, None], [None, 3], [4, 1]], object)
    for X in (whole, given):
        found = fastem.PoissonMixture(missing="nan").fit(X)
        np.testing.assert_allclose(found.rates_, [[7 / 3, 4 / 3]], rtol=1e-12)
    numbers = np.array([[0, 1], [1, np.nan], [np.nan, 0]], np.float32)
    codes, categories = encoded(numbers, None, missing="nan")
    assert codes is numbers and categories == [[0, 1], [0, 1]]
    codes, categories = encoded(numbers, None, [1.0, 0.0, 1.0], "nan")  # 1 is there in a row of weight 0 alone
    assert categories == [[0], [0, 1]]
    np.testing.assert_array_equal(codes, [[0, 1], [0, np.nan], [np.nan, 0]])


def test_a_component_without_entries_in_a_column_keeps_its_parameter() -> None:
    params = PoissonParams(RATES)
    sums = MissingSums(np.array([2.0, 3.0]), np.array([[0, 4.0, 6], [3, 3, 3]]), np.array([[0, 2.0, 2], [3, 3, 1]]))
    assert (PoissonMissing().m_step(sums, params).rates == [[0.5, 2, 3], [1, 1, 3]]).all()
    table = np.array([[1.0, 3, 0, 0, 0, 2, 2, 0, 0], [1, 0, 1, 1, 0, 0, 0, 0, 2]])
    found = CategoricalMissing([3, 2, 4]).m_step(Sums(np.array([4.0, 2.0]), table), CategoricalParams(TABLE))
    np.testing.assert_allclose(found.probabilities[0], [0.25, 0.75, 0, 0.9, 0.1, 0.5, 0.5, 0, 0])


def test_texts_may_be_missing(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    town = ["Ulm", None, "Bonn", "Ulm", np.nan, "Bonn", "Ulm", "Bonn"]
    size = [1.0, 2.0, np.nan, 1.0, 2.0, 1.0, 2.0, 1.0]
    array = np.array([town, size], dtype=object).T
    frame = pd.DataFrame({"town": pd.array([pd.NA if t is np.nan else t for t in town], "string"), "size": size})
    plain = pd.DataFrame({"town": pd.Categorical([t if isinstance(t, str) else None for t in town]), "size": size})
    for X in (array, frame, plain):
        found = fastem.CategoricalMixture(missing="nan").fit(X)
        assert found.categories_ == [["Bonn", "Ulm"], [1.0, 2.0]]
        np.testing.assert_allclose(found.probabilities_, [[0.5, 0.5, 4 / 7, 3 / 7]], rtol=1e-12)
        hole = X.iloc[[1]] if hasattr(X, "iloc") else X[[1]]
        assert found.score_samples(hole) == pytest.approx(np.log(3 / 7))
        assert set(found.sample(50, 0)[0][:, 0]) == {"Bonn", "Ulm"}
    pytest.importorskip("pyarrow")
    frame.to_parquet(tmp_path / "x.parquet")
    frame.to_csv(tmp_path / "x.csv", index=False)
    for path in (tmp_path / "x.parquet", tmp_path / "x.csv"):
        found = fastem.CategoricalMixture(missing="nan").fit(path)
        np.testing.assert_allclose(found.probabilities_, [[0.5, 0.5, 4 / 7, 3 / 7]], rtol=1e-12)
        np.testing.assert_allclose(found.score_samples(path)[1], np.log(3 / 7), rtol=1e-12)
        with pytest.raises(ValueError, match="a missing value in row .*missing='nan'"):
            fastem.CategoricalMixture().fit(path)
    frame["town"] = "Ulm"
    frame["size"] = np.nan
    frame.to_csv(tmp_path / "y.csv", index=False)
    for X in (frame, tmp_path / "y.csv"):
        with pytest.raises(ValueError, match="all values are missing in column 'size'"):
            fastem.CategoricalMixture(missing="nan").fit(X)
    with pytest.raises(ValueError, match="missing value in column 0, rows 1, 4; .*missing='nan'"):
        fastem.CategoricalMixture().fit(array)


def spoiled(column: int, value: float, rows: slice = slice(3, 4)) -> Callable[[np.ndarray], None]:
    def spoil(X: np.ndarray) -> None:
        X[rows, column] = value

    return spoil


@EVERY
def test_what_is_wrong_is_told(case: Case, rng: np.random.Generator) -> None:
    categorical = case.kind is fastem.CategoricalMixture
    for spoil, words in [
        (spoiled(2, np.inf), "inf in column 2, row 3" if categorical else "infinity in row 3.*column 2"),
        (spoiled(2, -1.0), "-1 in column 2, row 3"),
        (spoiled(2, np.nan, slice(None)), "all values are missing in column 2"),
    ]:
        X = case.rows(rng)
        spoil(X)
        if categorical and words.startswith("-1"):
            continue  # a category as good as any
        with pytest.raises(ValueError, match=words):
            model(case).fit(X)
    with pytest.raises(ValueError, match="(NaN in row|missing value in column).*missing='nan'"):
        model(case).set_params(missing="error").fit(case.rows(rng))
    with pytest.raises(ValueError, match="missing is 'maybe'; one of 'error', 'nan'"):
        model(case).set_params(missing="maybe").fit(case.rows(rng))


def test_an_exposure_may_not_be_missing(rng: np.random.Generator) -> None:
    X = exposed(rng)
    X[7, 1] = np.nan
    with pytest.raises(ValueError, match="nan in column 1, row 7; an exposure above 0"):
        model(CASES["exposure"]).fit(X)
