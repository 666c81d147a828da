"""Folders in MNIST's format."""

import gzip

import numpy as np
import pytest
from tallyloop.data import mnist

PIXELS, LABELS = np.arange(5 * 2 * 3).reshape(5, 2, 3), [3, 1, 4, 1, 5]
NAMES = "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte"


@pytest.fixture
def folder(tmp_path, packed):
    """A train part of five images, a test part of the first two."""
    for prefix, count in (("train", 5), ("t10k", 2)):
        (tmp_path / f"{prefix}-images-idx3-ubyte").write_bytes(packed(PIXELS[:count]))
        (tmp_path / f"{prefix}-labels-idx1-ubyte").write_bytes(packed(LABELS[:count]))
    return tmp_path


@pytest.mark.parametrize(("split", "count"), [("train", 5), ("test", 2)])
def test_mnist_has_two_splits(folder, split, count):
    found = mnist(folder, split)
    np.testing.assert_allclose(found["x"], PIXELS[:count, ..., None] / 255, rtol=1e-6)
    assert found["y"].tolist() == LABELS[:count]
    assert mnist(str(folder), split, flat=True)["x"].shape == (count, 6)


@pytest.mark.parametrize(
    "name", ["train-images-idx3-ubyte.gz", "train-images.idx3-ubyte", "train-images.idx3-ubyte.gz"]
)
def test_file_names_of_other_spellings_are_found(folder, name):
    content = (folder / "train-images-idx3-ubyte").read_bytes()
    (folder / "train-images-idx3-ubyte").unlink()
    (folder / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    assert len(mnist(folder)["x"]) == 5


class TestRefused:
    def test_no_folder(self, tmp_path, refused):
        with refused(f"mnist.path = '{tmp_path}/no': expected a folder with the files {NAMES}, gzipped (.gz) or not"):
            mnist(f"{tmp_path}/no")

    def test_a_missing_file(self, folder, refused):
        (folder / "t10k-labels-idx1-ubyte").unlink()
        assert len(mnist(folder)["x"]) == 5
        with refused(f"{NAMES}, gzipped (.gz) or not, and 't10k-labels-idx1-ubyte' is not there; got t10k-images"):
            mnist(folder, "test")

    def test_an_empty_folder(self, tmp_path, refused):
        with refused("'train-images-idx3-ubyte' is not there; got an empty folder. Put the four files into one folder"):
            mnist(tmp_path)

    def test_another_split(self, folder, refused):
        with refused("mnist.split = 'valid': expected 'train' or 'test'"):
            mnist(folder, "valid")
