"""Each row once an epoch, and the same rows again, whatever the lengths, batches, replicas, mixtures and interruptions.

PROPERTY_CASES in the environment is the number of cases of each test.
"""

import collections
import itertools
import os

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tallyloop.data import Mixture, bucketed, packed
from tallyloop.data.feeds.feed import Share
from tallyloop.data.feeds.order import Order
from tallyloop.data.rows import shares
from tallyloop.data.rows.rows import as_rows, of_arrays
from tallyloop.data.rows.shares import Shares
from tallyloop.data.rows.transforms import Examples

quickly = settings(
    max_examples=int(os.environ.get("PROPERTY_CASES", "8")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.fixture(autouse=True, scope="module")
def eagerly():
    """Each case has an order of its own, whose trace takes longer than what it computes; fewer steps are drawn at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shares, "_STEPS", 8)
        tf.config.run_functions_eagerly(True)
        yield
        tf.config.run_functions_eagerly(False)


@st.composite
def orders(draw, num_examples=None, **fixed):
    length = num_examples or draw(st.integers(1, 130))
    chosen = {
        "batch_size": draw(st.integers(1, min(length, 40))),
        "shuffle": draw(st.booleans()),
        "seed": draw(st.integers(0, 2**32 - 1)),
        "drop_remainder": draw(st.booleans()),
        "endless": True,
    }
    return Order(num_examples=length, **{**chosen, **fixed})


def size_of(order, step):
    """The examples of a step, without TensorFlow."""
    place = step % order.batches_per_epoch
    return min(order.batch_size, order.num_examples - place * order.batch_size)


def read(order, first, last, replicas, arrange=None):
    """The rows of each step, as the replicas of all workers read them: (epoch, rows)."""
    drawn, found = Shares(order, arrange), []
    for step in range(first, last):
        size, parts = size_of(order, step), []
        for index in range(replicas):
            epoch, rows = drawn.rows(step, Share(index, replicas))
            parts.append(rows[: size * (index + 1) // replicas - size * index // replicas])  # none of a borrowed row
        found.append((epoch, np.concatenate(parts)))
    return found


def in_pieces(order, end, replicas, stops, arrange=None):
    """The rows of each step of a run that is interrupted after some steps, and goes on with other replicas."""
    places = [0, *sorted(stops), end]
    pieces = [
        read(order, *bounds, replicas[i % len(replicas)], arrange)
        for i, bounds in enumerate(itertools.pairwise(places))
    ]
    return [step for piece in pieces for step in piece]


REPLICAS = st.lists(st.integers(1, 9), min_size=1, max_size=3)  # of all workers together, in each life of a run


class TestRows:
    @quickly
    @given(st.data(), st.integers(0, 10**12))
    def test_each_once_in_any_epoch(self, data, epoch):
        order = data.draw(orders(drop_remainder=False))
        per_epoch = order.batches_per_epoch
        found = read(order, epoch * per_epoch, (epoch + 1) * per_epoch, data.draw(st.integers(1, 9)))
        assert {each for each, _ in found} == {epoch}
        assert sorted(np.concatenate([rows for _, rows in found]).tolist()) == list(range(order.num_examples))

    @quickly
    @given(orders(drop_remainder=True), st.integers(1, 9))
    def test_none_twice_without_the_remainder(self, order, replicas):
        found = np.concatenate([rows for _, rows in read(order, 0, order.batches_per_epoch, replicas)])
        assert len(set(found.tolist())) == len(found) == order.batches_per_epoch * order.batch_size

    @quickly
    @given(orders(), REPLICAS, st.data())
    def test_the_same_after_interruptions_on_any_replicas(self, order, replicas, data):
        end = 2 * order.batches_per_epoch + 1
        stops = data.draw(st.lists(st.integers(0, end), max_size=3))
        for (epoch, rows), (same_epoch, same) in zip(
            read(order, 0, end, 1), in_pieces(order, end, replicas, stops), strict=True
        ):
            assert epoch == same_epoch
            np.testing.assert_array_equal(rows, same)


def noisy(example, rng):
    return {**example, "noise": rng.normal()}


def numbered(owner, count):
    return {"owner": np.full(count, owner), "row": np.arange(count)}


@st.composite
def mixtures(draw):
    """(how to make a mixture again, the lengths of its sources)."""
    lengths = draw(st.lists(st.integers(1, 30), min_size=1, max_size=4))
    weights = [draw(st.integers(1, 9)) for _ in lengths]
    seed = draw(st.integers(0, 2**32 - 1))
    return lambda: Mixture([numbered(k, n) for k, n in enumerate(lengths)], weights, seed), lengths


class TestMixtures:
    @quickly
    @given(mixtures())
    def test_each_row_of_a_source_once_in_its_epochs(self, mixture):
        make, lengths = mixture
        source = make()
        found = source.__getitems__(np.arange(3 * len(source)))
        for owner, length in enumerate(lengths):
            rows = found["row"][found["owner"] == owner]
            assert len(rows) >= length
            for start in range(0, len(rows) - length + 1, length):
                assert sorted(rows[start : start + length].tolist()) == list(range(length))

    @quickly
    @given(mixtures(), REPLICAS, st.data())
    def test_the_same_examples_and_noise_after_interruptions(self, mixture, replicas, data):
        """Each life of the run makes the source again. The order is the mixture's own, whatever `shuffle` is."""
        make, _ = mixture
        order = data.draw(orders(num_examples=len(make())))
        end = min(order.batches_per_epoch + 3, 60)
        stops = data.draw(st.lists(st.integers(0, end), max_size=2))
        first, second = as_rows(make()), as_rows(make())
        whole, again = (Examples(rows, noisy, order.seed) for rows in (first, second))
        for step, ((epoch, rows), (_, same)) in enumerate(
            zip(
                read(order, 0, end, 1, first.arrange),
                in_pieces(order, end, replicas, stops, second.arrange),
                strict=True,
            )
        ):
            start = epoch * order.num_examples + step % order.batches_per_epoch * order.batch_size
            assert rows.tolist() == list(range(start, start + size_of(order, step)))
            one = whole.read(epoch, rows)
            halves = [again.read(epoch, part) for part in np.array_split(same, 2) if len(part)]
            for key, values in one.items():
                np.testing.assert_array_equal(values, np.concatenate([half[key] for half in halves]))


class TestPacks:
    @quickly
    @given(st.lists(st.integers(0, 25), min_size=1, max_size=30).filter(any), st.integers(1, 16), st.data())
    def test_each_token_once_in_any_epoch(self, lengths, length, data):
        starts = np.cumsum([0, *lengths])
        documents = [list(range(start, start + count)) for start, count in zip(starts, lengths, strict=False)]
        source = packed(documents, length=length)
        order = data.draw(orders(num_examples=len(source), drop_remainder=False))
        rows = [rows for _, rows in read(order, 0, order.batches_per_epoch, data.draw(st.integers(1, 5)))]
        packs = [source.__getitems__(each) for each in rows]
        tokens = np.concatenate([each["tokens"][each["segment_ids"] > 0] for each in packs])
        assert collections.Counter(tokens.tolist()) == collections.Counter(range(sum(lengths)))


class TestBuckets:
    @quickly
    @given(st.lists(st.integers(0, 12), min_size=1, max_size=60), REPLICAS, st.data())
    def test_each_row_once_in_any_epoch_and_the_same_after_interruptions(self, lengths, replicas, data):
        """A number is that of a row, and of the size of its batch, which all replicas pad to."""
        source = bucketed([{"tokens": [1] * length} for length in lengths], [3, 6, 12])
        order = data.draw(orders(num_examples=len(lengths), shuffle=True, drop_remainder=False))
        end = 2 * order.batches_per_epoch
        stops = data.draw(st.lists(st.integers(0, end), max_size=3))
        whole = read(order, 0, end, 1, source.arranged)
        for (epoch, rows), (same_epoch, same) in zip(
            whole, in_pieces(order, end, replicas, stops, source.arranged), strict=True
        ):
            assert epoch == same_epoch
            np.testing.assert_array_equal(rows, same)
            assert len(set(rows // len(lengths))) == 1
        for epoch in range(2):
            rows = np.concatenate([rows for each, rows in whole if each == epoch])
            assert sorted((rows % len(lengths)).tolist()) == list(range(len(lengths)))


class TestEvaluations:
    @quickly
    @given(st.integers(1, 130), st.data(), st.integers(1, 9))
    def test_each_row_once_and_in_order(self, length, data, replicas):
        order = data.draw(orders(num_examples=length, shuffle=False, endless=False, drop_remainder=False))
        found = [rows for _, rows in read(order, 0, order.batches_per_epoch, replicas)]
        np.testing.assert_array_equal(np.concatenate(found), np.arange(length))

    def test_noise_is_of_the_row(self):
        examples = Examples(of_arrays(numbered(0, 5)), noisy, 3)
        assert len(set(examples.read(2, np.arange(5))["noise"].tolist())) == 5
