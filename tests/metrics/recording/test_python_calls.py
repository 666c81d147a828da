"""`metrics.add` in `tf.py_function` and `tf.numpy_function`: refused in a step, without effect in an input pipeline."""

import pytest
import tensorflow as tf
from tallyloop import metrics
from tallyloop.metrics import UsageError
from tallyloop.metrics.recording import python_calls


def adds(x):
    metrics.add("lost", x)
    return x


def called_by(call):
    """A `tf.data` function that calls `adds`."""
    return lambda x: tf.ensure_shape(call(adds, [x], tf.int64), [])


calls = pytest.mark.parametrize("call", [tf.py_function, tf.numpy_function], ids=["py_function", "numpy_function"])


class TestInAStep:
    @calls
    def test_is_refused_by_name(self, record_traced, call):
        """In a graph, it runs long after the step was traced."""
        with pytest.raises(
            tf.errors.InvalidArgumentError, match=r"UsageError: Metric 'lost' \(.*test_python_calls.py:\d+\)"
        ):
            record_traced(lambda: call(adds, [tf.constant(1.0)], tf.float32))

    def test_is_refused_in_a_nested_function(self, record_traced):
        with pytest.raises(tf.errors.InvalidArgumentError, match="UsageError: Metric 'lost'"):
            record_traced(lambda: tf.function(lambda: tf.py_function(adds, [tf.constant(1.0)], tf.float32))())

    @calls
    def test_counts_in_an_eager_step(self, record_eagerly, call):
        assert record_eagerly(lambda: call(adds, [tf.constant(3.0)], tf.float32)) == {"lost": (3.0, 1.0)}

    def test_a_failing_function_leaves_no_trace(self, record_traced):
        def fails(x):
            raise ValueError("of the user")

        for _ in range(2):
            with pytest.raises(tf.errors.OpError, match="of the user"):
                record_traced(lambda: tf.py_function(fails, [tf.constant(1.0)], tf.float32))
        assert not python_calls.is_of_step()

    def test_refusal_is_a_usage_error(self):
        """What TensorFlow passes on is its text."""
        run = python_calls._of_step(adds)
        with pytest.raises(UsageError, match=r"inside tf\.py_function"):
            run(1.0)
        assert adds(1.0) == 1.0  # no step


class TestOutsideOfAStep:
    @calls
    def test_an_input_pipeline_is_left_alone(self, call):
        assert [int(x) for x in tf.data.Dataset.range(3).map(called_by(call))] == [0, 1, 2]

    @calls
    def test_an_input_pipeline_that_runs_while_a_step_is_traced_is_left_alone(self, record_traced, call):
        data = tf.data.Dataset.range(3).map(called_by(call))

        def step():
            with tf.init_scope():
                rows = [int(x) for x in data]
            metrics.add("rows", tf.constant(rows))

        assert record_traced(step) == {"rows": (3.0, 3.0)}

    @calls
    def test_an_input_pipeline_that_feeds_a_step_is_left_alone(self, record_traced, call):
        rows = iter(tf.data.Dataset.range(1, 3).map(called_by(call)))
        assert record_traced(lambda: metrics.add("rows", next(rows))) == {"rows": (1.0, 1.0)}

    @calls
    def test_a_call_outside_is_left_alone(self, call):
        assert float(call(adds, [tf.constant(2.0)], tf.float32)) == 2
        assert float(tf.function(lambda: call(adds, [tf.constant(2.0)], tf.float32))()) == 2
