"""Metrics of one shape are summed together: the same numbers from fewer operations."""

import numpy as np
import pytest
import tensorflow as tf
from tallyloop import metrics
from tallyloop.metrics import MetricRegistry
from tallyloop.metrics.device.accumulator import Accumulator
from tallyloop.metrics.device.packing import pack

ROWS = 8


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(3)
    return {f"m{i}": rng.normal(size=ROWS).astype(np.float32) for i in range(12)}


def traced(add):
    """The tallies of a step that calls `add`, as NumPy, and how often each operation is in its graph once it is optimised."""
    registry = MetricRegistry()

    @tf.function(autograph=False)
    def step():
        with registry.recording():
            add()
            tallies = registry.compute({}, None)
        return {path: tuple(tally) for path, tally in tallies.items()}

    found = {path: tuple(part.numpy() for part in pair) for path, pair in step().items()}
    used = set()
    graph = step.get_concrete_function().graph
    left = [tensor.op for tensor in graph.outputs]
    while left:
        op = left.pop()
        if op.name not in used:
            used.add(op.name)
            left += [tensor.op for tensor in op.inputs]
    sums = sum(graph.get_operation_by_name(name).type == "Sum" for name in used)
    return found, sums


def expected(values, weights=None):
    weights = np.ones(ROWS) if weights is None else np.asarray(weights, np.float64)
    kept = np.where(weights != 0, values, 0)
    return (kept * weights).sum(), weights.sum()


def test_plain_ones_take_one_sum(data):
    found, sums = traced(lambda: [metrics.add(name, values) for name, values in data.items()])
    assert sums == 1
    for name, values in data.items():
        np.testing.assert_allclose(found[name], expected(values), rtol=1e-6, atol=1e-5)


def test_weighted_ones_take_two(data):
    mask = np.arange(ROWS) % 3 == 0
    spoilt = {name: np.where(mask, values, np.nan) for name, values in data.items()}
    found, sums = traced(lambda: [metrics.add(name, values, weights=mask) for name, values in spoilt.items()])
    assert sums == 2
    for name, values in data.items():
        np.testing.assert_allclose(found[name], expected(values, mask), rtol=1e-6, atol=1e-5)


def test_others_stay_apart(data):
    """Of another shape or type, added twice, finished otherwise, or large: each for itself, and right."""

    def add():
        metrics.add("a", data["m0"])
        metrics.add("b", data["m1"])
        metrics.add("wide", tf.ones([ROWS, 3]))
        metrics.add("hits", tf.constant([True, False] * (ROWS // 2)))
        metrics.add("twice", data["m2"])
        metrics.add("twice", data["m3"])
        metrics.add("std", data["m4"], finish="std")
        metrics.add("large", tf.ones([5000]))
        metrics.add("larger", tf.ones([5000]))

    found, _ = traced(add)
    np.testing.assert_allclose(found["a"], expected(data["m0"]), rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(found["b"], expected(data["m1"]), rtol=1e-6, atol=1e-5)
    assert found["wide"] == (24, 24)
    assert found["hits"] == (ROWS // 2, ROWS)
    twice = np.add(expected(data["m2"]), expected(data["m3"]))
    np.testing.assert_allclose(found["twice"], twice, rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(
        found["std"][0], [data["m4"].sum(), (data["m4"].astype(np.float64) ** 2).sum()], rtol=1e-6
    )
    assert found["large"] == found["larger"] == (5000, 5000)


def test_weights_of_rows_against_elements():
    found, sums = traced(
        lambda: [metrics.add(name, np.full([2, 3], 2.0, np.float32), weights=[1.0, 0.5]) for name in ("a", "b")]
    )
    assert found["a"] == found["b"] == (9.0, 4.5)
    assert sums == 2


def test_sums_of_counts_stay_exact():
    found, _ = traced(lambda: [metrics.add(name, np.full(4, 2**24 + 1)) for name in ("a", "b")])
    assert found["a"] == (4 * (2**24 + 1), 4)


def test_a_step_has_as_many_operations_with_many_of_them_as_with_few():
    """Packed for the accumulator as in a run: nothing is done for each, but to add it to an operation's inputs."""

    def operations(count):
        registry = MetricRegistry()
        accumulator = Accumulator(tf.distribute.get_strategy(), registry)

        @tf.function(autograph=False)
        def step(values, mask):
            with registry.recording():
                for i, each in enumerate(tf.unstack(values, count)):
                    metrics.add(f"plain/{i}", each)
                    metrics.add(f"weighted/{i}", each, weights=mask)
                return accumulator.pack(registry.compute({}, None), tf.constant(True))

        graph = step.get_concrete_function(tf.TensorSpec([count, ROWS]), tf.TensorSpec([ROWS], tf.bool)).graph
        return sorted(op.type for op in graph.get_operations())

    assert operations(16) == operations(64)


def test_packed_they_are_where_the_layout_says(data):
    """Whether they were summed together or not; among others, some of which are no scalars."""
    registry = MetricRegistry()

    @tf.function(autograph=False)
    def step():
        with registry.recording():
            for name, values in data.items():
                metrics.add(name, values)
            metrics.add("m0_hits", data["m0"] > 0)
            metrics.add("m1_std", data["m1"], finish="std")
            metrics.add("m2_max", data["m2"], finish="max")
            tallies = registry.compute({}, None)
        return pack(tallies, registry.layout(tallies)), pack(dict(tallies), registry.layout(tallies))

    together, apart = step()
    np.testing.assert_array_equal(together, apart)
    assert together.shape == (2 * len(data) + 2 + 3 + 2,)
