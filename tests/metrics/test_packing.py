import numpy as np
import pytest
import tensorflow as tf
from tallyloop.metrics import Tally, UsageError
from tallyloop.metrics.device.packing import layout_of, pack

TALLIES = {
    "z": Tally(tf.constant(1.5), tf.constant(2, tf.int64)),
    "matrix": Tally(tf.reshape(tf.range(6.0), [2, 3]), tf.constant(7.0)),
    "a/vector": Tally(tf.constant([8, 9], tf.int64), tf.constant([10, 11], tf.int64)),
    "half": Tally(tf.constant(0.25, tf.bfloat16), tf.constant(1, tf.int32)),
    "none": Tally(tf.zeros([0, 4]), tf.constant(3.0)),
}


def test_packing_and_unpacking_give_every_number_back():
    layout = layout_of(TALLIES)
    vector = pack(TALLIES, layout)
    assert vector.dtype == tf.float64
    assert vector.shape == [layout.size] == [2 + 7 + 4 + 2 + 1]
    for unpacked in (layout.unpack(vector.numpy()), layout.unpack(vector)):
        assert list(unpacked) == sorted(TALLIES)
        for path, tally in TALLIES.items():
            for got, wanted in zip(unpacked[path], tally, strict=True):
                np.testing.assert_array_equal(np.asarray(got), wanted.numpy().astype(float))
                assert np.asarray(got).shape == tuple(wanted.shape)


def test_the_order_of_recording_does_not_matter():
    backwards = dict(reversed(TALLIES.items()))
    assert layout_of(backwards) == layout_of(TALLIES)
    layout = layout_of(TALLIES)
    np.testing.assert_array_equal(pack(backwards, layout), pack(TALLIES, layout))


@pytest.mark.parametrize("count", [2**24 + 1, 2**31 + 1, 2**53 - 1])
def test_integers_stay_exact(count):
    tallies = {"m": Tally(tf.constant(count, tf.int64), tf.constant(count, tf.int64))}
    layout = layout_of(tallies)
    unpacked = layout.unpack(pack(tallies, layout).numpy())["m"]
    assert (int(unpacked.value), int(unpacked.count)) == (count, count)


def test_no_tallies_are_an_empty_vector():
    vector = pack({}, layout_of({}))
    assert vector.shape == [0]
    assert layout_of({}).unpack(vector.numpy()) == {}


def test_an_unknown_shape_is_refused_by_the_metrics_name():
    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32)], autograph=False)
    def step(values):
        layout_of({"a/values": Tally(values, tf.size(values))})

    with pytest.raises(UsageError, match="'a/values' has a value of unknown shape"):
        step(tf.ones([3]))
