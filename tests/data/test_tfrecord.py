"""TFRecord files: good ones, and every way in which they are not."""

import gzip
import re

import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data import Input, tfrecord
from tallyloop.metrics.errors import DataError, UsageError

FEATURES = {"x": ("float32", [2]), "y": "int64"}


def record(i, **changes):
    parts = {
        "x": tf.train.Feature(float_list=tf.train.FloatList(value=[i, i + 0.5])),
        "y": tf.train.Feature(int64_list=tf.train.Int64List(value=[i])),
        **changes,
    }
    features = {name: part for name, part in parts.items() if part is not None}
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def write(path, records, compression=""):
    with tf.io.TFRecordWriter(str(path), compression) as writer:
        for each in records:
            writer.write(each)
    return path


@pytest.fixture
def three(tmp_path):
    """Three files with the examples 0-4, 5-9 and 10-14."""
    return [write(tmp_path / f"{name}.tfr", map(record, range(5 * i, 5 * i + 5))) for i, name in enumerate("abc")]


@pytest.fixture
def said(capfd):
    return lambda: capfd.readouterr().err


def flip(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def length(path):
    return len(path.read_bytes()) // 5


def says(message, error=UsageError):
    return pytest.raises(error, match=re.escape(message))


def everything(feed):
    """(the labels of a pass, the number of skipped examples)."""
    labels, skipped = [], 0
    while True:
        part, n = feed.fetch((), tf.constant(0, tf.int64))
        skipped += int(feed.skipped(part))
        if n == 0:
            return labels, skipped
        labels += feed.shard(part, n, 0, 1)[0]["y"].numpy().tolist()


def first_error(feed, steps=9):
    for _ in range(steps):
        try:
            feed.fetch((), tf.constant(0, tf.int64))
        except (tf.errors.OpError, UnicodeDecodeError) as error:
            return feed.data_error(error, 0)
    return None


def test_files_by_pattern_list_and_name(three, read_to_end):
    folder = three[0].parent
    for files in (f"{folder}/*.tfr", three, [f"{folder}/[ab].tfr", str(three[2])]):
        batches = read_to_end(Input(tfrecord(files, FEATURES), 4).open_eval())
        assert np.concatenate([batch["y"] for batch in batches]).tolist() == list(range(15))
        np.testing.assert_array_equal(batches[0]["x"][1], [1, 1.5])
    backwards = read_to_end(Input(tfrecord(three[::-1], FEATURES), 15).open_eval())
    assert backwards[0]["y"][:5].tolist() == [10, 11, 12, 13, 14]


def test_gzip_bytes_and_empty_files(tmp_path, read_to_end):
    bytes_of = {"s": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"abc"]))}
    write(tmp_path / "a.gz", [], "GZIP")
    write(tmp_path / "b.gz", [record(i, **bytes_of) for i in range(3)], "GZIP")
    (tmp_path / "c.gz").write_bytes(b"")
    (batch,) = read_to_end(Input(tfrecord(f"{tmp_path}/*.gz", {"s": "string"}, "GZIP"), 4).open_eval())
    assert batch["s"].tolist() == [b"abc"] * 3


@pytest.mark.parametrize("name", ["a[1].tfr", "a*.tfr", "a?{b}.tfr"])
def test_a_name_that_looks_like_a_pattern(tmp_path, read_to_end, name):
    write(tmp_path / name, [record(7)])
    write(tmp_path / "a1.tfr", [record(8)])
    (batch,) = read_to_end(Input(tfrecord(tmp_path / name, FEATURES), 4).open_eval())
    assert batch["y"].tolist() == [7]


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_checkpoint_holds_the_place(three, tmp_path, read, shuffle):
    def opened():
        return Input(tfrecord(three, FEATURES), 4, shuffle=shuffle, shuffle_buffer=6).open_train()

    for stop in (0, 2, 3, 7):
        feed = opened()
        read(feed, 0, stop)
        path = tf.train.Checkpoint(**feed.checkpoint_items()).write(str(tmp_path / "at"))
        expected = [batch["y"].tolist() for batch in read(feed, stop, 6)]
        resumed = opened()
        tf.train.Checkpoint(**resumed.checkpoint_items()).read(path).assert_consumed()
        assert [batch["y"].tolist() for batch in read(resumed, stop, 6)] == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"files": "/no/*.tfr"}, "tfrecord.files: no file matches '/no/*.tfr': want at least one"),
        ({"files": []}, "tfrecord.files = []: want a file, a pattern or a list"),
        ({"files": 3}, "tfrecord.files = 3: want a file"),
        ({"compression": "ZIP"}, "tfrecord.compression = 'ZIP': want one of ('', 'GZIP')"),
        ({"compression": "GZIP"}, "a.tfr' is no gzip file"),
        ({"features": {}}, "tfrecord.features = {}: want a dict"),
        ({"features": {"x": "float33"}}, "tfrecord.features: 'x' is 'float33': want a dtype"),
        ({"features": {"x": "uint8"}}, "'x' has dtype uint8: want one of ['float32', 'int64', 'string']"),
        ({"features": {"x": ("int64", [None])}}, "'x' has shape (None,): want known sizes"),
    ],
)
def test_wrong_arguments(three, arguments, message):
    with says(message):
        tfrecord(**{"files": three[0], "features": FEATURES} | arguments)


