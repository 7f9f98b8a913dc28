"""Products of families with holes: row by row by SciPy, each group by what it says alone, and tables with gaps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import punched, quietly
from family_cases import CASES
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.special import logsumexp
from sklearn.base import clone

import fastem
from fastem.product import FAMILIES
from fastem.product_mixture import COMPLETE
from fastem.validation import missing_of

PAIR, LEVEL = (0, 2), 1
DIAG = fastem.GaussianMixture(covariance_type="diag")
PEOPLE: dict[Any, Any] = {PAIR: DIAG, LEVEL: "categorical"}
"""Two numbers, and a category between them: what is compiled here."""

K = 2


def rows(rng: np.random.Generator, n: int = 150, share: float = 0.3) -> np.ndarray:
    """Two components, apart in all columns; each third row has the same holes, and one has nothing."""
    old = rng.random(n) < 0.4
    pair = rng.normal(size=(n, 2)) * [1.0, 0.5] + np.where(old, 3.0, -1.0)[:, None]
    level = np.where(old, rng.choice(3, n, p=[0.1, 0.2, 0.7]), rng.choice(3, n, p=[0.6, 0.3, 0.1]))
    X = np.column_stack([pair[:, 0], level, pair[:, 1]])
    return punched(X, share, rng) if share else X


def people(**options: Any) -> fastem.ProductMixture:
    given = {"product": PEOPLE, "n_components": K, "missing": "nan", "random_state": 0, "init_params": "kmeans"}
    return fastem.ProductMixture(**given | options)


def begun(**options: Any) -> fastem.ProductMixture:
    """From given parameters: all that is compared is EM."""
    pair = {"means": [[2.0, 2.0], [-1.0, 0.0]], "covariances": np.ones((K, 2))}
    return people(params_init={PAIR: pair, LEVEL: [[0.2, 0.3, 0.5], [0.5, 0.3, 0.2]]}, tol=0.0, **options)


def entries(X: np.ndarray, mixture: Any, density: Any) -> np.ndarray:
    """log p(x | k) (n, K) of the entries that are there, row by row: density(row, there, parameters of k)."""
    _, components = mixture._get_params_()
    each = list(zip(*components, strict=True))
    return np.array([[density(row, ~np.isnan(row), p) if (row == row).any() else 0.0 for p in each] for row in X])


def normal(x: np.ndarray, there: np.ndarray, p: Any) -> float:
    matrix = np.diag(p[1]) if p[1].ndim == 1 else p[1]
    return float(stats.multivariate_normal(p[0][there], matrix[np.ix_(there, there)]).logpdf(x[there]))


def heavy(x: np.ndarray, there: np.ndarray, p: Any) -> float:
    return float(stats.multivariate_t(p[0][there], p[1][np.ix_(there, there)], 1.0 / float(p[2])).logpdf(x[there]))


def levels_of(mixture: Any) -> Any:
    """The density of rows of categories of this mixture."""
    ends = np.cumsum([len(known) for known in mixture.categories_])[:-1]

    def density(x: np.ndarray, there: np.ndarray, p: Any) -> float:
        tables = np.split(p[0], ends)
        return float(sum(np.log(tables[j][int(x[j])]) for j in np.flatnonzero(there)))

    return density


def by_columns(logpdf: Any) -> Any:
    """The density of rows of independent columns."""
    return lambda x, there, p: float(logpdf(x[there], *(np.asarray(a)[there] for a in p)).sum())


def twin(X: np.ndarray, model: Any) -> np.ndarray:
    """log(a_k p(x | k)) of each row, by SciPy."""
    pair, level = model.components_.values()
    joint = entries(X[:, list(PAIR)], pair, normal) + entries(X[:, [LEVEL]], level, levels_of(level))
    return np.log(model.weights_) + joint


def test_all_groups_have_the_holes_of_the_product(rng: np.random.Generator) -> None:
    X, weight = rows(rng), rng.integers(1, 3, 150).astype(float)
    found = quietly(people().fit, X, sample_weight=weight)
    assert (np.diff(found.history_["log_likelihood"]) >= -1e-9).all() and found.converged_
    joint = twin(X, found)
    log_prob = logsumexp(joint, axis=1)
    np.testing.assert_allclose(found.score_samples(X), log_prob, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(found.predict_proba(X), np.exp(joint - log_prob[:, None]), rtol=1e-8, atol=1e-12)
    assert (found.predict(X) == joint.argmax(axis=1)).all()
    nothing = np.isnan(X).all(axis=1)
    np.testing.assert_allclose(found.predict_proba(X)[nothing], np.tile(found.weights_, (nothing.sum(), 1)), rtol=1e-12)
    assert abs(found.score_samples(X)[nothing]).max() < 1e-12
    assert found.bic(X, weight) == pytest.approx(-2 * weight @ log_prob + 13 * np.log(weight.sum()), rel=1e-12)
    repeated = quietly(begun(max_iter=6).fit, np.repeat(X, weight.astype(int), axis=0))
    weighted = quietly(begun(max_iter=6).fit, X, sample_weight=weight)
    np.testing.assert_allclose(weighted.lower_bounds_, repeated.lower_bounds_, rtol=1e-9)
    often = np.tile(X, (30, 1))  # more than a tile
    one, two = (
        quietly(begun(max_iter=6, n_jobs=jobs).fit, often, sample_weight=np.tile(weight, 30)) for jobs in (1, 2)
    )
    np.testing.assert_allclose(one.lower_bounds_, weighted.lower_bounds_, rtol=1e-11)
    assert one.lower_bounds_ == two.lower_bounds_
    drawn, _ = found.sample(40, 0)
    assert not np.isnan(drawn).any()


def test_groups_alone_are_as_in_the_product(rng: np.random.Generator) -> None:
    """Settings of the groups are the product's argument; of one component, each group is fitted by itself."""
    X = rows(rng)
    each = {PAIR: clone(DIAG).set_params(missing="nan"), LEVEL: fastem.CategoricalMixture(missing="nan")}
    one, other = (
        quietly(people(product=p, missing=m, max_iter=5).fit, X) for p, m in ((PEOPLE, "nan"), (each, "error"))
    )
    assert (one.score_samples(X) == other.score_samples(X)).all()
    single = quietly(people(n_components=1, tol=1e-12).fit, X)
    pair = quietly(clone(DIAG).set_params(missing="nan", tol=1e-12).fit, X[:, list(PAIR)])
    level = fastem.CategoricalMixture(1, missing="nan").fit(X[:, [LEVEL]])
    np.testing.assert_allclose(single.components_[PAIR].means_, pair.means_, rtol=1e-6)
    np.testing.assert_allclose(single.components_[PAIR].covariances_, pair.covariances_, rtol=1e-5)
    np.testing.assert_allclose(single.components_[LEVEL].probabilities_, level.probabilities_, rtol=1e-12)
    assert single.score(X) == pytest.approx(pair.score(X[:, list(PAIR)]) + level.score(X[:, [LEVEL]]), abs=1e-9)


