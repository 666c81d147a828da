import numpy as np
import pytest
import tensorflow as tf
from tallyloop import metrics
from tallyloop.metrics import MetricRegistry, Tally
from tallyloop.metrics.device.accumulator import Accumulator


class Loop:
    """Steps that add replica r's number `values[r]` in step after step, in a traced loop."""

    def __init__(self, strategy):
        self.strategy = strategy
        self.accumulator = Accumulator(strategy, MetricRegistry())
        self.traces = 0
        self.run = tf.function(self._run, autograph=False)

    def _run(self, values, active, steps):
        self.traces += 1

        def replica():
            index = tf.distribute.get_replica_context().replica_id_in_sync_group
            one = tf.gather(values, index)
            tallies = {
                "m": Tally(one, tf.constant(2**23 + 1, tf.int64)),
                "pair": Tally(tf.stack([one, 1.0]), 1.0 + 0 * one),
            }
            return self.accumulator.pack(tallies, tf.gather(active, index))

        def body(i):
            self.accumulator.add(self.strategy.run(replica))
            return i + 1

        return tf.while_loop(lambda i: i < steps, body, [tf.constant(0)])


@pytest.fixture(scope="module")
def loop(mirrored_on):
    return Loop(mirrored_on(3))


def run(loop, values, active=(True, True, True), steps=1):
    loop.run(tf.constant(values, tf.float32), tf.constant(active), tf.constant(steps))


def test_sums_over_steps_and_replicas_until_they_are_drained(loop):
    run(loop, [1, 2, 4], steps=5)
    run(loop, [0.5, 0, 0], steps=2)
    tallies = loop.accumulator.drain().tallies()
    assert tallies["m"].value == 5 * 7 + 2 * 0.5
    assert tallies["pair"].value.tolist() == [36.0, 21.0]
    # 21 adds of 2^23 + 1: float32 would have stopped at multiples of 8
    assert int(tallies["m"].count) == 21 * (2**23 + 1)
    assert loop.accumulator.drain().tallies()["m"] == Tally(0.0, 0.0)
    assert loop.traces == 1


def test_an_inactive_replica_adds_nothing_nan_included(loop):
    run(loop, [1, np.nan, 4], active=(True, False, True))
    drained = loop.accumulator.drain()
    assert drained.tallies()["m"] == Tally(5.0, 2 * (2**23 + 1))
    assert drained.non_finite() == {}


def test_a_non_finite_value_is_named_with_its_replicas(loop):
    run(loop, [np.inf, 1, np.nan])
    run(loop, [1, 1, 1])
    assert loop.accumulator.drain().non_finite() == {"m": [0, 2], "pair": [0, 2]}
    run(loop, [1, 1, 1])
    assert loop.accumulator.drain().non_finite() == {}


def test_what_was_drained_does_not_change_when_training_goes_on(loop):
    run(loop, [1, 1, 1])
    drained = loop.accumulator.drain()
    run(loop, [5, 5, 5])
    assert drained.tallies()["m"].value == 3.0
    assert loop.accumulator.drain().tallies()["m"].value == 15.0


def test_sums_may_be_carried_by_a_loop_of_the_graph_and_added_once(mirrored_on):
    """Maxima among them; a replica that packs nothing has none."""
    strategy, registry = mirrored_on(2), MetricRegistry()
    accumulator = Accumulator(strategy, registry)

    def replica(i):
        index = tf.distribute.get_replica_context().replica_id_in_sync_group
        with registry.recording():
            metrics.add("mean", [i, 1.0])
            metrics.add("max", -i, finish="max")
            return accumulator.pack(registry.compute(None, None), tf.equal(index, 0))

    @tf.function(autograph=False)
    def run():
        step = tf.function(lambda i: strategy.run(replica, args=(i,)), autograph=False).get_concrete_function(
            tf.TensorSpec([])
        )

        def body(i, sums):
            return i + 1, accumulator.join(sums, step(i))

        _, sums = tf.while_loop(lambda i, _: i <= 4, body, [tf.constant(2.0), accumulator.nothing()])
        accumulator.add(sums)

    run()
    run()
    found = accumulator.drain().tallies()
    assert found["mean"] == Tally(2 * (2 + 3 + 4 + 3), 12)
    assert found["max"] == Tally(-2, 6)
