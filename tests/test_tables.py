"""Tables are read exactly, and what is wrong with one is told by file, line and column."""

import re

import numpy as np
import pytest

from fastem.tables import place, read_table, read_weights

ROWS = np.array([[1.5, -2.0, 3e8], [0.1, 1e-300, 7.0]])


def written(tmp_path, text, name="x.csv", encoding="utf-8"):
    path = tmp_path / name
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize(
    "text",
    [
        "1.5,-2,3e8\n0.1,1e-300,7\n",
        "a,b,c\n1.5,-2,3e8\n0.1,1e-300,7",
        'a,"b, in m",c\r\n"1.5",-2,3e8\r\n0.1,1e-300,7\r\n',
        "\n\na;b;c\n1.5; -2 ;3e8\n\n0.1;1e-300;7\n\n",
        "1.5\t-2\t3e8\n0.1\t1e-300\t7\n",
        ",first,\n1.5,-2,3e8\n0.1,1e-300,7\n",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_csv(tmp_path, text, encoding):
    X = read_table(written(tmp_path, text, encoding=encoding))
    assert X.dtype == np.float64 and X.tolist() == ROWS.tolist()


def test_numbers_are_the_same_with_gaps(tmp_path):
    assert np.isnan(read_table(written(tmp_path, "1,?\n"), gaps=True)[0, 1])
    for field in ("1_000", "_5", "5_"):
        with pytest.raises(ValueError, match=f"'{field}', where a finite number was wanted"):
            read_table(written(tmp_path, f"1,{field}\n"), gaps=True)


def test_a_column_and_a_row(tmp_path):
    assert read_table(written(tmp_path, "x\n1\n2\n")).shape == (2, 1)
    assert read_table(written(tmp_path, "1,2\n")).shape == (1, 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "1,2\n3,x\n",
            r"x\.csv: row 1 \(line 2 of the file\), column 1 \(number 2 of 2\): 'x', where a finite number was wanted; "
            "write a number, remove the row, or take the columns of numbers alone, with --columns numeric$",
        ),
        ("1,x\n3,4\n", r"row 0 \(line 1 of the file\), column 1 \(number 2 of 2\): 'x'"),
        ("a,b\n1,2\n\n3,\n", r"row 1 \(line 4 of the file\), column 'b': empty, .* fill them in"),
        ("a,b\n1,2\n3,nan\n", r"row 1 \(line 3 of the file\), column 'b': 'nan', .* fill them in"),
        ("1,2\n3,-inf\n", r"line 2 of the file\), column 1 \(number 2 of 2\): '-inf'"),
        ("1,1_000\n", r"line 1 of the file\), column 1 \(number 2 of 2\): '1_000'"),
        ("1,2\n3,4,5\n", r"line 2 of the file\) has 3 columns, where the lines before have 2"),
        ("a,b\n1,2\n3\n", r"line 3 of the file\) has 1 column, where the lines before have 2"),
        ("1 2\n3 4\n", r"row 0 \(line 2 of the file\), column '1 2': '3 4', .* separate columns by commas"),
        ("a,b\n1,2\na, b\n3,4\n", r"row 1 \(line 3 of the file\), column 'a': 'a', .* remove this second line"),
        ("1;2,5\n", r"column 1 \(number 2 of 2\): '2,5', .* write decimals with a point"),
        ("#x,y\n1,2\n#3,4\n", r"row 1 \(line 3 of the file\), column '#x': '#3'"),
        ('a,b\n1,2\n"3,4\n5,6\n', r"row 1 \(line 3 of .* column 'a': .* close the quote that begins there"),
        ("a,b\n" + '"1,2\n' + "3,4\n" * 40_000, "close the quote that stands somewhere alone"),
        (",\n,\n", r"line 1 of the file\), column 0 \(number 1 of 2\): empty"),
        ("a,b\n", "column names and no rows"),
        ("", "is empty"),
        ("\n \n", "is empty"),
    ],
)
def test_wrong_csv(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_table(written(tmp_path, text))


def test_other_encodings_and_bytes(tmp_path):
    with pytest.raises(ValueError, match="not UTF-8"):
        read_table(written(tmp_path, "Länge\n1\n", encoding="latin-1"))
    with pytest.raises(ValueError, match=r"x\.csv"):
        read_table(written(tmp_path, "1,2\n", encoding="utf-16"))
    with pytest.raises(ValueError, match=r"x\.csv"):
        read_table(written(tmp_path, "1,2\n3\0,4\n"))


def test_npy_is_mapped_and_keeps_its_type(tmp_path):
    path = tmp_path / "X.NPY"
    with open(path, "wb") as file:
        np.save(file, ROWS.astype(np.float32))
    X = read_table(path)
    assert isinstance(X, np.memmap) and X.dtype == np.float32 and not X.flags.writeable
    assert (X == ROWS.astype(np.float32)).all()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.arange(3.0), r"rows and columns, and the array has the shape \(3,\)"),
        (np.zeros((2, 2, 2)), r"shape \(2, 2, 2\)"),
        (np.array(1.0), r"shape \(\)"),
        (np.zeros((0, 3)), "0 rows and 3 columns"),
        (np.zeros((3, 0)), "3 rows and 0 columns"),
        (np.ones((2, 2)) * 1j, r"holds complex numbers \(complex128\)"),
        (np.array([["1", "2"]]), r"holds text \(<U1\)"),
        (np.zeros((2, 1), "M8[s]"), r"holds times \(datetime64\[s\]\)"),
        (np.zeros(3, [("a", float), ("b", int)]), "records with the fields a, b"),
        (np.array([[1, "a"]], dtype=object), "Python objects, which may run code"),
    ],
)
def test_wrong_npy(tmp_path, array, message):
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(ValueError, match=message):
        read_table(tmp_path / "x.npy")