def test_complete_rows_are_fitted_as_ever(rng: np.random.Generator) -> None:
    X = rows(rng, share=0.0)
    plain, missing = (quietly(begun(missing=m, max_iter=8).fit, X) for m in ("error", "nan"))
    np.testing.assert_allclose(missing.lower_bounds_, plain.lower_bounds_, rtol=1e-12)
    np.testing.assert_allclose(missing.score_samples(X), plain.score_samples(X), rtol=1e-11)
    gaps = rows(rng, 20)
    with pytest.raises(ValueError, match="NaN in row"):
        plain.predict(gaps)
    scores = plain.set_params(missing="nan").score_samples(gaps)  # what was fitted to complete rows
    np.testing.assert_allclose(scores, missing.score_samples(gaps), rtol=1e-9, atol=1e-12)
    with pytest.raises(ValueError, match="NaN in row"):
        plain.set_params(missing="error").predict(gaps)


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.05, 0.3, 0.8]), st.integers(1, 3), st.booleans())
def test_the_objective_never_falls(seed: int, share: float, k: int, thin: bool) -> None:
    rng = np.random.default_rng(seed)
    X = rows(rng, 60, share)
    X[0] = 1.0
    if thin:
        X[1:, 2] = np.nan
    exact = PEOPLE | {PAIR: clone(DIAG).set_params(reg_covar=0.0)}  # a ridge has an objective of its own
    options = {"n_components": k, "init_params": "random", "tol": 0.0, "max_iter": 25, "accelerate": None}
    found = quietly(people(product=exact, **options).fit, X)
    history = found.history_["log_likelihood"]
    assert np.isfinite(history).all()
    if not any(found.diagnostics_[event] for event in ("restarted", "floored", "parted")):
        assert np.diff(history).min(initial=0) >= -1e-11 * (len(X) + abs(history).max())


