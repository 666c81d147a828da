"""Metrics of one shape are summed by one operation: the same numbers from fewer operations."""

import numpy as np
import pytest
import tensorflow as tf
from tallyloop import metrics
from tallyloop.metrics import MetricRegistry, UsageError
from tallyloop.metrics.device.accumulator import Accumulator
from tallyloop.metrics.device.grouped_sums import grouped_sums, unsummed
from tallyloop.metrics.device.packing import pack
from tallyloop.metrics.finishers.finish import FINISHERS
from tallyloop.metrics.tally import PLAIN_ELEMENTS

ROWS = 8


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(3)
    return {f"m{i}": rng.normal(size=ROWS).astype(np.float32) for i in range(12)}


def traced(add):
    """The tallies of a step that calls `add`, as NumPy, and the number of `Sum`s that its outputs need."""
    registry = MetricRegistry()

    @tf.function(autograph=False)
    def step():
        with registry.recording():
            add()
            tallies = registry.compute({}, None)
        return {path: tuple(tally) for path, tally in tallies.items()}

    found = {path: tuple(part.numpy() for part in pair) for path, pair in step().items()}
    used, graph = set(), step.get_concrete_function().graph
    left = [tensor.op for tensor in graph.outputs]
    while left:
        op = left.pop()
        if op.name not in used:
            used.add(op.name)
            left += [tensor.op for tensor in op.inputs]
    return found, sum(graph.get_operation_by_name(name).type == "Sum" for name in used)


def expected(values, weights=None):
    weights = np.ones(ROWS) if weights is None else np.asarray(weights, np.float64)
    kept = np.where(weights != 0, values, 0)
    return (kept * weights).sum(), weights.sum()


def assert_close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-5)


class TestGrouping:
    def test_plain_metrics_take_one_sum(self, data):
        found, sums = traced(lambda: [metrics.add(name, values) for name, values in data.items()])
        assert sums == 1
        for name, values in data.items():
            assert_close(found[name], expected(values))

    def test_weighted_metrics_take_two(self, data):
        mask = np.arange(ROWS) % 3 == 0
        hidden = {name: np.where(mask, values, np.nan) for name, values in data.items()}
        found, sums = traced(lambda: [metrics.add(name, values, weights=mask) for name, values in hidden.items()])
        assert sums == 2
        for name, values in data.items():
            assert_close(found[name], expected(values, mask))

    def test_weights_per_row_of_matrices(self):
        found, sums = traced(
            lambda: [metrics.add(name, np.full([2, 3], 2.0, np.float32), weights=[1.0, 0.5]) for name in ("a", "b")]
        )
        assert found["a"] == found["b"] == (9.0, 4.5)
        assert sums == 2

    def test_integers_stay_exact(self):
        found, _ = traced(lambda: [metrics.add(name, np.full(4, 2**24 + 1)) for name in ("a", "b")])
        assert found["a"] == (4 * (2**24 + 1), 4)

    def test_metrics_of_another_kind_stay_apart(self, data):
        """Of another shape or dtype, added twice, with another finisher, or large: each on its own, and right."""

        def add():
            metrics.add("a", data["m0"])
            metrics.add("b", data["m1"])
            metrics.add("wide", tf.ones([ROWS, 3]))
            metrics.add("hits", tf.constant([True, False] * (ROWS // 2)))
            for name in ("m2", "m3"):
                metrics.add("twice", data[name])
            metrics.add("std", data["m4"], finish="std")
            metrics.add("large", tf.ones([5000]))
            metrics.add("larger", tf.ones([5000]))

        found, _ = traced(add)
        assert_close(found["a"], expected(data["m0"]))
        assert_close(found["b"], expected(data["m1"]))
        assert found["wide"] == (24, 24)
        assert found["hits"] == (ROWS // 2, ROWS)
        assert_close(found["twice"], np.add(expected(data["m2"]), expected(data["m3"])))
        assert FINISHERS["std"].finish(*found["std"]) == pytest.approx(data["m4"].std(), rel=1e-6)
        assert found["large"] == found["larger"] == (5000, 5000)

    def test_is_of_what_one_kernel_sums_accurately(self):
        def grouped(**shapes):
            values = {name: unsummed(tf.ones(shape), None) for name, shape in shapes.items()}
            return [group.paths for group in grouped_sums(values).groups]

        assert grouped(a=[PLAIN_ELEMENTS], b=[PLAIN_ELEMENTS]) == [("a", "b")]
        assert grouped(a=[PLAIN_ELEMENTS + 1], b=[PLAIN_ELEMENTS + 1]) == []
        assert grouped(a=[2], b=[3]) == []


class TestUnsummed:
    """What cannot be summed is refused where it is added, not where the group is summed."""

    def test_refuses_strings(self):
        with pytest.raises(UsageError, match="got dtype string"):
            unsummed(["a"], None)

    def test_refuses_weights_that_are_not_numbers(self):
        with pytest.raises(UsageError, match="got dtype string"):
            unsummed([1.0], ["a"])

    def test_refuses_weights_that_do_not_fit(self):
        with pytest.raises(UsageError, match=r"\(2,\) does not fit the values' shape \(3,\)"):
            unsummed([1.0, 2.0, 3.0], [1.0, 2.0])


class TestPacking:
    def test_takes_as_many_operations_for_many_metrics_as_for_few(self):
        def operations(count):
            registry = MetricRegistry()
            accumulator = Accumulator(tf.distribute.get_strategy(), registry.layout)

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

    def test_gives_the_same_vector_without_the_groups(self, data):
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

        grouped, single = step()
        np.testing.assert_array_equal(grouped, single)
        assert grouped.shape == (2 * len(data) + 2 + (3 * 19 + 1) + 2,)
