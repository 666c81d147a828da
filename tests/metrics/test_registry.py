import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf
from tallyloop import metrics
from tallyloop.metrics import MetricRegistry, Tally, UsageError

SIZES = {
    1: [9],
    2: [7, 2],
    3: [5, 0, 4],
    4: [3, 0, 5, 1],
}  # rows of each replica; 9 in all, one of them empty
RNG = np.random.default_rng(7)
X = RNG.normal(size=(9, 4)).astype(np.float32)
MASK = np.array([1, 0, 1, 1, 0, 1, 1, 0, 1], np.float32)
LABELS = np.array([0, 1, 2, 2, 1, 0, 2, 2, 1])
GUESSES = np.array([0, 1, 2, 1, 1, 2, 2, 0, 1])


def one(batch, outputs):
    return 1, 1


def confusion(batch, outputs):
    return tf.math.confusion_matrix(batch["y"], outputs, 3, dtype=tf.int64), 1


def hits(batch, outputs):
    return tf.reduce_sum(tf.cast(batch["y"] == outputs, tf.int32)), tf.size(outputs)


class AUC:
    """As a metric of tf_keras, which is no `keras.metrics.Metric`."""

    def __call__(self, y_true, y_pred):
        raise AssertionError("never called")

    update_state = __call__


def make_registry():
    registry = MetricRegistry({"confusion": confusion})
    registry.register("hits", hits)
    return registry


def make_step(registry):
    def step(batch):
        with registry.recording():
            metrics.add("x", batch["x"])
            metrics.add("masked", tf.where(batch["mask"][:, None] > 0, batch["x"], np.nan), weights=batch["mask"])
            metrics.add("std", batch["x"], finish="std")
            with metrics.scope("each"):
                metrics.add("class", batch["x"] > 0, finish="per_class")
                metrics.add("rows", tf.ones_like(batch["y"]), finish="sum")
            return registry.compute(batch, batch["guess"])

    return step


def rows(start, stop):
    arrays = {"x": X, "mask": MASK, "y": LABELS, "guess": GUESSES}
    return {key: tf.constant(array[start:stop]) for key, array in arrays.items()}


def distributed(strategy, sizes):
    """A batch per replica, of unequal sizes."""
    ends = np.cumsum(sizes)

    def value(context):
        i = context.replica_id_in_sync_group
        return rows(ends[i] - sizes[i], ends[i])

    return strategy.experimental_distribute_values_from_function(value)


def check(found, pieces=1):
    """Compares with NumPy; each of the pieces counts 1 for the matrix."""
    expected = {
        "x": X.mean(dtype=np.float64),
        "masked": np.average(X.astype(np.float64).mean(1), weights=MASK),
        "std": X.std(dtype=np.float64),
        "each/rows": 9,
        "hits": 6 / 9,
        **{f"each/class/class_{i}": (X[:, i] > 0).mean() for i in range(4)},
    }
    np.testing.assert_array_equal(found.pop("confusion") * pieces, [[1, 0, 1], [0, 3, 0], [1, 1, 2]])
    assert found == {path: pytest.approx(value, rel=1e-6) for path, value in expected.items()}