def test_sources_files_dtypes_and_sizes(rng: np.random.Generator, tmp_path: Path) -> None:
    pd, _ = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    X = rows(rng)
    np.save(tmp_path / "x.npy", X)
    pd.DataFrame(X, columns=["0", "1", "2"]).convert_dtypes().to_parquet(tmp_path / "x.parquet")  # with nulls
    model = people(tol=0.0, max_iter=6)
    whole = quietly(model.fit, X)
    source = fastem.Chunks(tmp_path / "x.npy", rows_per_chunk=40)
    chunked = quietly(people(tol=0.0, max_iter=6).fit, source)
    named = {("0", "2"): DIAG, "1": "categorical"}
    table = quietly(people(product=named, tol=0.0, max_iter=6).fit, tmp_path / "x.parquet")
    for other, data in ((chunked, source), (table, tmp_path / "x.parquet")):
        np.testing.assert_allclose(other.lower_bounds_, whole.lower_bounds_, rtol=1e-9)
        np.testing.assert_allclose(other.score_samples(data), whole.score_samples(X), rtol=1e-8, atol=1e-12)
    whole.save(tmp_path / "model.npz")
    loaded = fastem.load(tmp_path / "model.npz")
    assert loaded.missing == "nan" and (loaded.score_samples(X) == whole.score_samples(X)).all()
    assert (loaded.predict(source) == whole.predict(X)).all()
    few = quietly(people(tol=0.0, max_iter=6).fit, X, algorithm="incremental", batch_size=50)
    assert few.score(X) > whole.score(X) - 0.1
    sizes = fastem.select(
        X, range(1, 4), estimator=fastem.ProductMixture, product=PEOPLE, missing="nan", random_state=0
    )
    assert sizes.best.n_components == 2 and sizes.best.missing == "nan"


