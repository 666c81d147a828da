"""Length buckets: each row once an epoch, in batches of one size, the same on any number of replicas."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from tallyloop.data import Input, bucketed
from tallyloop.metrics import UsageError

SIZES = (4, 8, 16)


def sequences(lengths):
    """Row i is i + 1, so many times, and its number."""
    return [{"tokens": np.full(length, i + 1, np.int32), "id": np.int64(i)} for i, length in enumerate(lengths)]


def batches(feed, first, steps):
    feed.seek(first)
    plan = feed.plan(tf.constant(first, tf.int64), steps)
    fetched = [feed.fetch(plan, tf.constant(i, tf.int64)) for i in range(steps)]
    return [{key: value.numpy() for key, value in feed.shard(part, n, 0, 1)[0].items()} for part, n in fetched]


LENGTHS = np.random.default_rng(0).integers(0, 17, 53)


class TestTraining:
    def test_each_row_once_in_batches_of_like_lengths(self):
        """53 rows in batches of 8: 7 an epoch. A batch that isn't at a border of two sizes is padded to the size of its rows."""
        feed = Input(bucketed(sequences(LENGTHS), SIZES), 8).open_train()
        epochs = [batches(feed, first, 7) for first in (0, 7)]
        for epoch in epochs:
            assert sorted(np.concatenate([batch["id"] for batch in epoch]).tolist()) == list(range(53))
            mixed = 0
            for batch in epoch:
                size, lengths = batch["tokens"].shape[1], batch["length"]
                assert lengths.tolist() == LENGTHS[batch["id"]].tolist()
                assert size == min(each for each in SIZES if each >= lengths.max())
                mixed += len(set(np.searchsorted(SIZES, lengths))) > 1
                kept = np.arange(size) < lengths[:, np.newaxis]
                np.testing.assert_array_equal(batch["tokens"], np.where(kept, batch["id"][:, np.newaxis] + 1, 0))
            assert mixed <= len(SIZES) - 1
        orders = [[batch["id"].tolist() for batch in epoch] for epoch in epochs]
        assert orders[0] != orders[1]
        sizes = [[batch["tokens"].shape[1] for batch in epoch] for epoch in epochs]
        assert sizes[0] != sorted(sizes[0])
        assert sizes[0] != sizes[1]

    @pytest.mark.parametrize("count", [2, 3])
    def test_replicas_get_shares_of_the_same_batch(self, read_shards, count):
        whole, shared = (Input(bucketed(sequences(LENGTHS), SIZES), 8).open_train() for _ in range(2))
        for step, batch in zip((0, 6, 100), (batches(whole, step, 1)[0] for step in (0, 6, 100)), strict=True):
            shared.seek(step)
            n, shards = read_shards(shared, step, count)
            assert n == len(batch["id"])
            for key, value in batch.items():
                np.testing.assert_array_equal(np.concatenate([shard[key][:rows] for shard, rows in shards]), value)

    def test_the_first_row_may_be_of_the_largest_size(self):
        feed = Input(bucketed(sequences([16, 1, 2, 3]), SIZES), 2).open_train()
        assert {batch["tokens"].shape for batch in batches(feed, 0, 2)} == {(2, 4), (2, 16)}

    @settings(deadline=None, max_examples=60)
    @given(
        st.lists(st.integers(0, 9), min_size=1, max_size=40),
        st.integers(1, 9),
        st.integers(0, 5),
        st.integers(0, 2**32 - 1),
    )
    def test_any_epoch_has_each_row_once(self, lengths, batch_size, epoch, seed):
        rows = bucketed(sequences(lengths), [2, 5, 9])
        positions, epochs = np.arange(len(lengths)), np.full(len(lengths), epoch)
        found = rows.arranged(positions, epochs, batch_size=batch_size, seed=seed, shuffle=True)
        assert sorted(found % len(lengths)) == list(range(len(lengths)))
        for start in range(0, len(lengths), batch_size):
            batch = found[start : start + batch_size]
            longest = max(lengths[row] for row in batch % len(lengths))
            assert set(batch // len(lengths)) == {np.searchsorted([2, 5, 9], longest)}


def same(batch, expected):
    assert batch.keys() == expected.keys()
    for key, values in expected.items():
        np.testing.assert_array_equal(batch[key], values, err_msg=key)


class Noting(list):
    """Notes the rows that are read."""

    def __init__(self, rows):
        super().__init__(rows)
        self.read = []

    def __getitem__(self, row):
        self.read.append(row)
        return super().__getitem__(row)


class TestWorkers:
    """Of 53 rows in batches of 8, the last batch has 5: one for the first of three workers, and two for each other."""

    @pytest.mark.parametrize(("workers", "first"), [(3, 5), pytest.param(4, 10**6, marks=pytest.mark.slow)])
    def test_of_a_training_share_its_batches(self, read_by_workers, workers, first):
        """Over an epoch and a step more, each pads its part to the size of the batch, whose longest sequence may be another's."""
        data = Input(bucketed(sequences(LENGTHS), SIZES), 8)
        parts = read_by_workers([data.open_train(index, workers) for index in range(workers)], first, 8)
        for batch, whole in zip(parts, read_by_workers([data.open_train()], first, 8), strict=True):
            same(batch, whole)

    def test_of_an_evaluation_read_their_own_rows_only(self, read_by_workers):
        """The second of two has rows 4 to 7 of each batch, and the last 3; each batch is as wide as its longest sequence."""
        lengths = [1, 2, 3, 4, 1, 9, 1, 1] + [5] * 8 + [16, 1, 1, 1, 1]
        source = Noting(sequences(lengths))
        data = Input(bucketed(source, SIZES), 8)
        feeds = [data.open_eval(index, 2) for index in range(2)]
        source.read.clear()
        zero = (tf.constant(0, tf.int64),)
        second = [feeds[1].fetch(zero, tf.constant(step, tf.int64))[0] for step in range(3)]
        assert [part["id"].numpy().tolist() for part in second] == [[4, 5, 6, 7], [12, 13, 14, 15], [18, 19, 20]]
        assert [part["tokens"].shape[1] for part in second] == [16, 8, 16]
        assert sorted(source.read) == [4, 5, 6, 7, 12, 13, 14, 15, 18, 19, 20]
        for feed in feeds:
            feed.rewind()
        for batch, whole in zip(read_by_workers(feeds, 0, 3), read_by_workers([data.open_eval()], 0, 3), strict=True):
            same(batch, whole)


class TestEvaluation:
    def test_keeps_the_order_of_the_source(self):
        feed = Input(bucketed(sequences([1, 5, 2, 16, 3]), SIZES, padding=-1), 2).open_eval()
        found = batches(feed, 0, 3)
        assert [batch["id"].tolist() for batch in found] == [[0, 1], [2, 3], [4]]
        assert [batch["tokens"].shape for batch in found] == [(2, 8), (2, 16), (1, 4)]
        assert found[2]["tokens"].tolist() == [[5, 5, 5, -1]]


class Stacked:
    """Gives whole columns, and a fingerprint."""

    fingerprint = "these"

    def __init__(self, lengths):
        self.lengths, self.reads = lengths, 0

    def __len__(self):
        return len(self.lengths)

    def __getitems__(self, rows):
        self.reads += 1
        return {"tokens": [[1] * self.lengths[row] for row in rows]}


class OneOrStacked(Noting):
    """As `huggingface`: a row has lists of any length, but rows that are read at once must stack."""

    def __getitems__(self, rows):
        lists = [self[row]["tokens"] for row in rows]
        if len({len(each) for each in lists}) > 1:
            raise UsageError(f"column 'tokens' has a list of {len(lists[1])}: expected {len(lists[0])} values")
        return {"tokens": lists}


class TestSource:
    def test_may_refuse_to_stack_lists_of_different_lengths(self):
        source = bucketed(OneOrStacked({"tokens": [1] * n} for n in (3, 1, 2)), [4])
        found = source.__getitems__(np.arange(3))
        assert found["tokens"].tolist() == [[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 0, 0]]
        assert found["length"].tolist() == [3, 1, 2]

    def test_measures_once(self, tmp_path, monkeypatch):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        first, second = Stacked([1, 2, 3]), Stacked([1, 2, 3])
        made = [bucketed(each, [3]) for each in (first, second)]
        assert made[0].fingerprint == made[1].fingerprint != bucketed(second, [4]).fingerprint
        assert (first.reads, second.reads) == (1, 0)
        assert made[1].__getitems__(np.array([1]))["tokens"].tolist() == [[1, 1, 0]]

    def test_that_has_changed_is_told(self, tmp_path, monkeypatch):
        """A sequence that still fits is padded; one that does not would have the shape of another size."""
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        bucketed(Stacked([1, 2, 4]), [2, 4])
        changed = bucketed(Stacked([3, 1, 4]), [2, 4])
        assert changed.__getitems__(np.array([1]))["length"].tolist() == [1]
        with pytest.raises(UsageError, match="row 0 of the source has length 3: expected at most 2, as when all were"):
            changed.__getitems__(np.array([0]))

    def test_an_empty_list_has_the_dtype_of_the_others(self):
        found = bucketed([{"tokens": [1]}, {"tokens": []}], [2]).__getitems__(np.array([1]))["tokens"]
        assert (found.tolist(), found.dtype) == ([[0, 0]], np.int64)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"sizes": [8, 4]}, r"bucketed.sizes = \[8, 4\]: expected different lengths, the shortest first"),
            ({"sizes": [0]}, "bucketed.sizes = 0: expected a whole number of at least 1"),
            ({"keys": "tokens"}, "bucketed.keys = 'tokens': expected a list of names"),
            (
                {"keys": ["text"]},
                r"bucketed.keys = \['text'\]: expected these in row 0 of the source, got \['tokens', 'id'\]",
            ),
            ({"source": {"tokens": np.ones((2, 3))}}, "expected an object with __len__ .*, got a dict"),
            ({"sizes": [2]}, r"bucketed.sizes = \[2\]: .* is row 1 of the source, of length 3: add a size, or cut"),
            ({"source": 3}, "bucketed.source = 3: expected an object with __len__"),
            ({"source": [{"tokens": [1], "length": 1}]}, "row 0 of the source has the key 'length', which is added"),
            (
                {"source": [{"a": [1], "b": [1, 2]}], "keys": ["a", "b"]},
                "expected one length for all in row 0 of the source",
            ),
        ],
    )
    def test_refuses(self, arguments, message):
        with pytest.raises(UsageError, match=message):
            bucketed(**{"source": sequences([1, 3, 2]), "sizes": [4], **arguments})
