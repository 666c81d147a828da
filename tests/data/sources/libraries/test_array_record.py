"""ArrayRecord files."""

import sys

import numpy as np
import pytest
from tallyloop.data import array_record

module = pytest.importorskip(
    "array_record.python.array_record_module",
    reason='array_record is not installed: pip install "tallyloop[array_record]"',
)


@pytest.fixture
def files(tmp_path, record):
    """Two files with the examples 0-4 and 5-6."""
    for name, numbers in (("a", range(5)), ("b", range(5, 7))):
        writer = module.ArrayRecordWriter(str(tmp_path / f"{name}.array_record"), "group_size:1")
        for number in numbers:
            writer.write(record(number))
        writer.close()
    return f"{tmp_path}/*.array_record"


class TestRows:
    def test_are_parsed(self, files, features, by_number):
        found = by_number(array_record(files, features))
        assert found["y"].tolist() == list(range(7))
        np.testing.assert_array_equal(found["x"][3], [3, 3.5])

    def test_or_are_bytes(self, files, record, by_number):
        source = array_record(files)
        assert by_number(source)["record"].tolist() == [record(number) for number in range(7)]
        assert source.__getitems__(np.array([], np.int64))["record"].shape == (0,)


class TestRefused:
    def test_features(self, files, refused):
        with refused("array_record.features: 'x' is 'float33': expected a dtype"):
            array_record(files, {"x": "float33"})
        source = array_record(files, {"z": "int64"})
        with refused("record 6 (counted from 0): "):
            source.__getitems__(np.array([6]))

    def test_other_files(self, tmp_path, refused):
        (tmp_path / "a").write_bytes(b"no records")
        with refused("a']: expected ArrayRecord files, got "):
            array_record(tmp_path / "a")

    def test_a_missing_library(self, files, refused, monkeypatch):
        monkeypatch.setitem(sys.modules, "array_record.python.array_record_data_source", None)
        with refused('pip install "tallyloop[array_record]"'):
            array_record(files)
