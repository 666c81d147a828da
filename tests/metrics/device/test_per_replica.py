import numpy as np
import pytest
import tensorflow as tf
from tallyloop.metrics.device.per_replica import PerReplica, outside_trace


def numbered(strategy, value):
    """Adds 1 on the first replica, 2 on the second, ..."""

    def replica():
        index = tf.distribute.get_replica_context().replica_id_in_sync_group
        value.value.assign_add(tf.fill([2], tf.cast(index + 1, tf.float64)))

    strategy.run(replica)


def taken(strategy, value):
    return [each.numpy().tolist() for each in strategy.experimental_local_results(strategy.run(value.take))]


class TestPerReplica:
    def test_each_replica_has_its_own_value_until_it_is_taken(self, mirrored_on):
        strategy = mirrored_on(3)
        value = PerReplica(strategy, tf.zeros([2], tf.float64))
        numbered(strategy, value)
        numbered(strategy, value)
        assert taken(strategy, value) == [[2.0] * 2, [4.0] * 2, [6.0] * 2]
        assert taken(strategy, value) == [[0.0] * 2] * 3

    def test_it_starts_from_the_initial_value(self, mirrored_on):
        strategy = mirrored_on(2)
        value = PerReplica(strategy, tf.constant([5.0, -np.inf], tf.float64))
        assert taken(strategy, value) == taken(strategy, value) == [[5.0, -np.inf]] * 2

    def test_a_save_holds_one_row_per_replica(self, mirrored_on):
        strategy = mirrored_on(3)
        value = PerReplica(strategy, tf.zeros([2], tf.float64))
        numbered(strategy, value)
        value.before_save()
        assert value.rows.numpy().tolist() == [[1.0] * 2, [2.0] * 2, [3.0] * 2]

    def test_as_many_replicas_continue_with_their_own_rows(self, mirrored_on):
        strategy = mirrored_on(2)
        value = PerReplica(strategy, tf.zeros([2], tf.float64))
        value.rows.assign([[1.0, 2.0], [3.0, 4.0]])
        value.after_restore()
        numbered(strategy, value)
        assert taken(strategy, value) == [[2.0, 3.0], [5.0, 6.0]]

    @pytest.mark.parametrize(("combine", "expected"), [("sum", [6.0, 60.0]), ("max", [3.0, 30.0])], ids=["sum", "max"])
    def test_on_another_number_the_first_replica_takes_all_of_it(self, mirrored_on, combine, expected):
        strategy = mirrored_on(2)
        options = {} if combine == "sum" else {"combine": lambda rows: rows.max(0)}
        value = PerReplica(strategy, tf.zeros([2], tf.float64), **options)
        value.rows.assign([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]])
        value.after_restore()
        assert taken(strategy, value) == [expected, [0.0, 0.0]]


class TestOutsideTrace:
    def test_a_variable_made_in_a_trace_costs_no_second_one(self):
        made, traces = [], []

        @tf.function(autograph=False)
        def step(x):
            traces.append(1)
            if not made:
                made.append(outside_trace(lambda: tf.Variable(1.0)))
            return made[0].assign_add(x)

        assert [float(step(tf.constant(2.0))) for _ in range(2)] == [3.0, 5.0]
        assert len(traces) == 1

    def test_it_runs_eagerly(self):
        @tf.function(autograph=False)
        def step():
            assert not tf.executing_eagerly()
            assert outside_trace(lambda: (tf.executing_eagerly(), int(tf.constant(3)))) == (True, 3)

        step()

    def test_an_error_reaches_the_caller(self):
        def fail():
            raise KeyError("inside")

        with pytest.raises(KeyError, match="inside"):
            outside_trace(fail)
