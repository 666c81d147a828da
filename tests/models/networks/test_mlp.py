"""The multilayer perceptron."""

import keras
import numpy as np
from tallyloop.models import mlp


def test_flattens_and_gives_logits(dense, rng):
    x = rng.normal(size=(7, 2, 3)).astype(np.float32)
    model = mlp(hidden=(4, 5), num_classes=3)
    logits = model(x)
    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    assert [layer.units for layer in layers] == [4, 5, 3]
    expected = dense(dense(dense(x.reshape(7, 6), layers[0], relu=True), layers[1], relu=True), layers[2])
    np.testing.assert_allclose(logits, expected, atol=1e-5)


def test_drops_out_after_each_hidden_layer_in_training_only():
    model = mlp(hidden=(50, 50), dropout=0.5, activation="linear")
    x = np.ones([3, 4], np.float32)
    assert [type(layer).__name__ for layer in model.layers].count("InvariantDropout") == 2
    np.testing.assert_array_equal(model(x, training=False), model(x, training=False))
    assert (model(x, training=True).numpy() != model(x, training=True).numpy()).any()
