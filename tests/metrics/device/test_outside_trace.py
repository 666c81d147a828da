import pytest
import tensorflow as tf
from tallyloop.metrics.device.outside_trace import outside_trace


def test_a_variable_made_in_the_middle_of_a_trace_costs_no_second_one():
    made, traces = [], []

    @tf.function(autograph=False)
    def step(x):
        traces.append(1)
        if not made:
            made.append(outside_trace(lambda: tf.Variable(1.0)))
        return made[0].assign_add(x)

    assert [float(step(tf.constant(2.0))) for _ in range(2)] == [3.0, 5.0]
    assert len(traces) == 1


def test_it_runs_eagerly_and_returns_the_result():
    @tf.function(autograph=False)
    def step():
        assert not tf.executing_eagerly()
        assert outside_trace(lambda: (tf.executing_eagerly(), int(tf.constant(3)))) == (True, 3)

    step()


def test_an_error_reaches_the_caller():
    def fail():
        raise KeyError("inside")

    with pytest.raises(KeyError, match="inside"):
        outside_trace(fail)
