"""Images and labels in the IDX format."""

import gzip

import numpy as np
import pytest
from tallyloop.data import idx

PIXELS = np.arange(3 * 2 * 4, dtype=np.uint8).reshape(3, 2, 4) * 10


@pytest.fixture
def files(tmp_path, packed):
    """files(images=..., labels=...) -> the two paths."""

    def write(images=packed(PIXELS), labels=packed([7, 0, 9])):  # noqa: B008
        paths = tmp_path / "images", tmp_path / "labels"
        for path, content in zip(paths, (images, labels), strict=True):
            path.write_bytes(content)
        return paths

    return write


class TestArrays:
    @pytest.mark.parametrize("zipped", [bytes, gzip.compress])
    def test_are_images_and_labels(self, files, packed, zipped):
        found = idx(*files(zipped(packed(PIXELS)), zipped(packed([7, 0, 9]))))
        assert found["x"].shape == (3, 2, 4, 1)
        assert found["x"].dtype == np.float32
        np.testing.assert_array_equal(found["x"][..., 0], PIXELS.astype(np.float32) / np.float32(255))
        assert found["y"].dtype == np.int64
        assert found["y"].tolist() == [7, 0, 9]

    def test_may_be_flat_and_unscaled(self, files):
        found = idx(*files(), scale=False, flat=True)
        np.testing.assert_array_equal(found["x"], PIXELS.reshape(3, 8))
        assert found["x"].dtype == np.float32

    def test_white_is_one(self, files, packed):
        found = idx(*files(images=packed(np.full((3, 1, 1), 255))))
        assert found["x"].ravel().tolist() == [1, 1, 1]

    def test_keep_their_channels(self, files, packed):
        assert idx(*files(images=packed(np.zeros((3, 2, 2, 5)))))["x"].shape == (3, 2, 2, 5)

    def test_must_not_be_empty(self, files, packed, refused):
        with refused("images' has no examples (lengths {'x': 0, 'y': 0}): expected at least one"):
            idx(*files(packed(np.zeros((0, 2, 2))), packed(np.zeros(0))))


class TestFiles:
    def test_that_are_missing_are_named_with_their_binding(self, files, tmp_path, refused):
        images, labels = files()
        with refused(f"idx: '{tmp_path}/no' cannot be read (No such file or directory); correct idx.images"):
            idx(tmp_path / "no", labels)
        with refused("correct idx.labels"):
            idx(images, tmp_path / "no")

    def test_must_belong_together(self, files, packed, refused):
        with refused("idx: expected one label per image, got 3 images in "):
            idx(*files(labels=packed([1, 2])))

    def test_must_not_be_swapped(self, files, packed, refused):
        images, labels = files()
        with refused("has one dimension: expected images; are idx.images and idx.labels swapped?"):
            idx(labels, images)
        with refused("labels': expected one whole number per example, got uint8 of shape (3, 2, 4)"):
            idx(*files(labels=packed(PIXELS)))
        with refused("labels': expected one whole number per example, got float32 of shape (3,)"):
            idx(*files(labels=packed([1.5, 2, 3], "f4")))


class TestScale:
    def test_is_for_bytes(self, files, packed, refused):
        images, labels = files(images=packed(PIXELS, "f4"))
        with refused("idx.scale = True: expected unsigned bytes, which it divides by 255, got float32 in "):
            idx(images, labels)
        np.testing.assert_array_equal(idx(images, labels, scale=False)["x"][..., 0], PIXELS)

    def test_is_true_or_false(self, files, refused):
        with refused("idx.scale = 'yes': expected True or False"):
            idx(*files(), scale="yes")
