"""Texts, images and histograms as TensorBoard reads them."""

import io

import numpy as np
import pytest
from PIL import Image
from tallyloop.metrics import UsageError
from tallyloop.metrics.writers.media import histogram_value, image_value, text_value


def decoded(value):
    """The pixels of all images of a value."""
    return [np.asarray(Image.open(io.BytesIO(png))) for png in value.tensor.string_val[2:]]


class TestText:
    def test_is_a_scalar_or_a_list(self):
        one, several = text_value("a/b", "ümlaut"), text_value("a", ["x", "y"])
        assert (one.tag, one.metadata.plugin_data.plugin_name) == ("a/b", "text")
        assert (list(one.tensor.string_val), len(one.tensor.tensor_shape.dim)) == (["ümlaut".encode()], 0)
        assert (list(several.tensor.string_val), several.tensor.tensor_shape.dim[0].size) == ([b"x", b"y"], 2)

    @pytest.mark.parametrize("text", [3, None, [1], b"bytes"])
    def test_is_text(self, text):
        with pytest.raises(UsageError, match=r"the text 'a': expected a string, or a list of strings, got"):
            text_value("a", text)


class TestImages:
    def test_numbers_from_0_to_1(self):
        """0.5 of 255 is 127.5, which is rounded to the even 128; what is beyond is cut off."""
        value = image_value("a", np.array([[[0.0], [0.5], [1.0]], [[-1.0], [2.0], [np.nan]]])[np.newaxis])
        assert value.metadata.plugin_data.plugin_name == "images"
        assert list(value.tensor.string_val[:2]) == [b"3", b"2"]  # width, height
        np.testing.assert_array_equal(decoded(value), [[[0, 128, 255], [0, 255, 0]]])

    @pytest.mark.parametrize(
        ("shape", "images", "pixels"),
        [
            ((2, 5, 4, 3), 2, (5, 4, 3)),
            ((2, 5, 4, 4), 2, (5, 4, 4)),
            ((2, 5, 4, 1), 2, (5, 4)),
            ((2, 5, 7), 2, (5, 7)),
            ((5, 4, 3), 1, (5, 4, 3)),
            ((5, 7), 1, (5, 7)),
        ],
    )
    def test_shapes(self, shape, images, pixels):
        found = decoded(image_value("a", np.arange(np.prod(shape)).reshape(shape)))
        assert [each.shape for each in found] == [pixels] * images
        np.testing.assert_array_equal(found[0].ravel(), np.minimum(np.arange(np.prod(pixels)), 255))

    @pytest.mark.parametrize("images", [np.zeros([1, 2, 3, 2]), np.zeros(3), np.zeros([0, 2, 2, 1]), np.array([["x"]])])
    def test_anything_else_is_refused(self, images):
        with pytest.raises(UsageError, match=r"the images 'a': expected \(images, height, width, channels\)"):
            image_value("a", images)


class TestHistogram:
    def test_counts_by_interval(self):
        """30 intervals from 0 to 30: one number in each, and the last two in the last."""
        rows = np.reshape(histogram_value("a", np.arange(31)).tensor.double_val, [30, 3])
        np.testing.assert_allclose(rows[:, 0], np.arange(30))
        np.testing.assert_allclose(rows[:, 1], np.arange(1, 31))
        assert rows[:, 2].tolist() == [1] * 29 + [2]

    @pytest.mark.parametrize(
        ("numbers", "count"), [([np.nan, 1, np.inf, 2], 2), ([5, 5, 5], 3), ([], 0), ([np.nan], 0), (3.0, 1)]
    )
    def test_counts_finite_numbers(self, numbers, count):
        value = histogram_value("a", numbers)
        assert value.metadata.plugin_data.plugin_name == "histograms"
        assert np.reshape(value.tensor.double_val, [-1, 3])[:, 2].sum() == count
