"""Choosing and cleaning columns."""

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from tallyloop.data.sources.tables.columns import cleaned


@settings(max_examples=30, deadline=None)
@given(st.lists(st.one_of(st.none(), st.integers(-5, 5)), min_size=1, max_size=9), st.data())
def test_missing_values_are_filled_and_others_kept(values, data):
    cut = data.draw(st.integers(0, len(values)))
    column = pa.chunked_array([pa.array(values[:cut], pa.int64()), pa.array(values[cut:], pa.int64())])
    found = cleaned(pa.table({"x": column}), {"x": pa.float32()}, {"x": 9}, str)
    np.testing.assert_array_equal(found["x"].to_numpy(), [9 if value is None else value for value in values])


def test_categories_with_missing_values(refused):
    column = pa.array(["a", None, "b"]).dictionary_encode()
    assert cleaned(pa.table({"x": column}), {}, {"x": "?"}, str)["x"].to_pylist() == ["a", "?", "b"]
    with refused("row 1: column 'x' has no value"):
        cleaned(pa.table({"x": column}), {}, {}, lambda row: f"row {row}")