class TestReduce:
    @pytest.mark.parametrize(
        "replicas", [1, pytest.param(2, marks=pytest.mark.slow), 3, pytest.param(4, marks=pytest.mark.slow)]
    )
    def test_uneven_and_empty_batches_give_the_numbers_of_one_pass(self, mirrored_on, replicas):
        strategy, registry = mirrored_on(replicas), make_registry()

        @tf.function(autograph=False, reduce_retracing=True)
        def run(batch):
            return registry.reduce(strategy, strategy.run(make_step(registry), args=(batch,)))

        check(registry.result(run(distributed(strategy, SIZES[replicas]))), pieces=replicas)

    def test_without_a_tf_function(self, mirrored_on):
        strategy, registry = mirrored_on(2), make_registry()
        per_replica = strategy.run(make_step(registry), args=(distributed(strategy, SIZES[2]),))
        check(registry.result(registry.reduce(strategy, per_replica)), pieces=2)

    @pytest.mark.parametrize(
        "make", [tf.distribute.get_strategy, lambda: tf.distribute.OneDeviceStrategy("/cpu:1")], ids=["default", "one"]
    )
    def test_on_a_strategy_of_one_device(self, make):
        strategy, registry = make(), make_registry()
        reduced = registry.reduce(strategy, strategy.run(make_step(registry), args=(distributed(strategy, [9]),)))
        check(registry.result(reduced))

    @pytest.mark.parametrize("number", [1, 25])
    def test_there_is_one_reduction_however_many_metrics(self, mirrored_on, number):
        strategy, registry = mirrored_on(2), MetricRegistry()

        def step():
            with registry.recording():
                index = tf.distribute.get_replica_context().replica_id_in_sync_group
                for i in range(number):
                    metrics.add(f"m_{i}", tf.cast(index, tf.float32) + i)
                return registry.compute(None, None)

        @tf.function(autograph=False)
        def run():
            return registry.reduce(strategy, strategy.run(step))

        graph = run.get_concrete_function().graph
        ops = [op.type for op in graph.get_operations()]
        ops += [node.op for function in graph.as_graph_def().library.function for node in function.node_def]
        reductions = [op for op in ops if op == "AddN" or "Reduce" in op or "Nccl" in op]
        assert reductions == ["AddN"]  # of two replicas' vectors: how TensorFlow sums on one machine
        assert registry.result(run()) == {f"m_{i}": i + 0.5 for i in range(number)}

    def test_a_users_finish_function_on_several_replicas(self, mirrored_on):
        strategy, registry = mirrored_on(2), MetricRegistry()

        def step(batch):
            with registry.recording():
                metrics.add("m", batch["x"], finish=lambda value, count: value / count + 1)
                return registry.compute(None, None)

        per_replica = strategy.run(step, args=(distributed(strategy, SIZES[2]),))
        found = registry.result(registry.reduce(strategy, per_replica))
        assert found == {"m": pytest.approx(X.mean(dtype=np.float64) + 1, rel=1e-6)}

    def test_counts_stay_exact_past_two_to_the_24(self):
        large = tf.constant(2**24 + 1, tf.int64)
        registry = MetricRegistry({"big": lambda *_: (large, large)})
        reduced = registry.reduce(tf.distribute.get_strategy(), registry.compute(None, None))
        total = registry.merge(reduced, {"big": Tally(1, 1)})
        assert (int(total["big"].value), int(total["big"].count)) == (2**24 + 2, 2**24 + 2)


class TestMerge:
    @pytest.mark.parametrize("cut", [[1] * 9, [4, 5], [9], [8, 0, 1]])
    def test_the_result_does_not_depend_on_how_the_rows_are_cut(self, cut):
        registry, total, start = make_registry(), None, 0
        for size in cut:
            total = registry.merge(total, make_step(registry)(rows(start, start + size)))
            start += size
        check(registry.result(total), pieces=len(cut))

    def test_starts_from_none_or_nothing_and_changes_no_argument(self):
        registry = MetricRegistry()
        first, second = {"a": Tally(1.0, 1.0)}, {"a": Tally(2.0, 3.0), "b": Tally(5.0, 2.0)}
        assert registry.result(registry.merge(None, first)) == registry.result(registry.merge({}, first)) == {"a": 1.0}
        assert registry.result(registry.merge(first, second)) == {"a": 0.75, "b": 2.5}
        assert registry.result(first) == {"a": 1.0}

    def test_float_counts_stay_exact_past_two_to_the_24(self):
        registry = MetricRegistry()
        total = registry.merge(registry.merge(None, {"one": Tally(2.0**24, 2**24)}), {"one": Tally(6, 6)})
        assert (float(total["one"].value), int(total["one"].count)) == (2**24 + 6, 2**24 + 6)


