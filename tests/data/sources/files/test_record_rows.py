"""TFRecord files by number: each record where it is, and every way in which a file is damaged."""

import os

import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data import tfrecord
from tallyloop.metrics.errors import UsageError


class TestRows:
    def test_are_those_of_the_stream(self, three, features, by_number, tmp_path, write_records):
        files = [three[0], write_records(tmp_path / "empty", []), *three[1:]]
        found = by_number(tfrecord(files, features, by_number=True))
        streamed = list(tfrecord(files, features).as_numpy_iterator())
        assert len(found["y"]) == len(streamed) == 15
        for row, example in enumerate(streamed):
            for key, value in example.items():
                np.testing.assert_array_equal(found[key][row], value)

    def test_hold_bytes_as_they_are(self, tmp_path, record, write_records):
        text = {"s": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"a\0"]))}
        source = tfrecord(write_records(tmp_path / "a", [record(1, **text)]), {"s": "string"}, by_number=True)
        assert source.__getitems__(np.array([0, 0]))["s"].tolist() == [b"a\0"] * 2

    def test_that_lack_a_feature_are_named(self, tmp_path, record, write_records, features, refused):
        files = [write_records(tmp_path / name, map(record, range(3))) for name in "ab"]
        write_records(files[1], [record(0), record(1, y=None)])
        source = tfrecord(files, features, by_number=True)
        with refused(f"tfrecord: '{files[1]}', record 1 (counted from 0): "):
            source.__getitems__(np.array([0, 4, 1]))
        assert source.named(4) == f"row 4, '{files[1]}', record 1 (counted from 0)"


class TestTable:
    def test_is_made_once_and_again_for_a_changed_file(self, three, features, record, write_records):
        first = tfrecord(three, features, by_number=True)
        (table,) = (three[0].parent / ".tallyloop").iterdir()
        written = (table / "bounds.npy").stat().st_mtime_ns
        assert tfrecord(three, features, by_number=True).fingerprint == first.fingerprint
        assert (table / "bounds.npy").stat().st_mtime_ns == written
        write_records(three[1], map(record, range(2)))
        second = tfrecord(three, features, by_number=True)
        assert len(second) == 12
        assert second.fingerprint != first.fingerprint

    def test_is_made_again_for_another_time_though_the_size_is_the_same(self, tmp_path, record, write_records):
        """A short and a long record change places; the file is a billionth of a second newer."""
        values = [b"a", b"b" * 9]
        parts = [{"s": tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))} for value in values]
        sizes = []
        for time, order in ((10**18, (0, 1)), (10**18 + 1, (1, 0))):
            file = write_records(tmp_path / "a", [record(1, **parts[i]) for i in order])
            os.utime(file, ns=(time, time))
            source = tfrecord(file, {"s": "string"}, by_number=True)
            assert source.__getitems__(np.arange(2))["s"].tolist() == [values[i] for i in order]
            sizes.append(file.stat().st_size)
        assert sizes[0] == sizes[1]


class TestRefused:
    def test_compression(self, three, features, refused):
        with refused("tfrecord.by_number = True, tfrecord.compression = 'GZIP': expected files without compression"):
            packed = three[0].parent / "a.gz"
            with tf.io.TFRecordWriter(str(packed), "GZIP") as writer:
                writer.write(b"")
            tfrecord(packed, features, "GZIP", by_number=True)

    def test_a_file_cut_anywhere(self, three, features, refused):
        content = three[0].read_bytes()
        size = len(content) // 5
        for length in range(0, len(content), 31):
            three[0].write_bytes(content[:length])
            if length % size:
                with refused("a.tfr'"):
                    tfrecord(three[0], features, by_number=True)

    def test_a_flipped_byte(self, three, features):
        content = three[0].read_bytes()
        for at in range(0, len(content), 37):
            three[0].write_bytes(content[:at] + bytes([content[at] ^ 0x55]) + content[at + 1 :])
            with pytest.raises(UsageError, match=r"is corrupt|ends inside"):
                tfrecord(three[0], features, by_number=True)

    def test_no_records(self, tmp_path, features, write_records, refused):
        with refused("have no records: expected at least one; correct tfrecord.files"):
            tfrecord(write_records(tmp_path / "a", []), features, by_number=True)
