"""What metrics/ promises, one test or more for each point, on numbers that can be checked by hand."""

import collections
import json
import math

import gin
import keras
import numpy as np
import pytest
import tensorflow as tf
from tallyloop import metrics
from tallyloop.data import Input
from tallyloop.metrics import MetricRegistry, Tally, UsageError
from tallyloop.metrics.device.accumulator import Accumulator
from tallyloop.trainer import Task, Trainer


def evaluated(strategy, step, pieces, registry=None):
    """Runs `step(piece)` on each replica, eagerly, reduces and finishes."""
    registry = registry or MetricRegistry()

    def replica(piece):
        with registry.recording():
            outputs = step(piece)
            return registry.compute(piece, outputs)

    each = strategy.experimental_distribute_values_from_function(
        lambda context: tf.nest.map_structure(tf.constant, pieces[context.replica_id_in_sync_group])
    )
    return registry.result(registry.reduce(strategy, strategy.run(replica, args=(each,))))


def here(step, compiled=False, **options):
    """Runs `step()` on one replica, eagerly or in a tf.function; returns path -> (value, count)."""
    registry = MetricRegistry()

    def run():
        with registry.recording():
            step()
            return registry.compute(None, None)

    tallies = tf.function(run, autograph=False, **options)() if compiled or options else run()
    return {path: tuple(float(part) for part in tally) for path, tally in tallies.items()}


def rows(*values, dtype=np.float32):
    return np.array(values, dtype)


# 1


def test_1_weighted_accuracy_with_unequal_batches_is_hits_over_counts(mirrored_on):
    pieces = [
        {"hit": rows(1, 1, 1, dtype=bool), "w": rows(1, 2, 1)},
        {"hit": rows(0, dtype=bool), "w": rows(4)},
    ]
    found = evaluated(mirrored_on(2), lambda p: metrics.add("accuracy", p["hit"], weights=p["w"]), pieces)
    assert found == {"accuracy": 4 / 8}  # the mean of the replicas' means is 1 / 2 too only without weights
    found = evaluated(mirrored_on(2), lambda p: metrics.add("accuracy", p["hit"]), pieces)
    assert found == {"accuracy": 3 / 4}


# 2


def test_2_weighted_squared_error_is_a_mean_over_examples(mirrored_on):
    pieces = [
        {"y": rows(0, 0, 0), "p": rows(1, 2, 3), "w": rows(1, 1, 0)},
        {"y": rows(0), "p": rows(5), "w": rows(2)},
    ]
    found = evaluated(mirrored_on(2), lambda p: metrics.add("mse", (p["y"] - p["p"]) ** 2, weights=p["w"]), pieces)
    assert found == {"mse": (1 + 4 + 2 * 25) / 4}


# 3


def _recall(piece):
    metrics.add("recall", piece["hit"], weights=piece["y"])


def test_3_a_replica_where_a_metric_does_not_apply_contributes_nothing(mirrored_on):
    pieces = [{"hit": rows(1, 0, 1), "y": rows(0, 0, 0)}, {"hit": rows(1, 0), "y": rows(1, 1)}]
    assert evaluated(mirrored_on(2), _recall, pieces) == {"recall": 0.5}


def test_3_where_it_applies_on_no_replica_no_point_is_written_and_it_is_said_once(mirrored_on, caplog):
    pieces, registry = [{"hit": rows(1, 0, 1), "y": rows(0, 0, 0)}] * 2, MetricRegistry()
    for _ in range(3):
        assert evaluated(mirrored_on(2), _recall, pieces, registry) == {}
    assert [record.getMessage() for record in caplog.records] == [
        "Metric 'recall': no examples counted, so no point is written."
    ]


# 4: test_keras_sweep.py has them all


def test_4_a_keras_metric_over_an_evaluation_with_a_ragged_last_batch_through_the_trainer(trained):
    assert trained.evaluation["mae"] == pytest.approx(np.abs(trained.x - trained.y).mean(), rel=1e-6)


# 5


class Largest(keras.metrics.Metric):
    def __init__(self):
        super().__init__(name="largest")
        self.largest = self.add_variable((), "zeros")

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.largest.assign(keras.ops.maximum(self.largest, keras.ops.max(y_pred)))

    def result(self):
        return self.largest


