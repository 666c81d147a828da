"""IDX files, packed by hand: good ones, and every way in which they are damaged."""

import gzip
import struct

import numpy as np
import pytest
from tallyloop.data.sources.idx_format import read_idx
from tallyloop.metrics.errors import UsageError

PIXELS = np.arange(3 * 2 * 4, dtype=np.uint8).reshape(3, 2, 4) * 10


@pytest.fixture
def read(tmp_path):
    """read(content) -> the array in a file `images` of this content."""

    def of(content):
        (tmp_path / "images").write_bytes(content)
        return read_idx(tmp_path / "images", "idx.images")

    return of


@pytest.mark.parametrize("kind", ["u1", "i1", "i2", "i4", "f4", "f8"])
def test_all_types_and_byte_orders(read, packed, kind):
    values = np.array([[1, 2], [127, 0]]) if kind == "u1" else np.array([[-1, 2], [127, -100]])
    found = read(packed(values, kind))
    assert found.dtype == np.dtype(kind)
    np.testing.assert_array_equal(found, values)
    if kind == "i2":
        assert packed(values, kind)[12:16] == b"\xff\xff\x00\x02"  # big-endian


class TestHeader:
    @pytest.mark.parametrize("content", [b"\x00\x00\x07\x01", b"\x00\x01\x08\x01", b"\x00\x00\x08\x00", b"P5 28 28"])
    def test_of_another_format(self, read, refused, content):
        with refused(
            "images' isn't an IDX file: expected it to start with 00 00, a type of 08, 09, 0b, 0c, 0d, 0e and the "
            f"number of dimensions, got {content[:4].hex(' ')}"
        ):
            read(content)

    def test_of_more_than_any_memory(self, read, refused):
        content = struct.pack(">BBBB3I", 0, 0, 8, 3, *[2**32 - 1] * 3)
        with refused(f"expected {(2**32 - 1) ** 3} bytes after the header"):
            read(content)


class TestDamage:
    def test_cut_anywhere(self, read, packed, refused):
        whole = packed(PIXELS)
        for length in range(len(whole)):
            with refused("images' is truncated"):
                read(whole[:length])
        with refused("expected 24 bytes after the header, which says (3, 2, 4) of uint8, got 23"):
            read(whole[:-1])

    def test_bytes_after_the_end(self, read, packed, refused):
        with refused("images' has bytes after its end: expected 24 bytes after the header"):
            read(packed(PIXELS) + b"\0")

    def test_gzip_cut_anywhere(self, read, packed, refused):
        whole = gzip.compress(packed(np.random.default_rng(0).integers(0, 256, (3, 9, 9))))
        for length in range(2, len(whole)):
            with refused("images' is damaged: it starts like gzip but cannot be unzipped"):
                read(whole[:length])

    def test_a_flipped_byte_of_gzip_is_refused_or_harmless(self, read, packed):
        pixels = np.random.default_rng(0).integers(0, 9, (3, 9, 9))
        whole = gzip.compress(packed(pixels), mtime=0)
        reasons = set()
        for at in range(2, len(whole)):
            try:
                found = read(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
            except UsageError as error:
                reasons.add(type(error.__cause__).__name__)
            else:
                np.testing.assert_array_equal(found, pixels)
        assert reasons == {"BadGzipFile", "EOFError", "error"}  # the last is zlib's
