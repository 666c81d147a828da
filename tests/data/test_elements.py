"""Checks of the elements of a dataset."""

import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data.elements import (
    check_batchable,
    check_filled,
    has_examples,
    refuse_endless,
    spec_bytes,
    zeros_like_spec,
)

NUMBERS = tf.data.Dataset.range(5)


def of_shape(shape):
    def generated():
        yield np.zeros([2, 3])

    return tf.data.Dataset.from_generator(generated, output_signature=tf.TensorSpec(shape))


class TestBatchable:
    def test_refuses_ragged_tensors(self, refused):
        ragged = NUMBERS.map(lambda i: tf.RaggedTensor.from_tensor([[i]]))
        with refused("it gives RaggedTensorSpec in its elements: expected dense tensors; call .to_tensor()"):
            check_batchable(ragged.element_spec, "it")

    def test_refuses_an_unknown_rank(self, refused):
        with refused("it gives a tensor of unknown rank"):
            check_batchable(of_shape(None).element_spec, "it")

    def test_accepts_an_unknown_size(self):
        check_batchable(of_shape([None, 3]).element_spec, "it")


class TestFilled:
    @pytest.mark.parametrize("examples", [NUMBERS, NUMBERS.filter(lambda i: i >= 0)], ids=["known", "unknown"])
    def test_counts_up_to_the_least(self, refused, examples):
        check_filled(examples, least=5)
        with refused("the source of Input has 5 examples: expected at least 6 for one full batch"):
            check_filled(examples, least=6)

    @pytest.mark.parametrize("examples", [NUMBERS.take(0), NUMBERS.filter(lambda i: i > 9)], ids=["known", "unknown"])
    def test_refuses_an_empty_source(self, refused, examples):
        with refused("the source of Input has no examples: expected at least one"):
            check_filled(examples, least=1)

    def test_does_not_read_an_endless_source_to_its_end(self):
        check_filled(NUMBERS.repeat(), least=100)


def test_endless_datasets_are_refused(refused):
    refuse_endless(NUMBERS, "a pass has an end")
    with refused("a pass has an end, but the source never ends: remove its .repeat()"):
        refuse_endless(NUMBERS.repeat(), "a pass has an end")


def test_a_source_with_examples_is_not_empty():
    assert has_examples(NUMBERS)
    assert not has_examples(NUMBERS.take(0))


def test_zeros_like_a_spec():
    zeros = zeros_like_spec(tf.TensorSpec([None, 3], tf.int32), unknown=2)
    np.testing.assert_array_equal(zeros, np.zeros([2, 3]))
    assert zeros.dtype == tf.int32


class TestSpecBytes:
    @pytest.mark.parametrize(
        ("spec", "expected"),
        [
            ({"x": tf.TensorSpec([None, 2, 3]), "y": tf.TensorSpec([None], tf.int64)}, 2 * 3 * 4 + 8),
            (tf.TensorSpec([8, 5], tf.bool), 5),
            (tf.TensorSpec([None, None]), None),
            ((tf.TensorSpec([None]), tf.TensorSpec([None], tf.string)), None),
        ],
        ids=["nest", "full batch", "open shape", "text"],
    )
    def test_are_those_of_one_example(self, spec, expected):
        assert spec_bytes(spec) == expected
