"""Frames and masked arrays: what holds no numbers is named by its column, and what holds them is taken."""

from __future__ import annotations

import datetime
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
from cases import fit

import fastem
from fastem.categories import encoded

X = np.random.default_rng(11).standard_normal((40, 2))


def mixture() -> fastem.GaussianMixture:
    return fastem.GaussianMixture(2, random_state=0)


def test_a_masked_array_without_masked_values_is_an_array() -> None:
    plain = fit(mixture(), X)
    masked = fit(mixture(), np.ma.array(X, mask=False), sample_weight=np.ma.array(np.ones(40)))
    np.testing.assert_array_equal(masked.means_, plain.means_)


def gaps(dtype: Any = np.float64) -> tuple[Any, np.ndarray]:
    """A masked array of whole numbers, and what it holds where NaN stands for what is masked."""
    numbers = np.arange(12).reshape(4, 3).astype(dtype)
    mask = np.zeros(numbers.shape, bool)
    mask[1, 2] = mask[3, 0] = True
    return np.ma.array(numbers, mask=mask), np.where(mask, np.nan, numbers)


def read(X: Any, missing: str) -> np.ndarray:
    """The rows that a fit would see."""
    model = fastem.GaussianMixture(missing=missing)
    with model._opened(X, reset=True) as data:
        return np.concatenate([piece.X for piece in data.pieces()])


KINDS = {
    "array": lambda masked: masked,
    "slices": lambda masked: fastem.Chunks(masked, rows_per_chunk=2),
    "chunks": lambda masked: fastem.Chunks(lambda: iter([masked[:1], masked[1:]])),
}


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, bool])
@pytest.mark.parametrize("kind", KINDS)
def test_masked_entries_are_missing_ones_or_errors(kind: str, dtype: Any) -> None:
    masked, wanted = gaps(dtype)
    found = read(KINDS[kind](masked), "nan")
    np.testing.assert_array_equal(found, wanted)
    assert found.dtype == (np.float32 if dtype is np.float32 else np.float64)
    with pytest.raises(ValueError, match=r"(row 1, column 2|row 1 of .* column 2).*missing='nan'"):
        read(KINDS[kind](masked), "error")


def test_what_else_is_masked() -> None:
    chunk = X, np.ma.array(np.ones(40), mask=[False, True] * 20)
    with pytest.raises(ValueError, match="the weight is NaN in row 1"):
        read(lambda: iter([chunk]), "error")
    with pytest.raises(ValueError, match="sample_weight is a masked array"):
        mixture().fit(fastem.Chunks(X), sample_weight=chunk[1])
    with pytest.raises(ValueError, match="labels is a masked array"):
        mixture().fit(X, labels=np.ma.array(np.zeros(40, int), mask=chunk[1].mask))
    texts = np.ma.array([["a", "u"], ["b", "v"]] * 5, mask=[[0, 0], [1, 0]] * 5)
    assert encoded(texts, None, missing="nan")[1] == [["a"], ["u", "v"]]
    records = np.ma.array([(1.0, 2)], dtype=[("x", float), ("y", int)], mask=[(True, False)])
    with pytest.raises(ValueError, match="masked array of records"):
        read(records, "nan")


@pytest.mark.parametrize("guise", [np.array, np.ndarray.tolist, lambda X: pd.DataFrame(X, columns=["a", "b", "c"])])
def test_pandas_na_among_objects_is_missing(guise: Any) -> None:
    _, wanted = gaps()
    objects = wanted.astype(object)
    objects[1, 2], objects[3, 0] = pd.NA, None
    np.testing.assert_array_equal(read(guise(objects), "nan"), wanted)
    with pytest.raises(ValueError, match="NaN in rows 1, 3"):
        read(guise(objects), "error")


FRAME = pd.DataFrame(X, columns=["a", "b"])
COLUMNS = {  # a third column, and the words for it
    "categories": (pd.Categorical(["u", "v"] * 20), r"'c' \(category\)"),
    "numbered categories": (pd.Categorical([1, 2] * 20), r"'c' \(category\)"),
    "dates": (pd.date_range("2020", periods=40), r"'c' \(datetime64"),
    "dates of a zone": (pd.date_range("2020", periods=40, tz="UTC"), r"'c' \(datetime64"),
    "spans": (pd.to_timedelta(np.arange(40), unit="s"), r"'c' \(timedelta64"),
    "text": (["x"] * 40, r"'c' \((str|object)"),
    "some text": (pd.Series([1, "q"] * 20, dtype=object), r"'c' \(object\)"),
    "complex": ([1j] * 40, r"'c' \(complex128\)"),
    "missing": (pd.array([1, None] * 20, dtype="Int64"), r"NaN in rows 1, 3, 5, 7, 9, \.\.\. \(column 'c' first\)"),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_columns_of_frames_are_named(name: str) -> None:
    column, words = COLUMNS[name]
    with pytest.raises(ValueError, match=words) as caught:
        mixture().fit(FRAME.assign(c=column))
    assert "Leave them out" in str(caught.value) or "Drop these rows" in str(caught.value)


@pytest.mark.parametrize("column", [pd.array([1.0, 2.0] * 20, dtype="Float64"), [True, False] * 20, ["1", "2"] * 20])
def test_columns_that_are_numbers_in_another_guise(column: Any) -> None:
    frame = FRAME.assign(c=column)
    numbers = np.column_stack([X, np.array(column).astype(float)])
    np.testing.assert_array_equal(fit(mixture(), frame).means_, fit(mixture(), numbers).means_)


def test_the_advice_for_missing_numbers_is_that_of_the_frames_library() -> None:
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"a": [1.0, None, np.nan, 4.0], "b": [1, 2, 3, 4]})
    with pytest.raises(ValueError, match="NaN in rows 1, 2 .*column 'a'") as caught:
        mixture().fit(frame)
    advice = re.search(r"Drop these rows \((.*)\) or fill", str(caught.value))[1]
    assert eval(advice, {"X": frame, "polars": polars})["a"].to_list() == [1.0, 4.0]


def test_columns_of_polars_frames_are_named() -> None:
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame(X, schema=["a", "b"])
    with pytest.raises(ValueError, match=r"'c' \(String\), 'd' \(Date\)"):
        mixture().fit(frame.with_columns(c=polars.lit("x"), d=polars.lit(datetime.date(2020, 1, 1))))
    with pytest.raises(ValueError, match=r"NaN in row 0 \(column 'c'\)"):
        mixture().fit(frame.with_columns(c=polars.Series([None, *[1.0] * 39])))
