"""The warning that every worker reads all of a stream."""

import pytest
import tensorflow as tf
from tallyloop.data import Input, tfrecord
from tallyloop.data.streams.shards import Worker
from tallyloop.data.streams.whole import warn_read_whole

NUMBERS = tf.data.Dataset.range(8)


def test_it_is_told_once_by_the_chief_of_many(warnings):
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


def test_a_function_of_shards_needs_its_binding(warnings):
    Input(lambda shard, shards: NUMBERS, 4).open_train(0, 2)
    assert "Bind Input.shards to a multiple of 2" in warnings[0]


@pytest.mark.parametrize(
    ("files", "workers", "told"),
    [(5, 2, "Input.shards = 4"), (5, 3, "Input.shards = 3"), (9, 2, "Input.shards = 6"), (1, 2, "in at least 2 files")],
)
def test_files_are_proposed_as_shards(tmp_path, warnings, files, workers, told):
    for index in range(files):
        (tmp_path / f"{index}.tfr").touch()
    found = tfrecord(tmp_path / "*.tfr", {"y": "int64"})
    warn_read_whole(found, found, 7, Worker(0, workers))
    assert told in warnings[0]


def test_shards_are_read_without_a_warning(shards_of, warnings):
    Input(shards_of([3, 3]), 4, shards=2).open_train(0, 2)
    assert warnings == []
