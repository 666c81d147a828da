import inspect
import threading

import keras
import pytest
import tensorflow as tf
from tallyloop import metrics
from tallyloop.metrics import MetricRegistry, UsageError


def recorded(step, registry=None):
    """Runs `step` in the eager step of one replica; returns path -> (value, count)."""
    registry = registry or MetricRegistry()
    with registry.recording():
        step()
        tallies = registry.compute(None, None)
    return {path: (float(tally.value), float(tally.count)) for path, tally in tallies.items()}


def traced(step, registry=None):
    """The same in a tf.function."""
    registry = registry or MetricRegistry()

    @tf.function(autograph=False)
    def run():
        with registry.recording():
            step()
            return registry.compute(None, None)

    return {path: (float(tally.value), float(tally.count)) for path, tally in run().items()}


@pytest.fixture(params=[recorded, traced], ids=["eager", "traced"])
def record(request):
    return request.param


def line_of(function, text):
    lines, first = inspect.getsourcelines(function)
    return f"{__file__}:{first + next(i for i, line in enumerate(lines) if text in line)}"


def test_add_takes_tensors_lists_and_numbers(record):
    def step():
        metrics.add("tensor", tf.constant([1.0, 2.0]))
        metrics.add("list", [3, 4, 5])
        metrics.add("number", 7.5)

    assert record(step) == {"tensor": (3.0, 2.0), "list": (12.0, 3.0), "number": (7.5, 1.0)}


def test_the_same_name_twice_adds_up(record):
    def step():
        metrics.add("m", [1.0, 2.0])
        metrics.add("m", [10.0], weights=[3.0])
        metrics.add("m", [True, False])

    assert record(step) == {"m": (1 + 2 + 30 + 1, 2 + 3 + 2)}


def test_scopes_nest_and_close_again(record):
    def step():
        with metrics.scope("loss"):
            with metrics.scope("stage_1.inner"):
                metrics.add("combined", 1.0)
            metrics.add("after", 2.0)
        metrics.add("top", 3.0)

    assert set(record(step)) == {"loss/stage_1/inner/combined", "loss/after", "top"}


def test_a_scope_closes_when_an_error_passes_it(record):
    def step():
        with pytest.raises(KeyError), metrics.scope("broken"):
            raise KeyError
        metrics.add("m", 1.0)

    assert set(record(step)) == {"m"}


def test_outside_a_step_add_does_nothing():
    metrics.add("anything", [1.0])
    with metrics.scope("a"):
        metrics.add("b", [1.0], finish="sum")
    assert recorded(lambda: None) == {}


def test_a_model_with_metrics_inside_is_built_called_and_exported_without_a_step(tmp_path):
    class Shown(keras.layers.Layer):
        def call(self, inputs):
            metrics.add("shown", inputs)
            return inputs * 2

    model = keras.Sequential([keras.Input((2,)), Shown()])
    assert model(tf.ones([1, 2])).numpy().tolist() == [[2.0, 2.0]]
    model.export(tmp_path / "served", verbose=False)
    assert tf.saved_model.load(tmp_path / "served").serve(tf.ones([1, 2])).numpy().tolist() == [[2.0, 2.0]]
    assert recorded(lambda: model(tf.constant([[3.0, 4.0]]))) == {"shown": (7.0, 2.0)}


def test_another_thread_does_not_record():
    def step():
        other = threading.Thread(target=metrics.add, args=("other", 1.0))
        other.start()
        other.join()
        metrics.add("mine", 1.0)

    assert set(recorded(step)) == {"mine"}


def test_one_name_with_two_finishers_is_refused_at_the_line_that_adds_it(record):
    def step():
        metrics.add("m", [1.0])
        metrics.add("m", [1.0], finish="sum")  # the second meaning

    with pytest.raises(UsageError, match=r"'m' has two meanings.*'mean'.*'sum'") as caught:
        record(step)
    assert line_of(step, "# the second meaning") in str(caught.value)


def test_one_name_with_two_shapes_is_refused(record):
    def step():
        metrics.add("m", tf.ones([4, 3]), finish="per_class")
        metrics.add("m", tf.ones([4, 2]), finish="per_class")

    with pytest.raises(UsageError, match=r"'m' has two meanings.*\(3,\).*\(2,\)"):
        record(step)


def test_two_meanings_in_different_steps_are_refused():
    registry = MetricRegistry()
    recorded(lambda: metrics.add("m", 1.0), registry)
    with pytest.raises(UsageError, match="'m' has two meanings"):
        recorded(lambda: metrics.add("m", 1.0, finish="sum"), registry)


