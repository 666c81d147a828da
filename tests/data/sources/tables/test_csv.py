"""CSV files: what they hold, and the line of what is wrong."""

import numpy as np
import pytest
from tallyloop.data import csv
from tallyloop.data.sources.tables import arrow_rows


@pytest.fixture
def file(tmp_path):
    """file(content, name="a.csv") -> its path."""

    def write(content, name="a.csv"):
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(tmp_path / name)

    return write


class TestColumns:
    def test_have_the_types_of_their_values(self, file, by_number):
        found = by_number(csv(file('i,f,b,s\n1,1,true,"a,b"\n-2,.5,false,\n')))
        assert {name: column.dtype for name, column in found.items()} == {"i": "i8", "f": "f8", "b": "?", "s": "O"}
        assert {name: column.tolist() for name, column in found.items()} == {
            "i": [1, -2],
            "f": [1.0, 0.5],
            "b": [True, False],
            "s": ["a,b", ""],
        }

    def test_are_chosen_by_name_and_dtype(self, file, by_number):
        path = file("\ufeffx;y;z\n1;2;3\n")
        assert list(by_number(csv(path, ["z", "x"], delimiter=";"))) == ["z", "x"]
        found = by_number(csv(path, {"x": "float32", "y": "string"}, delimiter=";"))
        assert found["x"].dtype == np.float32
        assert found["y"].tolist() == ["2"]

    def test_of_several_files(self, file, tmp_path, by_number):
        for i in range(3):
            file(f"x,y\n{i},a{i}\n", f"{i}.csv")
        assert by_number(csv(f"{tmp_path}/*.csv"))["y"].tolist() == ["a0", "a1", "a2"]

    def test_are_filled_where_a_value_is_missing(self, file, by_number):
        assert by_number(csv(file("x,y\n1,\nNA,\n"), fill={"x": -1, "y": 0.5}))["x"].tolist() == [1, -1]
        assert by_number(csv(file("x,y\n1,\nNA,\n"), fill={"x": -1, "y": 0.5}))["y"].tolist() == [0.5, 0.5]


class TestConversion:
    def test_is_done_once_and_again_for_a_changed_file(self, file, tmp_path, by_number, monkeypatch):
        monkeypatch.setattr(arrow_rows, "IN_MEMORY", 0)
        paths = [file("x,y\n1,a\n2,b\n"), file("x,y\n3,c\n", "b.csv")]
        first = csv(paths)
        assert by_number(first)["y"].tolist() == ["a", "b", "c"]
        (kept,) = (tmp_path / ".tallyloop").iterdir()
        written = (kept / "table.arrow").stat().st_mtime_ns
        assert by_number(csv(paths))["x"].tolist() == [1, 2, 3]
        assert (kept / "table.arrow").stat().st_mtime_ns == written
        file("x,y\n9,a\n2,b\n")
        assert csv(paths).__getitems__(np.array([0, 2]))["x"].tolist() == [9, 3]
        assert csv(paths).fingerprint != first.fingerprint


class TestDamage:
    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("x,y\n1,a\n\n2\n", "a.csv:4: Expected 2 columns, got 1: 2; correct the line"),
            ('x,y\n1,"a\nb"\n2,b,c\n', "a.csv:4: Expected 2 columns, got 3"),
            (
                'x,y\n1,"a\n\nb"\n,b\n',
                "a.csv:5: column 'x' has no value: expected one in each row; give what stands for it",
            ),
            ("x,y\n1,a\n2,\n", None),
            ("x,y\n", "a.csv' has no rows after its header"),
            ("", "a.csv' cannot be read (Empty CSV file)"),
            ("x,x\n1,2\n", "a.csv' has several columns of the name ['x']"),
            (b"x,y\n1,\xe9\n", "a.csv' isn't a CSV file in UTF-8 ("),
            (b"x,y\n" + b"1,a\n" * 20000 + b"1,\xe9\n", "a.csv': column 'y' isn't UTF-8: expected UTF-8"),
            ("x\n2020-01-01\n", "a.csv:2: column 'x' has type date32[day]: expected numbers, booleans, strings"),
        ],
    )
    def test_is_told_with_its_line(self, file, refused, content, message):
        if message is None:
            assert len(csv(file(content))) == 2
            return
        with refused(message):
            csv(file(content))

    def test_values_of_another_dtype(self, file, refused):
        with refused("a.csv:3: CSV conversion error to int64: invalid value 'z'"):
            csv(file("x\n1\nz\n"), {"x": "int64"})

    def test_files_that_differ(self, file, refused):
        with refused("b.csv' are {'x': 'double'}: expected {'x': 'int64'}, as in "):
            csv([file("x\n1\n"), file("x\n1.5\n", "b.csv")])
        assert (
            csv([file("x\n1\n"), file("x\n1.5\n", "b.csv")], {"x": "float32"}).__getitems__(np.array([1]))["x"] == 1.5
        )


class TestRefused:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"columns": "x"}, "csv.columns = 'x': expected a list of names, or a dict of names and dtypes"),
            ({"columns": ["q"]}, "a.csv' has no column ['q']: expected some of ['x']; change csv.columns"),
            ({"columns": {"x": "float33"}}, "csv.columns['x'] = 'float33': expected a dtype"),
            ({"delimiter": ""}, "csv.delimiter = '': expected one character"),
        ],
    )
    def test_wrong_arguments_are_refused(self, file, refused, arguments, message):
        with refused(message):
            csv(file("x\n1\n"), **arguments)

    def test_files(self, tmp_path, refused):
        with refused("cannot be read (Is a directory); correct csv.path"):
            csv(tmp_path)
