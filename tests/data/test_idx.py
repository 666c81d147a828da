"""IDX files, packed by hand as the format says."""

import gzip
import re
import struct

import numpy as np
import pytest
from tallyloop.data import idx
from tallyloop.data.sources.idx_format import read_idx
from tallyloop.metrics.errors import UsageError

PIXELS = np.arange(3 * 2 * 4, dtype=np.uint8).reshape(3, 2, 4) * 10
CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def packed(array, kind="u1"):
    header = struct.pack(">BBBB", 0, 0, CODES[kind], array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(f">{kind}").tobytes()


IMAGES, LABELS = packed(PIXELS), packed(np.array([7, 0, 9]))


def says(message):
    return pytest.raises(UsageError, match=re.escape(message))


@pytest.fixture
def files(tmp_path):
    """files(images=..., labels=...) -> the two paths."""

    def write(images=IMAGES, labels=LABELS):
        paths = tmp_path / "images", tmp_path / "labels"
        for path, content in zip(paths, (images, labels), strict=True):
            path.write_bytes(content)
        return paths

    return write


@pytest.mark.parametrize("zipped", [bytes, gzip.compress])
def test_images_and_labels(files, zipped):
    found = idx(*files(zipped(IMAGES), zipped(LABELS)))
    assert found["x"].shape == (3, 2, 4, 1)
    assert found["x"].dtype == np.float32
    np.testing.assert_array_equal(found["x"][..., 0], PIXELS.astype(np.float32) / np.float32(255))
    assert found["y"].dtype == np.int64
    assert found["y"].tolist() == [7, 0, 9]


def test_flat_and_unscaled(files):
    found = idx(*files(), scale=False, flat=True)
    np.testing.assert_array_equal(found["x"], PIXELS.reshape(3, 8))
    assert found["x"].dtype == np.float32


def test_white_is_one(files):
    found = idx(*files(images=packed(np.full((3, 1, 1), 255))))
    assert found["x"].ravel().tolist() == [1, 1, 1]


def test_images_with_channels_keep_them(files):
    assert idx(*files(images=packed(np.zeros((3, 2, 2, 5)))))["x"].shape == (3, 2, 2, 5)


@pytest.mark.parametrize("kind", CODES)
def test_all_types_and_byte_orders(tmp_path, kind):
    values = np.array([[1, 2], [127, 0]]) if kind == "u1" else np.array([[-1, 2], [127, -100]])
    (tmp_path / "f").write_bytes(packed(values, kind))
    found = read_idx(tmp_path / "f", "flag")
    assert found.dtype == np.dtype(kind)
    np.testing.assert_array_equal(found, values)
    if kind == "i2":
        assert packed(values, kind)[12:16] == b"\xff\xff\x00\x02"  # big-endian


def test_absent(files, tmp_path):
    images, labels = files()
    with says(f"idx: '{tmp_path}/no' cannot be read (No such file or directory); correct idx.images"):
        idx(tmp_path / "no", labels)
    with says("correct idx.labels"):
        idx(images, tmp_path / "no")


@pytest.mark.parametrize("content", [b"\x00\x00\x07\x01", b"\x00\x01\x08\x01", b"\x00\x00\x08\x00", b"P5 28 28"])
def test_no_idx_file(files, content):
    with says(
        f"images' is no IDX file: want it to start with 00 00, a type of 08, 09, 0b, 0c, 0d, 0e and the "
        f"number of dimensions, got {content[:4].hex(' ')}"
    ):
        idx(*files(images=content))


def test_cut_anywhere(files):
    whole = packed(PIXELS)
    for length in range(len(whole)):
        with says("images' is truncated"):
            idx(*files(images=whole[:length]))
    with says("its header says (3, 2, 4) of uint8, 24 bytes, got 23"):
        idx(*files(images=whole[:-1]))


def test_cut_anywhere_when_zipped(files):
    whole = gzip.compress(packed(np.random.default_rng(0).integers(0, 256, (3, 9, 9))))
    for length in range(2, len(whole)):
        with says("images' is damaged: it starts as gzip and does not unzip"):
            idx(*files(images=whole[:length]))


def test_a_flipped_byte_in_gzip_is_found_or_harmless(files):
    pixels = np.random.default_rng(0).integers(0, 9, (3, 9, 9))
    whole = gzip.compress(packed(pixels), mtime=0)
    reasons = set()
    for at in range(2, len(whole)):
        flipped = whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :]
        try:
            found = idx(*files(images=flipped), scale=False)["x"]
        except UsageError as error:
            reasons.add(type(error.__cause__).__name__)
        else:
            np.testing.assert_array_equal(found[..., 0], pixels)
    assert reasons == {"BadGzipFile", "EOFError", "error"}  # the last is zlib's


def test_bytes_after_the_end(files):
    with says("images' has bytes after its end: its header says (3, 2, 4) of uint8, 24 bytes, got 25"):
        idx(*files(images=packed(PIXELS) + b"\0"))


def test_a_header_of_more_than_any_memory(files):
    content = struct.pack(">BBBB3I", 0, 0, 8, 3, *[2**32 - 1] * 3)
    with says(f"{(2**32 - 1) ** 3} bytes, got 0"):
        idx(*files(images=content))


def test_files_that_do_not_belong_together(files):
    with says("has 3 images and "):
        idx(*files(labels=packed(np.array([1, 2]))))


def test_swapped_files(files):
    images, labels = files()
    with says("has one dimension: want images; are idx.images and idx.labels swapped?"):
        idx(labels, images)
    with says("labels' has uint8 of shape (3, 2, 4): want one whole number an example"):
        idx(*files(labels=packed(PIXELS)))
    with says("labels' has float32 of shape (3,): want one whole number an example"):
        idx(*files(labels=packed(np.array([1.5, 2, 3]), "f4")))


def test_scale_is_for_bytes(files):
    images, labels = files(images=packed(PIXELS, "f4"))
    with says("holds float32: bind idx.scale = False"):
        idx(images, labels)
    np.testing.assert_array_equal(idx(images, labels, scale=False)["x"][..., 0], PIXELS)
    with says("idx.scale = 'yes': want True or False"):
        idx(images, labels, scale="yes")


def test_no_examples(files):
    with says("images' has no examples (lengths {'x': 0, 'y': 0}): want at least one"):
        idx(*files(packed(np.zeros((0, 2, 2))), packed(np.zeros(0))))
