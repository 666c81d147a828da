import inspect

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


def confusion(batch, outputs):
    return tf.math.confusion_matrix(batch["y"], outputs, 3, dtype=tf.int64), tf.size(batch["y"])


def make_registry():
    registry = MetricRegistry({"confusion": lambda batch, outputs: (confusion(batch, outputs)[0], 1)})
    registry.register(
        "hits",
        lambda batch, outputs: (tf.reduce_sum(tf.cast(batch["y"] == outputs, tf.int32)), tf.size(outputs)),
    )
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


def distributed(strategy, sizes):
    """A batch a replica, of unequal sizes."""
    ends = np.cumsum(sizes)
    arrays = {"x": X, "mask": MASK, "y": LABELS, "guess": GUESSES}

    def value(context):
        stop = ends[context.replica_id_in_sync_group]
        return {k: tf.constant(v[stop - sizes[context.replica_id_in_sync_group] : stop]) for k, v in arrays.items()}

    return strategy.experimental_distribute_values_from_function(value)


def compiled(strategy, registry):
    step = make_step(registry)

    @tf.function(autograph=False, reduce_retracing=True)
    def run(batch):
        return registry.reduce(strategy, strategy.run(step, args=(batch,)))

    return run


def check(found):
    expected = {
        "x": X.mean(dtype=np.float64),
        "masked": np.average(X.astype(np.float64).mean(1), weights=MASK),
        "std": X.std(dtype=np.float64),
        "each/rows": 9,
        "hits": 6 / 9,
        **{f"each/class/class_{i}": (X[:, i] > 0).mean() for i in range(4)},
    }
    matrix = found.pop("confusion")
    np.testing.assert_array_equal(matrix * found.pop("_replicas", 1), [[1, 0, 1], [0, 3, 0], [1, 1, 2]])
    assert found == {path: pytest.approx(value, rel=1e-6) for path, value in expected.items()}


@pytest.mark.parametrize("replicas", [1, 2, 3, 4])
def test_uneven_and_empty_batches_give_the_numbers_of_one_pass(mirrored_on, replicas):
    strategy, registry = mirrored_on(replicas), make_registry()
    found = registry.result(compiled(strategy, registry)(distributed(strategy, SIZES[replicas])))
    check(found | {"_replicas": replicas})  # each replica counts 1 for the matrix


def test_without_a_tf_function(mirrored_on):
    strategy, registry = mirrored_on(2), make_registry()
    per_replica = strategy.run(make_step(registry), args=(distributed(strategy, SIZES[2]),))
    check(registry.result(registry.reduce(strategy, per_replica)) | {"_replicas": 2})


@pytest.mark.parametrize("make", [tf.distribute.get_strategy, lambda: tf.distribute.OneDeviceStrategy("/cpu:1")])
def test_on_a_strategy_of_one_device(make):
    strategy, registry = make(), make_registry()
    reduced = registry.reduce(strategy, strategy.run(make_step(registry), args=(distributed(strategy, [9]),)))
    check(registry.result(reduced))


@pytest.mark.parametrize("cut", [[1] * 9, [4, 5], [9], [8, 0, 1]])
def test_merge_over_batches_does_not_depend_on_how_they_are_cut(cut):
    registry, total, start = make_registry(), None, 0
    for size in cut:
        part = slice(start, start + size)
        batch = {"x": X[part], "mask": MASK[part], "y": LABELS[part], "guess": GUESSES[part]}
        total = registry.merge(total, make_step(registry)(tf.nest.map_structure(tf.constant, batch)))
        start += size
    check(registry.result(total) | {"_replicas": len(cut)})


def test_merge_starts_from_none_or_nothing_and_changes_no_argument():
    registry = MetricRegistry()
    first = {"a": metrics.Tally(tf.constant(1.0), tf.constant(1.0))}
    second = {
        "a": metrics.Tally(tf.constant(2.0), tf.constant(3.0)),
        "b": metrics.Tally(tf.constant(5.0), tf.constant(2.0)),
    }
    assert registry.result(registry.merge(None, first)) == registry.result(registry.merge({}, first)) == {"a": 1.0}
    assert registry.result(registry.merge(first, second)) == {"a": 0.75, "b": 2.5}
    assert registry.result(first) == {"a": 1.0}


def all_ops(graph):
    return [op.type for op in graph.get_operations()] + [
        node.op for function in graph.as_graph_def().library.function for node in function.node_def
    ]


