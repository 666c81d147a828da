import numpy as np
import pytest
import tensorflow as tf
from tallyloop.metrics import Tally, UsageError
from tallyloop.metrics.device.grouped_sums import Unsummed, grouped_sums
from tallyloop.metrics.device.packing import layout_of, pack

TALLIES = {
    "z": Tally(tf.constant(1.5), tf.constant(2, tf.int64)),
    "matrix": Tally(tf.reshape(tf.range(6.0), [2, 3]), tf.constant(7.0)),
    "a/vector": Tally(tf.constant([8, 9], tf.int64), tf.constant([10, 11], tf.int64)),
    "half": Tally(tf.constant(0.25, tf.bfloat16), tf.constant(1, tf.int32)),
    "none": Tally(tf.zeros([0, 4]), tf.constant(3.0)),
}


class TestPack:
    def test_unpack_gives_every_number_back(self):
        layout = layout_of(TALLIES)
        vector = pack(TALLIES, layout)
        assert vector.dtype == tf.float64
        assert vector.shape == [layout.size] == [2 + 7 + 4 + 2 + 1]
        for unpacked in (layout.unpack(vector.numpy()), layout.unpack(vector)):
            assert list(unpacked) == sorted(TALLIES)
            for path, tally in TALLIES.items():
                for got, expected in zip(unpacked[path], tally, strict=True):
                    np.testing.assert_array_equal(np.asarray(got), expected.numpy().astype(float))
                    assert np.asarray(got).shape == tuple(expected.shape)

    def test_the_order_of_recording_does_not_matter(self):
        backwards, layout = dict(reversed(TALLIES.items())), layout_of(TALLIES)
        assert layout_of(backwards) == layout
        np.testing.assert_array_equal(pack(backwards, layout), pack(TALLIES, layout))

    @pytest.mark.parametrize("count", [2**24 + 1, 2**31 + 1, 2**53 - 1])
    def test_integers_stay_exact(self, count):
        tallies = {"m": Tally(tf.constant(count, tf.int64), tf.constant(count, tf.int64))}
        layout = layout_of(tallies)
        unpacked = layout.unpack(pack(tallies, layout).numpy())["m"]
        assert (int(unpacked.value), int(unpacked.count)) == (count, count)

    def test_no_tallies_are_an_empty_vector(self):
        vector = pack({}, layout_of({}))
        assert (vector.shape, vector.dtype) == ([0], tf.float64)
        assert layout_of({}).unpack(vector.numpy()) == {}

    def test_groups_stay_in_order(self):
        """Of two groups and two single metrics, whose dtypes alternate: a count is int64 without weights, else float32."""
        ones, twos = tf.constant([1.0, 10.0]), tf.constant([2.0, 20.0])
        contributions = {
            "a": Tally(tf.constant(5, tf.int64), tf.constant(6.0)),
            "b": Unsummed(ones, None), "c": Unsummed(twos, None),
            "d": Unsummed(ones, ones), "e": Unsummed(twos, ones),
            "f": Tally(tf.constant(7.0), tf.constant(8, tf.int64)),
        }  # fmt: skip
        tallies = grouped_sums(contributions)
        layout = layout_of(tallies)
        assert len(tallies.groups) == 2
        assert layout.unpack(pack(tallies, layout).numpy()) == {
            "a": (5, 6), "b": (11, 2), "c": (22, 2), "d": (101, 11), "e": (202, 11), "f": (7, 8),
        }  # fmt: skip

    def test_groups_are_not_stacked_again(self):
        @tf.function(autograph=False)
        def run():
            tallies = grouped_sums({name: Unsummed(tf.constant([1.0, 2.0]), None) for name in "abcd"})
            return pack(tallies, layout_of(tallies))

        packs = [op for op in run.get_concrete_function().graph.get_operations() if op.type == "Pack"]
        assert [op.inputs[0].shape for op in packs if len(op.inputs) == 4] == [[2]]  # the values, and no scalars

    def test_scalars_take_one_cast_per_dtype(self):
        tallies = {name: Tally(tf.constant(1.5), tf.constant(2, tf.int64)) for name in "abcd"}
        layout = layout_of(tallies)
        run = tf.function(lambda: pack(tallies, layout), autograph=False).get_concrete_function()
        assert [op.type for op in run.graph.get_operations()].count("Cast") == 2

    def test_one_metric_takes_few_operations(self):
        """A scalar pair of one dtype is stacked, and stands in the vector as it is: nothing to gather."""
        tallies = {"m": Tally(tf.constant(1.5), tf.constant(2.0))}
        layout = layout_of(tallies)
        run = tf.function(lambda: pack(tallies, layout), autograph=False).get_concrete_function()
        assert "GatherV2" not in {op.type for op in run.graph.get_operations()}

    def test_scalars_unpack_to_numbers(self):
        """Not to arrays: there are many, and slicing takes longer."""
        assert type(layout_of(TALLIES).unpack(pack(TALLIES, layout_of(TALLIES)).numpy())["z"].value) is np.float64