def test_every_family_that_has_holes_in_one_product(uncompiled: None) -> None:
    """One step, uncompiled: densities of what is there by SciPy."""
    densities = {
        "bernoulli": stats.bernoulli.logpmf,
        "poisson": stats.poisson.logpmf,
        "exponential": lambda x, m: stats.expon.logpdf(x, scale=m),
        "gamma": lambda x, a, s: stats.gamma.logpdf(x, a, scale=s),
        "negative_binomial": lambda x, r, m: stats.nbinom.logpmf(x, r, r / (r + m)),
    }
    rng, n = np.random.default_rng(0), 90
    blocks = [next(c for c in CASES if c.name == name).rows(rng, n) for name in densities]
    blocks += [rng.standard_normal((n, d)) @ rng.standard_normal((d, d)) for d in (3, 2)]
    X = punched(np.concatenate(blocks, axis=1), 0.3, rng)
    ends = np.cumsum([block.shape[1] for block in blocks])
    cuts = [tuple(range(end - block.shape[1], end)) for block, end in zip(blocks, ends, strict=True)]
    families = dict(zip(cuts, [*densities, "gaussian", "student_t"], strict=True))
    options = {"missing": "nan", "random_state": 0, "init_params": "kmeans", "n_jobs": 1, "accelerate": None}
    before, after = (quietly(fastem.ProductMixture(families, K, max_iter=m, **options).fit, X) for m in (0, 1))
    parts = [*(by_columns(density) for density in densities.values()), normal, heavy]
    mixtures = list(before.components_.values())
    joint = np.log(before.weights_) + sum(
        entries(X[:, cut], mixture, part) for cut, mixture, part in zip(cuts, mixtures, parts, strict=True)
    )
    log_prob = logsumexp(joint, axis=1)
    np.testing.assert_allclose(before.score_samples(X), log_prob, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(before.predict_proba(X), np.exp(joint - log_prob[:, None]), atol=1e-10)
    assert after.history_["log_likelihood"][0] == pytest.approx(log_prob.sum(), rel=1e-11)
    assert after.score(X) > before.score(X)


# What is wrong.


def test_families_without_holes_are_named() -> None:
    for name, kind in FAMILIES.items():
        assert (missing_of(kind()) is not None) == (name not in COMPLETE)
    X = np.ones((9, 3))
    for name in COMPLETE:
        with pytest.raises(ValueError, match=rf"missing is 'nan', and product has '{name}' for \(0, 1\), .*Choose"):
            fastem.ProductMixture({(0, 1): name, 2: "poisson"}, missing="nan").fit(X)
    with pytest.raises(ValueError, match="missing is 'maybe'; one of 'error', 'nan'"):
        people(missing="maybe").fit(X)


def test_holes_that_are_none_are_told_by_row_column_and_option(rng: np.random.Generator, tmp_path: Path) -> None:
    X = rows(rng, share=0.0)
    X[5, 2] = np.nan
    np.save(tmp_path / "x.npy", X)
    source = fastem.Chunks(tmp_path / "x.npy", rows_per_chunk=50)
    for data in (X, source):
        with pytest.raises(ValueError, match="NaN in row 5.*column 2.*missing='nan'"):
            people(missing="error").fit(data)
    own = {0: "poisson", 1: fastem.CategoricalMixture(missing="nan"), 2: DIAG}
    X[:, 0] = 1.0
    np.save(tmp_path / "x.npy", X)
    for data in (X, source):
        with pytest.raises(ValueError, match="(?i)NaN in row 5.*column 2.*finite numbers.*missing='nan'"):
            people(product=own, missing="error").fit(data)
    X[:, 2] = np.nan
    with pytest.raises(ValueError, match="all values are missing in column 2 of"):
        people().fit(X)
    X[:, 2], X[:, 1] = 1.0, np.nan
    with pytest.raises(ValueError, match="all values are missing in column 1 of"):
        people().fit(X)
    np.save(tmp_path / "x.npy", X)
    with pytest.raises(ValueError, match="all values are missing in column 1 of"):
        people().fit(source)
    with pytest.raises(ValueError, match="nan in column 1, rows 0, 1, .*an exposure above 0"):
        people(product={(0, 1): fastem.PoissonMixture(exposure=1), 2: "gaussian"}).fit(np.where(X < 0, 0, np.floor(X)))
    X[:, 1] = np.arange(len(X)) % 3
    X[4, 0] = np.inf
    with pytest.raises(ValueError, match=r"infinity in row 4 \(column 0\)"):
        people().fit(X)


@pytest.mark.parametrize("gap", [None, np.nan, "NaT", "NA"])
def test_any_kind_of_gap_in_a_frame(gap: Any) -> None:
    pd = pytest.importorskip("pandas")
    gap = {"NaT": pd.NaT, "NA": pd.NA}.get(gap, gap)
    X = pd.DataFrame({"town": ["Ulm", gap, "Bonn", "Ulm", gap], "age": [20.0, 30.0, np.nan, 41.0, 52.0]})
    X["visits"] = pd.array([1, 2, None, 1, 4], "Int64")
    families = {"age": DIAG, ("town", "visits"): "categorical"}
    found = fastem.ProductMixture(families, missing="nan").fit(X)
    levels = found.components_["town", "visits"]
    assert levels.categories_ == [["Bonn", "Ulm"], [1, 2, 4]]
    np.testing.assert_allclose(levels.probabilities_, [[1 / 3, 2 / 3, 0.5, 0.25, 0.25]], rtol=1e-12)
    assert found.components_["age"].means_[0, 0] == pytest.approx(35.75, rel=1e-6)
    assert set(found.sample(50, 0)[0]["town"]) == {"Bonn", "Ulm"}
    with pytest.raises(ValueError, match="column 'age'.*missing='nan'"):
        fastem.ProductMixture(families).fit(X)
