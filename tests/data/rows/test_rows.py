"""What is taken for rows by number, and how their examples are stacked."""

import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data.rows.loader import element_spec
from tallyloop.data.rows.rows import as_rows, of_arrays, rows_of, stacked
from tallyloop.metrics.errors import DataError, UsageError

SQUARES = [{"x": np.float32(i * i), "name": f"row {i}"} for i in range(5)]


class ByNumber:
    """Ten lines of a user's."""

    fingerprint = "squares"

    def __len__(self):
        return 5

    def __getitem__(self, i):
        return SQUARES[i]


class ByNumbers(ByNumber):
    def __getitems__(self, rows):
        return {"x": np.array(rows, np.float32) ** 2, "name": [f"row {i}" for i in rows]}


class InAList(ByNumber):
    """As PyTorch's loaders take them."""

    def __getitems__(self, rows):
        return [SQUARES[i] for i in rows]


class OfTensorFlowDatasets(InAList):
    """As its data sources take them."""

    def __getitems__(self, rows):
        return super().__getitems__(rows) if rows else []


OfTensorFlowDatasets.__module__ = "tensorflow_datasets.core.data_sources.base"


def spec_of(rows):
    """The spec of its first example."""
    return element_spec(lambda: [rows.examples(np.zeros(1, np.int64))])


class TestAsRows:
    @pytest.mark.parametrize(
        "source",
        [SQUARES, ByNumber(), ByNumbers(), InAList(), OfTensorFlowDatasets()],
        ids=lambda each: type(each).__name__,
    )
    def test_any_rows_in_any_order(self, source):
        rows = as_rows(source)
        assert rows.length == 5
        found = rows.examples(np.array([3, 0, 3]))
        assert found["x"].tolist() == [9, 0, 9]
        assert found["name"].tolist() == [b"row 3", b"row 0", b"row 3"]
        assert spec_of(rows) == {"x": tf.TensorSpec([], tf.float32), "name": tf.TensorSpec([], tf.string)}

    def test_bytes_keep_their_zeros(self):
        rows = as_rows([{"x": b"a\0"}, {"x": b"\0\0"}])
        assert rows.examples(np.array([1, 0]))["x"].tolist() == [b"\0\0", b"a\0"]

    def test_has_the_fingerprint_of_the_source(self):
        assert as_rows(ByNumber()).fingerprint == "squares"
        assert as_rows(SQUARES).fingerprint == ""

    @pytest.mark.parametrize(
        "source", [{"x": np.zeros(3)}, (np.zeros(3),), np.zeros(3), tf.data.Dataset.range(3), "path", len, ByNumber]
    )
    def test_leaves_the_others(self, source):
        assert as_rows(source) is None

    def test_memory_mapped_arrays(self, tmp_path):
        np.save(tmp_path / "x.npy", np.arange(6).reshape(3, 2))
        mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
        rows = as_rows({"x": mapped, "y": np.arange(3)})
        assert rows.examples(np.array([2, 1]))["x"].tolist() == [[4, 5], [2, 3]]
        with pytest.raises(UsageError, match=r"different lengths \{'x': 3, 'y': 4\}"):
            as_rows({"x": mapped, "y": np.arange(4)})

    def test_refuses_none_at_all(self):
        with pytest.raises(UsageError, match=r"no examples.*got a list of length 0"):
            as_rows([])

    def test_refuses_what_has_no_end(self):
        """As Grain repeats a dataset: its length is the largest there is, and an evaluation would never end."""

        class Repeated(ByNumber):
            def __len__(self):
                return sys.maxsize

        with pytest.raises(UsageError, match=r"never ends: .* got that of an endless Repeated; remove its"):
            as_rows(Repeated())


class TestRowsOf:
    """Any source but a stream, for the sources that are made of others."""

    @pytest.mark.parametrize(
        "source", [{"x": [1, 2, 3]}, lambda: {"x": [1, 2, 3]}, [{"x": 1}, {"x": 2}, {"x": 3}], ({"x": [1, 2, 3]},)]
    )
    def test_gathers(self, source):
        found = rows_of(source, "Mixture.sources, source 0").examples(np.array([2, 0]))
        assert (found[0] if isinstance(found, tuple) else found)["x"].tolist() == [3, 1]

    def test_refuses_the_others(self):
        with pytest.raises(UsageError, match=r"Mixture.sources, source 0: expected arrays, or an object .* got a int"):
            rows_of(3, "Mixture.sources, source 0")

    def test_names_the_origin(self):
        with pytest.raises(DataError, match=r"^Mixture.sources, source 0, row 1"):
            rows_of([{"x": 1}, None], "Mixture.sources, source 0").examples(np.array([0, 1]))


