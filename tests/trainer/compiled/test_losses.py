"""What a compiled loss is on parts of a batch, and what has no meaning there."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tallyloop.metrics import Tally
from tallyloop.metrics.errors import UsageError
from tallyloop.trainer.compiled.arguments import OutputLoss
from tallyloop.trainer.compiled.losses import check_rows_apart, losses_of

Y = tf.constant([[1.0, 2.0, 3.0], [0.0, 1.0, 0.0]])
OUT = tf.constant([[2.0, 4.0, 3.0], [3.0, 1.0, 4.0]])  # squares: 1 4 0 and 9 0 16


class Squares(keras.losses.Loss):
    def call(self, y_true, y_pred):
        return keras.ops.square(y_true - y_pred)


def entry(loss):
    return OutputLoss(loss, None, "loss", 0, 0, None)


def losses(reduction="sum_over_batch_size", weights=None, mask=None, loss=None):
    out = tf.identity(OUT)
    if mask is not None:
        out._keras_mask = tf.constant(mask)
    found = losses_of(entry(loss or Squares(reduction=reduction)), Y, out, weights)
    return [float(part) for part in found] if isinstance(found, Tally) else found.numpy().tolist()


class TestReduction:
    def test_of_examples(self):
        assert losses() == pytest.approx([5 / 3, 25 / 3])
        assert losses(weights=tf.constant([[1.0], [2.0]])) == pytest.approx([5 / 3, 50 / 3])

    def test_sum_is_a_mean_times_the_examples(self):
        assert losses("sum") == [10, 50]  # their mean is the sum, 30

    def test_unmasked_elements_count(self):
        mask = [[True, True, False], [True, False, False]]
        assert losses(mask=mask) == [14, 3]
        assert losses(mask=mask, weights=tf.constant([[1.0, 2.0, 5.0], [1.0, 1.0, 1.0]])) == [18, 3]

    def test_weights_count(self):
        weights = tf.constant([[1.0, 2.0, 0.0], [3.0, 0.0, 0.0]])
        assert losses("mean_with_sample_weight", weights) == [36, 6]
        assert losses("mean_with_sample_weight", weights, [[True, True, False], [False] * 3]) == [9, 3]
        assert losses("mean_with_sample_weight") == pytest.approx([5 / 3, 25 / 3])

    def test_a_masked_nan_does_not_count(self):
        out = tf.constant([[2.0, np.nan, 3.0], [3.0, 1.0, 4.0]])
        out._keras_mask = tf.constant([[True, False, True], [True, True, True]])
        found = losses_of(entry(Squares()), Y, out, None)
        assert [float(part) for part in found] == [26, 5]

    @pytest.mark.parametrize("reduction", ["sum", "sum_over_batch_size", "mean_with_sample_weight"])
    @pytest.mark.parametrize("mask", [None, [[True, True, False], [True, False, False]]], ids=["all", "masked"])
    def test_as_keras_on_one_device(self, reduction, mask):
        weights = tf.constant([[1.0, 2.0, 5.0], [0.5, 1.0, 1.0]])
        out = tf.identity(OUT)
        if mask is not None:
            out._keras_mask = tf.constant(mask)
        expected = float(Squares(reduction=reduction)(Y, out, weights))
        found = losses_of(entry(Squares(reduction=reduction)), Y, out, weights)
        mean = found.value / found.count if isinstance(found, Tally) else tf.reduce_mean(found)
        assert float(mean) == pytest.approx(expected, rel=1e-6)

    def test_a_number_for_a_batch_is_its_mean(self):
        assert losses(loss=_Wrapped()) == [3.0, 3.0]
        assert losses(loss=_Wrapped(), weights=tf.constant([1.0, 2.0])) == [3.0, 6.0]


class _Wrapped(keras.losses.Loss):
    def call(self, y_true, y_pred):
        return keras.ops.convert_to_tensor(3.0)


class TestRefused:
    def test_a_number_for_a_batch_on_replicas(self, mirrored_on):
        with (
            mirrored_on(2).scope(),
            pytest.raises(UsageError, match="'batch_mean' returns one number for a whole batch"),
        ):
            losses(loss=_Wrapped(name="batch_mean"))

    def test_no_reduction(self):
        with pytest.raises(UsageError, match=r"reduction=None.*expected reduction='sum'"):
            losses(None)

    @pytest.mark.parametrize("shape", [(2,), (2, 2), (2, 3, 4)], ids=str)
    def test_weights_of_another_shape(self, shape):
        with pytest.raises(UsageError, match=r"sample_weight of shape \(batch.*expected that shape"):
            losses(weights=tf.ones(shape))

    @pytest.mark.parametrize(
        ("of", "told"),
        [
            (lambda y, out: y[:, :1] - out[:, 0], "compares each example with every other one"),
            (lambda y, out: keras.ops.reshape(y - out, [-1]), "don't flatten it"),
        ],
        ids=["matrix", "flat"],
    )
    def test_rows_that_are_mixed(self, of, told):
        class Mixed(keras.losses.Loss):
            def call(self, y_true, y_pred):
                return of(y_true, y_pred)

        with pytest.raises(UsageError, match=told):
            check_rows_apart(entry(Mixed()), tf.ones([3, 3]), tf.zeros([3, 3]))

    def test_rows_apart_are_not(self):
        check_rows_apart(entry(Squares()), tf.ones([3, 3]), tf.zeros([3, 3]))
        check_rows_apart(entry(_Wrapped()), tf.ones([3, 3]), tf.zeros([3, 3]))