class TestRegister:
    def test_nested_dicts_become_paths(self):
        registry = MetricRegistry({"top": one, "group": {"a.b": one, "deeper": {"at_0.5": one}}})
        assert set(registry.compute(None, tf.constant(1.0))) == {"top", "group/a/b", "group/deeper/at_0.5"}

    def test_slashes_dots_scopes_and_nested_dicts_are_one_hierarchy(self, record_eagerly):
        def step():
            metrics.add("a/b", 1.0)
            metrics.add("a.c", 1.0)
            metrics.add("recall_at_0.5", 1.0)
            with metrics.scope("a"), metrics.scope("d.e"):
                metrics.add("f", 1.0)

        registry = MetricRegistry({"a": {"g": {"h": one}, "i.j": one}})
        found = record_eagerly(step, registry)
        assert sorted(found) == ["a/b", "a/c", "a/d/e/f", "a/g/h", "a/i/j", "recall_at_0.5"]
        assert registry.paths == sorted(found)

    def test_a_pair_brings_its_finisher(self):
        registry = MetricRegistry({"total": (lambda *_: (6.0, 3), "sum")})
        assert registry.result(registry.compute(None, None)) == {"total": 6.0}

    def test_refuses_a_name_that_is_taken(self):
        registry = MetricRegistry({"a": {"b": one}})
        with pytest.raises(UsageError, match="'a/b' is registered already"):
            registry.register("a.b", one)
        with pytest.raises(UsageError, match="'a/b' is registered already"):
            MetricRegistry({"a": {"b": one}, "a.b": one})

    def test_refuses_what_cannot_be_called(self):
        with pytest.raises(UsageError, match=r"'a' = 'accuracy': expected a function of \(batch, outputs\)"):
            MetricRegistry({"a": "accuracy"})

    @pytest.mark.parametrize(
        ("metric", "told"),
        [
            (keras.metrics.AUC, r"got a class: write AUC\(\) \(mind the parentheses\)"),
            (keras.losses.mean_squared_error, r"got a function of \(y_true, y_pred\): write its metric, such as"),
            (keras.losses.MeanSquaredError(), r"got a function of \(y_true, y_pred\): write its metric, such as"),
            (AUC(), r"got one of another library: write that of Keras 3, such as keras.metrics.AUC\(\)"),
        ],
    )
    def test_says_what_to_write_instead(self, metric, told):
        expected = rf"Metric 'auc' = .*: expected a function of \(batch, outputs\), or a Keras metric, {told}"
        with pytest.raises(UsageError, match=expected):
            MetricRegistry({"auc": metric})

    def test_expects_a_dict(self):
        with pytest.raises(UsageError, match=r"^metrics = \['accuracy'\]: expected a dict, name -> function or Keras"):
            MetricRegistry(["accuracy"])