def test_a_function_written_in_the_call_is_the_same_finisher_each_time(record):
    def step():
        for value in (1.0, 2.0):
            metrics.add("m", value, finish=lambda value, count: value / count)

    registry = MetricRegistry()
    assert record(step, registry) == record(step, registry) == {"m": (3.0, 2.0)}


def test_two_functions_under_one_name_are_refused(record):
    def step():
        metrics.add("m", 1.0, finish=lambda value, count: value / count)
        metrics.add("m", 1.0, finish=lambda value, count: value - count)

    with pytest.raises(UsageError, match="'m' has two meanings"):
        record(step)


@pytest.mark.parametrize("name", ["", "a b", "a//b", 3])
def test_a_malformed_name_is_refused_in_a_step(name):
    with pytest.raises(UsageError, match=r"metric name|must be a string"):
        recorded(lambda: metrics.add(name, 1.0))


def test_a_malformed_scope_is_refused():
    with pytest.raises(UsageError, match="'a b' is no metric name"), metrics.scope("a b"):
        pass


def test_an_unknown_finisher_is_refused_with_those_there_are():
    with pytest.raises(UsageError, match=r"'median' is unknown.*exp.*mean.*per_class.*sqrt.*std.*sum"):
        recorded(lambda: metrics.add("m", 1.0, finish="median"))


def test_weights_that_do_not_fit_name_the_metric_and_the_line(record):
    def step():
        metrics.add("a.b", tf.ones([3]), weights=tf.ones([2]))  # does not fit

    with pytest.raises(UsageError, match="Metric 'a/b'") as caught:
        record(step)
    assert line_of(step, "# does not fit") in str(caught.value)


def in_while_loop(add):
    tf.while_loop(lambda i: i < 3, lambda i: (add(tf.cast(i, tf.float32)), i + 1)[1:], [tf.constant(0)])


def in_cond(add):
    for taken in (True, False):
        tf.cond(tf.constant(1.0) * float(taken) > 0, lambda: add(tf.constant([5.0, 6.0])) or 0, lambda: 0)


def in_map_fn(add):
    tf.map_fn(lambda x: add(x) or x, tf.constant([1.0, 2.0]))


def in_nested_function(add):
    tf.function(lambda: add(tf.constant(1.0)) or 0, autograph=False)()


def in_scan(add):
    tf.scan(lambda total, x: add(x) or total + x, tf.constant([1.0, 2.0, 4.0]), initializer=tf.constant(0.0))


def in_vectorized_map(add):
    tf.vectorized_map(lambda x: add(x) or x, tf.constant([1.0, 2.0]))


CONSTRUCTS = {
    in_while_loop: (0 + 1 + 2, 3),
    in_cond: (11, 2),
    in_map_fn: (3, 2),
    in_nested_function: (1, 1),
    in_scan: (7, 3),
    in_vectorized_map: (3, 2),
}


@pytest.mark.parametrize("construct", CONSTRUCTS)
def test_out_of_a_construct_comes_the_exact_sum_or_an_error_that_names_the_metric(construct):
    """TensorFlow lets no tensor out of these; a wrong number or its own error would be a trap."""

    def add(x):
        metrics.add("inner.value", x)  # inside

    try:
        found = traced(lambda: (construct(add), metrics.add("outer", 1.0)))
    except UsageError as error:
        assert "'inner/value'" in str(error)  # noqa: PT017 (saying so is as good)
        assert line_of(add, "# inside") in str(error)  # noqa: PT017
    else:
        assert found == {"inner/value": CONSTRUCTS[construct], "outer": (1.0, 1.0)}


def test_below_recompute_grad_the_values_count_once():
    """Its function runs again for the gradient; what it adds must not count again."""

    weight = tf.Variable(2.0)

    def step():
        with tf.GradientTape() as tape:

            def layer(x):
                metrics.add("inner", x, finish="sum")
                return x * weight

            loss = tf.reduce_sum(tf.recompute_grad(layer)(tf.constant([1.0, 2.0])))
        metrics.add("gradient", tape.gradient(loss, weight))

    try:
        found = traced(step)
    except UsageError as error:
        assert "'inner'" in str(error)  # noqa: PT017 (saying so is as good)
    else:
        assert found == {"inner": (3.0, 2.0), "gradient": (3.0, 1.0)}
