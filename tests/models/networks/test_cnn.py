"""The convolutional network."""

import keras
import numpy as np
import pytest
from tallyloop.models import cnn


def norms(model):
    return [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]


def test_halves_the_image_per_convolution_and_gives_logits():
    model = cnn(filters=(3, 5), num_classes=4)
    assert model(np.zeros([2, 8, 8, 1], np.float32)).shape == (2, 4)
    assert model.layers[-1].kernel.shape == (2 * 2 * 5, 4)


@pytest.mark.parametrize("synchronized", [True, False])
def test_synchronizes_batch_normalization_if_asked(synchronized):
    model = cnn(filters=(3, 5), synchronized=synchronized)
    assert [norm.synchronized for norm in norms(model)] == [synchronized] * 2