class TestCompute:
    def test_refuses_a_function_of_other_parameters(self):
        expected = r"Metric 'one' = <function .*: expected a function of \(batch, outputs\), got one of \(batch\)"
        with pytest.raises(UsageError, match=expected):
            MetricRegistry({"one": lambda batch: (1, 1)}).compute({}, None)

    @pytest.mark.parametrize("returned", [1.0, (1.0, 2.0, 3.0), None, {"value": 1.0}])
    def test_refuses_a_function_that_returns_no_pair(self, returned):
        registry = MetricRegistry({"group": {"bad": lambda *_: returned}})
        with pytest.raises(UsageError, match=r"'group/bad': expected its function to return \(value, count\)"):
            registry.compute(None, None)

    def test_bools_are_counted(self):
        registry = MetricRegistry({"any": lambda *_: (tf.constant(True), tf.constant(True))})
        assert registry.result(registry.compute(None, None)) == {"any": 1.0}

    def test_refuses_a_reserved_name(self, record_eagerly):
        registry = MetricRegistry(reserved={"time/step_ms"})
        with pytest.raises(UsageError, match=r"'time/step_ms': every run writes a metric of this name itself"):
            record_eagerly(lambda: metrics.add("time.step_ms", 1.0), registry)

    def test_refuses_an_added_metric_with_the_name_of_a_registered_one(self):
        registry = MetricRegistry()
        registry.register("m", lambda *_: (1.0, 1.0), finish="sum")
        with registry.recording():
            metrics.add("m", 1.0)
            with pytest.raises(UsageError, match="'m' has two meanings"):
                registry.compute(None, None)
            MetricRegistry().compute(None, None)  # collects what was added

    def test_refuses_two_meanings_in_different_steps(self, record_eagerly):
        registry = MetricRegistry()
        record_eagerly(lambda: metrics.add("m", 1.0), registry)
        with pytest.raises(UsageError, match=r"'m' has two meanings in different steps.*'mean'.*'sum'"):
            record_eagerly(lambda: metrics.add("m", 1.0, finish="sum"), registry)

    def test_each_step_starts_from_nothing(self):
        registry = make_registry()
        for _ in range(2):
            tallies = make_step(registry)(rows(0, 9))
        check(registry.result(tallies))


class TestRecording:
    def test_a_forgotten_compute_is_an_error_that_names_the_metrics(self):
        def step():
            with MetricRegistry().recording():
                metrics.add("b.c", 1.0)
                metrics.add("a", 1.0)

        with pytest.raises(UsageError, match=r"\['a', 'b/c'\] were added but not collected. Call registry.compute"):
            step()

    def test_an_error_of_the_step_comes_before_the_forgotten_compute(self):
        def step():
            with MetricRegistry().recording():
                metrics.add("a", 1.0)
                raise KeyError("the step's own")

        with pytest.raises(KeyError, match="the step's own"):
            step()

    def test_a_step_that_adds_nothing_needs_no_compute(self):
        with MetricRegistry().recording():
            pass


class TestResult:
    def test_numbers_are_python_floats_and_arrays_stay_arrays(self):
        registry = MetricRegistry()
        registry.register("matrix", lambda *_: (tf.eye(2), 1), finish="sum")
        found = registry.result(registry.compute(None, None) | {"plain": Tally(np.float32(3), np.int64(2))})
        assert type(found["plain"]) is float
        assert found["plain"] == 1.5
        np.testing.assert_array_equal(found["matrix"], np.eye(2))

    @pytest.mark.parametrize("finish", ["mean", "sum", "exp", "sqrt", "std", "per_class"])
    def test_a_metric_without_examples_has_no_point_and_is_logged_once(self, finish, caplog):
        registry = MetricRegistry()
        for _ in range(3):
            with registry.recording():
                metrics.add("empty", tf.ones([2, 3]), weights=tf.zeros([2]), finish=finish)
                metrics.add("full", 1.0)
                found = registry.result(registry.compute(None, None))
            assert found == {"full": 1.0}
        assert [record.getMessage() for record in caplog.records] == [
            "Metric 'empty': no examples counted, so no point is written."
        ]

    def test_a_metric_that_applies_on_one_replica_only(self, evaluate):
        def recall(piece):
            metrics.add("recall", piece["hit"], weights=piece["y"])

        nowhere = {"hit": np.float32([1, 0, 1]), "y": np.float32([0, 0, 0])}
        assert evaluate(recall, [nowhere, {"hit": np.float32([1, 0]), "y": np.float32([1, 1])}]) == {"recall": 0.5}
        assert evaluate(recall, [nowhere, nowhere]) == {}

    def test_a_rate_is_the_sum_per_second(self):
        registry = MetricRegistry()
        with registry.recording():
            metrics.add("tokens", tf.constant([100, 50]), finish="per_second")
            tallies = registry.compute(None, None)
        assert registry.result(tallies, seconds=3.0) == {"tokens": 50.0}
        with pytest.raises(UsageError, match="'tokens' is a rate"):
            registry.result(tallies)

    def test_each_number_has_its_count(self):
        registry = MetricRegistry()
        with registry.recording():
            metrics.add("mean", tf.ones([4]), weights=[1.0, 0.5, 0.0, 2.0])
            metrics.add("class", tf.ones([2, 3]), weights=[[1.0, 0.0, 2.0]] * 2, finish="per_class")
            metrics.add("matrix", metrics.confusion_matrix([0, 1, 1], [0, 1, 0], 2), finish="f1_per_class")
            _, counts = registry.finish(registry.compute(None, None))
        assert counts == {
            "mean": 3.5, "class/class_0": 2, "class/class_2": 4, "matrix/class_0": 3, "matrix/class_1": 3
        }  # fmt: skip