class Error(keras.metrics.Metric):
    def __init__(self):
        super().__init__(name="error")
        self.total = self.add_variable((), "zeros")
        self.count = self.add_variable((), "zeros")

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.total.assign_add(keras.ops.sum(keras.ops.abs(y_true - y_pred)))
        self.count.assign_add(keras.ops.cast(keras.ops.size(y_true), "float32"))

    def result(self):
        return self.total / self.count


def test_5_a_custom_metric_with_total_and_count_is_exact(mirrored_on):
    pieces = [{"y": rows(1, 1, 1), "p": rows(2, 3, 4)}, {"y": rows(), "p": rows()}, {"y": rows(0), "p": rows(8)}]
    found = evaluated(mirrored_on(3), lambda p: p["p"], pieces, MetricRegistry({"error": Error()}))
    assert found == {"error": (1 + 2 + 3 + 8) / 4}


def test_5_a_custom_metric_whose_state_is_a_maximum_is_refused_by_name():
    registry = MetricRegistry({"worst": Largest()})
    with pytest.raises(UsageError, match=r"Largest \(largest\) is refused: its state is not a sum.*finish='max'"):
        registry.compute({"y": tf.zeros([4])}, tf.ones([4]))


# 6


def test_6_a_hand_written_loop_over_uneven_batches(mirrored_on):
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


# 7


def test_7_a_naming_dictionary_for_the_intermediate_values_of_a_function_of_several_layers():
    names = {"hidden": "stage_1/hidden", "logits": "stage_2/logits"}

    def layers(x):
        values = {"hidden": x * 2, "logits": x + 10}
        for key, name in names.items():
            metrics.add(name, values[key])

    assert here(lambda: layers(tf.constant([1.0, 3.0]))) == {"stage_1/hidden": (8, 2), "stage_2/logits": (24, 2)}


# 8


def test_8_names_in_slashes_in_dots_in_scopes_and_in_nested_dicts_are_one_hierarchy():
    def one(batch, outputs):
        return 1, 1

    def step():
        metrics.add("a/b", 1.0)
        metrics.add("a.c", 1.0)
        metrics.add("recall_at_0.5", 1.0)
        with metrics.scope("a"), metrics.scope("d.e"):
            metrics.add("f", 1.0)

    registry = MetricRegistry({"a": {"g": {"h": one}, "i.j": one}})
    with registry.recording():
        step()
        found = registry.compute(None, None)
    assert sorted(found) == ["a/b", "a/c", "a/d/e/f", "a/g/h", "a/i/j", "recall_at_0.5"]


VECTOR = np.array([[1, 0, 1, 0], [1, 1, 0, 0]], np.float32)


def test_8_a_vector_is_written_as_one_number_a_class(mirrored_on):
    weights = np.array([[1, 1, 1, 0], [1, 1, 1, 0]], np.float32)
    pieces = [{"x": VECTOR[:1], "w": weights[:1]}, {"x": VECTOR[1:], "w": weights[1:]}]
    found = evaluated(
        mirrored_on(2), lambda p: metrics.add("recall", p["x"], weights=p["w"], finish="per_class"), pieces
    )
    assert found == {"recall/class_0": 1, "recall/class_1": 0.5, "recall/class_2": 0.5}  # none of class 3
    found = evaluated(mirrored_on(2), lambda p: metrics.add("recall", p["x"], finish="per_class"), pieces)
    assert found["recall/class_3"] == 0


def test_8_the_classes_names_come_from_gin(mirrored_on):
    with gin.unlock_config():
        gin.parse_config("per_class.names = ['cat', 'dog', 'emu', 'fly']")
    try:
        finish = gin.get_configurable("per_class")()
        found = evaluated(mirrored_on(1), lambda p: metrics.add("recall", p, finish=finish), [VECTOR])
    finally:
        gin.clear_config()
    assert found == {"recall/cat": 1, "recall/dog": 0.5, "recall/emu": 0.5, "recall/fly": 0}


def test_8_too_few_names_are_refused(mirrored_on):
    finish = metrics.per_class(["cat"])
    with pytest.raises(UsageError, match=r"1 names, and the metric has 4 classes"):
        evaluated(mirrored_on(1), lambda p: metrics.add("recall", p, finish=finish), [VECTOR])


# 9, and the Trainer's part of 4, 10 and 11


class Doubled(keras.layers.Layer):
    def call(self, inputs):
        metrics.add("doubled", inputs)
        return inputs * 2