class TestLayout:
    def test_of_no_maxima_has_an_identity_of_zeros(self):
        identity = layout_of(TALLIES).identity()
        assert (identity.dtype, identity.numpy().tolist()) == (tf.float64, [0.0] * 16)

    def test_only_values_are_maxima(self):
        parts = layout_of(TALLIES, maxima=["z"]).parts
        assert [(part.path, part.field) for part in parts if part.is_max] == [("z", "value")]
        assert parts[-1] == (True, (), "z", "value")

    def test_the_fingerprint_is_the_same_in_every_process(self):
        """A checkpoint keeps it."""
        assert layout_of({"a": Tally(tf.zeros([2]), tf.constant(1.0))}, ["a"]).fingerprint() == 4211406640

    def test_maxima_come_last(self):
        layout = layout_of(TALLIES, maxima=["a/vector", "z"])
        assert layout.maxima == 3
        vector = pack(TALLIES, layout).numpy()
        assert sorted(vector[-3:]) == [1.5, 8.0, 9.0]
        assert layout.unpack(vector)["z"] == Tally(1.5, 2.0)

    def test_the_identity_changes_nothing(self):
        layout = layout_of(TALLIES, maxima=["z"])
        vector = pack(TALLIES, layout)
        np.testing.assert_array_equal(layout.combine(vector, layout.identity()), vector)
        assert layout.unpack(layout.identity().numpy())["z"] == Tally(-np.inf, 0.0)

    @pytest.mark.parametrize("maxima", [(), ("z",)])
    def test_combine_adds_sums_and_keeps_the_larger_maximum(self, maxima):
        layout = layout_of(TALLIES, maxima)
        vector = pack(TALLIES, layout)
        both = layout.unpack(layout.combine(vector, 3 * vector).numpy())
        assert both["z"] == Tally(4.5 if maxima else 6.0, 8.0)
        assert both["a/vector"].value.tolist() == [32.0, 36.0]
        rows = np.stack([vector, 3 * vector, layout.identity()])
        np.testing.assert_array_equal(layout.combine_rows(rows), layout.combine(vector, 3 * vector))

    def test_the_dtype_of_a_sum_changes_nothing(self):
        """A long sum is float64 where a short one is float32."""
        wide = {path: Tally(*(tf.cast(part, tf.float64) for part in tally)) for path, tally in TALLIES.items()}
        assert layout_of(wide) == layout_of(TALLIES)
        np.testing.assert_array_equal(pack(wide, layout_of(wide)), pack(TALLIES, layout_of(TALLIES)))

    @pytest.mark.parametrize("compiled", [False, True])
    def test_a_maximum_of_a_nan_is_nan(self, compiled):
        layout = layout_of({"z": TALLIES["z"]}, maxima=["z"])
        combine = tf.function(layout.combine, jit_compile=compiled)
        for a, b in ((np.nan, 1.0), (1.0, np.nan)):
            value = layout.unpack(
                combine(tf.constant([1.0, a], tf.float64), tf.constant([2.0, b], tf.float64)).numpy()
            )["z"]
            assert (value.count, str(value.value)) == (3.0, "nan")

    def test_the_fingerprint_tells_paths_shapes_and_maxima_apart(self):
        first = {"a": Tally(tf.zeros([2]), tf.constant(1.0))}
        others = [
            {"b": first["a"]},
            {"a": Tally(tf.zeros([3]), tf.constant(1.0))},
        ]
        found = [layout_of(each).fingerprint() for each in (first, *others)] + [layout_of(first, ["a"]).fingerprint()]
        assert len(set(found)) == len(found)
        assert layout_of(dict(first)).fingerprint() == found[0]

    def test_refuses_an_unknown_shape(self):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32)], autograph=False)
        def step(values):
            layout_of({"a/values": Tally(values, tf.size(values))})

        with pytest.raises(UsageError, match=r"'a/values': expected a value of a fixed shape, got \(None,\)"):
            step(tf.ones([3]))
