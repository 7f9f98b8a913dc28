"""Categories of all kinds: in memory and in sources the same, and what is none is told."""

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
from source_kinds import pa

import fastem

NAMES = ["colour", "count"]
N = 600


@pytest.fixture
def frame(rng):
    first = rng.random(N) < 0.5
    colours = np.where(rng.random(N) < 0.8, np.where(first, "red", "green"), "blue")
    return pd.DataFrame({"colour": colours, "count": np.where(rng.random(N) < 0.7, 2 * first, 4)})


def fitted(data, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = fastem.CategoricalMixture(2, random_state=0, max_iter=5, init_params="random")
        return model.fit(data, **options)


def to_csv(path, frame):
    frame.to_csv(path / "x.csv", index=False)
    return path / "x.csv"


def to_parquet(path, frame, **options):
    pa.parquet.write_table(pa.Table.from_pandas(frame), path / "x.parquet", row_group_size=70, **options)
    return path / "x.parquet"


def to_feather(path, frame):
    pa.feather.write_feather(pa.Table.from_pandas(frame), path / "x.feather", chunksize=64)
    return path / "x.feather"


def parts(frame):
    return [frame.iloc[:5], frame.iloc[5:400], frame.iloc[400:]]


SOURCES = {
    "csv": to_csv,
    "parquet": to_parquet,
    "parquet of categories": lambda path, frame: to_parquet(path, frame.astype({"colour": "category"})),
    "feather": to_feather,
    "table": lambda path, frame: pa.Table.from_pandas(frame),
    "frames": lambda path, frame: lambda: iter(parts(frame)),
    "frames of polars": lambda path, frame: lambda: map(pl.from_pandas, parts(frame)),
    "small chunks": lambda path, frame: fastem.Chunks(to_csv(path, frame), rows_per_chunk=50),
    "arrays of objects": lambda path, frame: lambda: (part.to_numpy(dtype=object) for part in parts(frame)),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_a_source_has_the_categories_of_memory(kind, tmp_path, frame):
    source, exact = SOURCES[kind](tmp_path, frame), fitted(frame)
    model = fitted(source)
    assert model.categories_ == exact.categories_ == [["blue", "green", "red"], [0, 2, 4]]
    np.testing.assert_allclose(model.probabilities_, exact.probabilities_, rtol=1e-10)
    assert (model.predict(source) == exact.predict(frame)).all()
    assert model.bic(source) == pytest.approx(exact.bic(frame))


@pytest.mark.parametrize("options", [{}, {"algorithm": "stepwise", "batch_size": 100}])
def test_numbers_with_gaps_from_a_source(options, tmp_path, frame):
    X = frame[["count"]].to_numpy(float)
    np.save(tmp_path / "x.npy", X)
    model, exact = fitted(tmp_path / "x.npy", **options), fitted(X)
    assert model.categories_ == exact.categories_ == [[0, 2, 4]]
    assert model._n_parameters() == exact._n_parameters() == 5
    if not options:
        np.testing.assert_allclose(model.probabilities_, exact.probabilities_, rtol=1e-10)


def test_a_category_of_rows_without_weight_is_none(frame):
    weight = np.ones(N)
    weight[:3] = 0
    frame.loc[0, "colour"] = "mauve"
    table = pa.Table.from_pandas(frame.assign(n=weight))
    for model in (fitted(frame, sample_weight=weight), fitted(fastem.Chunks(table, weights="n"))):
        assert model.categories_ == [["blue", "green", "red"], [0, 2, 4]]
    X = np.array([[0], [1], [2]] * 50)
    assert fitted(X, sample_weight=(X[:, 0] < 2).astype(float)).categories_ == [[0, 1]]
    assert fitted(X, sample_weight=(X[:, 0] != 1).astype(float)).categories_ == [[0, 2]]


@pytest.mark.filterwarnings("ignore:the fit did not converge")
def test_a_refit_forgets_the_categories(tmp_path, frame):
    model = fitted(frame)
    X = np.array([[0.0, 1, 1], [1, 0, 2]] * 20)
    model.fit(lambda: iter([X]))
    assert model.categories_ == [[0, 1], [0, 1], [1, 2]]
    assert model.sample(5, random_state=0)[0].shape == (5, 3)


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA, pd.NaT])
def test_a_missing_value_is_no_category(missing):
    X = np.array([["a", "u"], ["b", "v"]] * 10, dtype=object)
    X[[3, 8], 1] = missing
    for data, column in ((X, "column 1"), (pd.DataFrame(X, columns=NAMES), "column 'count'")):
        with pytest.raises(ValueError, match=f"missing value in {column}, rows 3, 8; categories are wanted"):
            fitted(data)
    model = fitted(X[:3].tolist())
    with pytest.raises(ValueError, match="missing value in column 1, rows 3, 8"):
        model.predict(X)