class _Composed(Task):
    metrics = {"mae": keras.metrics.MeanAbsoluteError()}  # noqa: RUF012

    def build_model(self):
        shown = Doubled()
        inputs = keras.Input((1,))
        return keras.Model(inputs, keras.layers.Dense(1, kernel_initializer="zeros")(shown(shown(inputs))))

    def loss(self, model, batch, training):
        error = (model(batch["x"], training=training) - batch["y"])[:, 0]
        parts = {"square": error**2, "one": tf.ones_like(error)}
        return metrics.composite_loss(parts, {"one": 0.5}, name="parts"), batch["x"]


class _Trained:
    """A run on two replicas with accumulated gradients, and what it wrote."""

    def __init__(self, strategy, folder):
        self.x = np.arange(1, 12, dtype=np.float32)[:, None]
        self.y = np.full([11, 1], 2, np.float32)
        train = {"x": np.ones([8, 1], np.float32), "y": np.full([8, 1], 3, np.float32)}
        trainer = Trainer(
            task=_Composed(),
            optimizer=lambda: keras.optimizers.SGD(0.0),
            strategy=strategy,
            train_dataset=Input(train, 4),
            eval_datasets={"test": Input({"x": self.x, "y": self.y}, 4)},
            train_steps=4,
            summary_interval=2,
            eval_interval=2,
            gradient_accumulation=2,
            model_dir=folder,
        )
        self.evaluation = trainer.train_and_eval()["test"]
        self.lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        self.folder = folder


@pytest.fixture(scope="module")
def trained(mirrored_on, tmp_path_factory):
    return _Trained(mirrored_on(2), tmp_path_factory.mktemp("run"))


def test_9_training_and_validation_have_the_same_names_separate_writers_and_reset_at_each_interval(trained):
    assert [(line["step"], line["split"]) for line in trained.lines] == [
        (2, "train"), (2, "eval"), (4, "train"), (4, "eval")
    ]  # fmt: skip
    names = {"loss", "doubled", "mae", "parts/square", "parts/one", "parts/total"}
    assert all(names <= set(line["metrics"]) for line in trained.lines)
    assert [line["counts"]["loss"] for line in trained.lines] == [8, 11, 8, 11]
    for split in ("train", "eval"):
        assert len(list((trained.folder / split).glob("events.out.tfevents.*"))) == 1


def test_9_each_split_has_the_mean_over_its_own_examples(trained):
    for line in trained.lines:
        square = 9 if line["split"] == "train" else 4
        assert line["metrics"]["parts/square"] == square
        assert line["metrics"]["loss"] == square + 0.5


# 10


def test_10_a_layer_used_twice_adds_up_under_gradient_accumulation_in_the_trainer(trained):
    for line in trained.lines:
        x = 1 if line["split"] == "train" else 6
        assert line["metrics"]["doubled"] == pytest.approx((x + 2 * x) / 2)


def _functional():
    inputs = keras.Input((2,), name="in")
    first = keras.layers.Dense(2, kernel_initializer="ones", use_bias=False, name="first")(inputs)
    return keras.Model(inputs, keras.layers.Lambda(lambda x: x * 10, name="tenfold")(first)), first


BATCH = [[1.0, 2.0], [3.0, 4.0]]


def test_10_watch_a_built_functional_model():
    model, first = _functional()
    assert metrics.watch(model, [first, model.input], ["first.out", "in"]) is model
    assert here(lambda: model(tf.constant(BATCH))) == {"first/out": (20, 4), "in": (10, 4)}
    assert model(tf.constant(BATCH)).numpy().tolist() == [[30, 30], [70, 70]]  # outside a step too
    model, first = _functional()
    metrics.watch(model, [first])
    assert set(here(lambda: model(tf.constant(BATCH)))) == {"first"}


def test_10_watch_twice_adds_to_what_is_watched():
    model, first = _functional()
    metrics.watch(model, [first], ["first"])
    metrics.watch(model, [model.input], ["in"])
    assert set(here(lambda: model(tf.constant(BATCH)))) == {"first", "in"}


def test_10_watch_a_model_inside_of_a_model():
    inner, first = _functional()
    inputs = keras.Input((2,))
    outer = keras.Model(inputs, inner(inputs + 1.0))
    metrics.watch(inner, [first], ["inner"])
    metrics.watch(outer, [outer.output], ["outer"])
    assert here(lambda: outer(tf.constant(BATCH))) == {"inner": (28, 4), "outer": (280, 4)}


