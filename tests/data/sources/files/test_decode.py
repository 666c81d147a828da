"""Decoding in the graph, against pixels that are known."""

import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data import decode_image

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 4, 3), dtype=np.uint8)
PNG = tf.io.encode_png(PIXELS).numpy()


def mapped(decode, content=PNG):
    examples = tf.data.Dataset.from_tensors({"image": content, "label": 3}).map(decode)
    return examples.element_spec, examples.get_single_element()


class TestDecode:
    def test_gives_pixels_of_known_shape(self):
        spec, found = mapped(decode_image((6, 4)))
        assert spec["image"] == tf.TensorSpec([6, 4, 3], tf.float32)
        np.testing.assert_allclose(found["image"], PIXELS / 255, atol=1e-7)
        assert found["label"] == 3

    def test_resizes(self):
        _, found = mapped(decode_image(2))
        np.testing.assert_allclose(found["image"], tf.image.resize(PIXELS / np.float32(255), (2, 2)), atol=1e-6)

    @pytest.mark.parametrize("encode", [tf.io.encode_jpeg, tf.io.encode_png])
    def test_of_one_channel(self, encode):
        spec, found = mapped(decode_image((6, 4), channels=1), encode(np.full((6, 4, 1), 51, np.uint8)).numpy())
        assert spec["image"].shape == (6, 4, 1)
        np.testing.assert_allclose(found["image"], 0.2, atol=1e-2)


class TestRefused:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"size": (1, 2, 3)}, "decode_image.size = (1, 2, 3): expected a height and a width"),
            ({"size": 0}, "decode_image.size = 0: expected a whole number of at least 1"),
            ({"channels": 2}, "decode_image.channels = 2: expected 1, 3 or 4"),
        ],
    )
    def test_wrong_arguments_are_refused(self, refused, arguments, message):
        with refused(message):
            decode_image(**{"size": 4} | arguments)

    def test_keys(self, refused):
        with refused("decode_image.key = 'x': expected one of the keys of an example, got ['y']"):
            decode_image(4, key="x")({"y": 1})

    def test_damaged_content(self):
        with pytest.raises(tf.errors.InvalidArgumentError):
            mapped(decode_image(4), PNG[:40])