def test_damaged_npy(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, ROWS)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"x\.npy is (no \.npy file|truncated or damaged)"):
            read_table(path)
    path.write_bytes(b"1,2\n3,4\n")
    with pytest.raises(ValueError, match="no .npy file, whatever its ending"):
        read_table(path)


def test_names_that_are_no_tables(tmp_path):
    with pytest.raises(ValueError, match=r"cannot read \.parquet; give \.npy or \.csv"):
        read_table(tmp_path / "x.parquet")
    with pytest.raises(ValueError, match="a file with no ending"):
        read_table(tmp_path / "x")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(ValueError, match="is a folder"):
        read_table(tmp_path / "folder.csv")
    for name in ("none.csv", "none.npy"):
        with pytest.raises(FileNotFoundError):
            read_table(tmp_path / name)


def test_weights(tmp_path):
    assert read_weights(written(tmp_path, "w\n1\n2.5\n")).tolist() == [1.0, 2.5]
    np.save(tmp_path / "w.npy", np.arange(3))
    assert read_weights(tmp_path / "w.npy").tolist() == [0, 1, 2]
    np.save(tmp_path / "w.npy", ROWS)
    with pytest.raises(ValueError, match=r"one weight a row, and its shape is \(2, 3\)"):
        read_weights(tmp_path / "w.npy")


def test_places_count_the_rows_that_are_read(tmp_path):
    path = written(tmp_path, 'length,"width, cm"\n\n1,2\n\n3,4\n5,6\n')
    X = read_table(path)
    lines = path.read_text().splitlines()
    for row, x in enumerate(X):
        line = int(re.search(r"line (\d+) of the file", place(path, row))[1])
        assert lines[line - 1] == ",".join(f"{value:g}" for value in x)
    assert place(path, 1, 1) == f"{path}: row 1 (line 5 of the file), column 'width, cm'"
    assert place("x.npy", 1, 1) == "x.npy: row 1, column 1 (counted from 0)"