class TestAutograph:
    """As `tf.function` has it by default."""

    def test_gives_the_same_numbers(self, mirrored_on):
        strategy, registry = mirrored_on(2), MetricRegistry({"hits": hits})

        def step(batch):
            with registry.recording():
                metrics.add("x", batch["x"])
                metrics.add("largest", batch["x"], finish="max")
                return registry.compute(batch, batch["guess"])

        @tf.function
        def run(batch):
            return registry.reduce(strategy, strategy.run(step, args=(batch,)))

        found = registry.result(run(distributed(strategy, SIZES[2])))
        expected = {"x": X.mean(dtype=np.float64), "largest": X.max(), "hits": 6 / 9}
        assert found == {path: pytest.approx(value, rel=1e-6) for path, value in expected.items()}

    def test_keeps_the_users_error_and_line(self):
        registry = MetricRegistry()

        @tf.function
        def run(x):
            with registry.recording():
                metrics.add("m", x)
                metrics.add("m", x, finish="sum")  # the second meaning
                return registry.compute(None, None)

        lines, first = inspect.getsourcelines(run.python_function)
        line = first + ["# the second meaning" in line for line in lines].index(True)
        with pytest.raises(UsageError, match="'m' has two meanings") as caught:
            run(tf.constant(1.0))
        assert f'{__file__}", line {line}' in str(caught.value) or f"{__file__}:{line}" in str(caught.value)


def test_a_hand_written_loop_over_uneven_batches(mirrored_on):
    strategy = mirrored_on(2)
    registry = MetricRegistry({"hits": lambda batch, outputs: (tf.reduce_sum(outputs), tf.size(outputs))})

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None]), tf.TensorSpec([], tf.int32)])
    def step(values, cut):
        def replica():
            first = tf.distribute.get_replica_context().replica_id_in_sync_group == 0
            mine = tf.where(first, 0, cut), tf.where(first, cut, tf.size(values))
            with registry.recording():
                outputs = values[mine[0] : mine[1]]
                metrics.add("added", outputs)
                return registry.compute(None, outputs)

        return registry.reduce(strategy, strategy.run(replica))

    total = None
    for values, cut in (([1.0, 2, 3], 1), ([4.0], 0), ([], 0), ([5.0, 6], 2)):
        total = registry.merge(total, step(tf.constant(values, tf.float32), tf.constant(cut)))
    assert registry.result(total) == {"hits": 21 / 6, "added": 21 / 6}
    assert (float(total["hits"].value), float(total["hits"].count)) == (21, 6)
    assert step.experimental_get_tracing_count() == 1


class TestFailingFinisher:
    def test_is_named_with_its_line(self):
        registry = MetricRegistry()

        def broken(value, count):
            return value[3]

        with registry.recording():
            metrics.add("m", [1.0], finish=broken)
            reduced = registry.compute(None, None)
        with pytest.raises(
            UsageError, match=r"'m': its finish='broken' raised IndexError.*test_registry.py:\d+.* shape \(\)"
        ):
            registry.result(reduced)
