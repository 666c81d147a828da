"""Anything with a length, as rows by number."""

import numpy as np
import pytest
from tallyloop.data.sources.storage.rows import as_rows, objects, stack


class Squares:
    """A source of ten lines, as a user writes it."""

    fingerprint = "squares"

    def __len__(self):
        return 5

    def __getitem__(self, row):
        return {"x": np.full(2, row**2), "name": f"row {row}"}


class ListOfRows(Squares):
    def __getitems__(self, rows):
        return [self[row] for row in rows]


class TestAsRows:
    @pytest.mark.parametrize("source", [Squares, Squares(), ListOfRows()])
    def test_objects_that_give_examples(self, by_number, source):
        rows = as_rows("Mixture.sources", source)
        found = by_number(rows)
        assert found["x"][:, 0].tolist() == [0, 1, 4, 9, 16]
        assert found["name"].tolist() == [f"row {row}" for row in range(5)]
        assert rows.fingerprint == "squares"

    def test_arrays(self, by_number):
        assert by_number(as_rows("Mixture.sources", lambda: {"x": [1, 2, 3]}))["x"].tolist() == [1, 2, 3]

    def test_others_are_refused(self, refused):
        with refused(
            "Mixture.sources = 3: expected arrays, or an object with __len__ and __getitems__ or __getitem__, got a int"
        ):
            as_rows("Mixture.sources", 3)


class TestStack:
    def test_keeps_bytes_whole(self):
        assert stack([{"x": b"a\0"}, {"x": b""}])["x"].tolist() == [b"a\0", b""]
        assert objects([[1], [2]]).tolist() == [[1], [2]]

    def test_refuses_what_differs(self, refused):
        with refused("rows of the source differ in keys: expected ['x'] in each"):
            stack([{"x": 1}, {"y": 1}])
        with refused("rows of the source: 'x' has shapes (2,) and (3,): expected one shape; pad it"):
            stack([{"x": [1, 2, 3]}, {"x": [1, 2]}])
        with refused("expected a dict such as {'x': ..., 'y': ...}, got int"):
            stack([1, 2])
