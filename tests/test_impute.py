"""GaussianImputer: the naive formula, draws, sources, units, scikit-learn's company, and the lecture's example."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conditional_cases import fitted, given_row, moments, parameters
from reference import COVARIANCE_TYPES
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from test_cli import shell

import fastem
from fastem import GaussianImputer
from fastem.cli import app
from fastem.families import gaussian_conditional
from fastem.units import Moments, Units

DATA = Path(__file__).parent / "data"
pytestmark = pytest.mark.filterwarnings("ignore:X does not have valid feature names")


@parametrize_with_checks([GaussianImputer()])
def test_check_estimator(estimator: Any, check: Callable[[Any], None]) -> None:
    check(estimator)


def of(covariance_type: str = "full", dtype: Any = np.float64, **options: Any) -> GaussianImputer:
    """An imputer with a mixture of three components that nobody has fitted."""
    return GaussianImputer.from_mixture(fitted(parameters(covariance_type), covariance_type, dtype), **options)


def gappy(n: int, share: float = 0.4, seed: int = 0, dtype: Any = np.float64) -> np.ndarray:
    """Rows of four columns with missing entries; those of the first two rows are all there, or none."""
    rng = np.random.default_rng(seed)
    X = (2 * rng.standard_normal((n, 4))).astype(dtype)
    X[rng.random(X.shape) < share] = np.nan
    X[0], X[1] = [1, 2, 3, 4], np.nan
    return X


def correlated(n: int = 300, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Rows of one Gaussian, whole, and with a fifth of the entries missing."""
    rng = np.random.default_rng(seed)
    whole = rng.standard_normal((n, 4)) @ np.array([[1, 0.9, 0.5, 0], [0, 0.4, 0.5, 0], [0, 0, 0.7, 0], [0, 0, 0, 1.0]])
    return whole, np.where(rng.random(whole.shape) < 0.2, np.nan, whole)


