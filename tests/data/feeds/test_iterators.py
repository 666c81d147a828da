"""The state of `tf.data` iterators."""

import pytest
import tensorflow as tf
from tallyloop.data import Input
from tallyloop.data.feeds.iterators import can_be_saved, refuse_batched, restart_iterator, serialize_iterator

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


PAIRS = tf.data.Dataset.from_tensor_slices((tf.zeros([10, 3]), tf.range(10)))
SERIES = tf.data.Dataset.range(20)


class TestRefuseBatched:
    @pytest.mark.parametrize(
        "make",
        [
            lambda: PAIRS.batch(4),
            lambda: PAIRS.batch(5, drop_remainder=True),
            lambda: PAIRS.batch(4, num_parallel_calls=2),
            lambda: PAIRS.padded_batch(4),
            lambda: PAIRS.batch(2).rebatch(4),
            lambda: PAIRS.batch(4).map(lambda x, y: (x + 1, y)).cache().shuffle(3).repeat().prefetch(2),
            lambda: PAIRS.batch(5, drop_remainder=True).map(lambda x, y: {"x": x, "y": y}, num_parallel_calls=2),
            lambda: PAIRS.batch(4).take(1).with_options(tf.data.Options()),
            lambda: PAIRS.batch(4).unbatch().batch(4),
            lambda: SERIES.batch(4),
            lambda: SERIES.batch(4).map(lambda x: x + 1),
        ],
    )
    def test_batches(self, refused, make):
        with refused("the source of Input: expected a tf.data.Dataset of single examples, got batches, "):
            refuse_batched(make())

    @pytest.mark.parametrize(
        "make",
        [
            lambda: PAIRS,
            lambda: PAIRS.batch(4).unbatch(),
            lambda: PAIRS.padded_batch(4).unbatch().prefetch(2),
            lambda: PAIRS.batch(4).flat_map(lambda x, y: tf.data.Dataset.from_tensors((x, y))),
            lambda: PAIRS.batch(4).map(lambda x, y: {"x": x, "y": y[-1]}),
            lambda: SERIES.batch(5).map(lambda window: {"x": window[:-1], "y": window[1:]}),
            lambda: SERIES.batch(5, drop_remainder=True).map(lambda window: (window[:-1], window[-1])),
            lambda: SERIES.batch(5, drop_remainder=True),
            lambda: SERIES.window(5, drop_remainder=True).flat_map(lambda window: window.batch(5)),
            lambda: tf.data.Dataset.zip((PAIRS, PAIRS)),
        ],
    )
    def test_not_single_examples_or_windows(self, make):
        refuse_batched(make())

    def test_a_source_at_once(self, refused):
        """With a batch size that divides their number, no batch would have been short."""
        with refused("remove the .batch(...), or append .unbatch()"):
            Input(lambda: PAIRS.batch(5), 2).open_train()
        with refused("got batches"):
            Input(PAIRS.batch(5), 2, cache=True).open_eval()
