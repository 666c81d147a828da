"""The batches of a sharded stream, and which examples each worker reads."""

import collections

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tallyloop.data import Input, tfrecord


def expected(sizes, batch, first, steps):
    """The global batches, by hand: shard s has its part of each, and begins again where it ends."""
    count, found = len(sizes), []
    for step in range(first, first + steps):
        row = []
        for shard, size in enumerate(sizes):
            part = batch * (shard + 1) // count - batch * shard // count
            row += [100 * shard + (step * part + i) % size for i in range(part)]
        found.append(row)
    return found


@st.composite
def runs(draw):
    """(sizes of the shards, batch size, workers, workers after a restart, steps before it)."""
    sizes = draw(st.lists(st.integers(1, 9), min_size=2, max_size=4))
    divisors = [n for n in range(1, len(sizes) + 1) if len(sizes) % n == 0]
    workers = st.sampled_from(divisors)
    return sizes, draw(st.integers(len(sizes), 13)), draw(workers), draw(workers), draw(st.integers(0, 9))


class TestTraining:
    @pytest.mark.parametrize("count", [1, 2, 4])
    def test_batches_depend_on_the_shards_alone(self, workers_of, shards_of, count):
        sizes = [3, 5, 7, 1]
        assert workers_of(count, shards_of(sizes), 10, shards=4).batches(9) == expected(sizes, 10, 0, 9)

    @pytest.mark.slow
    @given(runs())
    @settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_whatever_the_sizes_and_the_numbers_of_workers(self, tmp_path, workers_of, shards_of, run):
        """On any number of workers, and after a restart on another one."""
        sizes, batch, before, after, steps = run
        first, second = (workers_of(count, shards_of(sizes), batch, shards=len(sizes)) for count in (before, after))
        assert first.batches(steps) == expected(sizes, batch, 0, steps)
        second.restore(first.save(tmp_path / "checkpoint"), steps)
        assert second.batches(4) == expected(sizes, batch, steps, 4)

    def test_each_shard_is_shuffled_in_each_pass(self, workers_of, shards_of):
        """Two shards of 20 numbers: 2 steps are a pass."""
        found = np.array(workers_of(1, shards_of([20, 20]), 20, shards=2, shuffle=True).batches(4))
        passes = [
            found[:2, :10].ravel(),
            found[2:, :10].ravel(),
            found[:2, 10:].ravel() - 100,
            found[2:, 10:].ravel() - 100,
        ]
        for order in passes:
            assert sorted(order) == list(range(20))
        assert len({tuple(order) for order in (*passes, range(20))}) == 5

    def test_a_shuffle_is_the_same_on_all_workers_and_after_a_restart(self, tmp_path, workers_of, shards_of):
        source, keywords = shards_of([7, 9, 11, 5]), {"shards": 4, "shuffle": True, "shuffle_buffer": 12, "seed": 1}
        one, two = (workers_of(count, source, 9, **keywords) for count in (1, 2))
        whole = one.batches(12)
        assert two.batches(7) == whole[:7]
        path = two.save(tmp_path / "checkpoint")
        one.restore(path, 7)
        assert one.batches(5) == whole[7:]
        assert whole != workers_of(1, source, 9, **{**keywords, "seed": 2}).batches(12)

    def test_map_fn_and_bad_examples(self, tmp_path, workers_of, shards_of):
        """A map with Python's `if`; the 103 is bad. What follows moves up, and all batches are full."""

        def map_fn(number):
            if number == 103:
                tf.debugging.Assert(False, ["bad"])
            return number * 2

        two = workers_of(2, shards_of([3, 5]), 4, shards=2, map_fn=map_fn, on_error="skip")
        whole = [[0, 2, 200, 202], [4, 0, 204, 208], [2, 4, 200, 202], [0, 2, 204, 208]]
        assert two.batches(3) == whole[:3]
        one = workers_of(1, shards_of([3, 5]), 4, shards=2, map_fn=map_fn, on_error="skip")
        one.restore(two.save(tmp_path / "checkpoint"), 3)
        assert one.batches(1) == whole[3:]
        skipped = [two.feeds[1].fetch((), tf.constant(0, tf.int64))[0] for _ in range(2)]
        assert sum(int(two.feeds[1].skipped(part)) for part in skipped) == 1  # one pass

    def test_examples_may_be_tuples(self, workers_of):
        def source(shard, shards):
            return tf.data.Dataset.range(4).map(lambda i: (i, {"z": i + shard}))

        feed = Input(source, 4, shards=2, map_fn=lambda x, nest: (x, nest["z"] * 10), shuffle=False).open_train()
        x, z = feed.whole(feed.fetch((), tf.constant(0, tf.int64))[0])
        assert (x.numpy().tolist(), z.numpy().tolist()) == ([0, 1, 0, 1], [0, 10, 10, 20])


