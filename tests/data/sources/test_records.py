"""Records of TFRecord files: their place in a checkpoint, and every way in which they are damaged."""

import gzip
import re

import pytest
import tensorflow as tf
from tallyloop.data import Input, tfrecord
from tallyloop.data.messages.failures import FAILURES
from tallyloop.metrics.errors import DataError


def flip(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def record_size(path):
    return len(path.read_bytes()) // 5


@pytest.fixture
def everything():
    """everything(feed) -> (the labels of a pass, the number of skipped examples)."""

    def read(feed):
        labels, skipped = [], 0
        while True:
            part, n = feed.fetch((), tf.constant(0, tf.int64))
            skipped += int(feed.skipped(part))
            if n == 0:
                return labels, skipped
            labels += feed.shard(part, n, 0, 1)[0]["y"].numpy().tolist()

    return read


def first_error(feed, steps=9):
    for _ in range(steps):
        try:
            feed.fetch((), tf.constant(0, tf.int64))
        except FAILURES as error:
            return feed.data_error(error, 0)
    return None


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_checkpoint_holds_the_place(three, features, tmp_path, read_labels, shuffle):
    source = tfrecord(three, features)
    feed, resumed = (Input(source, 4, shuffle=shuffle, shuffle_buffer=6).open_train() for _ in range(2))
    saved, restored = (tf.train.Checkpoint(**each.checkpoint_items()) for each in (feed, resumed))
    paths, whole = {}, []
    for step in range(13):
        if step in (0, 2, 3, 7):
            paths[step] = saved.write(str(tmp_path / f"{step}"))
        whole += read_labels(feed, step, 1)
    for step, path in paths.items():
        restored.read(path).assert_consumed()
        assert read_labels(resumed, step, 6) == whole[step : step + 6]


# What is done to the second file, of 5 records of `size` bytes, and which of its records is then the first bad one.
DAMAGE = {
    "content": (lambda path, size: flip(path, 2 * size + 20), 2),
    "length": (lambda path, size: flip(path, 3 * size), 3),
    "checksum of the length": (lambda path, size: flip(path, size + 8), 1),
    "cut in a record": (lambda path, size: path.write_bytes(path.read_bytes()[: 2 * size + 20]), 2),
    "cut in a length": (lambda path, size: path.write_bytes(path.read_bytes()[: 4 * size + 5]), 4),
    "another file": (lambda path, size: path.write_text("year,height\n" * 20), 0),
}
MOST_SLOW = [
    pytest.param(kind, marks=[] if kind in ("content", "another file") else pytest.mark.slow) for kind in DAMAGE
]


class TestCorruptRecord:
    @pytest.mark.parametrize("shuffle", [False, True])
    @pytest.mark.parametrize("kind", MOST_SLOW)
    def test_is_named(self, three, features, kind, shuffle):
        damage, index = DAMAGE[kind]
        damage(three[1], record_size(three[1]))
        error = first_error(Input(tfrecord(three, features), 4, shuffle=shuffle).open_train())
        assert isinstance(error, DataError)
        assert f"tfrecord: '{three[1]}', record {index} (counted from 0): " in str(error)
        assert 'Input.on_error = "skip"' in str(error)
        assert "\n" not in str(error)
        assert "{{" not in str(error)

    @pytest.mark.parametrize("kind", MOST_SLOW)
    def test_is_skipped_with_the_rest_of_its_file(self, three, features, everything, kind, capfd):
        damage, index = DAMAGE[kind]
        damage(three[1], record_size(three[1]))
        labels, skipped = everything(Input(tfrecord(three, features), 4, on_error="skip").open_eval())
        assert labels == [*range(5 + index), *range(10, 15)]
        assert skipped == 1
        if kind != "cut in a length":  # nothing follows it
            told = capfd.readouterr().err.replace('"', "")
            assert f"record {index} of {three[1]} is corrupt: the rest of the file is lost" in told

    def test_at_the_start_is_named_when_opened(self, three, features, refused):
        flip(three[0], 20)
        with refused(f"tfrecord: '{three[0]}', record 0 (counted from 0): corrupted record"):
            Input(tfrecord(three, features), 4).open_train()


def ints(*values):
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"y": None}, id="missing", marks=pytest.mark.slow),
        pytest.param({"x": ints(1, 2)}, id="dtype", marks=pytest.mark.slow),
        pytest.param({"y": ints(1, 2)}, id="shape"),
        pytest.param(None, id="not an example", marks=pytest.mark.slow),
    ],
)
def test_a_record_that_does_not_parse_is_named_or_skipped(three, features, record, write_records, everything, changes):
    bad = b"\xff not an example" if changes is None else record(6, **changes)
    write_records(three[1], [record(5), bad, *map(record, range(7, 10))])
    source = tfrecord(three, features)
    error = first_error(Input(source, 4).open_train())
    assert f"'{three[1]}', record 1 (counted from 0): " in str(error)
    labels, skipped = everything(Input(source, 4, on_error="skip").open_eval())
    assert (labels, skipped) == ([i for i in range(15) if i != 6], 1)


class TestGzip:
    @pytest.mark.parametrize(
        "beyond", [pytest.param(0, id="between records", marks=pytest.mark.slow), pytest.param(5, id="in a record")]
    )
    def test_that_ends_early(self, tmp_path, features, record, write_records, beyond):
        whole = write_records(tmp_path / "a.gz", map(record, range(200)), "GZIP").read_bytes()
        unpacked = gzip.decompress(whole)
        (tmp_path / "b.gz").write_bytes(gzip.compress(unpacked[: len(unpacked) // 200 * 150 + beyond])[:-8])
        feed = Input(tfrecord(tmp_path / "b.gz", features, "GZIP"), 40).open_train()
        # Without the end of the gzip stream, its last whole record is the last to be told from a torn one.
        assert re.search(r"b\.gz', record (149|150) \(counted from 0\): ", str(first_error(feed)))

    def test_that_is_cut(self, tmp_path, features, record, write_records, refused):
        path = write_records(tmp_path / "a.gz", map(record, range(200)), "GZIP")
        path.write_bytes(path.read_bytes()[: len(path.read_bytes()) // 2])
        with refused("a.gz', record"):
            Input(tfrecord(path, features, "GZIP"), 200, drop_remainder=True).open_train()


def test_a_file_that_is_gone_ends_the_run_and_does_not_hang(three, features, everything):
    source = tfrecord(three, features)
    feed, skipping = Input(source, 4).open_train(), Input(source, 4, on_error="skip").open_eval()
    three[1].unlink()
    skipping.rewind()
    assert f"'{three[1]}', record 0 (counted from 0): assertion failed: [the file is gone:" in str(first_error(feed))
    assert everything(skipping) == ([*range(5), *range(10, 15)], 1)
