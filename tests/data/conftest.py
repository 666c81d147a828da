"""What the tests of the feeds and sources share: ways to read a feed, numbered rows, and bad ones."""

import re

import numpy as np
import pytest
import tensorflow as tf
from absl import logging
from tallyloop.data.messages.failures import FAILURES
from tallyloop.metrics.errors import UsageError


def _int64(value):
    return tf.convert_to_tensor(value, tf.int64)


def _as_numpy(nest):
    return tf.nest.map_structure(lambda tensor: tensor.numpy(), nest)


def _fetch(feed, step=0):
    return feed.fetch(feed.plan(_int64(step), _int64(1)), _int64(0))


@pytest.fixture(scope="session")
def read():
    """read(feed, first_step, num_steps) -> the global batches, as NumPy nests."""

    def batches(feed, first_step, num_steps):
        plan = feed.plan(_int64(first_step), _int64(num_steps))
        fetched = [feed.fetch(plan, _int64(i)) for i in range(num_steps)]
        return [_as_numpy(feed.shard(part, n, 0, 1)[0]) for part, n in fetched]

    return batches


@pytest.fixture(scope="session")
def read_labels(read):
    """read_labels(feed, first_step, num_steps) -> the `y` of each global batch, as lists."""
    return lambda feed, first_step, num_steps: [batch["y"].tolist() for batch in read(feed, first_step, num_steps)]


@pytest.fixture(scope="session")
def read_shards():
    """read_shards(feed, step, count) -> (n, [(batch, rows) of each replica])."""

    def shards(feed, step, count):
        part, n = _fetch(feed, step)
        return int(n), [_as_numpy(feed.shard(part, n, index, count)) for index in range(count)]

    return shards


def _joined(parts):
    """Whole batches: the rows of the parts of each, one after the other."""
    rows = [tf.nest.map_structure(lambda tensor, n=n: tensor[: int(n)].numpy(), batch) for batch, n in parts]
    return tf.nest.map_structure(lambda *arrays: np.concatenate(arrays), *rows)


@pytest.fixture(scope="session")
def read_by_workers():
    """read_by_workers(feeds, first_step, num_steps) -> the global batches, joined from the parts of these workers' feeds."""

    def batches(feeds, first_step, num_steps):
        for feed in feeds if first_step else ():
            feed.seek(first_step)
        found = []
        for step in range(first_step, first_step + num_steps):
            fetched = [_fetch(feed, step) for feed in feeds]
            parts = enumerate(zip(feeds, fetched, strict=True))
            found.append(_joined([feed.shard(*each, index, len(feeds)) for index, (feed, each) in parts]))
        return found

    return batches


@pytest.fixture(scope="session")
def read_to_end():
    """read_to_end(feed) -> the batches of an evaluation stream up to its end."""

    def batches(feed):
        found = []
        while len(found) < 1000:
            part, n = _fetch(feed, len(found))
            if n == 0:
                return found
            found.append(_as_numpy(feed.shard(part, n, 0, 1)[0]))
        raise AssertionError("no end after 1,000 batches")

    return batches


@pytest.fixture(scope="session")
def read_skipping():
    """read_skipping(feed, steps, first_step=0) -> (the `y` of each batch, the number skipped next to each), up to the end."""

    def batches(feed, steps, first_step=0):
        labels, skipped = [], []
        for step in range(first_step, first_step + steps):
            part, n = _fetch(feed, step)
            if n == 0:
                break
            labels.append(feed.shard(part, n, 0, 1)[0]["y"].numpy().tolist())
            skipped.append(int(feed.skipped(part)))
        return labels, skipped

    return batches


@pytest.fixture(scope="session")
def data_error():
    """data_error(feed, step=0) -> what a feed that waits makes of the error that reading it raises."""

    @tf.function
    def shard(feed, step):
        part, n = _fetch(feed, step)
        return feed.shard(part, n, 0, 1)

    def error_of(feed, step=0):
        if step:
            feed.seek(step)
        for following in range(step, step + 20):
            try:
                shard(feed, _int64(following))
            except FAILURES as error:
                return feed.data_error(error, step)
        raise AssertionError("nothing was raised")

    return error_of


@pytest.fixture(scope="session")
def numbered():
    """numbered(n) -> arrays whose row i is {"x": [i, i + 0.5], "y": i}."""

    def arrays(n):
        rows = np.arange(n)
        return {"x": np.stack([rows, rows + 0.5], 1).astype(np.float32), "y": rows}

    return arrays


@pytest.fixture(scope="session")
def stream_of():
    """stream_of(arrays) -> the dataset of their rows."""
    return tf.data.Dataset.from_tensor_slices


@pytest.fixture(scope="session")
def bad():
    """The numbers of the rows that `raising` refuses."""
    return (0, 3, 4, 11, 22)


@pytest.fixture(scope="session")
def raising(bad):
    """A map function of `numbered` rows that raises for the bad ones, and doubles x."""

    def double(example):
        is_bad = tf.reduce_any(example["y"] == tf.constant(bad, tf.int64))
        with tf.control_dependencies([tf.debugging.Assert(~is_bad, ["a bad one:", example["y"]])]):
            return {"x": example["x"] * 2, "y": tf.identity(example["y"])}

    return double


@pytest.fixture
def warnings(monkeypatch):
    """The warnings logged so far."""
    logged = []
    monkeypatch.setattr(logging, "warning", lambda message, *args: logged.append(message % args))
    return logged


@pytest.fixture(scope="session")
def refused():
    """refused(message, error=UsageError) -> a context that expects an error with exactly these words in its message."""
    return lambda message, error=UsageError: pytest.raises(error, match=re.escape(message))