@pytest.mark.parametrize("outputs", [list, tuple, dict], ids=["list", "tuple", "dict"])
def test_10_watch_a_model_of_several_inputs_and_outputs(outputs):
    a, b = keras.Input((1,), name="a"), keras.Input((1,), name="b")
    total, product = a + b, a * b
    pair = {"s": total, "p": product} if outputs is dict else outputs([total, product])
    model = keras.Model({"a": a, "b": b}, pair)
    given = {"a": tf.constant([[2.0], [4.0]]), "b": tf.constant([[3.0], [5.0]])}
    before = model(given)
    metrics.watch(model, [product], ["product"])
    assert here(lambda: model(given)) == {"product": (26, 2)}
    after = model(given)
    tf.nest.assert_same_structure(before, after)
    assert [each.numpy().tolist() for each in tf.nest.flatten(after)] == [
        each.numpy().tolist() for each in tf.nest.flatten(before)
    ]


def test_10_watch_both_calls_of_a_layer_used_twice():
    inputs = keras.Input((1,))
    layer = keras.layers.Lambda(lambda x: x * 3)
    once = layer(inputs)
    twice = layer(once)
    model = metrics.watch(keras.Model(inputs, twice), [once, twice], ["once", "twice"])
    assert here(lambda: model(tf.constant([[1.0], [2.0]]))) == {"once": (9, 2), "twice": (27, 2)}


def test_10_watch_a_tensor_of_another_model_is_refused():
    model, other = _functional()[0], _functional()[1]
    with pytest.raises(UsageError, match="tensors of the functional model"):
        metrics.watch(model, [other])


class Adds(keras.layers.Layer):
    def call(self, inputs):
        metrics.add("inside", inputs)
        return inputs + 0


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.shared = Adds()

    def call(self, inputs):
        return self.shared(self.shared(inputs) * 10)


def _in_sequential():
    return keras.Sequential([keras.Input((3, 2)), Adds()])


def _in_time_distributed():
    return keras.layers.TimeDistributed(Adds())


class Cell(keras.layers.Layer):
    state_size = output_size = 2

    def call(self, inputs, states):
        metrics.add("inside", inputs)
        return inputs + states[0], [inputs + states[0]]


X = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
LAYERS = {
    "subclassed": (Subclassed, (66 * 11, 24)),
    "sequential": (_in_sequential, (66, 12)),
    "time distributed": (_in_time_distributed, (66, 12)),
    "cell": (lambda: keras.layers.RNN(Cell()), (66, 12)),
    "cell, unrolled": (lambda: keras.layers.RNN(Cell(), unroll=True), (66, 12)),
}


@pytest.mark.parametrize("how", ["eager", "traced", "jit_compile", "gradient", "gradient, jit_compile"])
@pytest.mark.parametrize("name", LAYERS)
def test_10_add_in_a_layer_counts_each_value_once(name, how):
    make, expected = LAYERS[name]
    layer = make()
    layer(X)  # built outside

    def step():
        x = tf.constant(X)
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = tf.reduce_sum(layer(x) ** 2)
            if "gradient" in how:  # taken inside of the step; the backward pass adds nothing
                metrics.add("gradient", tape.gradient(total, x), finish="sum")

    options = {"jit_compile": True} if "jit_compile" in how else {}
    found = here(step, compiled=how != "eager", **options)
    assert found["inside"] == expected
    assert ("gradient" in found) == ("gradient" in how)


def test_10_add_in_an_rnn_cell_on_two_replicas(mirrored_on):
    strategy = mirrored_on(2)
    layer, registry = keras.layers.RNN(Cell()), MetricRegistry()
    layer(X)

    @tf.function(autograph=False)
    def run():
        def replica():
            index = tf.distribute.get_replica_context().replica_id_in_sync_group
            with registry.recording():
                layer(tf.constant(X)[: index + 1])  # one row, and two
                return registry.compute(None, None)

        return registry.reduce(strategy, strategy.run(replica))

    for _ in range(2):  # nothing is left over from the step before
        reduced = run()
        assert (float(reduced["inside"].value), float(reduced["inside"].count)) == (15 + 66, 18)


