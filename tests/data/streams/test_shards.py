"""Cutting a source into shards, and sharing them among workers."""

import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data import Input
from tallyloop.data.checks import takes_shards
from tallyloop.data.streams.shards import Shards, Worker

NUMBERS = tf.data.Dataset.range(8)


class TestOwn:
    def test_are_consecutive(self):
        assert [list(Shards(6, NUMBERS.shard).own(Worker(index, 3))) for index in range(3)] == [[0, 1], [2, 3], [4, 5]]

    def test_the_workers_must_divide_them(self, refused):
        with refused(
            "Input.shards = 6: expected a multiple of the number of workers, got 4 workers: start 1, 2, 3 or 6, or choose another"
        ):
            Shards(6, NUMBERS.shard).own(Worker(0, 4))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (lambda shard, shards: NUMBERS, True),
        (lambda shard, shards, rows=3: NUMBERS, True),
        (lambda: NUMBERS, False),
        (lambda shards, shard: NUMBERS, False),
        (NUMBERS, False),
        (dict, False),
    ],
)
def test_functions_of_shards_are_told_by_the_names_of_their_parameters(source, expected):
    assert takes_shards(source) == expected


class TestRefused:
    @pytest.mark.parametrize(
        "source",
        [{"y": np.arange(8)}, lambda: {"y": np.arange(8)}, [{"y": 1}, {"y": 2}]],
        ids=["arrays", "function", "rows by number"],
    )
    def test_what_is_no_stream(self, refused, source):
        with refused("Input.shards = 2: expected a stream as Input.source, got arrays or rows by number"):
            Input(source, 4, shards=2, shuffle=False).open_train()

    @pytest.mark.parametrize("source", [NUMBERS, lambda: NUMBERS], ids=["dataset", "function"])
    def test_a_dataset(self, refused, source):
        with refused("Input.shards = 2: expected tfrecord, or a function of (shard, shards)"):
            Input(source, 4, shards=2, shuffle=False).open_train()

    def test_a_shard_of_arrays(self, refused):
        with refused("expected a tf.data.Dataset of a function of (shard, shards), got a dict"):
            Input(lambda shard, shards: {"y": np.arange(8)}, 4, shards=2, shuffle=False).open_train()

    def test_a_cached_one(self, refused):
        with refused("Input.shards = 2, Input.cache = True: expected one of the two"):
            Input(lambda shard, shards: NUMBERS, 4, shards=2, cache=True, shuffle=False).open_train()

    def test_more_shards_than_examples_in_a_batch(self, refused):
        with refused("Input.shards = 8: expected at most Input.global_batch_size = 4"):
            Input(lambda shard, shards: NUMBERS, 4, shards=8)

    def test_batches(self, refused):
        with refused("got batches"):
            Input(lambda shard, shards: NUMBERS.batch(2), 4, shards=2, shuffle=False).open_train()


def test_a_function_of_shards_may_be_read_as_a_whole(read):
    def source(shard, shards):
        return NUMBERS.shard(shards, shard)

    assert [batch.tolist() for batch in read(Input(source, 8, shuffle=False).open_train(), 0, 1)] == [list(range(8))]