class TestMemoryMaps:
    @pytest.fixture
    def mapped(self, tmp_path):
        np.save(tmp_path / "x.npy", np.arange(10).reshape(5, 2))
        return np.load(tmp_path / "x.npy", mmap_mode="r")

    def test_beside_lists(self, mapped):
        found = as_rows({"x": mapped, "y": ([1, 2, 3, 4, 5], ["a", "b", "c", "d", "e"])}).examples(np.array([3, 0]))
        assert found["x"].tolist() == [[6, 7], [0, 1]]
        assert found["y"][0].tolist() == [4, 1]
        assert found["y"][1].tolist() == [b"d", b"a"]

    @pytest.mark.parametrize(
        ("other", "message"),
        [
            (3, "'y' is a single value: expected an array with one row per example"),
            ([1, 2], "arrays of different lengths {'x': 5, 'y': 2}"),
            (np.array([1, "a", 2, 3, 4], object), "'y' has dtype object, which holds Python objects: expected numbers"),
        ],
    )
    def test_refuses_what_is_no_array_of_the_same_length(self, mapped, other, message):
        with pytest.raises(UsageError, match=message):
            as_rows({"x": mapped, "y": other})


class TestTables:
    @pytest.mark.parametrize("name", ["pandas.DataFrame", "pyarrow.Table"])
    def test_are_refused_with_the_fix(self, name):
        """Their [0] is a column, or missing."""
        library, kind = name.split(".")
        columns = {"__len__": lambda self: 5, "__getitem__": lambda self, key: {"x": 1}[key]}
        table = type(kind, (), {"__module__": f"{library}.core", **columns})()
        with pytest.raises(UsageError, match=rf"expected rows by number, got a {name}.*table\[name\].to_numpy"):
            as_rows(table)


class TestKeras:
    def test_batches_are_refused_with_the_fix(self):
        class Batches(keras.utils.PyDataset):
            def __len__(self):
                return 2

            def __getitem__(self, index):
                return np.zeros([8, 3]), np.zeros([8])

        message = (
            r"expected rows by number, got Batches, a keras\.utils\.PyDataset, whose items are whole batches; give"
        )
        with pytest.raises(UsageError, match="the source of Input: " + message):
            as_rows(Batches())
        with pytest.raises(UsageError, match="Mixture.sources, source 0: " + message):
            rows_of(Batches, "Mixture.sources, source 0")


class TestExamples:
    def test_names_the_row_that_cannot_be_read(self):
        class Torn(ByNumber):
            def __getitem__(self, i):
                if i == 3:
                    raise OSError("torn")
                return SQUARES[i]

        with pytest.raises(DataError, match="source of Input, row 3: OSError: torn"):
            as_rows(Torn()).examples(np.array([1, 3, 2]))

    def test_quotes_what_our_own_sources_say(self):
        """Without the name of the error's class, which says nothing to a user."""

        class Damaged(ByNumber):
            def __getitem__(self, i):
                raise UsageError("images: 'x.jpg' starts with 68")

        with pytest.raises(DataError, match=r"^the source of Input, row 1: images: 'x\.jpg' starts"):
            as_rows(Damaged()).examples(np.array([1]))

    def test_names_rows_that_do_not_stack(self):
        ragged = [np.zeros(i + 1) for i in range(4)]
        with pytest.raises(DataError, match="source of Input, row 2, is unlike row 1: ValueError: all input arrays"):
            as_rows(ragged).examples(np.array([1, 2]))

    def test_counts_what_getitems_returns(self):
        class Short(ByNumber):
            def __getitems__(self, rows):
                return {"x": np.zeros(1)}

        with pytest.raises(DataError, match="returned 1 values of 'x' for 2 rows"):
            as_rows(Short()).examples(np.array([1, 2]))

    def test_counts_the_examples_of_a_list(self):
        class Short(ByNumber):
            def __getitems__(self, rows):
                return [SQUARES[0]]

        with pytest.raises(DataError, match="returned 1 examples for 2 rows"):
            as_rows(Short()).examples(np.array([1, 2]))

    def test_a_list_is_an_array(self):
        """As in NumPy and `tf.data`: rows of JSON, and those of a Hugging Face dataset."""
        found = as_rows([{"x": [1, 2, 3]}, {"x": [4, 5, 6]}, {"x": [7, 8, 9]}]).examples(np.array([2, 0]))
        assert found["x"].tolist() == [[7, 8, 9], [1, 2, 3]]

    def test_getitems_may_return_dicts_of_dicts(self):
        class Nested(ByNumber):
            def __getitems__(self, rows):
                return {"inputs": {"x": rows, "name": [str(row) for row in rows]}, "y": (rows, rows + 1)}

        found = as_rows(Nested()).examples(np.array([2, 0]))
        assert found["inputs"]["x"].tolist() == [2, 0]
        assert found["inputs"]["name"].tolist() == [b"2", b"0"]
        assert found["y"][1].tolist() == [3, 1]


class TestElementSpec:
    def test_refuses_objects(self):
        with pytest.raises(UsageError, match=r"row 0: expected arrays, numbers or strings.*Python objects"):
            spec_of(as_rows([{"x": object()}]))

    def test_of_arrays_and_tuples(self):
        assert spec_of(of_arrays({"x": np.zeros([4, 3], np.uint8)}, in_memory=True)) == {
            "x": tf.TensorSpec([3], tf.uint8)
        }
        assert spec_of(as_rows([(1.5, True)])) == (tf.TensorSpec([], tf.float64), tf.TensorSpec([], tf.bool))


class TestStacked:
    def test_refuses_other_shapes(self):
        with pytest.raises(ValueError, match="same shape"):
            stacked([np.zeros(2), np.zeros(3)])
