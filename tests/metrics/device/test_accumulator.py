import numpy as np
import pytest
import tensorflow as tf
from tallyloop import metrics
from tallyloop.metrics import MetricRegistry, Tally
from tallyloop.metrics.device.accumulator import Accumulator
from tallyloop.metrics.device.packing import layout_of

LARGE = 2**23 + 1


class Loop:
    """Steps that add replica r's number `values[r]` in step after step, in a traced loop."""

    def __init__(self, strategy, maxima=()):
        self.strategy = strategy
        self.accumulator = Accumulator(strategy, lambda tallies: layout_of(tallies, maxima))
        self.traces = 0
        self._run = tf.function(self._steps, autograph=False)

    def run(self, values, active=(True, True, True), steps=1, keep=True):
        self._run(tf.constant(values, tf.float32), tf.constant(active), tf.constant(steps), tf.constant(keep))

    def drained(self):
        return self.accumulator.drain().tallies()

    def _steps(self, values, active, steps, keep):
        self.traces += 1

        def replica():
            index = tf.distribute.get_replica_context().replica_id_in_sync_group
            one = tf.gather(values, index)
            tallies = {
                "m": Tally(one, tf.constant(LARGE, tf.int64)),
                "pair": Tally(tf.stack([one, 1.0]), 1.0 + 0 * one),
            }
            return self.accumulator.pack(tallies, tf.gather(active, index))

        def body(i):
            self.accumulator.add(self.strategy.run(replica), keep)
            return i + 1

        return tf.while_loop(lambda i: i < steps, body, [tf.constant(0)])


@pytest.fixture(scope="module")
def traced(mirrored_on):
    """The loops, traced once."""
    found = {"loop": Loop(mirrored_on(3)), "of_maxima": Loop(mirrored_on(3), maxima=["pair"])}
    for each in found.values():
        each.run([0, 0, 0])
    return found


@pytest.fixture
def loop(traced):
    traced["loop"].drained()  # whichever test ran before in this process
    return traced["loop"]


@pytest.fixture
def of_maxima(traced):
    traced["of_maxima"].drained()
    return traced["of_maxima"]


class TestDrain:
    def test_gives_the_sums_over_steps_and_replicas_and_resets_them(self, loop):
        loop.run([1, 2, 4], steps=5)
        loop.run([0.5, 0, 0], steps=2)
        tallies = loop.drained()
        assert tallies["m"].value == 5 * 7 + 2 * 0.5
        assert tallies["pair"].value.tolist() == [36.0, 21.0]
        # 21 adds of 2^23 + 1: float32 would have stopped at multiples of 8
        assert int(tallies["m"].count) == 21 * LARGE
        assert loop.drained()["m"] == Tally(0.0, 0.0)
        assert loop.traces == 1

    def test_does_not_change_what_was_drained_before(self, loop):
        loop.run([1, 1, 1])
        drained = loop.accumulator.drain()
        loop.run([5, 5, 5])
        assert drained.tallies()["m"].value == 3.0
        assert loop.drained()["m"].value == 15.0

    def test_gives_maxima_over_steps_and_replicas(self, of_maxima):
        of_maxima.run([-1, 7, 2], steps=2)
        of_maxima.run([3, 4, 1])
        assert of_maxima.drained()["pair"].value.tolist() == [7.0, 1.0]
        assert of_maxima.drained()["pair"].value.tolist() == [-np.inf, -np.inf]

    def test_counts_more_than_two_to_the_24_examples_exactly(self, mirrored_on):
        strategy, registry = mirrored_on(2), MetricRegistry()
        accumulator = Accumulator(strategy, registry.layout)
        large = 2**24 + 1

        @tf.function(autograph=False)
        def step():
            def replica():
                with registry.recording():
                    metrics.add("big", Tally(tf.constant(large, tf.int64), tf.constant(large, tf.int64)))
                    metrics.add("one", tf.ones([1]), finish="sum")
                    return accumulator.pack(registry.compute(None, None), tf.constant(True))

            accumulator.add(strategy.run(replica))

        for _ in range(3):
            step()
        drained = accumulator.drain().tallies()
        assert (int(drained["big"].value), int(drained["big"].count)) == (6 * large, 6 * large)
        assert (float(drained["one"].value), int(drained["one"].count)) == (6, 6)