class TestReading:
    def test_each_worker_reads_its_own_shards_only(self, workers_of):
        read = collections.Counter()

        def source(shard, shards):
            def examples():
                for i in range(1000):
                    read[shard] += 1
                    yield i

            return tf.data.Dataset.from_generator(examples, output_signature=tf.TensorSpec([], tf.int64))

        for index, own in enumerate([{0, 1}, {2, 3}]):
            read.clear()
            feed = Input(source, 8, shards=4, shuffle=False).open_train(index, 2)
            for _ in range(50):
                feed.fetch((), tf.constant(0, tf.int64))
            feed.stop()
            assert set(read) == own
            assert all(100 <= count < 300 for count in read.values())  # the 100 used, and what is read ahead

    def test_files_are_dealt_in_their_order(self, workers_of, five_files):
        """Five files of 2 records in two shards: files 0 and 1, and files 2, 3 and 4."""
        source, keywords = tfrecord(*five_files), {"shards": 2, "map_fn": lambda example: example["y"]}
        for count in (1, 2):
            assert workers_of(count, source, 4, **keywords).batches(3) == [[0, 1, 4, 5], [2, 3, 6, 7], [0, 1, 8, 9]]

    def test_a_worker_opens_its_own_files_only(self, workers_of, five_files):
        """The other worker's files are gone after the start."""
        pattern, features = five_files
        feed = Input(tfrecord(pattern, features), 4, shards=2, shuffle=False).open_train(1, 2)
        for name in "ab":
            (pattern.parent / f"{name}.tfr").unlink()
        assert [feed.whole(feed.fetch((), tf.constant(0, tf.int64))[0])["y"].numpy().tolist() for _ in range(4)] == [
            [4, 5],
            [6, 7],
            [8, 9],
            [4, 5],
        ]


@pytest.fixture
def five_files(tmp_path, write_numbers):
    """(the pattern of five files of two records each, their features)."""
    for index, name in enumerate("abcde"):
        write_numbers(tmp_path / f"{name}.tfr", [2 * index, 2 * index + 1])
    return tmp_path / "*.tfr", {"y": "int64"}


class TestEvaluation:
    @pytest.mark.parametrize("count", [1, 2, 4])
    def test_each_example_once_in_order_whatever_the_sizes(self, shards_of, count):
        """With an empty shard, and with one that is longer than all others together."""
        sizes, found = [3, 0, 11, 2], []
        for index in range(count):
            feed = Input(shards_of(sizes), 6, shards=4, shuffle=True).open_eval(index, count)
            for _ in range(2):
                feed.rewind()
                mine = []
                while True:
                    part, n = feed.fetch((), tf.constant(0, tf.int64))
                    if n == 0:
                        break
                    assert n % count == 0
                    shares = [feed.shard(part, n, replica, 2 * count) for replica in (2 * index, 2 * index + 1)]
                    mine += [i for batch, rows in shares for i in batch[:rows].numpy().tolist()]
            found += mine
        assert found == [100 * shard + i for shard, size in enumerate(sizes) for i in range(size)]
