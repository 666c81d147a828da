"""Simulated workers that read a sharded stream."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data import Input


def _zero():
    return tf.constant(0, tf.int64)


@dataclasses.dataclass
class Workers:
    """The feeds of all workers of a run, in one process."""

    feeds: list

    def batches(self, steps):
        """The global batches of the next steps: the parts of the workers, joined."""
        found = []
        for _ in range(steps):
            parts = [feed.whole(feed.fetch((), _zero())[0]).numpy() for feed in self.feeds]
            found.append(np.concatenate(parts).tolist())
        return found

    def save(self, path):
        """Write the chief's checkpoint."""
        mine = []
        for feed in self.feeds:
            feed.before_save(lambda array: mine.append(array) or array)
        for feed in self.feeds:
            feed.before_save(lambda array: sum(mine))
        return tf.train.Checkpoint(**self.feeds[0].checkpoint_items()).write(str(path))

    def restore(self, path, step):
        """Continue all workers from the checkpoint."""
        for feed in self.feeds:
            tf.train.Checkpoint(**feed.checkpoint_items()).read(path).assert_consumed()
            feed.seek(step)


@pytest.fixture(scope="session")
def workers_of():
    """workers_of(count, source, batch size, shards=..., ...) -> the workers of a training, unshuffled by default."""

    def opened(count, *arguments, **keywords):
        keywords = {"shuffle": False, **keywords}
        return Workers([Input(*arguments, **keywords).open_train(index, count) for index in range(count)])

    return opened


@pytest.fixture(scope="session")
def shards_of():
    """shards_of(sizes) -> a source whose shard s has the numbers 100 s, 100 s + 1, ..."""

    def source_of(sizes):
        def source(shard, shards):
            assert shards == len(sizes)
            return tf.data.Dataset.range(100 * shard, 100 * shard + sizes[shard])

        return source

    return source_of


@pytest.fixture(scope="session")
def write_numbers():
    """write_numbers(path, numbers): a TFRecord file of an example {"y": number} each."""

    def write(path, numbers):
        with tf.io.TFRecordWriter(str(path)) as writer:
            for number in numbers:
                value = tf.train.Feature(int64_list=tf.train.Int64List(value=[number]))
                features = tf.train.Features(feature={"y": value})
                writer.write(tf.train.Example(features=features).SerializeToString())

    return write
