"""Each value counts once, however often TensorFlow and Keras run the call that adds it."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tallyloop import metrics
from tallyloop.metrics import MetricRegistry, UsageError

X = np.arange(12, dtype=np.float32).reshape(2, 3, 2)  # sums to 66


class Adds(keras.layers.Layer):
    def call(self, inputs):
        metrics.add("inside", inputs)
        return inputs + 0


class Subclassed(keras.Model):
    """Calls one layer twice: on x and on 10 x."""

    def __init__(self):
        super().__init__()
        self.shared = Adds()

    def call(self, inputs):
        return self.shared(self.shared(inputs) * 10)


class Cell(keras.layers.Layer):
    state_size = output_size = 2

    def call(self, inputs, states):
        metrics.add("inside", inputs)
        return inputs + states[0], [inputs + states[0]]


def sequential():
    return keras.Sequential([keras.Input((3, 2)), Adds()])


def time_distributed():
    return keras.layers.TimeDistributed(Adds())


class Nested(keras.layers.Layer):
    """A cell that runs the steps of another layer."""

    state_size = output_size = 2

    def __init__(self):
        super().__init__()
        self.inner = keras.layers.RNN(Cell())

    def call(self, inputs, states):
        return self.inner(tf.stack([inputs, inputs], 1)) + states[0], [states[0]]


class Mapped(keras.layers.Layer):
    """Looks at each row on its own, and in it at each step."""

    def call(self, inputs):
        return keras.ops.map(lambda row: keras.ops.map(self.look, row), inputs)

    def look(self, row):
        metrics.add("inside", row)
        return row * 1


class LoopCell(Cell):
    """Looks at each row of a step in a loop of its own."""

    def call(self, inputs, states):
        def look(row):
            metrics.add("inside", row)
            return row

        return tf.map_fn(look, inputs) + states[0], [states[0]]


class LoopInAMap(keras.layers.Layer):
    def call(self, inputs):
        return keras.ops.map(lambda row: tf.map_fn(self.look, row), inputs)

    def look(self, row):
        metrics.add("inside", row)
        return row * 1


class LayerInAMap(keras.layers.Layer):
    """Gives Keras's loop a layer of Keras's that loops: no frame of a user is between the two."""

    def __init__(self):
        super().__init__()
        self.inner = keras.layers.RNN(Cell())

    def call(self, inputs):
        return keras.ops.map(self.inner, inputs[:, None])


LAYERS = {
    "subclassed": (Subclassed, (66 * 11, 24)),
    "sequential": (sequential, (66, 12)),
    "time distributed": (time_distributed, (66, 12)),
    "cell": (lambda: keras.layers.RNN(Cell()), (66, 12)),
    "layer in a cell": (lambda: keras.layers.RNN(Nested()), (2 * 66, 2 * 12)),
    "map in a map": (Mapped, (66, 12)),
    "loop in a cell": (lambda: keras.layers.RNN(LoopCell()), (66, 12)),
    "loop in a map": (LoopInAMap, (66, 12)),
    "layer in a map": (LayerInAMap, (66, 12)),
    "stacked cells": (lambda: keras.layers.RNN([Cell(), Cell()]), (66 + 22 + 94, 24)),
    "cell, unrolled": (lambda: keras.layers.RNN(Cell(), unroll=True), (66, 12)),
}


COMPILED = ["jit_compile", "gradient, jit_compile"]


class TestLayers:
    @pytest.mark.parametrize(
        "how", ["eager", "traced", "gradient", *(pytest.param(how, marks=pytest.mark.slow) for how in COMPILED)]
    )
    @pytest.mark.parametrize("name", LAYERS)
    def test_each_value_counts_once(self, name, how, record_eagerly, record_traced):
        make, expected = LAYERS[name]
        layer = make()
        layer(X)  # built outside

        def step():
            x = tf.constant(X)
            with tf.GradientTape() as tape:
                tape.watch(x)
                total = tf.reduce_sum(layer(x) ** 2)
                if "gradient" in how:  # taken inside of the step; the backward pass adds nothing
                    metrics.add("gradient", tape.gradient(total, x), finish="sum")

        options = {"jit_compile": True} if "jit_compile" in how else {}
        found = record_eagerly(step) if how == "eager" else record_traced(step, **options)
        assert found["inside"] == expected
        assert ("gradient" in found) == ("gradient" in how)

    def test_time_distributed_over_an_unknown_number_of_steps_is_refused(self):
        """Keras runs it with tf.vectorized_map then, which lets no value out."""
        layer, registry = time_distributed(), MetricRegistry()

        @tf.function(autograph=False, input_signature=[tf.TensorSpec([None, None, 2])])
        def run(x):
            with registry.recording():
                layer(x)
                return registry.compute(None, None)

        with pytest.raises(UsageError, match=r"'inside'.*it is added inside tf.vectorized_map"):
            run(X)

    def test_mixed_precision_sums_in_float32(self, record_eagerly):
        keras.config.set_dtype_policy("mixed_bfloat16")
        try:
            layer = Adds()
            found = record_eagerly(lambda: layer(tf.ones([1000, 1])))  # a bfloat16 sum stops at 256
        finally:
            keras.config.set_dtype_policy("float32")
        assert layer.compute_dtype == "bfloat16"
        assert found == {"inside": (1000, 1000)}


def recomputed(function):
    return tf.recompute_grad(function)


def recomputed_twice(function):
    return tf.recompute_grad(lambda x: tf.recompute_grad(function)(x))


def recomputed_in_a_function(function):
    return tf.recompute_grad(tf.function(function))


class TestBackwardPass:
    @pytest.mark.parametrize("recompute", [recomputed, recomputed_twice, recomputed_in_a_function])
    def test_a_recomputation_does_not_count(self, record_traced, recompute):
        weight = tf.Variable(2.0)

        def layer(x):
            metrics.add("inner", x, finish="sum")
            return x * weight

        def step():
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(recompute(layer)(tf.constant([1.0, 2.0])))
            metrics.add("gradient", tape.gradient(loss, weight))

        assert record_traced(step) == {"inner": (3.0, 2.0), "gradient": (3.0, 1.0)}

    @staticmethod
    def differentiate(within):
        """The gradient of the sum of (x + 1)^2, whose backward pass adds the metric `upstream`: 4 and 6."""

        @tf.custom_gradient
        def shown(x):
            def backward(upstream):
                metrics.add("upstream", upstream)
                return upstream

            return x + 1, backward

        x = tf.constant([1.0, 2.0])
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(within(lambda x: shown(x))(x) ** 2)
        tape.gradient(loss, x)

    @pytest.mark.parametrize("within", [lambda function: function, recomputed])
    def test_a_custom_gradient_counts(self, record, within):
        """The backward pass of a recomputed function runs once, too."""
        assert record(lambda: self.differentiate(within)) == {"upstream": (10.0, 2.0)}

    @pytest.mark.parametrize("within", [tf.function, recomputed_in_a_function], ids=["function", "recomputed"])
    def test_a_custom_gradient_in_a_nested_function_is_refused(self, record_traced, within):
        """TensorFlow takes no side effect out of the gradient of a function."""
        with pytest.raises(UsageError, match=r"'upstream'.* in the backward pass of a custom gradient inside a nested"):
            record_traced(lambda: self.differentiate(within))