def test_10_time_distributed_over_an_unknown_number_of_steps_is_exact_or_refused_by_name():
    layer, registry = _in_time_distributed(), MetricRegistry()

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None, None, 2])])
    def run(x):
        with registry.recording():
            layer(x)
            return registry.compute(None, None)

    try:
        found = run(X)
    except UsageError as error:
        assert "'inside'" in str(error)  # noqa: PT017 (saying so is as good)
    else:
        assert tuple(float(part) for part in found["inside"]) == (66, 12)


def test_10_mixed_precision_sums_in_full_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        layer = Adds()
        found = here(lambda: layer(tf.ones([1000, 1])))  # a bfloat16 sum stops at 256
    finally:
        keras.config.set_dtype_policy("float32")
    assert layer.compute_dtype == "bfloat16"
    assert found == {"inside": (1000, 1000)}


def test_10_values_from_tf_cond_map_fn_and_while_loop_are_counted_exactly():
    def step():
        tf.cond(tf.constant(True), lambda: metrics.add("taken", [5.0, 7.0]) or 0, lambda: 0)
        tf.cond(tf.constant(1) < 0, lambda: metrics.add("not_taken", 1.0) or 0, lambda: 0)
        tf.map_fn(lambda x: metrics.add("map", x) or x, tf.constant([1.0, 2.0, 4.0]))
        tf.while_loop(
            lambda i: i < 4, lambda i: (metrics.add("while", tf.cast(i, tf.float32)), i + 1)[1:], [tf.constant(0)]
        )

    assert here(step, compiled=True) == {"taken": (12, 2), "not_taken": (0, 0), "map": (7, 3), "while": (6, 4)}


def test_10_vectorized_map_is_refused_by_name():
    def step():
        tf.vectorized_map(lambda x: metrics.add("inner.value", x) or x, tf.constant([1.0, 2.0]))

    with pytest.raises(UsageError, match=r"'inner/value'.*tf.vectorized_map, inside which it is added"):
        here(step, compiled=True)


# 11


def test_11_a_composite_loss_shows_its_parts_and_their_weighted_total(mirrored_on):
    def step(p):
        metrics.composite_loss({"content": p, "style": p * 10}, {"style": 0.5})

    found = evaluated(mirrored_on(2), step, [rows(1, 2, 3), rows(6)])
    assert found == {"loss/content": 3, "loss/style": 30, "loss/total": 3 + 15}


# 12


def test_12_token_metrics_count_unmasked_tokens_only_and_no_nan_leaks(mirrored_on):
    nan = float("nan")
    nll = np.array([[1, 2, nan], [3, nan, nan], [nan, nan, nan], [nan, nan, nan]], np.float32)
    mask = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 0], [0, 0, 0]], np.float32)
    hits = np.array([[1, 0, 1], [1, 1, 1], [1, 1, 1], [1, 1, 1]], bool)

    def step(p):
        metrics.add("perplexity", p["nll"], weights=p["mask"], finish="exp")
        metrics.add("accuracy", p["hits"], weights=p["mask"])

    cuts = [slice(0, 1), slice(1, 2), slice(2, 4)]  # the third replica is fully masked
    pieces = [{"nll": nll[cut], "mask": mask[cut], "hits": hits[cut]} for cut in cuts]
    found = evaluated(mirrored_on(3), step, pieces)
    assert found == {"perplexity": pytest.approx(math.exp(6 / 3)), "accuracy": pytest.approx(2 / 3)}


def test_12_a_nan_under_the_mask_does_not_leak_through_any_finisher():
    values, mask = tf.constant([[1.0, np.nan], [3.0, np.nan]]), tf.constant([[1.0, 0.0], [1.0, 0.0]])
    registry = MetricRegistry()
    with registry.recording():
        for finish in ("mean", "sum", "exp", "sqrt", "std", "min", "max"):
            metrics.add(finish, values, weights=mask, finish=finish)
        found = registry.result(registry.compute(None, None))
    assert found == pytest.approx(
        {"mean": 2, "sum": 4, "exp": math.exp(2), "sqrt": math.sqrt(2), "std": 1, "min": 1, "max": 3}
    )


# 13: test_referee.py has the scores against scikit-learn


