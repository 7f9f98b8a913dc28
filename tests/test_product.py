"""Products of families: what they must coincide with, what they say, and the tables that they take."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from family_cases import CASES, MIXED, K, labels, mixed_rows
from scipy.special import logsumexp
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

import fastem
from fastem.engine import product, tree

DIAG = fastem.GaussianMixture(covariance_type="diag")


def fit(model: Any, X: Any, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(X, **options)


def frame(n: int = 400, seed: int = 0) -> Any:
    """People: a number, texts, a count, and a column that no product uses."""
    pd = pytest.importorskip("pandas")
    X = mixed_rows(np.random.default_rng(seed), n)
    towns, jobs = np.array(["Ulm", "Bonn", "Kiel"]), np.array(["nurse", "smith"])
    columns = {"age": X[:, 0], "town": towns[X[:, 1].astype(int)], "visits": X[:, 2].astype(int)}
    return pd.DataFrame(columns | {"job": jobs[X[:, 3].astype(int)], "id": [f"p{i}" for i in range(n)]})


PEOPLE = {"age": DIAG, ("town", "job"): "categorical", "visits": "poisson"}


# Siblings.


def same_path(a: Any, b: Any, rtol: float = 1e-10) -> None:
    """The same log-likelihoods all the way, and the same weights."""
    np.testing.assert_allclose(a.history_["log_likelihood"], b.history_["log_likelihood"], rtol=rtol)
    np.testing.assert_allclose(a.weights_, b.weights_, rtol=rtol)


def test_lines_are_a_diagonal_gaussian() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 3)) + 4 * labels(rng, 500)[:, None]
    options = {"random_state": 0, "init_params": "kmeans", "max_iter": 8, "tol": 0.0}
    one = fit(fastem.GaussianMixture(K, covariance_type="diag", **options), X)
    many = fit(fastem.ProductMixture({0: DIAG, 1: DIAG, 2: DIAG}, K, **options), X)
    same_path(one, many)
    for name in ("means_", "covariances_", "precisions_"):
        side_by_side = np.concatenate([getattr(m, name) for m in many.components_.values()], axis=1)
        np.testing.assert_allclose(side_by_side, getattr(one, name), rtol=1e-10)
    np.testing.assert_allclose(many.score_samples(X), one.score_samples(X), rtol=1e-10)
    assert many.bic(X) == pytest.approx(one.bic(X), rel=1e-12)


@pytest.mark.parametrize("name", ["bernoulli", "poisson", "categorical"])
def test_one_group_is_its_own_mixture(name: str) -> None:
    case = next(case for case in CASES if case.name == name)
    X = case.rows(np.random.default_rng(0), 300)
    options = {"random_state": 0, "max_iter": 20, "tol": 0.0, "accelerate": "squarem"}
    one = fit(case.make(K, prior=0.5, **options), X)
    whole = {tuple(range(X.shape[1])): case.make(prior=0.5)}
    grouped = fit(fastem.ProductMixture(whole, K, **options), X)
    same_path(one, grouped)
    (mixture,) = grouped.components_.values()
    assert type(mixture) is type(one)
    np.testing.assert_allclose(mixture.score_samples(X), one.score_samples(X), rtol=1e-9)
    np.testing.assert_allclose(grouped.predict_proba(X), one.predict_proba(X), atol=1e-9)
    assert grouped.icl(X) == pytest.approx(one.icl(X), rel=1e-9)


def test_zeros_and_ones_are_two_levels() -> None:
    X = (np.random.default_rng(0).random((400, 3)) < [0.2, 0.5, 0.8]).astype(float)
    X[:150] = 1 - X[:150]
    options = {"random_state": 1, "init_params": "kmeans", "max_iter": 10, "tol": 0.0, "accelerate": None}
    products = ({(0, 1, 2): "bernoulli"}, {(0, 1, 2): "categorical"}, {0: "bernoulli", (1, 2): "categorical"})
    # Starts differ: the statistic of a category has a number a level. So all begin at the same probabilities.
    p = np.array([[0.3, 0.4, 0.6], [0.7, 0.6, 0.2]])
    levels = np.stack([1 - p, p], axis=2)
    starts = ({(0, 1, 2): p}, {(0, 1, 2): levels.reshape(2, -1)}, {0: p[:, :1], (1, 2): levels[:, 1:].reshape(2, -1)})
    fits = [
        fit(fastem.ProductMixture(families, 2, weights_init=[0.5, 0.5], params_init=params, **options), X)
        for families, params in zip(products, starts, strict=True)
    ]
    same_path(fits[0], fits[1])
    same_path(fits[0], fits[2])


def test_order_of_groups_and_columns_does_not_matter() -> None:
    X = mixed_rows(np.random.default_rng(3), 9000)
    options = {"random_state": 0, "init_params": "kmeans", "max_iter": 5, "tol": 0.0}
    few = fit(fastem.ProductMixture(MIXED, K, **options), X)
    first = few.components_
    given = {
        0: {"means": first[0].means_, "covariances": first[0].covariances_},
        (3, 1): first[(3, 1)].probabilities_,
        2: first[2].rates_,
    }
    one = fit(fastem.ProductMixture(MIXED, K, weights_init=few.weights_, params_init=given, **options), X)
    order = [2, 0, 3, 1]
    turned = {order.index(2): "poisson", (order.index(3), order.index(1)): "categorical", order.index(0): DIAG}
    given = {order.index(2): given[2], (order.index(3), order.index(1)): given[(3, 1)], order.index(0): given[0]}
    other = fit(fastem.ProductMixture(turned, K, weights_init=few.weights_, params_init=given, **options), X[:, order])
    same_path(one, other)


def test_same_bits_for_any_number_of_threads_and_any_block(monkeypatch: Any) -> None:
    X = mixed_rows(np.random.default_rng(0), 25_001)

    def few(n_jobs: int) -> list[np.ndarray]:
        model = fastem.ProductMixture(MIXED, K, random_state=0, init_params="random", max_iter=3, n_jobs=n_jobs)
        return tree.leaves(fit(model, X)._get_params_())

    one = few(1)
    for n_jobs in (2, 3):
        assert all((a == b).all() for a, b in zip(one, few(n_jobs), strict=True))
    monkeypatch.setattr(product, "BLOCK_BYTES", 1 << 16)
    assert all((a == b).all() for a, b in zip(one, few(2), strict=True))


# All families, by SciPy.


def test_every_family_in_one_product(uncompiled: None) -> None:
    """A step over groups of all families, uncompiled: densities by SciPy, M-steps by each family's textbook."""
    names = "bernoulli categorical exposure multinomial exponential gamma negative_binomial student-t".split()
    cases = [case for case in CASES if case.name in names]
    own = {"exposure": fastem.PoissonMixture(exposure=1)}
    n, rng = 140, np.random.default_rng(0)
    blocks = [case.rows(rng, n) for case in cases]
    ends = np.cumsum([block.shape[1] for block in blocks])
    families = {
        tuple(range(end - block.shape[1], end)): own.get(case.name) or clone(case.make())
        for case, block, end in zip(cases, blocks, ends, strict=True)
    }
    X, weight = np.concatenate(blocks, axis=1), rng.uniform(0.5, 2.0, n)
    options = {"random_state": 0, "init_params": "kmeans", "n_jobs": 1}
    before, after = (
        fit(fastem.ProductMixture(families, K, max_iter=m, **options), X, sample_weight=weight) for m in (0, 1)
    )
    densities = [
        case.density(block, mixture)
        for case, block, mixture in zip(cases, blocks, before.components_.values(), strict=True)
    ]
    joint = np.sum(densities, axis=0) + np.log(before.weights_)
    log_prob = logsumexp(joint, axis=1)
    np.testing.assert_allclose(before.score_samples(X), log_prob, rtol=1e-10)
    np.testing.assert_allclose(before.predict_proba(X), np.exp(joint - log_prob[:, None]), atol=1e-10)
    assert after.history_["log_likelihood"][0] == pytest.approx(weight @ log_prob, rel=1e-11)
    resp = weight[:, None] * np.exp(joint - log_prob[:, None])
    for case, block, key in zip(cases, blocks, families, strict=True):
        mixture, family = before.components_[key], before.components_[key]._family()
        means = resp.T @ family.statistic(block) / resp.sum(axis=0)[:, None]
        wanted = case.step(block, resp, mixture) if case.step else family.maximum(means)
        for a, b in zip(after.components_[key]._get_params_().components, wanted, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-12, err_msg=case.name)
    assert before._n_parameters() == K - 1 + sum(m._n_parameters() - (K - 1) for m in before.components_.values())


