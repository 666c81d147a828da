"""Values added inside constructs whose tensors cannot leave: exact, or refused by the metric's name."""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf
from tallyloop import metrics
from tallyloop.metrics import MetricRegistry, Tally, UsageError
from tallyloop.metrics.device.inner_graph_sums import InnerGraphSums


def in_while_loop(add):
    tf.while_loop(lambda i: i < 3, lambda i: (add(tf.cast(i, tf.float32)), i + 1)[1:], [tf.constant(0)])


def in_cond(add):
    for taken in (True, False):
        tf.cond(tf.constant(1.0) * float(taken) > 0, lambda: add(tf.constant([5.0, 6.0])) or 0, lambda: 0)


def in_map_fn(add):
    tf.map_fn(lambda x: add(x) or x, tf.constant([1.0, 2.0]))


def in_nested_function(add):
    tf.function(lambda: add(tf.constant(1.0)) or 0, autograph=False)()


def in_scan(add):
    tf.scan(lambda total, x: add(x) or total + x, tf.constant([1.0, 2.0, 4.0]), initializer=tf.constant(0.0))


def in_vectorized_map(add):
    tf.vectorized_map(lambda x: add(x) or x, tf.constant([1.0, 2.0]))


EXACT = {
    in_while_loop: (0 + 1 + 2, 3),
    in_cond: (11, 2),
    in_map_fn: (3, 2),
    in_nested_function: (1, 1),
    in_scan: (7, 3),
}


def line_of(function, text):
    lines, first = inspect.getsourcelines(function)
    return f"{__file__}:{first + next(i for i, line in enumerate(lines) if text in line)}"


class TestConstructs:
    @pytest.mark.parametrize("construct", EXACT)
    def test_the_sum_is_exact(self, construct, record_traced):
        found = record_traced(lambda: (construct(lambda x: metrics.add("inner.value", x)), metrics.add("outer", 1.0)))
        assert found == {"inner/value": EXACT[construct], "outer": (1.0, 1.0)}

    def test_a_branch_that_is_not_taken_adds_nothing(self, record_traced):
        def step():
            tf.cond(tf.constant(1) < 0, lambda: metrics.add("not_taken", 1.0) or 0, lambda: 0)

        assert record_traced(step) == {"not_taken": (0, 0)}

    def test_vectorized_map_is_refused_at_the_line_that_adds(self, record_traced):
        def add(x):
            metrics.add("inner.value", x)  # inside

        with pytest.raises(UsageError, match=r"'inner/value'.*it is added inside tf.vectorized_map") as caught:
            record_traced(lambda: in_vectorized_map(add))
        assert line_of(add, "# inside") in str(caught.value)

    @pytest.mark.parametrize("finish", ["max", "min"])
    def test_maxima_are_refused_at_the_line_that_adds(self, finish, record_traced):
        def add(x):
            metrics.add("inner.value", x, finish=finish)  # inside

        with pytest.raises(UsageError, match=rf"'inner/value'.*finish='{finish}' cannot be added inside") as caught:
            record_traced(lambda: in_while_loop(add))
        assert line_of(add, "# inside") in str(caught.value)

    def test_vectors_keep_their_shape(self):
        registry = MetricRegistry()

        @tf.function(autograph=False)
        def run():
            with registry.recording():
                in_map_fn(lambda x: metrics.add("v", tf.stack([[x, 1.0], [2.0, x]]), finish="per_class"))
                return registry.compute(None, None)

        assert registry.result(run()) == {"v/class_0": 7 / 4, "v/class_1": 5 / 4}


def test_nothing_is_left_over_from_the_step_before(mirrored_on):
    """In an RNN's cell, on two replicas, one of which has one row and one two."""

    class Cell(keras.layers.Layer):
        state_size = output_size = 2

        def call(self, inputs, states):
            metrics.add("inside", inputs)
            return inputs + states[0], [inputs + states[0]]

    x = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    strategy, layer, registry = mirrored_on(2), keras.layers.RNN(Cell()), MetricRegistry()
    layer(x)

    @tf.function(autograph=False)
    def run():
        def replica():
            index = tf.distribute.get_replica_context().replica_id_in_sync_group
            with registry.recording():
                layer(tf.constant(x)[: index + 1])
                return registry.compute(None, None)

        return registry.reduce(strategy, strategy.run(replica))

    for _ in range(2):
        reduced = run()
        assert (float(reduced["inside"].value), float(reduced["inside"].count)) == (15 + 66, 18)


def test_take_resets_the_sum():
    sums = InnerGraphSums()
    key = sums.add("m", Tally(tf.constant([1.0, 2.0]), tf.constant(3.0)))
    assert sums.add("m", Tally(tf.constant([10.0, 20.0]), tf.constant(30.0))) == key
    assert [part.numpy().tolist() for part in sums.take(key)] == [[11.0, 22.0], 33.0]
    assert [part.numpy().tolist() for part in sums.take(key)] == [[0.0, 0.0], 0.0]