def test_13_finishers_on_numbers_that_can_be_checked_by_hand(mirrored_on):
    def step(p):
        for finish in ("mean", "sum", "exp", "sqrt", "std", "min", "max"):
            metrics.add(finish, p, finish=finish)
        metrics.add("own", p, finish=lambda value, count: {"value": float(value), "count": float(count)})
        metrics.add("p", p, finish=metrics.percentiles(0, 10, (50,), 10))

    found = evaluated(mirrored_on(3), step, [rows(1, 2), rows(), rows(6)])
    assert found == pytest.approx(
        {
            "mean": 3, "sum": 9, "exp": math.exp(3), "sqrt": math.sqrt(3), "std": math.sqrt(14 / 3), "min": 1, "max": 6,
            "own/value": 9, "own/count": 3, "p/p50": 2.5,
        }
    )  # fmt: skip


def test_13_min_and_max_with_an_empty_replica_and_with_none_but_empty_ones(mirrored_on):
    def step(p):
        metrics.add("min", p, finish="min")
        metrics.add("max", p, finish="max")

    assert evaluated(mirrored_on(2), step, [rows(-3, -1), rows()]) == {"min": -3, "max": -1}
    assert evaluated(mirrored_on(2), step, [rows(), rows(4, 9)]) == {"min": 4, "max": 9}
    assert evaluated(mirrored_on(2), step, [rows(), rows()]) == {}


def test_13_the_scores_of_a_confusion_matrix():
    labels, guesses = [0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 2, 2]
    names = ("confusion_matrix", "f1_micro", "recall_macro", "precision_per_class")
    registry = MetricRegistry()
    with registry.recording():
        for name in names:
            metrics.add(name, metrics.confusion_matrix(labels, guesses, 3), finish=name)
        found = registry.result(registry.compute(None, None))
    np.testing.assert_array_equal(found.pop("confusion_matrix"), [[2, 1, 0], [0, 1, 1], [0, 0, 1]])
    assert found == pytest.approx(
        {
            "f1_micro": 4 / 6, "recall_macro": (2 / 3 + 1 / 2 + 1) / 3, "precision_per_class/class_0": 1,
            "precision_per_class/class_1": 1 / 2, "precision_per_class/class_2": 1 / 2,
        }
    )  # fmt: skip


def test_13_a_rate_is_the_sum_over_the_seconds(mirrored_on):
    registry = MetricRegistry()
    with registry.recording():
        metrics.add("tokens", tf.constant([100, 50]), finish="per_second")
        tallies = registry.compute(None, None)
    assert registry.result(tallies, seconds=3.0) == {"tokens": 50.0}
    with pytest.raises(UsageError, match="'tokens' is a rate"):
        registry.result(tallies)


# 14


def test_14_more_than_two_to_the_24_examples_are_counted_exactly(mirrored_on):
    strategy, registry = mirrored_on(2), MetricRegistry()
    accumulator = Accumulator(strategy, registry)
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
    total = registry.merge(registry.merge(None, {"one": Tally(2.0**24, 2**24)}), {"one": Tally(6, 6)})
    assert (float(total["one"].value), int(total["one"].count)) == (2**24 + 6, 2**24 + 6)


# What it costs


class _Sixteen(_Composed):
    def __init__(self, extra):
        self._extra = extra

    def loss(self, model, batch, training):
        for i in range(self._extra):
            metrics.add(f"extra_{i}", batch["x"] * i)
        return super().loss(model, batch, training)


def _reductions(graph):
    """How often each kind of cross-replica reduction is in the graph of a compiled function and all that it calls."""
    ops = [op.type for op in graph.get_operations()]
    ops += [node.op for each in graph.as_graph_def().library.function for node in each.node_def]
    return collections.Counter(op for op in ops if op.startswith(("Collective", "Nccl")) or op == "AddN")


def test_sixteen_more_metrics_add_no_reduction_to_the_train_loop_and_the_drain_has_one(mirrored_on):
    found = {}
    for extra in (0, 16):
        trainer = Trainer(
            task=_Sixteen(extra),
            optimizer=lambda: keras.optimizers.SGD(0.0),
            strategy=mirrored_on(2),
            train_dataset=Input({"x": np.ones([8, 1], np.float32), "y": np.ones([8, 1], np.float32)}, 4),
        )
        trainer.prepare(evaluate=False)
        training = trainer._session
        found[extra] = _reductions(training.loop.graph)
        assert _reductions(training._sums.accumulator._drain.get_concrete_function().graph) == {
            "AddN": 1
        }  # how two CPUs are summed
    assert found[0] == found[16]
    assert found[0]["AddN"] > 0  # the gradients'