def test_a_missing_text_of_a_source_is_told_by_row_and_can_be_left_out(tmp_path, frame):
    frame.loc[77, "colour"] = None
    for source in (to_csv(tmp_path, frame), to_parquet(tmp_path, frame)):
        with pytest.raises(ValueError, match="a missing value in row 77 of .*, column 'colour'"):
            fitted(source)
        assert fitted(fastem.Chunks(source, rows="finite")).categories_[0] == ["blue", "green", "red"]


def test_an_unseen_category_is_told_by_row_and_column(tmp_path, frame):
    model = fitted(frame)
    frame.loc[[17, 30], "colour"] = "mauve"
    with pytest.raises(ValueError, match="'mauve' in column 'colour', rows 17, 30; a category that the model was"):
        model.predict(frame)
    with pytest.raises(ValueError, match=r"x\.csv, at row 0 .*: column 'colour' holds 'mauve'; a category that"):
        model.predict(to_csv(tmp_path, frame))
    with pytest.raises(ValueError, match="yet now missing:\n- count"):
        model.predict(frame[["colour"]])
    with pytest.raises(ValueError, match=r"in the same order .* X\[model.feature_names_in_\]"):
        model.predict(frame[["count", "colour"]])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.linspace(0.5, 9, 20)[:, None], "X has 0.5 in column 0, rows 0, .*Cut the column into intervals"),
        (np.array([["a"], [1]] * 10, dtype=object), "column 0 holds int and str; texts or whole numbers"),
        (np.array([[()], [b"1"]] * 10, dtype=object), "texts or whole numbers are wanted"),
        (np.array([["2020-01-01"]] * 10, dtype="M8[D]"), "categories are texts or whole numbers"),
        (np.arange(70_000)[:, None] * 2, "column 0 has 70000 categories, and 65536 are the most"),
        (np.array(["a", "b"]), "X has 1 dimensions"),
        (np.ma.array([["a"], ["b"]] * 5, mask=[[0], [1]] * 5), "masked"),
    ],
)
def test_what_is_no_category(values, message):
    with pytest.raises(ValueError, match=message):
        fitted(values)


@pytest.mark.parametrize(
    ("chunks", "message"),
    [
        (lambda X: lambda: iter([X, X + 0.5]), r"0.5 in row 4 of .*, column 0 \(chunk 0\); categories are wanted"),
        (lambda X: lambda: iter([X, X.astype(int).astype(str)]), "column 0 holds texts here, and numbers elsewhere"),
        (lambda X: iter([X.astype(str)]), "read only once must have its categories numbered"),
    ],
)
def test_what_is_no_category_in_a_source(chunks, message):
    X = np.array([[0.0], [1.0], [1.0], [0.0]])
    with pytest.raises(ValueError, match=message):
        fitted(chunks(X), **({"algorithm": "stepwise"} if "once" in message else {}))


def test_a_level_that_comes_late_in_rows_that_are_read_once(rng):
    X = rng.integers(0, 2, (9000, 1)).astype(float)
    X[-1] = 7
    parts = iter(np.array_split(X, 9))
    with pytest.raises(ValueError, match="7 in row 8999 .*a level that the model was fitted on is wanted"):
        fitted(parts, algorithm="stepwise", batch_size=500)
