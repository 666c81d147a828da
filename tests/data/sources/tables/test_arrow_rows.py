"""Arrow tables by row number."""

import sys

import numpy as np
import pyarrow as pa
import pytest
from tallyloop.data.sources.tables import arrow_rows
from tallyloop.data.sources.tables.arrow_rows import ArrowRows


def test_rows_of_uneven_and_empty_chunks(by_number):
    column = pa.chunked_array([pa.array([1, 2, 3]), pa.array([], pa.int64()), pa.array([4])])
    found = by_number(ArrowRows(pa.table({"x": column}), "f"))
    assert found["x"].tolist() == [1, 2, 3, 4]
    assert ArrowRows(pa.table({"x": column}), "f").__getitems__(np.array([], int))["x"].shape == (0,)


def test_slices_begin_at_their_offset(by_number):
    table = pa.table({"v": pa.array([[i, -i] for i in range(6)], pa.list_(pa.int32(), 2)), "b": [True, False] * 3})
    found = by_number(ArrowRows(table.slice(3, 2), "f"))
    assert found["v"].tolist() == [[3, -3], [4, -4]]
    assert found["b"].tolist() == [False, True]


@pytest.mark.parametrize("module", ["pyarrow", "pyarrow.csv"])
def test_a_missing_pyarrow_is_named(refused, monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    with refused('pip install "tallyloop[tables]"'):
        arrow_rows.pyarrow(module)
