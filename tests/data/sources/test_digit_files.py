"""The digits as files are the digits."""

import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data import digits, digits_as_images, digits_as_mnist, images, mnist


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_as_mnist():
    folder = digits_as_mnist()
    assert digits_as_mnist() == folder
    for split, count in (("train", 1438), ("test", 359)):
        found, given = mnist(folder, split), digits(split, flat=False)
        assert found["x"].shape == (count, 28, 28, 1)
        np.testing.assert_array_equal(found["y"], given["y"])
    # Each pixel of 8 x 8 is 3.5 of 28 x 28: their means agree but for what interpolation does at the edges.
    np.testing.assert_allclose(found["x"].mean((1, 2, 3)), given["x"].mean((1, 2, 3)), atol=0.01)
    np.testing.assert_array_equal(mnist(digits_as_mnist(8), "test")["x"], np.rint(given["x"] * 255).astype("f4") / 255)


def test_as_images():
    """Of the size that they have, nothing is interpolated."""
    source, given = images(digits_as_images(8)), digits("all", flat=False)
    order = np.argsort(given["y"], kind="stable")
    assert source.classes == [str(digit) for digit in range(10)]
    found = source.__getitems__(np.arange(len(source)))
    np.testing.assert_array_equal(found["label"], given["y"][order])
    pixels = np.stack([tf.io.decode_png(content).numpy() for content in found["image"][:50]])
    np.testing.assert_array_equal(pixels, np.rint(given["x"][order[:50]] * 255))
