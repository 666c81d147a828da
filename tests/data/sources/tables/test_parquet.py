"""Parquet files: what they hold, and what is wrong with them."""

import datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tallyloop.data import parquet
from tallyloop.data.sources.tables import arrow_rows
from tallyloop.data.sources.tables import parquet as parquet_module


@pytest.fixture
def file(tmp_path):
    """file(columns, name="a.parquet") -> its path."""

    def write(columns, name="a.parquet", **options):
        pq.write_table(pa.table(columns), tmp_path / name, **options)
        return str(tmp_path / name)

    return write


COLUMNS = {
    "i": pa.array([1, 2, 3], pa.uint8()),
    "f": pa.array([0.5, 1.5, 2.5], pa.float32()),
    "b": [True, False, True],
    "s": ["é", "", "c"],
    "bytes": [b"\0", b"a\0", b""],
    "category": pa.array(["u", "v", "u"]).dictionary_encode(),
    "vector": pa.array([[1, 2], [3, 4], [5, 6]], pa.list_(pa.int16())),
}
EXPECTED = {
    "i": np.array([1, 2, 3], np.uint8),
    "f": np.array([0.5, 1.5, 2.5], np.float32),
    "b": np.array([True, False, True]),
    "s": np.array(["é", "", "c"], object),
    "bytes": np.array([b"\0", b"a\0", b""], object),
    "category": np.array(["u", "v", "u"], object),
    "vector": np.array([[1, 2], [3, 4], [5, 6]], np.int16),
}


class TestColumns:
    @pytest.mark.parametrize("converted", [False, True])
    def test_of_all_types(self, file, by_number, monkeypatch, converted):
        if converted:
            monkeypatch.setattr(arrow_rows, "IN_MEMORY", 0)
            monkeypatch.setattr(parquet_module, "_BATCH", 1)  # a row at a time
        paths = [file(COLUMNS), file(COLUMNS, "b.parquet", row_group_size=2)]
        found = by_number(parquet(paths))
        assert found.keys() == EXPECTED.keys()
        for name, expected in EXPECTED.items():
            assert found[name].dtype == expected.dtype
            np.testing.assert_array_equal(found[name], np.concatenate([expected, expected]))

    def test_are_chosen_by_name_and_dtype(self, file, by_number):
        found = by_number(parquet(file(COLUMNS), {"s": "string", "i": "float64"}))
        assert list(found) == ["s", "i"]
        assert found["i"].dtype == np.float64

    def test_are_filled_where_a_value_is_missing(self, file, by_number):
        assert by_number(parquet(file({"x": [1, None]}), fill={"x": 7}))["x"].tolist() == [1, 7]


class TestRefused:
    @pytest.mark.parametrize(
        ("columns", "message"),
        [
            (
                {"x": [1, 2, None]},
                "a.parquet', row 2 (counted from 0): column 'x' has no value: expected one in each row",
            ),
            ({"x": [[1], [2], [3, 4]]}, "row 2 (counted from 0): column 'x' has a list of 2: expected 1 values"),
            ({"x": [[1], [None]]}, "column 'x' has missing values in its lists: expected numbers"),
            ({"x": [["a"]]}, "column 'x' has lists of string: expected lists of numbers"),
            (
                {"x": [datetime.datetime(2020, 1, 1)]},
                "column 'x' has type timestamp[us]: expected numbers, booleans, strings",
            ),
            ({"x": pa.array([], pa.int64())}, "have no rows: expected at least one"),
        ],
    )
    def test_columns(self, file, refused, columns, message):
        with refused(message):
            parquet(file(columns))

    def test_values(self, file, refused):
        with refused("column 'x' cannot be read as int8 (Integer value 300 not in range"):
            parquet(file({"x": [1, 300]}), {"x": "int8"})
        with refused("fill['x'] = 'a': expected a value of int64, as the column has"):
            parquet(file({"x": [1, None]}), fill={"x": "a"})

    def test_files_that_differ(self, file, refused):
        with refused("b.parquet' has other columns, types or lengths of lists (x: double) than "):
            parquet([file({"x": [1]}), file({"x": [1.5]}, "b.parquet")])

    def test_a_file_cut_anywhere(self, file, tmp_path, refused):
        content = open(file(COLUMNS), "rb").read()  # noqa: SIM115
        for length in np.random.default_rng(0).integers(0, len(content), 20):
            (tmp_path / "cut.parquet").write_bytes(content[:length])
            with refused("cut.parquet'"):
                parquet(tmp_path / "cut.parquet")

    def test_a_folder(self, tmp_path, refused):
        with refused("cannot be read"):
            parquet(tmp_path)