# Tables.


def test_a_frame_with_texts(tmp_path: Path) -> None:
    X = frame()
    model = fit(fastem.ProductMixture(PEOPLE, K, random_state=0), X)
    assert model.feature_names_in_.tolist() == ["age", "town", "job", "visits"] and model.n_features_in_ == 4
    assert model.components_["town", "job"].categories_ == [["Bonn", "Kiel", "Ulm"], ["nurse", "smith"]]
    assert (model.predict(X[X.columns[::-1]]) == model.predict(X)).all()
    drawn, of = model.sample(300, random_state=1)
    assert list(drawn.columns) == ["age", "town", "job", "visits"] and len(of) == 300
    assert np.isfinite(model.score_samples(drawn)).all()
    model.save(tmp_path / "model.npz")
    loaded = fastem.load(tmp_path / "model.npz")
    assert (loaded.score_samples(X) == model.score_samples(X)).all()
    assert list(loaded.components_) == list(model.components_)
    marginal = loaded.components_["age"]
    assert marginal.score(X[["age"]]) == pytest.approx(model.components_["age"].score(X[["age"]]))
    again = fit(clone(model).set_params(warm_start=True), X)
    assert fit(again, X).n_iter_ <= 3
    pl = pytest.importorskip("polars")
    as_polars = pl.DataFrame({name: X[name].tolist() for name in X})
    np.testing.assert_allclose(model.score_samples(as_polars), model.score_samples(X), rtol=1e-12)