@pytest.mark.parametrize("number", [1, 25])
def test_there_is_one_reduction_however_many_metrics(mirrored_on, number):
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

    ops = all_ops(run.get_concrete_function().graph)
    reductions = [op for op in ops if op == "AddN" or "Reduce" in op or "Nccl" in op]
    assert reductions == ["AddN"]  # of two replicas' vectors: how TensorFlow sums on one machine
    assert registry.result(run()) == {f"m_{i}": i + 0.5 for i in range(number)}


def test_a_function_of_the_user_works_on_several_replicas(mirrored_on):
    strategy, registry = mirrored_on(2), MetricRegistry()

    def step(batch):
        with registry.recording():
            metrics.add("m", batch["x"], finish=lambda value, count: value / count + 1)
            return registry.compute(None, None)

    per_replica = strategy.run(step, args=(distributed(strategy, SIZES[2]),))
    found = registry.result(registry.reduce(strategy, per_replica))
    assert found == {"m": pytest.approx(X.mean(dtype=np.float64) + 1, rel=1e-6)}


def test_counts_stay_exact_past_two_to_the_24():
    registry = MetricRegistry({"big": lambda *_: (tf.constant(2**24 + 1, tf.int64), tf.constant(2**24 + 1, tf.int64))})
    with registry.recording():
        reduced = registry.reduce(tf.distribute.get_strategy(), registry.compute(None, None))
    total = registry.merge(reduced, {"big": Tally(1, 1)})
    assert (int(total["big"].value), int(total["big"].count)) == (2**24 + 2, 2**24 + 2)


def test_nested_dicts_of_functions_become_paths():
    def one(batch, outputs):
        return outputs, 1

    registry = MetricRegistry({"top": one, "group": {"a.b": one, "deeper": {"at_0.5": one}}})
    assert set(registry.compute(None, tf.constant(1.0))) == {"top", "group/a/b", "group/deeper/at_0.5"}


def test_a_name_registered_twice_is_refused():
    def one(batch, outputs):
        return 1, 1

    registry = MetricRegistry({"a": {"b": one}})
    with pytest.raises(UsageError, match="'a/b' is registered already"):
        registry.register("a.b", one)
    with pytest.raises(UsageError, match="'a/b' is registered already"):
        MetricRegistry({"a": {"b": one}, "a.b": one})


def test_what_is_no_function_is_refused():
    with pytest.raises(UsageError, match=r"'a': wanted a function of \(batch, outputs\), got 'accuracy'"):
        MetricRegistry({"a": "accuracy"})


@pytest.mark.parametrize("returned", [1.0, (1.0, 2.0, 3.0), None, {"value": 1.0}])
def test_a_function_that_returns_no_pair_is_refused_by_name(returned):
    registry = MetricRegistry({"group": {"bad": lambda *_: returned}})
    with pytest.raises(UsageError, match=r"'group/bad': its function must return \(value, count\)"):
        registry.compute(None, None)


def test_a_registered_metric_and_an_added_one_of_another_meaning_clash():
    registry = MetricRegistry()
    registry.register("m", lambda *_: (1.0, 1.0), finish="sum")
    with registry.recording():
        metrics.add("m", 1.0)
        with pytest.raises(UsageError, match="'m' has two meanings"):
            registry.compute(None, None)
        MetricRegistry().compute(None, None)  # collects what was added


def test_a_forgotten_compute_is_an_error_that_names_the_metrics():
    def step():
        with MetricRegistry().recording():
            metrics.add("b.c", 1.0)
            metrics.add("a", 1.0)

    with pytest.raises(UsageError, match=r"\['a', 'b/c'\] were added but not collected: call registry.compute"):
        step()


def test_an_error_in_the_step_is_not_hidden_by_the_forgotten_compute():
    def step():
        with MetricRegistry().recording():
            metrics.add("a", 1.0)
            raise KeyError("the step's own")

    with pytest.raises(KeyError, match="the step's own"):
        step()


def test_a_step_that_adds_nothing_needs_no_compute():
    with MetricRegistry().recording():
        pass


def test_each_step_starts_from_nothing():
    registry = make_registry()
    batch = {"x": X, "mask": MASK, "y": LABELS, "guess": GUESSES}
    for _ in range(2):
        tallies = make_step(registry)(tf.nest.map_structure(tf.constant, batch))
    check(registry.result(tallies))


def test_with_autograph_as_tf_function_has_it_by_default(mirrored_on):
    strategy, registry = mirrored_on(2), make_registry()
    step = make_step(registry)

    @tf.function
    def run(batch):
        return registry.reduce(strategy, strategy.run(step, args=(batch,)))

    check(registry.result(run(distributed(strategy, SIZES[2]))) | {"_replicas": 2})


def test_with_autograph_a_mistake_is_still_the_users_error_at_the_users_line():
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
