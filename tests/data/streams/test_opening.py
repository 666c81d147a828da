"""Opening a sharded stream, and one that is read as a whole: what is refused, and what is warned about."""

import pytest
import tensorflow as tf
from tallyloop.data import Input, tfrecord
from tallyloop.data.streams.opening import warn_read_whole, warn_uneven
from tallyloop.data.streams.shards import Shards, Worker

NUMBERS = tf.data.Dataset.range(8)


def test_an_empty_shard_does_not_train(shards_of, refused):
    data = Input(shards_of([3, 0]), 4, shards=2)
    with refused(
        "shard 1 (counted from 0) of Input.shards = 2: the source of Input has no examples: expected at least one"
    ):
        data.open_train()
    data.open_train(0, 2)  # another worker's
    data.open_eval()


def test_an_empty_file(tmp_path, refused):
    tf.io.TFRecordWriter(str(tmp_path / "a.tfr")).close()
    tf.io.TFRecordWriter(str(tmp_path / "b.tfr")).close()
    with refused("shard 0 (counted from 0) of Input.shards = 2: the source of Input has no examples"):
        Input(tfrecord(tmp_path / "*.tfr", {"y": "int64"}), 4, shards=2, shuffle=False).open_train()
    with refused("Input.shards = 3: expected at most the number of files of tfrecord, got 2 files"):
        Input(tfrecord(tmp_path / "*.tfr", {"y": "int64"}), 4, shards=3, shuffle=False).open_train()


def test_an_endless_shard_does_not_evaluate(refused):
    data = Input(lambda shard, shards: tf.data.Dataset.range(3).repeat(), 4, shards=2)
    data.open_train()
    with refused("an evaluation sees each example once, but the source never ends"):
        data.open_eval()


def test_a_bad_example_is_named_with_its_shard(data_error, refused):
    def source(shard, shards):
        return tf.data.Dataset.range(1, 5).map(lambda i: 6 // ((i - 3) * shard + 1 - shard))

    with refused("shard 1 (counted from 0) of Input.shards = 2: the source of Input, example 0 (counted from 0)"):
        Input(lambda shard, shards: source(shard, shards).skip(2 * shard), 4, shards=2, shuffle=False).open_train()
    told = str(data_error(Input(source, 4, shards=2, shuffle=False).open_train()))
    assert told.startswith("shard 1 (counted from 0): the source of Input, example 2 (counted from 0)")


class TestWholeStreams:
    def test_it_is_told_once_by_the_chief_of_many(self, warnings):
        data = Input(NUMBERS, 4)
        data.open_train()
        data.open_train(1, 3)
        assert warnings == []
        data = Input(NUMBERS, 4)
        data.open_train(0, 3)
        data.open_eval(0, 3)
        (told,) = warnings
        assert "each of the 3 workers reads the whole stream, 3 examples for each one that it uses" in told
        assert "make Input.source a function of (shard, shards)" in told

    def test_a_function_of_shards_needs_its_binding(self, warnings):
        Input(lambda shard, shards: NUMBERS, 4, shuffle=False).open_train(0, 2)
        assert "Bind Input.shards to a multiple of 2" in warnings[0]

    @pytest.mark.parametrize(
        ("files", "workers", "told"),
        [
            (5, 2, "Input.shards = 4"),
            (5, 3, "Input.shards = 3"),
            (9, 2, "Input.shards = 6"),
            (1, 2, "in at least 2 files"),
        ],
    )
    def test_files_are_proposed_as_shards(self, tmp_path, warnings, files, workers, told):
        for index in range(files):
            (tmp_path / f"{index}.tfr").touch()
        found = tfrecord(tmp_path / "*.tfr", {"y": "int64"})
        warn_read_whole(found, found, 7, Worker(0, workers))
        assert told in warnings[0]

    def test_shards_are_read_without_a_warning(self, shards_of, warnings):
        Input(shards_of([3, 3]), 4, shards=2, shuffle=False).open_train(0, 2)
        assert warnings == []


class TestUnevenShards:
    def test_the_smallest_is_named_once(self, tmp_path, warnings, write_numbers):
        for name, count in (("a", 6), ("b", 2), ("c", 5)):
            write_numbers(tmp_path / f"{name}.tfr", [0] * count)
        data = Input(tfrecord(tmp_path / "*.tfr", {"y": "int64"}), 6, shards=3)
        data.open_eval()
        assert warnings == []
        for _ in range(2):
            data.open_train()
        (told,) = warnings
        assert "Input.shards = 3: shard 1 (counted from 0)" in told
        assert "3.0 times as often" in told

    def test_nearly_even_ones_pass(self, warnings):
        warn_uneven(Shards(2, NUMBERS.shard, sizes=[100, 149]))
        warn_uneven(Shards(2, NUMBERS.shard))
        assert warnings == []
