"""Gradients by rows and dense ones: sums, and what becomes dense."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tallyloop.trainer.step.gradients import _FACTOR, _hashed, changed, dense, numbers, of_variable, total


def rows(*pairs):
    numbers, values = zip(*pairs, strict=True)
    return tf.IndexedSlices(tf.constant(values), tf.constant(numbers), tf.constant([4, 2]))


TWICE = rows((3, [1.0, 2.0]), (0, [5.0, 6.0]), (3, [10.0, 20.0]))
DENSE = [[5, 6], [0, 0], [0, 0], [11, 22]]


@pytest.fixture
def variable():
    return keras.Variable(np.zeros((4, 2), np.float32))


class TestOfVariable:
    def test_has_each_row_once(self, variable):
        found = of_variable(TWICE, variable, by_rows=True)
        assert found.indices.numpy().tolist() == [3, 0]
        assert found.values.numpy().tolist() == [[11, 22], [5, 6]]

    def test_is_dense_if_rows_are_not_wanted(self, variable):
        assert of_variable(TWICE, variable, by_rows=False).numpy().tolist() == DENSE

    @pytest.mark.parametrize(
        "whole", [lambda table: tf.reduce_sum(table**2), lambda table: tf.reduce_sum(table @ [[1.0], [1]])]
    )
    def test_is_dense_if_the_table_is_used_as_a_whole_too(self, variable, whole):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.gather(variable.value, [1, 1])) + whole(variable.value + 1)
        found = of_variable(tape.gradient(loss, variable.value), variable, by_rows=True)
        assert isinstance(found, tf.Tensor)
        assert (found[1] - found[0]).numpy().tolist() == [2, 2]

    def test_has_the_shape_of_the_variable_where_its_own_is_unknown(self, variable):
        unknown = tf.function(
            lambda gradient: of_variable(gradient, variable, by_rows=False), input_signature=[tf.TensorSpec(None)]
        )
        assert unknown.get_concrete_function().output_shapes == (4, 2)


class TestInXla:
    """Where shapes are fixed: a row that comes again has zeros."""

    @staticmethod
    def of(gradient, variable):
        return tf.function(
            lambda: of_variable(gradient, variable, by_rows=True, in_xla=True), jit_compile=True, autograph=False
        )()

    def test_has_each_row_once(self, variable):
        found = self.of(TWICE, variable)
        assert found.indices.numpy().tolist() == [3, 0, 3]
        assert found.values.numpy().tolist() == [[0, 0], [5, 6], [11, 22]]
        assert dense(found).numpy().tolist() == DENSE

    def test_leaves_out_numbers_that_are_none_of_a_row(self, variable):
        """XLA reads some other row there."""
        found = self.of(rows((-1, [1.0, 1.0]), (0, [5.0, 6.0]), (4, [1.0, 1.0])), variable)
        assert found.values.numpy().tolist() == [[0, 0], [5, 6], [0, 0]]

    @pytest.mark.parametrize("count", [0, 1])
    def test_of_few(self, variable, count):
        few = tf.IndexedSlices(tf.ones((count, 2)), tf.fill([count], 2), tf.constant([4, 2]))
        assert dense(self.of(few, variable)).numpy().sum(1).tolist() == [0, 0, 2 * count, 0]

    def test_of_as_many_as_the_table_has_is_dense(self, variable):
        found = self.of(rows(*((3, [1.0, 2.0]) for _ in range(4))), variable)
        assert isinstance(found, tf.Tensor)
        assert found.numpy().tolist() == [[0, 0], [0, 0], [0, 0], [4, 8]]

    def test_tells_of_a_sum_that_overflows(self, variable):
        large = self.of(rows((3, [3e38, 0.0]), (3, [3e38, 0.0])), variable)
        assert not np.isfinite(numbers(large)).all()

    def test_total_has_each_row_once(self):
        other = tf.IndexedSlices(tf.ones((2, 2)), tf.constant([1, 3], tf.int64), tf.constant([4, 2], tf.int64))
        once = rows((3, [1.0, 2.0]), (0, [5.0, 6.0]))
        both = tf.function(lambda: total(once, other, in_xla=True), jit_compile=True)()
        assert both.indices.numpy().tolist() == [3, 0, 1, 3]
        assert both.values.numpy().tolist() == [[0, 0], [5, 6], [1, 1], [2, 3]]

    def test_adds_up_thousands_of_rows_of_which_many_come_again(self):
        drawn = np.random.default_rng(0).zipf(1.2, 5000) % 20_000
        values = np.random.default_rng(1).integers(0, 9, (5000, 1)).astype(np.float32)
        expected = np.zeros((20_000, 1), np.float32)
        np.add.at(expected, drawn, values)
        slices = tf.IndexedSlices(tf.constant(values), tf.constant(drawn), tf.constant([20_000, 1], tf.int64))
        found = self.of(slices, keras.Variable(np.zeros((20_000, 1), np.float32)))
        last = {row: place for place, row in enumerate(drawn)}
        again = [place for place, row in enumerate(drawn) if last[row] != place]
        assert len(again) > 1000
        assert not found.values.numpy()[again].any()
        np.testing.assert_array_equal(dense(found), expected)

    def test_tells_rows_apart_that_are_far_apart_alike(self):
        """Such as the first rows of fields of which each begins at a multiple of a power of two."""
        numbers = tf.constant([2**17 * each for each in range(64)], tf.int64)
        found = self.of(
            tf.IndexedSlices(tf.ones((64, 1)), numbers, tf.constant([2**24, 1], tf.int64)),
            keras.Variable(np.zeros((100, 1), np.float32)),
        )
        assert found.values.numpy()[:, 0].tolist() == [1] * 64

    @pytest.mark.parametrize("step", [1, 2**17, 2**24])
    def test_few_rows_share_a_hash(self, step):
        """Or an attempt would tell few of them apart."""
        slots = _hashed(tf.range(64, dtype=tf.int64) * step, tf.constant(_FACTOR)) % (64 * 8)
        assert len(set(slots.numpy().tolist())) > 50

    def test_of_a_number_of_rows_that_is_not_known(self, variable):
        few = tf.function(
            lambda rows: of_variable(
                tf.IndexedSlices(tf.ones((tf.size(rows), 2)), rows, tf.constant([4, 2])), variable, True, in_xla=True
            ),
            input_signature=[tf.TensorSpec([None], tf.int32)],
            jit_compile=True,
            autograph=False,
        )
        assert dense(few(tf.constant([1, 3, 1]))).numpy()[:, 0].tolist() == [0, 2, 0, 1]

    def test_tells_rows_apart_that_no_hash_of_32_bits_does(self):
        """As they differ by multiples of 2^32, all of them are in one slot at each attempt."""
        numbers = tf.constant([5, 5 + 2**32, 5 + 2**33, 5, 5 + 2**32], tf.int64)
        size = tf.constant([2**34, 1], tf.int64)
        one = tf.IndexedSlices(tf.constant([[1.0], [2], [4], [8], [16]]), numbers, size)
        other = tf.IndexedSlices(tf.constant([[32.0]]), numbers[2:3], size)
        both = tf.function(lambda: total(one, other, in_xla=True), jit_compile=True)()
        assert both.values.numpy()[:, 0].tolist() == [0, 0, 0, 9, 18, 36]

    def test_is_dense_if_the_table_is_used_as_a_whole_too(self, variable):
        assert isinstance(of_variable(tf.ones((4, 2)), variable, by_rows=True, in_xla=True), tf.Tensor)


class TestTotal:
    def test_of_rows_has_each_once(self):
        found = total(TWICE, rows((1, [1.0, 1.0]), (0, [1.0, 1.0])))
        assert found.indices.numpy().tolist() == [3, 0, 1]
        assert dense(found).numpy().tolist() == [[6, 7], [1, 1], [0, 0], [11, 22]]

    def test_of_rows_by_numbers_of_two_types(self):
        other = tf.IndexedSlices(tf.ones((1, 2)), tf.constant([3], tf.int64), tf.constant([4, 2], tf.int64))
        for pair in ((TWICE, other), (other, TWICE)):
            assert dense(total(*pair)).numpy().tolist() == [[5, 6], [0, 0], [0, 0], [12, 23]]

    def test_with_a_dense_one_is_dense(self):
        assert total(TWICE, tf.ones((4, 2))).numpy().tolist() == [[6, 7], [1, 1], [1, 1], [12, 23]]
        assert total(tf.ones((4, 2)), tf.ones((4, 2))).numpy().tolist() == [[2, 2]] * 4


def test_changed_keeps_the_form():
    assert dense(changed(TWICE, lambda each: each / 2)).numpy().tolist() == [[2.5, 3], [0, 0], [0, 0], [5.5, 11]]
    assert changed(tf.constant(4.0), lambda each: each / 2).numpy() == 2


def test_numbers_are_those_that_are_given():
    assert numbers(TWICE).shape == (3, 2)
    assert numbers(dense(TWICE)).shape == (4, 2)
