"""Opening a sharded stream: what is refused."""

import tensorflow as tf
from tallyloop.data import Input, tfrecord


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
        Input(tfrecord(tmp_path / "*.tfr", {"y": "int64"}), 4, shards=2).open_train()
    with refused("Input.shards = 3: expected at most the number of files of tfrecord, got 2 files"):
        Input(tfrecord(tmp_path / "*.tfr", {"y": "int64"}), 4, shards=3).open_train()


def test_an_endless_shard_does_not_evaluate(refused):
    data = Input(lambda shard, shards: tf.data.Dataset.range(3).repeat(), 4, shards=2)
    data.open_train()
    with refused("an evaluation sees each example once, but the source never ends"):
        data.open_eval()


def test_a_bad_example_is_named_with_its_shard(data_error, refused):
    def source(shard, shards):
        return tf.data.Dataset.range(1, 5).map(lambda i: 6 // ((i - 3) * shard + 1 - shard))

    with refused("shard 1 (counted from 0) of Input.shards = 2: the source of Input, example 0 (counted from 0)"):
        Input(lambda shard, shards: source(shard, shards).skip(2 * shard), 4, shards=2).open_train()
    told = str(data_error(Input(source, 4, shards=2).open_train()))
    assert told.startswith("shard 1 (counted from 0): the source of Input, example 2 (counted from 0)")
