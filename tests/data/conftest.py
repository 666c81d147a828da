import numpy as np
import pytest
import tensorflow as tf


def _int64(value):
    return tf.constant(value, tf.int64)


def _as_numpy(nest):
    return tf.nest.map_structure(lambda tensor: tensor.numpy(), nest)


@pytest.fixture
def read():
    """read(feed, first_step, num_steps) -> the global batches, as NumPy nests."""

    def batches(feed, first_step, num_steps):
        plan = feed.plan(_int64(first_step), _int64(num_steps))
        fetched = [feed.fetch(plan, _int64(i)) for i in range(num_steps)]
        return [_as_numpy(feed.shard(part, n, 0, 1)[0]) for part, n in fetched]

    return batches


@pytest.fixture
def read_shards():
    """read_shards(feed, step, count) -> (n, [(batch, rows) of each replica])."""

    def shards(feed, step, count):
        part, n = feed.fetch(feed.plan(_int64(step), _int64(1)), _int64(0))
        return int(n), [_as_numpy(feed.shard(part, n, index, count)) for index in range(count)]

    return shards


@pytest.fixture
def read_to_end():
    """read_to_end(feed) -> the batches of an evaluation stream up to its end."""

    def batches(feed):
        found = []
        while len(found) < 1000:
            part, n = feed.fetch(feed.plan(_int64(0), _int64(1)), _int64(0))
            if n == 0:
                return found
            found.append(_as_numpy(feed.shard(part, n, 0, 1)[0]))
        raise AssertionError("no end after 1,000 batches")

    return batches


@pytest.fixture
def numbered():
    """numbered(n) -> arrays whose row i is {"x": [i, i + 0.5], "y": i}."""

    def arrays(n):
        rows = np.arange(n)
        return {"x": np.stack([rows, rows + 0.5], 1).astype(np.float32), "y": rows}

    return arrays