def test_a_folder_and_a_gzip_file_without_compression(tmp_path):
    with says("is a folder: want a file"):
        tfrecord(tmp_path, FEATURES)
    with says('is a gzip file: bind tfrecord.compression = "GZIP"'):
        tfrecord(write(tmp_path / "a", [record(1)], "GZIP"), FEATURES)


# What is done to the second file, of 5 records of `size` bytes, and which of its records then is the first bad one.
DAMAGE = {
    "content": (lambda path, size: flip(path, 2 * size + 20), 2),
    "length": (lambda path, size: flip(path, 3 * size), 3),
    "sum of the length": (lambda path, size: flip(path, size + 8), 1),
    "cut in a record": (lambda path, size: path.write_bytes(path.read_bytes()[: 2 * size + 20]), 2),
    "cut in a length": (lambda path, size: path.write_bytes(path.read_bytes()[: 4 * size + 5]), 4),
    "another file": (lambda path, size: path.write_text("year,height\n" * 20), 0),
}


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("kind", DAMAGE)
def test_a_corrupt_record_is_named(three, kind, shuffle):
    damage, index = DAMAGE[kind]
    damage(three[1], length(three[1]))
    feed = Input(tfrecord(three, FEATURES), 4, shuffle=shuffle).open_train()
    error = first_error(feed)
    assert isinstance(error, DataError)
    assert f"tfrecord: '{three[1]}', record {index} (counted from 0): " in str(error)
    assert 'Input.on_error = "skip"' in str(error)
    assert "\n" not in str(error)
    assert "{{" not in str(error)


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_corrupt_record_is_skipped_with_the_rest_of_its_file(three, kind, said):
    damage, index = DAMAGE[kind]
    damage(three[1], length(three[1]))
    labels, skipped = everything(Input(tfrecord(three, FEATURES), 4, on_error="skip").open_eval())
    assert labels == [*range(5 + index), *range(10, 15)]
    assert skipped == 1
    if kind != "cut in a length":  # nothing follows it
        assert f"record {index} of {three[1]} is corrupt: the rest of the file is lost" in said().replace('"', "")


def ints(*values):
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


@pytest.mark.parametrize(
    "changes",
    [{"y": None}, {"x": ints(1, 2)}, {"y": ints(1, 2)}, None],
    ids=["missing", "dtype", "shape", "no example"],
)
def test_a_record_that_does_not_parse(three, changes):
    bad = b"\xff no example" if changes is None else record(6, **changes)
    write(three[1], [record(5), bad, *map(record, range(7, 10))])
    error = first_error(Input(tfrecord(three, FEATURES), 4).open_train())
    assert f"'{three[1]}', record 1 (counted from 0): " in str(error)
    labels, skipped = everything(Input(tfrecord(three, FEATURES), 4, on_error="skip").open_eval())
    assert (labels, skipped) == ([i for i in range(15) if i != 6], 1)


def test_what_is_bad_in_the_first_record_is_said_when_opened(three):
    flip(three[0], 20)
    with says(f"tfrecord: '{three[0]}', record 0 (counted from 0): corrupted record"):
        Input(tfrecord(three, FEATURES), 4).open_train()


def test_gzip_that_ends_early_or_is_damaged(tmp_path):
    whole = write(tmp_path / "a.gz", map(record, range(200)), "GZIP").read_bytes()
    unpacked = gzip.decompress(whole)
    size = len(unpacked) // 200
    for cut in (150 * size, 150 * size + 5):
        (tmp_path / "b.gz").write_bytes(gzip.compress(unpacked[:cut])[:-8])
        feed = Input(tfrecord(tmp_path / "b.gz", FEATURES, "GZIP"), 40).open_train()
        # Without the end of the gzip stream, its last whole record is the last to be told from a torn one.
        assert re.search(r"b\.gz', record (149|150) \(counted from 0\): ", str(first_error(feed)))
    (tmp_path / "a.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UsageError, match=r"a\.gz', record"):
        Input(tfrecord(tmp_path / "a.gz", FEATURES, "GZIP"), 200, drop_remainder=True).open_train()


def test_a_file_that_is_gone_ends_and_does_not_hang(three):
    source, skipping = tfrecord(three, FEATURES), Input(tfrecord(three, FEATURES), 4, on_error="skip")
    feed, lossy = Input(source, 4).open_train(), skipping.open_eval()
    three[1].unlink()
    lossy.rewind()
    assert f"'{three[1]}', record 0 (counted from 0): assertion failed: [the file is gone:" in str(first_error(feed))
    assert everything(lossy) == ([*range(5), *range(10, 15)], 1)
