"""Metrics through the Trainer: on two replicas with accumulated gradients, from `metrics.add` to the files."""

import collections
import json

import keras
import numpy as np
import pytest
from tallyloop import metrics
from tallyloop.data import Input
from tallyloop.trainer import Task, Trainer


class Doubled(keras.layers.Layer):
    def call(self, inputs):
        metrics.add("doubled", inputs)
        return inputs * 2


class Composed(Task):
    """A zero model that uses one layer twice; its loss has two parts."""

    metrics = {"mae": keras.metrics.MeanAbsoluteError()}  # noqa: RUF012

    def build_model(self):
        shared = Doubled()
        inputs = keras.Input((1,))
        return keras.Model(inputs, keras.layers.Dense(1, kernel_initializer="zeros")(shared(shared(inputs))))

    def loss(self, model, batch, training):
        error = (model(batch["x"], training=training) - batch["y"])[:, 0]
        parts = {"square": error**2, "one": 0 * error + 1}
        return metrics.composite_loss(parts, {"one": 0.5}, name="parts"), batch["x"]


class Run:
    """8 train examples (x = 1, y = 3) in batches of 4, 11 eval examples (x = 1..11, y = 2), and what was written."""

    def __init__(self, strategy, folder):
        self.x = np.arange(1, 12, dtype=np.float32)[:, None]
        self.y = np.full([11, 1], 2, np.float32)
        train = {"x": np.ones([8, 1], np.float32), "y": np.full([8, 1], 3, np.float32)}
        trainer = Trainer(
            task=Composed(),
            optimizer=lambda: keras.optimizers.SGD(0.0),
            strategy=strategy,
            train_dataset=Input(train, 4, shuffle=False),
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
def run(mirrored_on, tmp_path_factory):
    return Run(mirrored_on(2), tmp_path_factory.mktemp("run"))


class TestRun:
    def test_each_interval_of_each_split_has_its_own_line(self, run):
        assert [(line["step"], line["split"]) for line in run.lines] == [
            (2, "train"), (2, "eval"), (4, "train"), (4, "eval")
        ]  # fmt: skip
        assert [line["counts"]["loss"] for line in run.lines] == [8, 11, 8, 11]

    def test_training_and_evaluation_have_the_same_names(self, run):
        names = {"loss", "doubled", "mae", "parts/square", "parts/one", "parts/total"}
        assert all(names <= set(line["metrics"]) for line in run.lines)

    def test_each_split_has_one_event_file(self, run):
        for split in ("train", "eval"):
            assert len(list((run.folder / split).glob("events.out.tfevents.*"))) == 1

    def test_each_split_has_the_mean_over_its_own_examples(self, run):
        for line in run.lines:
            square = 9 if line["split"] == "train" else 4
            assert line["metrics"]["parts/square"] == square
            assert line["metrics"]["loss"] == square + 0.5

    def test_a_layer_used_twice_adds_up(self, run):
        for line in run.lines:
            x = 1 if line["split"] == "train" else 6
            assert line["metrics"]["doubled"] == pytest.approx((x + 2 * x) / 2)

    def test_a_keras_metric_over_a_ragged_last_batch(self, run):
        assert run.evaluation["mae"] == pytest.approx(np.abs(run.x - run.y).mean(), rel=1e-6)


class ManyMetrics(Composed):
    def __init__(self, extra):
        self._extra = extra

    def loss(self, model, batch, training):
        for i in range(self._extra):
            metrics.add(f"extra_{i}", batch["x"] * i)
        return super().loss(model, batch, training)


def reductions(graph):
    """The number of each kind of cross-replica reduction in a graph and all the functions that it calls."""
    ops = [op.type for op in graph.get_operations()]
    ops += [node.op for each in graph.as_graph_def().library.function for node in each.node_def]
    return collections.Counter(op for op in ops if op.startswith(("Collective", "Nccl")) or op == "AddN")


def test_sixteen_more_metrics_add_no_reduction(mirrored_on):
    found = {}
    for extra in (0, 16):
        trainer = Trainer(
            task=ManyMetrics(extra),
            optimizer=lambda: keras.optimizers.SGD(0.0),
            strategy=mirrored_on(2),
            train_dataset=Input({"x": np.ones([8, 1], np.float32), "y": np.ones([8, 1], np.float32)}, 4, shuffle=False),
        )
        trainer.prepare(evaluate=False)
        training = trainer._session
        found[extra] = reductions(training.loop.graph)
        drain = training._sums.accumulator._drain.graph
        assert reductions(drain) == {"AddN": 1}  # how two CPUs are summed
    assert found[0] == found[16]
    assert found[0]["AddN"] > 0  # the gradients'