def test_sources_and_the_texts_that_they_cannot_give(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    X = frame()
    X.to_parquet(tmp_path / "texts.parquet")
    with pytest.raises(ValueError, match="column 'town' of .*texts.parquet holds .*as numbers 0, 1, ..."):
        fastem.ProductMixture(PEOPLE, K).fit(tmp_path / "texts.parquet")
    coded = X.assign(town=pd.factorize(X["town"], sort=True)[0], job=pd.factorize(X["job"], sort=True)[0])
    coded.to_parquet(tmp_path / "codes.parquet")
    coded.to_csv(tmp_path / "codes.csv")
    model = fastem.ProductMixture(PEOPLE, K, random_state=0, max_iter=4, tol=0.0)
    in_memory = fit(clone(model), coded)
    for name in ("codes.parquet", "codes.csv"):
        read = fit(clone(model), tmp_path / name)
        same_path(read, in_memory)
        np.testing.assert_allclose(read.score_samples(tmp_path / name), in_memory.score_samples(coded), rtol=1e-9)
    chosen = fastem.Chunks(tmp_path / "codes.parquet", columns=["visits", "town", "age", "job"])
    assert (fit(clone(model), chosen).predict(chosen) == in_memory.predict(coded)).mean() > 0.99
    coded.assign(visits=-1).to_parquet(tmp_path / "wrong.parquet")
    with pytest.raises(ValueError, match="-1 in row 0 of .*wrong.parquet, column visits"):
        fit(clone(model), tmp_path / "wrong.parquet")
    with pytest.raises(ValueError, match="no column 'age'"):
        coded.drop(columns="age").to_parquet(tmp_path / "short.parquet")
        in_memory.predict(tmp_path / "short.parquet")


def test_columns_of_an_array_that_are_not_used_may_hold_anything() -> None:
    X = np.insert(mixed_rows(np.random.default_rng(0), 200), 2, np.nan, axis=1)
    families = {0: DIAG, (4, 1): "categorical", 3: "poisson"}
    model = fit(fastem.ProductMixture(families, 2, random_state=0), X)
    drawn, _ = model.sample(5, random_state=0)
    assert drawn.shape == (5, 5) and np.isnan(drawn[:, 2]).all() and np.isfinite(model.score(drawn))
    small = fit(fastem.ProductMixture(families, 2, random_state=0), X.astype(np.float32))
    assert small.weights_.dtype == np.float32 and small.score(X) == pytest.approx(model.score(X), rel=1e-4)


# What a fit may be told.


def test_labels_weights_that_are_held_and_sizes_that_are_selected() -> None:
    X = mixed_rows(np.random.default_rng(0), 500)
    truth = np.argmin(np.abs(X[:, [0]] - [0.0, 6.0, -7.0]), axis=1)
    known = np.where(np.arange(500) < 50, truth, -1)
    model = fit(fastem.ProductMixture(MIXED, K, random_state=0), X, labels=known)
    assert (model.predict(X) == truth).mean() > 0.9
    held = fastem.ProductMixture(MIXED, 2, random_state=0, weights_init=[0.3, 0.7])
    assert fit(held, X, fixed=("weights",)).weights_.tolist() == [0.3, 0.7]
    with pytest.raises(ValueError, match=r"fixed has 1; choose among 'weights', 0, \(3, 1\), 2"):
        held.fit(X, fixed=(1,))
    with pytest.raises(ValueError, match=r"hold it at: give params_init, with \(3, 1\) in it, or warm_start"):
        held.fit(X, fixed=((3, 1),))
    people = frame(3000)
    model = fastem.ProductMixture(PEOPLE, K, random_state=0, init_params="kmeans")
    fit(model, people[500:], algorithm="stepwise", held_out=people[:500])
    assert model.score(people) > fit(clone(model), people).score(people) - 0.05
    found = fastem.select(X, range(2, 5), estimator=fastem.ProductMixture, product=MIXED, random_state=0)
    assert found.best.n_components == 3


def test_rows_that_no_component_can_give_and_large_float32_counts() -> None:
    rng = np.random.default_rng(0)
    nothing = fastem.ProductMixture({0: "poisson", 1: "bernoulli"}, 1).fit(np.zeros((100, 2)))
    assert nothing.score_samples([[3, 0], [0, 1], [0, 0]]).tolist() == [-np.inf, -np.inf, 0.0]
    X = rng.poisson(np.repeat([[50_000.0], [60_000.0]], 200, axis=0)).astype(np.float32)
    start = {"weights_init": [0.5, 0.5], "max_iter": 3}
    rates = [[52_000.0], [58_000.0]]
    product = fit(fastem.ProductMixture({0: "poisson"}, 2, params_init={0: rates}, **start), X)
    alone = fit(fastem.PoissonMixture(2, params_init=rates, **start), X)
    assert product.lower_bound_ == pytest.approx(alone.lower_bound_, rel=1e-6)


@pytest.mark.parametrize("policy", ["restart", "drop", "raise"])
def test_a_component_that_collapses_in_one_group(policy: str) -> None:
    X = mixed_rows(np.random.default_rng(0), 200)
    X[:60, 0] = 3.0
    families = MIXED | {0: fastem.GaussianMixture(covariance_type="diag", reg_covar=0.0)}
    means = {"means": [[3.0], [0.0]], "covariances": [[1e-9], [9.0]]}
    start = {0: means, (3, 1): np.array([[0.5, 0.5, 0.3, 0.3, 0.4]] * 2), 2: [[5.0], [5.0]]}
    model = fastem.ProductMixture(families, 2, params_init=start, on_collapse=policy, random_state=0)
    if policy == "raise":
        with pytest.raises(ValueError, match="collapsed"):
            model.fit(X)
        return
    assert np.isfinite(fit(model, X).score(X))
    assert model.diagnostics_["dropped" if policy == "drop" else "restarted"]


# Errors.

WRONG = [
    ({}, r"product is \{\}; a dict"),
    ({"age": "gausian"}, r"'gausian' for 'age'.*did you mean 'gaussian'\?.*'student_t'"),
    ({"age": "gaussian", ("visits", "age"): "poisson"}, "column 'age' twice"),
    ({"age": "gaussian", 0: "poisson"}, "column 'age' twice"),
    ({"agee": "gaussian"}, r"column 'agee', and X has 'age', 'town', .*did you mean 'age'\?"),
    ({7: "gaussian"}, "column 7, and X has 5 columns"),
    ({-1: "gaussian"}, "key -1"),
    ({(): "gaussian"}, r"key \(\)"),
    ({"age": fastem.LinearRegressionMixture()}, "LinearRegressionMixture.* for 'age'; a family is wanted"),
    ({"age": fastem.GaussianMixture(3)}, "n_components is not of the family"),
    ({"age": fastem.GaussianMixture(reg_covar=-1.0)}, "for 'age', where reg_covar is -1.0"),
    ({"visits": "poisson", "age": "poisson"}, "X has .* in column 'age', rows 0, 1, .*whole numbers"),
    ({"town": "gaussian"}, "'town'"),
    ({"visits": "bernoulli"}, "in column 'visits', row"),
]


@pytest.mark.parametrize(("families", "message"), WRONG)
def test_what_is_wrong_with_a_product(families: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fastem.ProductMixture(families, 2).fit(frame(60))


def test_what_is_wrong_with_rows() -> None:
    X = frame(60)
    model = fit(fastem.ProductMixture(PEOPLE, 2, random_state=0), X)
    with pytest.raises(ValueError, match="'baker' in column 'job', row"):
        model.predict(X.assign(job="baker"))
    with pytest.raises(ValueError, match=r"NaN in row 3 \(column 'age'\)"):
        model.predict(X.assign(age=X["age"].where(X.index != 3)))
    with pytest.raises(ValueError, match="column 'age', and X has 'town'"):
        model.predict(X.drop(columns="age"))
    with pytest.raises(ValueError, match="column 'age', and X has no names"):
        model.predict(X.to_numpy())
    with pytest.raises(ValueError, match="params_init has 'age'; a dict with the keys of the product, 'age', "):
        fastem.ProductMixture(PEOPLE, 2, params_init={"age": [1.0]}).fit(X)
    before = model.predict(X)
    with pytest.raises(ValueError, match="-1 in column 'visits'"):
        model.fit(X.assign(visits=-1))
    assert (model.predict(X) == before).all()
    array = mixed_rows(np.random.default_rng(0), 60)
    array[5, 2] = 0.5
    with pytest.raises(ValueError, match="0.5 in column 2, row 5"):
        fastem.ProductMixture(MIXED, 2).fit(array)
    array[:, 2], array[4, 1] = 1.0, np.nan
    with pytest.raises(ValueError, match="missing value in column 1, row 4"):
        fastem.ProductMixture(MIXED, 2).fit(array)
    with pytest.raises(ValueError, match="rows is a function of the columns"):
        fastem.ProductMixture(MIXED, 2).fit(fastem.Chunks(array, rows=lambda x: x[:, 0] > 0))
    with pytest.warns(UserWarning, match="variance of column 3 "):
        fit(fastem.ProductMixture({0: DIAG, 3: DIAG}, 2), np.column_stack([array[:, :3], 1e-6 * array[:, 0]]))


def test_groups_that_are_held_are_not_counted_and_stay_so_in_a_file(tmp_path: Path) -> None:
    X = mixed_rows(np.random.default_rng(0), 200)
    model = fit(fastem.ProductMixture(MIXED, 2, random_state=0, max_iter=3), X).set_params(warm_start=True)
    whole = model._n_parameters()
    means, table = (np.array(model.components_[key]._get_params_().components[0]) for key in (0, (3, 1)))
    fit(model, X, fixed=((3, 1), 0), checkpoint=tmp_path / "run.npz")
    np.testing.assert_array_equal(model.components_[0].means_, means)
    np.testing.assert_array_equal(model.components_[3, 1].probabilities_, table)
    assert (whole, model._n_parameters()) == (1 + 4 + 6 + 2, 1 + 2)  # two levels and three
    model.save(tmp_path / "model.npz")
    assert fastem.load(tmp_path / "model.npz").bic(X) == model.bic(X)