@pytest.mark.parametrize("block", [1, 300, 1 << 18])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_transform_is_the_formula_row_by_row(covariance_type: str, dtype: Any, block: int, monkeypatch: Any) -> None:
    monkeypatch.setattr(gaussian_conditional, "BLOCK", block)
    truth, X = parameters(covariance_type), gappy(60, dtype=dtype)
    filled = of(covariance_type, dtype).transform(X)
    assert filled.dtype == dtype and filled.flags.c_contiguous
    seen = ~np.isnan(X)
    np.testing.assert_array_equal(filled[seen].view("u1"), X[seen].view("u1"))
    tolerance = 1e-10 if dtype == np.float64 else 2e-3
    for row, found in zip(X.astype(float), filled, strict=True):
        mean, _ = moments(*given_row(truth, covariance_type, row))
        np.testing.assert_allclose(found[np.isnan(row)], mean, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(filled[1], truth.weights @ truth.means, rtol=1e-6)  # nothing was observed


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_draws_have_the_right_mean_and_covariance(covariance_type: str) -> None:
    n, truth = 20_000, parameters(covariance_type)
    for row in ([0.5, np.nan, -1.0, np.nan], [np.nan, np.nan, np.nan, 0.2], [np.nan] * 4):
        drawn = of(covariance_type).sample(np.tile(row, (n, 1)), random_state=0)
        gaps = np.isnan(row)
        np.testing.assert_array_equal(drawn[:, ~gaps], np.tile(row, (n, 1))[:, ~gaps])
        mean, covariance = moments(*given_row(truth, covariance_type, np.array(row)))
        z = np.linalg.solve(np.linalg.cholesky(covariance), (drawn[:, gaps] - mean).T)
        assert np.abs(z.mean(axis=1)).max() < 4 / np.sqrt(n)
        # Of a mixture the fourth moments, and with them the errors of these, are at most some times a Gaussian's.
        assert np.abs(np.cov(z) - np.eye(len(z))).max() < 8 / np.sqrt(n)


def test_draws_come_from_components_by_their_probability() -> None:
    truth = parameters("full")
    apart = truth._replace(means=truth.means + 100 * np.arange(3)[:, None])
    imputer = GaussianImputer.from_mixture(fitted(apart, "full"))
    drawn = imputer.sample(np.full((9000, 4), np.nan), random_state=1)
    share = np.bincount(np.rint(drawn.mean(axis=1) / 100).astype(int), minlength=3) / 9000
    np.testing.assert_allclose(share, truth.weights, atol=0.02)


def test_a_draw_is_the_same_however_the_rows_are_read(tmp_path: Path) -> None:
    imputer, X = of(), gappy(500)
    np.save(tmp_path / "x.npy", X)
    wanted = imputer.sample(X, random_state=3)
    for rows in (7, 64, 500):
        source = fastem.Chunks(str(tmp_path / "x.npy"), rows_per_chunk=rows)
        np.testing.assert_allclose(imputer.sample(source, random_state=3), wanted, rtol=1e-12)
    assert (imputer.sample(X) != imputer.sample(X)).any()
    seeded = [of().set_params(random_state=5).sample(X) for _ in range(2)]
    np.testing.assert_array_equal(*seeded)


@pytest.mark.parametrize("ending", ["npy", "csv", "parquet"])
def test_files_in_and_out(ending: str, tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    X, imputer, out = gappy(300), of(), str(tmp_path / f"filled.{ending}")
    table = arrow.table({name: arrow.array(X[:, j], from_pandas=True) for j, name in enumerate("abcd")})
    parquet.write_table(table, tmp_path / "x.parquet")
    assert imputer.transform(fastem.Chunks(str(tmp_path / "x.parquet"), rows_per_chunk=64), out=out) == out
    if ending == "npy":
        found = np.load(out)
    else:
        source = fastem.sources.open_source(out)
        assert source.feature_names == list("abcd")
        found = np.concatenate([block for block, _ in source.blocks()])
    np.testing.assert_allclose(found, imputer.transform(X), rtol=1e-14)
    np.testing.assert_array_equal(found[~np.isnan(X)], X[~np.isnan(X)])
    array = np.empty_like(X)
    assert imputer.transform(X, out=array) is array and not np.isnan(array).any()


def test_a_fit_from_a_source_is_that_of_the_rows(tmp_path: Path) -> None:
    _, X = correlated(700)
    np.save(tmp_path / "x.npy", X)
    whole = GaussianImputer(tol=1e-10).fit(X)
    chunked = GaussianImputer(tol=1e-10).fit(fastem.Chunks(str(tmp_path / "x.npy"), rows_per_chunk=150))
    np.testing.assert_allclose(chunked.mixture_.means_, whole.mixture_.means_, rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(chunked.mixture_.covariances_, whole.mixture_.covariances_, rtol=1e-6, atol=1e-7)
    twice = GaussianImputer(tol=1e-10).fit(np.vstack([X, X[:200]]))
    weighted = GaussianImputer(tol=1e-10).fit(X, sample_weight=np.where(np.arange(700) < 200, 2.0, 1.0))
    np.testing.assert_allclose(weighted.mixture_.covariances_, twice.mixture_.covariances_, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_the_mixture_is_that_of_the_rows_in_their_units(covariance_type: str) -> None:
    _, X = correlated()
    imputer = GaussianImputer(covariance_type=covariance_type, reg_covar=0, tol=1e-9).fit(X)
    plain = fastem.GaussianMixture(1, covariance_type=covariance_type, reg_covar=0, tol=1e-9, missing="nan").fit(X)
    for name in ("means_", "covariances_", "lower_bound_"):
        np.testing.assert_allclose(getattr(imputer.mixture_, name), getattr(plain, name), rtol=1e-4, atol=1e-4)
    assert imputer.mixture_.score(X) == pytest.approx(imputer.mixture_.lower_bound_, abs=1e-7)
    assert imputer.mixture_.missing == "nan" and imputer.converged_ and imputer.n_iter_ == imputer.mixture_.n_iter_


@pytest.mark.parametrize(
    ("n", "columns", "k"), [(1, 2, 1), (56, 4, 1), (57, 4, 2), (400, 4, 4), (400, 2, 2), (400, 1, 1)]
)
def test_as_many_components_as_suit_the_rows(n: int, columns: int, k: int) -> None:
    X = gappy(max(n, 2))[:n, :columns]
    imputer = GaussianImputer("auto", random_state=0, max_iter=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mixture = imputer.fit(X).mixture_
        assert mixture.n_components == k and imputer.n_components == "auto"
        assert mixture.prior == ("data" if k > 1 else None)
        again = GaussianImputer(k, random_state=0, max_iter=2).fit(X).mixture_
        halves = imputer.fit(np.repeat(X, 2, axis=0), sample_weight=np.full(2 * n, 0.5)).mixture_
    np.testing.assert_array_equal(again.means_, mixture.means_)
    assert halves.n_components == k
    assert not np.isnan(imputer.transform(X)).any()


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_a_prior_is_in_the_units_of_the_rows(covariance_type: str) -> None:
    """Given or of the data, it is what the mixture itself would have; rows that come later are held by the same."""
    _, X = correlated()
    X = X * 64.0 + 4096.0  # a power of 2: the units are those of the rows, but for where they begin
    matrix = covariance_type in ("full", "tied")
    prior = {"mean": np.full(4, 4200.0), "shrinkage": 50.0, "scale": 4096.0 * np.eye(4) if matrix else 4096.0}
    for given in (prior, "data"):
        options = {"covariance_type": covariance_type, "random_state": 0, "tol": 1e-9, "prior": given}
        imputer = GaussianImputer(2, reg_covar=0, **options).fit(X)
        mixture = fastem.GaussianMixture(2, reg_covar=0, missing="nan", init_params="kmeans", **options).fit(X)
        assert imputer.mixture_.prior is given
        np.testing.assert_allclose(imputer.mixture_.prior_mean_, mixture.prior_mean_, rtol=1e-9)
        ours, theirs = np.broadcast_arrays(imputer.mixture_.prior_scale_, mixture.prior_scale_)
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)
        order = np.argsort(imputer.mixture_.means_[:, 0]), np.argsort(mixture.means_[:, 0])
        np.testing.assert_allclose(imputer.mixture_.means_[order[0]], mixture.means_[order[1]], rtol=1e-4)
        before = imputer.mixture_.score(X)
        assert imputer.mixture_.partial_fit(X).score(X) > before - 0.05


@pytest.mark.parametrize(("table", "columns"), [("iris", range(4)), ("wine", range(1, 14))])
def test_a_mixture_fills_groups_better_than_one_gaussian_and_a_prior_better_than_none(
    table: str, columns: range
) -> None:
    """Tables of which a tenth is hidden: rows come in three groups, of 50 or 60."""
    X = np.genfromtxt(DATA / f"{table}.csv", delimiter=",", skip_header=1, usecols=columns)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    hidden = np.random.default_rng(0).random(X.shape) < 0.1
    Z = np.where(hidden, np.nan, X)

    def error(*arguments: Any, **options: Any) -> float:
        filled = GaussianImputer(*arguments, random_state=0, **options).fit_transform(Z)
        return float(np.mean((filled - X)[hidden] ** 2))

    assert error("auto") < 0.95 * error()
    assert table == "iris" or error(5) < 0.9 * error(5, prior=None)


def test_units_and_offsets_change_nothing_else() -> None:
    _, X = correlated()
    scale, offset = 2.0 ** np.array([-40, 0, 3, 60]), np.array([0, 1e8, -1e6, 0])
    found = GaussianImputer().fit_transform(X * scale + offset)
    np.testing.assert_allclose((found - offset) / scale, GaussianImputer().fit_transform(X), atol=1e-6)


def test_columns_that_are_constant_or_determined_by_others() -> None:
    whole, X = correlated()
    whole = np.column_stack([whole, np.full(len(X), 1e6), np.zeros(len(X)), 1e3 * (whole[:, 0] + whole[:, 1])])
    gaps = np.random.default_rng(3).random(whole.shape) < 0.1
    filled = GaussianImputer(reg_covar=1e-6).fit_transform(np.where(gaps, np.nan, whole))
    np.testing.assert_allclose(filled[:, 4], 1e6, rtol=1e-9)
    np.testing.assert_allclose(filled[:, 5], 0, atol=1e-9)
    one = gaps[:, 6] & ~gaps[:, :2].any(axis=1)
    np.testing.assert_allclose(filled[one, 6], whole[one, 6], atol=5)  # of a deviation of 2000


def test_moments_of_pieces_are_those_of_the_whole() -> None:
    X, weight = gappy(200) + 1e6, np.random.default_rng(1).integers(0, 3, 200).astype(float)
    cuts = [0, 3, 60, 61, 200]
    pieces = [fastem.engine.chunks.chunk(X[a:b], weight[a:b]) for a, b in zip(cuts, cuts[1:])]
    found = Moments.of(pieces)
    rows = np.repeat(X, weight.astype(int), axis=0)
    np.testing.assert_allclose(found.mean, np.nanmean(rows, axis=0), rtol=1e-14)
    np.testing.assert_allclose(found.square / found.weight, np.nanvar(rows, axis=0), rtol=1e-9)
    np.testing.assert_array_equal(found.weight, (~np.isnan(rows)).sum(axis=0))
    assert found.total == weight.sum() and found.missing.all()
    units = Units.of(found, X.dtype, False)
    assert (np.frexp(units.scale)[0] == 0.5).all()
    spread = np.nanstd(units.scaled(rows), axis=0)
    assert (spread > 0.7).all() and (spread < 1.42).all()


def test_in_a_pipeline_with_frames() -> None:
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    whole, X = correlated()
    frame = pandas.DataFrame(X, columns=list("abcd"))
    model = make_pipeline(StandardScaler(), GaussianImputer(), LinearRegression()).fit(frame, whole[:, 0])
    assert model.score(frame, whole[:, 0]) > 0.9
    for kind, given in ((pandas.DataFrame, frame), (polars.DataFrame, polars.DataFrame(X, schema=list("abcd")))):
        imputer = GaussianImputer().set_output(transform=kind.__module__.split(".")[0])
        found = imputer.fit_transform(given)
        assert isinstance(found, kind) and list(found.columns) == list("abcd")
        np.testing.assert_allclose(found.to_numpy(), GaussianImputer().fit_transform(X), rtol=1e-12)
        for one in (imputer.sample(given, 0), *imputer.multiple_impute(given, 2, random_state=0)):
            assert isinstance(one, kind) and list(one.columns) == list("abcd")
            np.testing.assert_array_equal(one.to_numpy()[~np.isnan(X)], X[~np.isnan(X)])
    for method in (imputer.transform, imputer.sample):
        with pytest.raises(ValueError, match="set_output asks for frames"):
            method(given, out="x.npy")
    nullable = pandas.DataFrame({"a": [1, None, 3, 4], "b": [2, 4, 6, None]}, dtype="Int64")
    assert not np.isnan(GaussianImputer().fit_transform(nullable)).any()


def test_indicators_are_scikit_learns() -> None:
    _, X = correlated()
    X[:, 1] = 1.0 + np.arange(len(X)) % 3
    ours, theirs = GaussianImputer(add_indicator=True).fit(X), SimpleImputer(add_indicator=True).fit(X)
    assert ours.transform(X).shape == (300, 7)
    np.testing.assert_array_equal(ours.transform(X)[:, 4:], theirs.transform(X)[:, 4:])
    np.testing.assert_array_equal(ours.get_feature_names_out(), theirs.get_feature_names_out())
    np.testing.assert_array_equal(ours.missing_indicator(X), np.isnan(X))


def test_saved_and_loaded(tmp_path: Path) -> None:
    _, X = correlated()
    imputer = GaussianImputer(2, add_indicator=True, random_state=0, callback=lambda progress: False).fit(X)
    imputer.save(tmp_path / "i.npz")
    other = fastem.load(tmp_path / "i.npz")
    np.testing.assert_array_equal(other.transform(X), imputer.transform(X))
    assert other.get_params() == imputer.get_params() | {"callback": None}
    assert type(other.mixture_) is fastem.GaussianMixture and other.mixture_.missing == "nan"
    with np.load(tmp_path / "i.npz") as file:
        entries = {name: file[name] for name in file.files if not name.startswith("mixture_.")}
    np.savez(tmp_path / "damaged.npz", **entries)
    with pytest.raises(ValueError, match="truncated or damaged"):
        fastem.load(tmp_path / "damaged.npz")


def test_several_draws_know_how_uncertain_the_parameters_are() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal(24)
    X = np.column_stack([x, x + 0.5 * rng.standard_normal(24)])
    X[8:, 1] = np.nan
    imputer = GaussianImputer(random_state=0).fit(X)
    alone, with_bootstrap = (imputer.multiple_impute(X, 40, random_state=1, bootstrap=b) for b in (False, True))
    assert alone.shape == with_bootstrap.shape == (40, 24, 2)
    for drawn in (alone, with_bootstrap):
        np.testing.assert_array_equal(drawn[:, :8], np.tile(X[:8], (40, 1, 1)))
    single = X.astype(np.float32)
    assert GaussianImputer().fit(single).multiple_impute(single, 2, random_state=0, bootstrap=True).dtype == np.float32
    expected = imputer.transform(X)[8:, 1]
    assert abs((alone[:, 8:, 1] - expected).mean()) < 0.05
    # The mean of the column: between the draws it varies by 1/n of the residual variance, and by the line fitted to 8.
    between = [drawn[:, 8:, 1].mean(axis=1).var() for drawn in (alone, with_bootstrap)]
    assert between[0] == pytest.approx(imputer.mixture_.conditional({0: 0.0}).covariances_[0, 0, 0] / 16, rel=0.6)
    assert between[1] > 2 * between[0]


@pytest.mark.parametrize(
    ("unit", "options"),
    [(1e3, {"reg_covar": 1.0}), (1e-3, {"reg_covar": 0.0}), (1.0, {"prior": {"scale": np.eye(2), "dof": 2000}})],
)
def test_draws_of_a_mixture_have_its_ridge_and_prior_in_its_units(unit: float, options: Any, tmp_path: Path) -> None:
    X = unit * np.random.default_rng(0).multivariate_normal([0, 9], [[1, 0.9], [0.9, 1]], 200)
    X[:100, 1] = np.nan
    imputer = GaussianImputer.from_mixture(fastem.GaussianMixture(missing="nan", **options).fit(X))
    imputer.save(tmp_path / "i.npz")
    spread = [
        np.std(other.multiple_impute(X, 20, random_state=1, bootstrap=b)[:, :100, 1] - imputer.transform(X)[:100, 1])
        for other, b in ((imputer, False), (imputer, True), (fastem.load(tmp_path / "i.npz"), True))
    ]
    assert spread[1] == spread[2] == pytest.approx(spread[0], rel=0.1)


@pytest.mark.parametrize(
    ("fit", "message"),
    [
        (lambda: GaussianImputer().fit([[1.0, np.nan], [2.0, np.nan]]), "no entry of column 1 of X is observed"),
        (
            lambda: GaussianImputer().fit([[1.0, np.nan], [2.0, 3.0]], sample_weight=[1, 0]),
            "no entry of column 1 of X is observed",
        ),
        (lambda: GaussianImputer().fit([[1.0, np.inf], [2.0, np.nan]]), "infinity in row 0 "),
        (lambda: GaussianImputer(0).fit([[1.0]]), "n_components is 0"),
        (lambda: GaussianImputer("best").fit([[1.0]]), "n_components is 'best'; a number of components, or 'auto'"),
        (lambda: GaussianImputer(2, prior="flat").fit([[1.0]]), "prior is 'flat'"),
        (
            lambda: GaussianImputer().fit([[1.0]]).multiple_impute([[1.0]], bootstrap="no"),
            "bootstrap is 'no'; one of True, False is wanted",
        ),
        (lambda: GaussianImputer().fit([[1e200, 1.0], [0.0, np.nan]]), "spread over inf; at most 1e"),
        (lambda: GaussianImputer(add_indicator="yes").fit([[1.0]]), "add_indicator is 'yes'"),
        (lambda: GaussianImputer().fit([[1e200], [-1e200], [0.0]]), "spread over .*numbers: divide X by a constant"),
        (lambda: GaussianImputer().fit(np.ones((2, 1)) for _ in range(2)), "can be read only once"),
        (lambda: GaussianImputer.from_mixture(SimpleImputer()), "a fitted fastem.GaussianMixture is wanted"),
        (lambda: of().transform(np.ones((2, 3))), "3 features"),
        (lambda: of().multiple_impute(np.ones((2, 4)), 0), "m is 0"),
        (lambda: GaussianImputer().transform([[1.0]]), "not fitted"),
    ],
)
def test_bad_input(fit: Callable[[], Any], message: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match=message):
            fit()


def test_a_column_is_named() -> None:
    pandas = pytest.importorskip("pandas")
    with pytest.raises(ValueError, match="no entry of column 'y' of X is observed"):
        GaussianImputer().fit(pandas.DataFrame({"x": [1.0, 2.0], "y": [np.nan, np.nan]}))


# The command line.


def test_the_command_line(tmp_path: Path, monkeypatch: Any, capfd: Any) -> None:
    def run(*arguments: Any) -> tuple[Any, str]:
        with pytest.raises(SystemExit) as stopped:
            app(["impute", *map(str, arguments)], prog_name="fastem")
        return stopped.value.code, capfd.readouterr().err

    monkeypatch.chdir(tmp_path)
    _, X = correlated()
    text = [",".join("" if np.isnan(x) else repr(float(x)) for x in row) for row in X]
    (tmp_path / "x.csv").write_text("\n".join(["a,b,c,d", *text]))
    done = shell("impute", "x.csv", "--out", "filled.csv", "--save", "model.npz", "--seed", 0, cwd=tmp_path)
    assert done.returncode == 0 and "300 rows saved as filled.csv" in done.stdout, done.stderr
    found = fastem.tables.read_table(tmp_path / "filled.csv")
    wanted = GaussianImputer(random_state=0).fit_transform(X)
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12)
    assert (tmp_path / "filled.csv").read_text().startswith("a,b,c,d\n")
    (tmp_path / "headless.csv").write_text("\n".join(text))
    for options in ((), ("--columns", "0,1,2,3")):  # in memory, and as a source
        code, err = run("headless.csv", "-o", "f.csv", "--model", "model.npz", *options)
        assert code == 0, err
        np.testing.assert_allclose(np.loadtxt("f.csv", delimiter=","), wanted, rtol=1e-12, atol=1e-12)
    code, err = run("x.csv", "-o", "again.parquet", "--model", "model.npz", "--draw", "--seed", 1)
    assert code == 0 and fastem.sources.open_source("again.parquet").feature_names == list("abcd"), err
    assert list(fastem.load(tmp_path / "model.npz").feature_names_in_) == list("abcd")
    (tmp_path / "y.csv").write_text("a,b\n1,2\n3,x\n")
    for arguments, words in (
        (("y.csv", "-o", "z.npy"), "'x', where a finite number was wanted"),
        (("x.csv", "-o", "z.txt"), "must end in .npy, .csv or .parquet"),
        (("absent.csv", "-o", "z.npy"), "absent.csv"),
        (("x.csv", "-o", "z.npy", "--model", "y.csv"), "y.csv is not a model of fastem"),
        (("x.csv", "-o", "z.npy", "--model", "absent.npz"), "absent.npz"),
    ):
        code, err = run(*arguments)
        assert code == 1 and err.startswith("error: ") and words in err and err.count("\n") == 1, err
        assert not os.path.exists(arguments[2])
    code, err = run("x.csv", "-o", "z.npy", "-k", "auto", "--save", "model.npz", "--max-iter", 5)
    assert code == 0 and fastem.load(tmp_path / "model.npz").mixture_.n_components == 3, err
    assert fastem.load(tmp_path / "model.npz").n_components == "auto"
    for number in ("0", "many"):
        code, err = run("x.csv", "-o", "z.npy", "-k", number)
        assert code == 2 and "neither a number of" in err, err
    code, err = run("x.csv", "-o", "z.npy", "--model", "model.npz", "-k", 2)
    assert code == 2 and "--model fits none" in err


def whole_table(n: int = 300) -> tuple[Any, np.ndarray]:
    """Four columns with gaps, of which two hold whole numbers, among others that are no business of an imputer."""
    arrow = pytest.importorskip("pyarrow")
    X = gappy(n)
    X[:, 1] = np.round(X[:, 1])
    X[:, 2], X[:, 3] = np.arange(n) % 5, np.round(8 * X[:, 3]) / 8  # of which a float32 holds every digit
    columns = {
        "id": arrow.array(2**53 + 1 + 2 * np.arange(n)),
        "a": arrow.array(X[:, 0], from_pandas=True),
        "b": arrow.array(X[:, 1], from_pandas=True).cast(arrow.int32()),
        "name": arrow.array(["a, b", None, 'c "d"'] * (n // 3)),
        "c": arrow.array(X[:, 2].astype(np.int16)),
        "d": arrow.array(X[:, 3].astype(np.float32), from_pandas=True),
        "w": arrow.array(np.arange(1, n + 1)),
    }
    return arrow.table(columns), X


def copied(tmp_path: Path, source: str, target: str, *options: Any) -> None:
    """Run ``fastem impute`` on four columns of a table."""
    of().save(tmp_path / "model.npz")
    given = "--columns", "a,b,c,d", "--model", tmp_path / "model.npz", "--quiet", "--rows-per-chunk", 70, *options
    with pytest.raises(SystemExit) as stopped:
        app(["impute", str(tmp_path / source), "-o", str(tmp_path / target), *map(str, given)], prog_name="fastem")
    assert stopped.value.code == 0


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_columns_that_take_no_part_are_copied_as_they_are(ending: str, tmp_path: Path, monkeypatch: Any) -> None:
    parquet, text = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow.csv")
    monkeypatch.setattr("fastem.filled_tables.LINES", 32)
    table, X = whole_table()
    parquet.write_table(table, tmp_path / "x.parquet", row_group_size=90)
    text.write_csv(table, tmp_path / "x.csv")
    wanted = of().transform(X)
    copied(tmp_path, f"x.{ending}", "y.parquet", "--weights-column", "w")
    found = parquet.read_table(tmp_path / "y.parquet")
    assert found.column_names == table.column_names
    for name in ("id", "name", "w"):
        assert found[name].to_pylist() == table[name].to_pylist()
    floats = "double" if ending == "csv" else "float"  # a text does not say how wide it was
    ints = "int64" if ending == "csv" else "int16"
    assert [str(found[name].type) for name in "abcd"] == ["double", "double", ints, floats]
    np.testing.assert_allclose(np.column_stack([found[name] for name in "abcd"]), wanted, rtol=1e-6)
    copied(tmp_path, f"x.{ending}", "y.csv")
    lines = [(tmp_path / name).read_text().replace('"', "").splitlines() for name in ("x.csv", "y.csv")]
    assert len(lines[0]) == len(lines[1])
    read = text.read_csv(tmp_path / "y.csv")
    assert read["id"].to_pylist() == table["id"].to_pylist() and read["w"].to_pylist() == table["w"].to_pylist()
    assert [name or None for name in read["name"].to_pylist()] == table["name"].to_pylist()
    assert str(read["c"].type) == "int64"
    np.testing.assert_allclose(np.column_stack([read[name] for name in "abcd"]), wanted, rtol=1e-6)


def test_numbers_written_otherwise_and_what_pandas_noted_are_kept(tmp_path: Path) -> None:
    pandas, X, ids = pytest.importorskip("pandas"), gappy(300), [f"{i:03d}" for i in range(300)]
    big = pandas.array([2**53 + i for i in range(300)], dtype="Int64")
    big[3] = pandas.NA
    frame = pandas.DataFrame(X, columns=list("abcd"), index=pandas.Index(ids, name="who")).assign(big=big)
    frame.to_parquet(tmp_path / "x.parquet")
    copied(tmp_path, "x.parquet", "y.parquet")
    found = pandas.read_parquet(tmp_path / "y.parquet")
    assert found["big"].equals(frame["big"]) and list(found.index) == ids
    np.testing.assert_allclose(found[list("abcd")], of().transform(X))
    frame.to_csv(tmp_path / "x.csv")
    copied(tmp_path, "x.csv", "z.parquet")
    table = pytest.importorskip("pyarrow.parquet").read_table(tmp_path / "z.parquet")
    assert table["who"].to_pylist() == ids and table["big"].to_pylist()[4:] == big[4:].tolist()


def test_other_columns_of_arrays_and_tables_that_differ(tmp_path: Path, capfd: Any) -> None:
    X = gappy(300)
    np.save(tmp_path / "x.npy", np.column_stack([X, np.arange(300)]))
    copied(tmp_path, "x.npy", "y.csv", "--columns", "0,1,2,3")
    found = np.loadtxt(tmp_path / "y.csv", delimiter=",", skiprows=1)
    np.testing.assert_array_equal(found, np.column_stack([of().transform(X), np.arange(300)]))
    copied(tmp_path, "x.npy", "y.npy", "--columns", "0,1,2,3")
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), found[:, :4])
    for name, last in (("p.csv", "w"), ("q.csv", "v")):
        (tmp_path / name).write_text(f"a,b,c,d,{last}\n1,2,,4,5\n")
    with pytest.raises(AssertionError):
        copied(tmp_path, "[pq].csv", "z.csv")
    assert "q.csv has a, b, c, d, v, where" in capfd.readouterr().err and not (tmp_path / "z.csv").exists()


# The lecture's example: X ~ N(mu, sigma^2), thirty values observed and ten missing.


def lecture() -> tuple[np.ndarray, float, float]:
    """The values, and mean and variance of those observed: the fixed point of EM."""
    x = np.genfromtxt(DATA / "univariate_missing.csv", skip_header=1)
    seen = x[~np.isnan(x)]
    assert (len(x), len(seen)) == (40, 30)
    return x, seen.mean(), seen.var()


def e_step(params: Any, x: np.ndarray) -> Any:
    mu, variance = params
    seen = x[~np.isnan(x)]
    m = len(x) - len(seen)
    log_likelihood = -0.5 * (len(seen) * np.log(2 * np.pi * variance) + ((seen - mu) ** 2).sum() / variance)
    return (seen.sum() + m * mu, (seen**2).sum() + m * (mu**2 + variance), len(x)), log_likelihood


def m_step(statistics: Any, params: Any) -> Any:
    s1, s2, n = statistics
    return s1 / n, s2 / n - (s1 / n) ** 2


STARTS = [(100.0, 100.0), (600.0, 1e4), (371.0, 1e5)]


def test_the_lecture_all_starts_end_at_the_observed_moments() -> None:
    x, mean, variance = lecture()
    result = fastem.em(e_step, m_step, STARTS, x, tol=1e-10)
    for run in result.runs:
        assert run.converged
        np.testing.assert_allclose(run.params, (mean, variance), rtol=1e-4)
    for mu, start in STARTS:
        model = fastem.GaussianMixture(
            missing="nan", reg_covar=0, tol=1e-12, means_init=[[mu]], precisions_init=[[[1 / start]]], accelerate=None
        ).fit(x[:, None])
        np.testing.assert_allclose(model.means_[0, 0], mean, rtol=1e-6)
        np.testing.assert_allclose(model.covariances_[0, 0, 0], variance, rtol=1e-5)
        assert model.lower_bound_ * 40 == pytest.approx(result.log_likelihood, abs=1e-6)
    filled = GaussianImputer().fit_transform(x[:, None])[np.isnan(x)]
    np.testing.assert_allclose(filled, mean, rtol=1e-6)


@pytest.mark.parametrize("start", STARTS)
def test_the_lecture_converges_at_the_rate_of_missing_information(start: tuple[float, float]) -> None:
    x, mean, _ = lecture()
    path = [np.array(start)]
    for _ in range(12):
        path.append(np.array(m_step(e_step(path[-1], x)[0], None)))
    gaps = np.array([mu for mu, _ in path]) - mean
    np.testing.assert_allclose(gaps[1:9] / gaps[:8], 10 / 40, rtol=1e-6)
    # Of mean and mean square a quarter of the way is left by each step, so that one extrapolation jumps to the end.
    natural = np.array([(mu, variance + mu**2) for mu, variance in path])
    steps = np.diff(natural, axis=0)
    np.testing.assert_allclose(steps[1:6] / steps[:5], 10 / 40, rtol=1e-6)
    jump = natural[0] + steps[0] / (1 - 10 / 40)
    np.testing.assert_allclose([jump[0], jump[1] - jump[0] ** 2], lecture()[1:], rtol=1e-8)
