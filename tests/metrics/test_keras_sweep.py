"""Every class of keras.metrics is exact however the data is cut, or refused by name with the reason."""

import importlib.util
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from tallyloop.metrics import KerasMetric, MetricRegistry, UsageError

SCRIPT = Path(__file__).parents[2] / "docs" / "make_keras_metrics.py"


def _load():
    spec = importlib.util.spec_from_file_location("make_keras_metrics", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


sweep = _load()
REFUSED = {
    "Metric": "it takes no data: it has no `update_state`",
    "PearsonCorrelation(axis=0)": "what it gives depends on how the examples are cut into batches",
    "ConcordanceCorrelation(axis=0)": "what it gives depends on how the examples are cut into batches",
    "your own, whose state is a maximum": "its state is not a sum",
    "your own, whose state is the last value": "its state is not a sum",
    "your own, which averages each batch": "what it gives depends on how the examples are cut into batches",
}
EXACT = [name for name in sweep.CASES if name not in REFUSED]


def test_the_table_has_every_class_that_keras_exports():
    assert sorted(sweep.EXPORTED) == sweep.exported()


@pytest.mark.parametrize("name", EXACT)
def test_exact_against_one_pass_on_one_device(name):
    assert sweep.treatment(name)[0] == "exact"


@pytest.mark.parametrize(("name", "reason"), REFUSED.items())
def test_refused_with_the_reason(name, reason):
    assert sweep.treatment(name) == ("refused", reason)


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_the_name_of_its_class(name):
    piece = sweep.pieces("vectors")[0]
    with pytest.raises(UsageError, match=f"Keras metric {type(sweep.make(name)).__name__} "):
        sweep.tallied(name, weighted=False)(piece, piece["p"])


def test_a_refusal_comes_when_the_step_is_traced_and_names_the_class(mirrored_on):
    strategy = mirrored_on(2)
    registry = MetricRegistry({"worst": KerasMetric(sweep.LargestError())})
    batch = {"y": tf.ones([4, 1]), "p": tf.zeros([4, 1])}

    @tf.function(autograph=False)
    def step():
        return strategy.run(lambda: registry.compute(batch, batch["p"]))

    with pytest.raises(UsageError, match=r"LargestError \(largest_error\) is refused: its state is not a sum"):
        step.get_concrete_function()


def test_a_metric_wrapper_without_its_function_cannot_be_made():
    with pytest.raises(TypeError, match="'fn'"):
        keras.metrics.MeanMetricWrapper()


def test_all_of_them_at_once_on_three_replicas_in_one_trace(mirrored_on):
    """Weighted; in a ragged batch, one with an empty replica, and one with a single row."""
    strategy, registry = mirrored_on(3), MetricRegistry()
    paths = {name: f"m_{i}" for i, name in enumerate(EXACT)}
    for name, path in paths.items():
        kind = sweep.CASES[name].data
        labels = None if kind == "values" else f"{kind}_y"
        registry.register(path, KerasMetric(sweep.make(name), labels, f"{kind}_p", f"{kind}_w"))
    kinds = {sweep.CASES[name].data for name in EXACT}
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


def test_one_reduction_for_all_the_state_of_several_keras_metrics():
    registry = MetricRegistry({"auc": keras.metrics.AUC(), "mse": keras.metrics.MeanSquaredError()})
    piece = sweep.pieces("binary")[0]
    reduced = registry.reduce(tf.distribute.get_strategy(), registry.compute(piece, piece["p"]))
    assert {path: tuple(tally.value.shape) for path, tally in reduced.items()} == {"auc": (800,), "mse": (2,)}


def test_the_metric_that_was_given_keeps_its_own_state():
    metric = sweep.TotalAndCount()
    piece = sweep.pieces("vectors")[0]
    tally = KerasMetric(metric)(piece, piece["p"])
    assert int(tally.count) == len(piece["p"])
    assert [float(variable.numpy()) for variable in metric.variables] == [0.0, 0.0]


def test_the_committed_page_is_up_to_date():
    assert sweep.page() == sweep.PAGE.read_text(), f"run python docs/{SCRIPT.name}"
