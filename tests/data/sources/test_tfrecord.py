"""The source of TFRecord files: which files, which features."""

import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data import Input, tfrecord


class TestFiles:
    @pytest.mark.parametrize("kind", ["pattern", "list", "list of patterns"])
    def test_are_named_by(self, three, features, read_to_end, kind):
        folder = three[0].parent
        files = {
            "pattern": f"{folder}/*.tfr",
            "list": three,
            "list of patterns": [f"{folder}/[ab].tfr", str(three[2])],
        }[kind]
        batches = read_to_end(Input(tfrecord(files, features), 4).open_eval())
        assert np.concatenate([batch["y"] for batch in batches]).tolist() == list(range(15))
        np.testing.assert_array_equal(batches[0]["x"][1], [1, 1.5])

    def test_come_in_the_order_of_the_list(self, three, features, read_to_end):
        backwards = read_to_end(Input(tfrecord(three[::-1], features), 15).open_eval())
        assert backwards[0]["y"][:5].tolist() == [10, 11, 12, 13, 14]

    @pytest.mark.parametrize("name", ["a[1].tfr", "a*.tfr", "a?{b}.tfr"])
    def test_may_have_names_that_look_like_patterns(self, tmp_path, features, record, write_records, read_to_end, name):
        write_records(tmp_path / name, [record(7)])
        write_records(tmp_path / "a1.tfr", [record(8)])
        (batch,) = read_to_end(Input(tfrecord(tmp_path / name, features), 4).open_eval())
        assert batch["y"].tolist() == [7]

    def test_may_be_gzipped_and_empty(self, tmp_path, record, write_records, read_to_end):
        bytes_of = {"s": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"abc"]))}
        write_records(tmp_path / "a.gz", [], "GZIP")
        write_records(tmp_path / "b.gz", [record(i, **bytes_of) for i in range(3)], "GZIP")
        (tmp_path / "c.gz").write_bytes(b"")
        (batch,) = read_to_end(Input(tfrecord(f"{tmp_path}/*.gz", {"s": "string"}, "GZIP"), 4).open_eval())
        assert batch["s"].tolist() == [b"abc"] * 3


class TestRefused:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"files": "/no/*.tfr"}, "tfrecord.files: expected at least one file that matches '/no/*.tfr', got none"),
            ({"files": []}, "tfrecord.files = []: expected a file, a pattern or a list"),
            ({"files": 3}, "tfrecord.files = 3: expected a file"),
            ({"compression": "ZIP"}, "tfrecord.compression = 'ZIP': expected '' or 'GZIP'"),
            ({"compression": "GZIP"}, "a.tfr' isn't a gzip file"),
            ({"features": {}}, "tfrecord.features = {}: expected a dict"),
            ({"features": {"x": "float33"}}, "tfrecord.features: 'x' is 'float33': expected a dtype"),
            ({"features": {"x": "uint8"}}, "'x' has dtype uint8: expected one of ['float32', 'int64', 'string']"),
            ({"features": {"x": ("int64", [None])}}, "'x' has shape (None,): expected known sizes"),
        ],
    )
    def test_wrong_arguments(self, three, features, refused, arguments, message):
        with refused(message):
            tfrecord(**{"files": three[0], "features": features} | arguments)

    def test_a_folder(self, tmp_path, features, refused):
        with refused(f"tfrecord: expected a file, got the folder '{tmp_path}'; write tfrecord.files = '{tmp_path}/*'"):
            tfrecord(tmp_path, features)

    def test_gzip_without_compression(self, tmp_path, features, record, write_records, refused):
        with refused('is a gzip file: bind tfrecord.compression = "GZIP"'):
            tfrecord(write_records(tmp_path / "a", [record(1)], "GZIP"), features)