class TestAdd:
    def test_an_inactive_replica_adds_nothing_not_even_nan(self, loop):
        loop.run([1, np.nan, 4], active=(True, False, True))
        drained = loop.accumulator.drain()
        assert drained.tallies()["m"] == Tally(5.0, 2 * LARGE)
        assert drained.non_finite() == {}

    @pytest.mark.parametrize("kind", ["loop", "of_maxima"])
    def test_a_step_that_is_not_kept_adds_nothing_not_even_nan(self, kind, request):
        loop = request.getfixturevalue(kind)
        loop.run([1, 2, 3])
        loop.run([np.nan, 9, np.inf], keep=False)
        drained = loop.accumulator.drain()
        assert drained.tallies()["m"] == Tally(6.0, 3 * LARGE)
        assert drained.tallies()["pair"].value.tolist() == ([6.0, 3.0] if kind == "loop" else [3.0, 1.0])
        assert drained.non_finite() == {}


class TestNonFinite:
    def test_names_the_metric_and_its_replicas(self, loop):
        loop.run([np.inf, 1, np.nan])
        loop.run([1, 1, 1])
        assert loop.accumulator.drain().non_finite() == {"m": [0, 2], "pair": [0, 2]}
        loop.run([1, 1, 1])
        assert loop.accumulator.drain().non_finite() == {}

    def test_names_no_replica_for_the_value_of_another_worker(self, loop):
        loop.run([1, 1, 1])
        drained = loop.accumulator.drain()
        assert drained._replace(total=drained.total * np.nan).non_finite() == {"m": [], "pair": []}

    def test_ignores_the_maximum_of_no_examples(self, of_maxima):
        of_maxima.run([1, 1, 1], active=(False, False, False))
        drained = of_maxima.accumulator.drain()
        assert drained.tallies()["pair"].value.tolist() == [-np.inf, -np.inf]
        assert drained.non_finite() == {}


class TestCheckpoint:
    def test_a_restore_continues_from_the_saved_sums(self, loop):
        loop.drained()
        loop.run([1, 2, 4])
        loop.accumulator.before_save()
        saved = {name: variable.numpy() for name, variable in loop.accumulator.state().items()}
        loop.run([100, 100, 100])
        for name, variable in loop.accumulator.state().items():
            variable.assign(saved[name])
        assert loop.accumulator.restored_replicas == 3
        assert loop.accumulator.after_restore()
        loop.run([1, 1, 1])
        assert loop.drained()["m"] == Tally(10.0, 6 * LARGE)

    def test_on_another_number_of_replicas_sums_and_maxima_are_kept(self, of_maxima):
        of_maxima.drained()
        of_maxima.run([1, 9, 4])
        of_maxima.accumulator.before_save()
        rows = of_maxima.accumulator.state()["tallies"]
        rows.assign(rows.numpy()[:2])  # as if two replicas had saved
        of_maxima.drained()
        assert of_maxima.accumulator.restored_replicas == 2
        assert of_maxima.accumulator.after_restore()
        of_maxima.run([2, 2, 2])
        found = of_maxima.drained()
        assert found["m"] == Tally(16.0, 5 * LARGE)
        assert found["pair"].value.tolist() == [9.0, 1.0]

    def test_sums_of_other_metrics_are_dropped(self, loop):
        loop.drained()
        loop.accumulator.before_save()
        state = loop.accumulator.state()
        state["tallies"].assign([[7.0] * 5] * 3)
        state["tallies_fingerprint"].assign_add(1)
        assert not loop.accumulator.after_restore()
        loop.run([1, 1, 1])
        assert loop.drained()["m"].value == 3.0
        assert loop.accumulator.after_restore()  # the fingerprint is that of these metrics again


def test_a_loop_of_the_graph_may_carry_the_sums_and_add_them_once(mirrored_on):
    """Maxima among them; a replica that packs nothing has none."""
    strategy, registry = mirrored_on(2), MetricRegistry()
    accumulator = Accumulator(strategy, registry.layout)

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
            return i + 1, accumulator.combine(sums, step(i))

        _, sums = tf.while_loop(lambda i, _: i <= 4, body, [tf.constant(2.0), accumulator.identity()])
        accumulator.add(sums)

    run()
    run()
    found = accumulator.drain().tallies()
    assert found["mean"] == Tally(2 * (2 + 3 + 4 + 3), 12)
    assert found["max"] == Tally(-2, 6)
