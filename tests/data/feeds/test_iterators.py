"""The state of `tf.data` iterators."""

import pytest
import tensorflow as tf
from tallyloop.data.feeds.iterators import can_be_saved, restart_iterator, serialize_iterator

NUMBERS = tf.data.Dataset.range(5)


def from_python():
    return tf.data.Dataset.from_generator(lambda: iter(range(3)), output_signature=tf.TensorSpec([], tf.int64))


def test_the_state_is_what_a_checkpoint_restores(tmp_path):
    iterator, resumed = iter(NUMBERS), iter(NUMBERS)
    assert [int(next(iterator)) for _ in range(2)] == [0, 1]
    state = serialize_iterator(iterator)
    (resource,) = tf.nest.flatten(resumed, expand_composites=True)
    tf.raw_ops.DeserializeIterator(resource_handle=resource, serialized=state)
    assert int(next(resumed)) == 2


def test_state_outside_the_pipeline_is_refused():
    with pytest.raises(tf.errors.FailedPreconditionError):
        serialize_iterator(iter(from_python()))


def test_restarting_keeps_the_resource():
    iterator = iter(NUMBERS)
    next(iterator)
    following = tf.function(lambda: iterator.get_next())
    assert int(following()) == 1
    restart_iterator(iterator, NUMBERS.skip(3))
    assert int(following()) == 3


class TestCanBeSaved:
    @pytest.mark.parametrize("make", [lambda: NUMBERS, lambda: NUMBERS.map(lambda i: i + 1).batch(2).repeat()])
    def test_what_is_pure(self, make):
        assert can_be_saved(make())

    @pytest.mark.parametrize(
        "make",
        [
            from_python,
            lambda: NUMBERS.shuffle(3),
            lambda: NUMBERS.flat_map(lambda _: NUMBERS.shuffle(3, seed=1)),
            lambda: NUMBERS.map(lambda i: tf.random.uniform([])),
        ],
        ids=["python", "shuffle", "shuffle inside", "random"],
    )
    def test_not_what_has_state_outside(self, make):
        assert not can_be_saved(make())
