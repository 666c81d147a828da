"""Normalization and GELU: their values, and their gradients against those that TensorFlow derives."""

import keras
import numpy as np
import tensorflow as tf
from tallyloop.models.networks.fused import Norm, gelu


def gradient(function, x, upstream):
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = function(x)
    return tape.gradient(y, x, upstream)


class TestFused:
    def test_as_tensorflow_derives(self, rng):
        x, upstream = (tf.constant(rng.normal(size=(3, 7)), tf.float64) for _ in range(2))
        plain = keras.layers.LayerNormalization(epsilon=1e-5, center=False, dtype="float64")
        ours = Norm(7, dtype="float64")
        for one, other in ((ours, plain), (gelu, lambda x: tf.nn.gelu(x, approximate=False))):
            np.testing.assert_allclose(one(x), other(x), rtol=1e-6, atol=1e-9)
            np.testing.assert_allclose(gradient(one, x, upstream), gradient(other, x, upstream), rtol=1e-6, atol=1e-9)

    def test_norm_computes_in_float32(self):
        x = tf.constant([[300.0, 302.0]], tf.float16)  # whose squares are too large for float16
        found = Norm(2, dtype="mixed_float16")(x)
        assert found.dtype == tf.float16
        np.testing.assert_allclose(found, [[-1, 1]], atol=1e-3)
