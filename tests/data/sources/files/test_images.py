"""Image files and labels, from folders and from a table."""

import shutil

import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data import Input, decode_image, digits, images
from tallyloop.metrics.errors import DataError

PIXELS = (digits(split="all", flat=False)["x"][:4] * 255).astype(np.uint8)


@pytest.fixture
def folder(tmp_path):
    """Two classes of two digits each, as PNG files."""
    for number, name in enumerate(["b/0.png", "b/1.PNG", "a/x.png", "a/more/y.png"]):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(tf.io.encode_png(PIXELS[number]).numpy())
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "a" / ".DS_Store").touch()
    return tmp_path


@pytest.fixture
def table(tmp_path):
    """table(content) -> the path of a table."""

    def write(content):
        (tmp_path / "table.csv").write_text(content)
        return tmp_path / "table.csv"

    return write


def decoded(found):
    return np.stack([tf.io.decode_png(content).numpy() for content in found["image"]])


class TestFolders:
    def test_are_classes_by_name(self, folder, by_number):
        source = images(folder)
        found = by_number(source)
        assert source.classes == ["a", "b"]
        assert found["label"].tolist() == [0, 0, 1, 1]
        assert found["label"].dtype == np.int64
        np.testing.assert_array_equal(decoded(found), PIXELS[[3, 2, 0, 1]])

    def test_other_files_are_named(self, folder, refused):
        (folder / "b" / "notes.txt").touch()
        with refused(f"expected files that end in .jpg, .jpeg, .png, .gif, .bmp, got '{folder}/b/notes.txt'"):
            images(folder)

    def test_without_images(self, folder, tmp_path, refused):
        (folder / "c").mkdir()
        with refused(f"got none in '{folder}/c'"):
            images(folder)
        with refused("has no images in folders: expected one folder per class; or bind images.table"):
            images(folder / "b")
        with refused("no': expected a folder, which isn't there"):
            images(tmp_path / "no")


class TestFingerprint:
    def test_is_of_the_files_of_its_split(self, folder):
        told = images(folder).fingerprint
        assert images(folder).fingerprint == told
        with (folder / "b" / "0.png").open("ab") as file:
            file.write(b"more")
        assert images(folder).fingerprint != told

    def test_of_a_copy_is_the_same(self, folder, tmp_path_factory):
        """Times are not compared, which a copy changes."""
        copy = tmp_path_factory.mktemp("copy") / "images"
        shutil.copytree(folder, copy, copy_function=shutil.copyfile)
        assert images(copy).fingerprint == images(folder).fingerprint


class TestSplit:
    @pytest.fixture
    def many(self, folder, table):
        """Ten rows of one class, five of another, one of a third."""
        rows = ["b/0.png,1"] * 10 + ["a/x.png,2"] * 5 + ["b/1.PNG,3"]
        return lambda **given: images(folder, table("\n".join(["file,label", *rows])), **given)

    def labels(self, source):
        return source.__getitems__(np.arange(len(source)))["label"].tolist()

    def test_is_stratified_and_complete(self, many):
        assert self.labels(many(split="test")) == [1, 1, 2]
        assert self.labels(many(split="train")) == [1] * 8 + [2] * 4 + [3]
        assert len(many()) == 16
        assert self.labels(many(split="test", test_fraction=0.5)) == [1] * 5 + [2] * 2

    def test_keeps_the_classes_of_all(self, folder):
        assert images(folder, split="test").classes == ["a", "b"]
        assert len(images(folder, split="test")) == 2

    def test_is_of_the_seed(self, folder):
        prints = {images(folder, split="test", seed=seed).fingerprint for seed in range(8)}
        assert 1 < len(prints) <= 4

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"split": "val"}, "images.split = 'val': expected 'train', 'test' or 'all'"),
            ({"test_fraction": 20}, "images.test_fraction = 20: expected a number between 0 and 1"),
            ({"seed": -1}, "images.seed = -1: expected"),
        ],
    )
    def test_mistakes_are_refused(self, folder, refused, given, message):
        with refused(message):
            images(folder, **given)


class TestTable:
    def test_gives_labels_in_its_order(self, folder, table, by_number):
        source = images(folder, table("file,label\na/x.png,7\nb/0.png,-1\n"))
        found = by_number(source)
        assert found["label"].tolist() == [7, -1]
        assert source.classes == []
        np.testing.assert_array_equal(decoded(found), PIXELS[[2, 0]])

    def test_gives_names(self, folder, table):
        source = images(folder, table("label,file,more\ndog,a/x.png,\ncat,b/0.png,\n2,b/0.png,\n"))
        assert source.__getitems__(np.arange(3))["label"].tolist() == [2, 1, 0]
        assert source.classes == ["2", "cat", "dog"]

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("file,label\na/x.png,1\nno.png,2\n", "table.csv:3: expected a file below "),
            ("file,label\na/x.png\n", "table.csv:2: expected the columns file and label, got 'a/x.png' and None"),
            ("name,label\na/x.png,1\n", "table.csv:2: expected the columns file and label, got None and '1'"),
            ("file,label\n", "table.csv' has no rows: expected the columns file and label"),
        ],
    )
    def test_mistakes_are_refused(self, folder, table, refused, content, message):
        with refused(message):
            images(folder, table(content))

    def test_missing(self, folder, refused):
        with refused("no.csv' cannot be read as CSV"):
            images(folder, folder / "no.csv")


class TestContent:
    @pytest.mark.parametrize(("content", "told"), [(b"<html>", "3c 68 74 6d"), (b"", "nothing")])
    def test_that_is_no_image_is_named(self, folder, refused, content, told):
        source = images(folder)
        (folder / "b" / "0.png").write_bytes(content)
        with refused(f"images: '{folder}/b/0.png' starts with {told}: expected a JPEG, PNG, GIF or BMP file"):
            source.__getitems__(np.arange(4))

    def test_that_is_gone_is_named(self, folder, refused):
        source = images(folder)
        (folder / "b" / "0.png").unlink()
        with refused("b/0.png' cannot be read (No such file or directory)"):
            source.__getitems__(np.array([2]))
        assert images(folder).fingerprint != source.fingerprint

    def test_that_cannot_be_decoded_is_named_by_its_row(self, folder):
        file = folder / "b" / "0.png"
        file.write_bytes(file.read_bytes()[:40])
        data = Input(images(folder), 4, map_fn=decode_image(size=8, channels=1))
        with pytest.raises(DataError, match=rf"Input.map_fn, row 2, '{file}': Invalid PNG"):
            data.open_train().first_batch()
