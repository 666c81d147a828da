"""Every class of keras.metrics is exact however the data is cut, or refused by name with the reason."""

import importlib.util
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from tallyloop.metrics import KerasMetric, MetricRegistry, Tally, UsageError

SCRIPT = Path(__file__).parents[2] / "docs" / "make_keras_metrics.py"


def _load():
    spec = importlib.util.spec_from_file_location("make_keras_metrics", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


sweep = _load()
CUT = "its result depends on how the examples are cut into batches"
REFUSED = {
    "Metric": "it takes no data: it has no `update_state`",
    "PearsonCorrelation(axis=0)": CUT,
    "ConcordanceCorrelation(axis=0)": CUT,
    "your own, whose state is a maximum": "its state is not a sum",
    "your own, whose state is the last value": "its state is not a sum",
    "your own, which averages each batch": CUT,
}
EXACT = [name for name in (*sweep.EXPORTED, *sweep.OTHERS) if name not in REFUSED]
FOUR_OF_A_KIND = (
    "TruePositives",
    "TrueNegatives",
    "FalsePositives",
    "FalseNegatives",
)  # whose result is their variable
SEVERAL_THRESHOLDS = [name for name in sweep.CONFIGURATIONS if "thresholds=[" in name]
FURTHER = [name for name in sweep.CONFIGURATIONS if name not in SEVERAL_THRESHOLDS]


def of_kind(metric, kind):
    """The metric as a function of a batch that holds the data of all kinds."""
    return lambda batch, _: metric({key: batch[f"{kind}_{key}"] for key in "ypw"}, batch[f"{kind}_p"])


class TestPage:
    def test_has_every_class_that_keras_exports(self):
        assert sorted(sweep.EXPORTED) == sweep.exported()

    def test_has_further_arguments_of_each_class(self):
        assert sorted([*sweep.FURTHER, "Metric"]) == sweep.exported()

    def test_names_all_that_is_run(self):
        assert [name for name in sweep.CASES if name not in sweep.PAGE.read_text()] == []

    @pytest.mark.slow
    def test_is_up_to_date(self):
        """And all further arguments are exact."""
        assert sweep.page() == sweep.PAGE.read_text(), f"run python docs/{SCRIPT.name}"
        assert [name for name in FURTHER if sweep.treatment(name)[0] != "exact"] == []


class TestExact:
    @pytest.mark.parametrize("name", [*EXACT, *SEVERAL_THRESHOLDS])
    def test_equals_one_pass_on_one_device(self, name):
        assert sweep.treatment(name)[0] == "exact"

    def test_all_at_once_on_three_replicas_in_one_trace(self, mirrored_on):
        """Weighted; in a ragged batch, one with an empty replica, and one with a single row."""
        strategy, registry = mirrored_on(3), MetricRegistry()
        names = [*EXACT, *(f"{name}(thresholds=[0.2, 0.5, 0.8]) of binary" for name in FOUR_OF_A_KIND)]
        paths = {name: f"m_{i}" for i, name in enumerate(names)}
        for name, path in paths.items():
            metric = sweep.tallied(name, weighted=True)  # shared, so that its additivity is tested once
            registry.register(path, of_kind(metric, sweep.CASES[name].data), metric.finisher)
        kinds = {sweep.CASES[name].data for name in names}
        arrays = {f"{kind}_{key}": value for kind in kinds for key, value in sweep.data(kind).items()}
        spec = {key: tf.TensorSpec([None, *value.shape[1:]], value.dtype) for key, value in arrays.items()}

        @tf.function(autograph=False)
        def step(batch, starts, sizes):
            def replica():
                index = tf.distribute.get_replica_context().replica_id_in_sync_group
                rows = tf.range(starts[index], starts[index] + sizes[index])
                mine = {key: tf.ensure_shape(tf.gather(batch[key], rows), spec[key].shape) for key in spec}
                return registry.compute(mine, mine)

            return registry.reduce(strategy, strategy.run(replica))

        total, start = None, 0
        for sizes in ([17, 11, 9], [20, 0, 5], [0, 1, 0]):
            starts = start + np.cumsum([0, *sizes[:-1]])
            total = registry.merge(total, step(arrays, tf.constant(starts, tf.int32), tf.constant(sizes)))
            start += sum(sizes)
        assert start == sweep.ROWS
        assert step.experimental_get_tracing_count() == 1
        found = registry.result(total)
        for name, path in paths.items():
            np.testing.assert_allclose(
                sweep.as_array(found, path), sweep.one_pass(name, True), rtol=sweep.TOLERANCE, err_msg=name
            )

    def test_a_custom_metric_with_an_empty_replica(self, evaluate):
        def piece(labels, predictions):
            return {"y": np.float32(labels)[:, None], "p": np.float32(predictions)[:, None]}

        pieces = [piece([1, 1, 1], [2, 3, 4]), piece([], []), piece([0], [8])]
        found = evaluate(lambda p: p["p"], pieces, MetricRegistry({"error": sweep.TotalAndCount()}))
        assert found == {"error": (1 + 2 + 3 + 8) / 4}

    def test_one_reduction_for_the_states_of_several_metrics(self):
        registry = MetricRegistry({"auc": keras.metrics.AUC(), "mse": keras.metrics.MeanSquaredError()})
        piece = sweep.pieces("binary")[0]
        reduced = registry.reduce(tf.distribute.get_strategy(), registry.compute(piece, piece["p"]))
        assert {path: tuple(tally.value.shape) for path, tally in reduced.items()} == {"auc": (800,), "mse": (2,)}

    def test_the_given_metric_keeps_its_own_state(self):
        metric = sweep.TotalAndCount()
        piece = sweep.pieces("vectors")[0]
        tally = KerasMetric(metric)(piece, piece["p"])
        assert int(tally.count) == len(piece["p"])
        assert [float(variable.numpy()) for variable in metric.variables] == [0.0, 0.0]

    def test_a_result_that_is_a_variable(self):
        """Of three rows, two are close to their labels; of the probabilities, two are above 0.5, one above 0.7."""
        registry = MetricRegistry(
            {"hits": sweep.CountOfHits(), "tp": keras.metrics.TruePositives(thresholds=[0.5, 0.7])}
        )
        batch = {"y": tf.ones([3, 1])}
        found = registry.result(registry.compute(batch, tf.constant([[0.98], [0.6], [0.96]])))
        assert found == {"hits": 2.0, "tp/class_0": 3.0, "tp/class_1": 2.0}

    def test_a_result_of_several_names(self):
        registry = MetricRegistry({"m": sweep.NamedResults()})
        found = registry.result(registry.compute({"y": tf.ones([2, 1])}, tf.constant([[3.0], [0.0]])))
        assert found == {"m/total": 3.0, "m/both/class_0": 3.0, "m/both/class_1": 2.0}  # |1 - 3| + |1 - 0|, of 2

    def test_a_state_beyond_float32(self):
        """What a float64 metric adds up keeps its digits."""
        registry = MetricRegistry({"sum": KerasMetric(keras.metrics.Sum(dtype="float64"), labels=None)})
        found = registry.result(registry.compute({}, tf.constant([2.0**24 + 1, 2.0**30], tf.float64)))
        assert found == {"sum": 2**30 + 2**24 + 1}

    @pytest.mark.parametrize(("dtype", "expected"), [("float64", 1.0), ("int32", None)])
    def test_more_than_an_integer_state_holds(self, dtype, expected):
        registry = MetricRegistry({"iou": keras.metrics.MeanIoU(2, dtype=dtype, name="iou")})
        labels = tf.constant([[0], [1]])
        once = registry.compute({"y": labels}, labels)["iou"]
        total = {"iou": Tally(once.value * 2.0**31, once.count)}
        if expected is None:
            with pytest.raises(
                UsageError, match=r"Keras metric iou: expected sums up to 2147483647, .*dtype='float64'"
            ):
                registry.result(total)
        else:
            assert registry.result(total) == {"iou": expected}

    def test_a_vector_result_is_one_number_per_class(self):
        registry = MetricRegistry({"f1": keras.metrics.F1Score()})
        piece = {"y": tf.eye(3)}
        found = registry.result(registry.compute(piece, tf.eye(3)))
        assert found == {f"f1/class_{i}": pytest.approx(1.0, rel=1e-6) for i in range(3)}


class TestRefused:
    @pytest.mark.parametrize(("name", "reason"), REFUSED.items())
    def test_with_the_reason(self, name, reason):
        assert sweep.treatment(name) == ("refused", reason)

    @pytest.mark.parametrize("name", REFUSED)
    def test_by_the_name_of_its_class(self, name):
        piece = sweep.pieces("vectors")[0]
        with pytest.raises(UsageError, match=f"Keras metric {type(sweep.make(name)).__name__} "):
            sweep.tallied(name, weighted=False)(piece, piece["p"])

    def test_when_the_step_is_traced(self, mirrored_on):
        strategy = mirrored_on(2)
        registry = MetricRegistry({"worst": KerasMetric(sweep.LargestError())})
        batch = {"y": tf.ones([4, 1]), "p": tf.zeros([4, 1])}

        @tf.function(autograph=False)
        def step():
            return strategy.run(lambda: registry.compute(batch, batch["p"]))

        refused = r"LargestError \(largest_error\) is refused: its state is not a sum.*finish='max'"
        with pytest.raises(UsageError, match=refused):
            step.get_concrete_function()

    def test_a_wrapper_without_its_function_cannot_be_made(self):
        with pytest.raises(TypeError, match="'fn'"):
            keras.metrics.MeanMetricWrapper()


class TestArguments:
    def test_refuses_what_is_not_a_keras_metric(self):
        with pytest.raises(UsageError, match=r"KerasMetric.metric = 'auc': expected a Keras metric"):
            KerasMetric("auc")

    def test_refuses_a_batch_without_the_labels(self):
        metric = KerasMetric(keras.metrics.MeanSquaredError(name="mse"), labels="target")
        with pytest.raises(UsageError, match=r"Keras metric mse: expected a batch with the key 'target', got \['y'\]"):
            metric({"y": tf.zeros([2, 1])}, tf.zeros([2, 1]))

    def test_refuses_a_batch_that_is_not_a_dict(self):
        with pytest.raises(UsageError, match="expected a batch with the key 'y', got tuple"):
            KerasMetric(keras.metrics.MeanSquaredError())((1, 2), tf.zeros([2, 1]))


class TestOwnMetric:
    def test_may_take_no_weights(self):
        class Total(keras.metrics.Metric):
            def __init__(self):
                super().__init__(name="total")
                self.total = self.add_weight(shape=(), initializer="zeros")

            def update_state(self, y_true, y_pred):
                self.total.assign_add(tf.reduce_sum(y_pred))

            def result(self):
                return self.total

        registry = MetricRegistry({"total": Total()})
        with registry.recording():
            reduced = registry.compute({"y": tf.ones([3, 1])}, tf.constant([[1.0], [2.0], [4.0]]))
        assert registry.result(reduced) == {"total": 7}

    def test_needs_outputs(self):
        registry = MetricRegistry({"auc": keras.metrics.AUC()})
        with registry.recording(), pytest.raises(UsageError, match=r"metric auc.*: .*return \(losses, outputs\) from"):
            registry.compute({"y": tf.ones([3])}, None)
