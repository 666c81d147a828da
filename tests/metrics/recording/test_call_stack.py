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


LAYERS = {
    "subclassed": (Subclassed, (66 * 11, 24)),
    "sequential": (sequential, (66, 12)),
    "time distributed": (time_distributed, (66, 12)),
    "cell": (lambda: keras.layers.RNN(Cell()), (66, 12)),
    "cell, unrolled": (lambda: keras.layers.RNN(Cell(), unroll=True), (66, 12)),
}


class TestLayers:
    @pytest.mark.parametrize("how", ["eager", "traced", "jit_compile", "gradient", "gradient, jit_compile"])
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


def test_the_second_run_below_recompute_grad_does_not_count(record_traced):
    weight = tf.Variable(2.0)

    def step():
        with tf.GradientTape() as tape:

            def layer(x):
                metrics.add("inner", x, finish="sum")
                return x * weight

            loss = tf.reduce_sum(tf.recompute_grad(layer)(tf.constant([1.0, 2.0])))
        metrics.add("gradient", tape.gradient(loss, weight))

    assert record_traced(step) == {"inner": (3.0, 2.0), "gradient": (3.0, 1.0)}
