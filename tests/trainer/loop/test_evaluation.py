import json

import gin
import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import accuracy_score, log_loss, top_k_accuracy_score
from tallyloop import metrics
from tallyloop.data import Input
from tallyloop.models import ClassifierTask, top_k_accuracy
from tallyloop.models.mlp import mlp
from tallyloop.trainer import Task


@pytest.fixture(scope="module")
def blobs():
    rng = np.random.default_rng(3)
    y = rng.integers(0, 5, 203)
    return {"x": (rng.normal(size=(203, 6)) + np.eye(6)[y]).astype(np.float32), "y": y}


class TestAgainstScikitLearn:
    @pytest.fixture(scope="class", params=[1, 2, 4])
    @classmethod
    def trained(cls, request, make_trainer, blobs):
        train, test = ({key: value[part] for key, value in blobs.items()} for part in (slice(100), slice(100, 203)))
        task = ClassifierTask(lambda: mlp(hidden=(8,), num_classes=5), metrics={"top": {"2": _top_2}})
        trainer = make_trainer(
            task, data=train, replicas=request.param, train_steps=20, eval_datasets={"test": Input(test, 32)},
            optimizer=keras.optimizers.Adam(0.02),
        )  # fmt: skip
        return trainer, trainer.train_and_eval()["test"], test

    def test_accuracies_to_the_last_digit(self, trained):
        trainer, evaluated, test = trained
        predicted = trainer.predict(Input(test, 32))
        assert evaluated["accuracy"] == accuracy_score(test["y"], predicted["label"])
        assert evaluated["top/2"] == top_k_accuracy_score(test["y"], predicted["probabilities"], k=2)
        assert 0.3 < evaluated["accuracy"] < evaluated["top/2"] < 1

    def test_loss(self, trained):
        trainer, evaluated, test = trained
        probabilities = trainer.predict(Input(test, 103))["probabilities"].astype(np.float64)
        probabilities /= probabilities.sum(1, keepdims=True)
        assert evaluated["loss"] == pytest.approx(log_loss(test["y"], probabilities, labels=range(5)), rel=1e-6)

    def test_again_gives_the_same_from_the_same_trace(self, trained):
        trainer, evaluated, _ = trained
        assert trainer.evaluate() == {"test": evaluated}
        assert trainer.summaries()["test"].counts == {"loss": 103, "accuracy": 103, "top/2": 103}
        assert trainer.traces == {"train": 1, "eval/test": 1}


def _top_2(batch, outputs):
    return top_k_accuracy(batch, outputs, k=2)


@pytest.mark.parametrize(("length", "batch"), [(35, 16), (32, 16), (3, 1)])
def test_a_stream_is_seen_once_whatever_its_length(regression_task, make_trainer, rows, length, batch):
    """Batches of 1 row on 4 replicas; 32 rows end where a batch ends; a second pass sees the same."""
    data = rows(length)
    trainer = make_trainer(replicas=4, eval_datasets={"test": Input(tf.data.Dataset.from_tensor_slices(data), batch)})
    for _ in range(2):
        summary = trainer.summaries()["test"]
        assert summary.counts == {"loss": length}
        # All weights are 0 before training.
        assert summary.metrics == {"loss": pytest.approx(np.mean(data["y"].astype(np.float64) ** 2), rel=1e-6)}


class TestSeveralDatasets:
    @pytest.fixture(scope="class")
    @classmethod
    def found(cls, make_trainer, rows, tmp_path_factory):
        seen = []
        trainer = make_trainer(
            train_steps=5,
            summary_interval=2,
            eval_interval=3,
            eval_datasets={"first": Input(rows(20), 16), "second": Input(rows(7), 16)},
            actions=[
                lambda trainer, summary: seen.append((trainer, summary)),
                lambda trainer, summary: seen.append("second action"),
            ],
            model_dir=tmp_path_factory.mktemp("run"),
        )
        return trainer, trainer.train_and_eval(), seen

    def test_each_has_its_split_and_its_counts(self, found):
        _, evaluated, seen = found
        summaries = [each[1] for each in seen[::2]]
        # A train summary is handed over one loop late, but before an evaluation and at the end.
        assert [(s.step, s.split, s.counts["loss"]) for s in summaries] == [
            (2, "train", 32),
            (3, "eval/first", 20),
            (3, "eval/second", 7),
            (4, "train", 8 + 16),
            (5, "train", 16),
            (5, "eval/first", 20),
            (5, "eval/second", 7),
        ]
        assert evaluated == {"first": summaries[-2].metrics, "second": summaries[-1].metrics}

    def test_every_action_is_called_with_the_trainer_and_each_summary(self, found):
        trainer, _, seen = found
        assert seen[1::2] == ["second action"] * 7
        assert all(each[0] is trainer for each in seen[::2])


def test_the_last_train_summary_comes_without_evaluation_and_without_a_folder(make_trainer):
    seen = []
    trainer = make_trainer(
        train_steps=5,
        summary_interval=2,
        actions=[lambda _, s: seen.append((s.step, s.split, s.counts["loss"]))],
    )
    trainer.train()
    assert seen == [(2, "train", 32), (4, "train", 24), (5, "train", 16)]


def test_a_dry_run_sees_one_batch_of_each_and_writes_nothing(make_trainer, tmp_path, rows):
    datasets = {"a": Input(rows(20), 8), "b": Input(rows(3), 8)}
    trainer = make_trainer(data=20, replicas=2, eval_datasets=datasets, model_dir=tmp_path / "run")
    summaries = trainer.dry_run()
    assert [(s.split, s.counts["loss"]) for s in summaries] == [("train", 16), ("eval/a", 8), ("eval/b", 3)]
    assert list(tmp_path.iterdir()) == []


def test_a_metric_without_examples_is_left_out(regression_task, make_trainer):
    class Sparse(regression_task):
        def loss(self, model, batch, training):
            metrics.add("never", batch["y"], weights=tf.zeros_like(batch["y"]))
            return super().loss(model, batch, training)

    summary = make_trainer(Sparse(), replicas=2, evaluate=True).summaries()["test"]
    assert set(summary.metrics) == set(summary.counts) == {"loss"}


def test_the_gin_scope_around_train_reaches_every_replica(regression_task, make_trainer):
    seen = []

    class Scoped(regression_task):
        def loss(self, model, batch, training):
            index = tf.distribute.get_replica_context().replica_id_in_sync_group
            seen.append((training, int(tf.get_static_value(index)), gin.current_scope_str()))
            return super().loss(model, batch, training)

    trainer = make_trainer(Scoped(), replicas=2, train_steps=1, evaluate=True)
    with gin.config_scope("outer"), gin.config_scope("inner"):
        trainer.train_and_eval()
    assert sorted(seen) == [(training, i, "outer/inner") for training in (False, True) for i in (0, 1)]
    assert gin.current_scope_str() == ""


def test_batches_do_not_wait_for_each_other(make_trainer):
    """The loop carries the sums: what assigns to a variable in its body would put the batches in a row."""
    trainer = make_trainer(evaluate=True)
    trainer.evaluate()
    (loop,) = trainer._evaluation._loops.values()
    spec = tf.TensorSpec([], tf.int64)
    graph = loop._run.get_concrete_function(spec, spec).graph
    below = [node.op for function in graph.as_graph_def().library.function for node in function.node_def]
    assert "MatMul" in below
    assert not [op for op in below if "Assign" in op]
    assert [op.type for op in graph.get_operations() if "Assign" in op.type] == ["AssignAddVariableOp"]


@pytest.mark.parametrize("replicas", [1, 2])
def test_batches_in_flight_together_do_not_mix(regression_task, make_trainer, rows, replicas):
    """Neither their maxima, nor what is carried out of an inner loop by a variable of the replica."""

    class Inner(regression_task):
        def loss(self, model, batch, training):
            tf.map_fn(lambda y: metrics.add("inner", y, finish="sum") or y, batch["y"])
            metrics.add("largest", batch["y"], finish="max")
            return super().loss(model, batch, training)

    data = rows(403) | {"y": np.arange(403, dtype=np.float32)}
    trainer = make_trainer(Inner(), replicas=replicas, eval_datasets={"test": Input(data, 4)})
    found = trainer.evaluate()["test"]
    assert (found["inner"], found["largest"]) == (402 * 403 / 2, 402)


@pytest.mark.parametrize(("features", "in_flight"), [(1024, 10), (1025, 1)])
def test_only_small_batches_are_under_way_together(make_trainer, features, in_flight):
    """The activations of many large ones might not fit into memory; an example of 1,024 floats has 4 KiB."""

    class Wide(Task):
        def build_model(self):
            return keras.Sequential([keras.Input((features,)), keras.layers.Dense(1)])

        def loss(self, model, batch, training):
            return model(batch["x"], training=training)[:, 0]

    trainer = make_trainer(Wide(), data={"x": np.zeros((4, features), np.float32)}, evaluate=True)
    trainer.prepare(train=False)
    graph = trainer._evaluation._loops["test"]._run.get_concrete_function(*[tf.TensorSpec([], tf.int64)] * 2).graph
    assert trainer.traces == {"train": 0, "eval/test": 1}
    loops = [op for op in graph.get_operations() if op.type in ("While", "StatelessWhile")]
    assert [op.get_attr("parallel_iterations") for op in loops] == [in_flight]


def test_a_model_that_is_never_called_as_a_whole_is_evaluated(make_trainer, rows):
    class Pair(keras.Model):
        def __init__(self):
            super().__init__()
            self.one, self.other = keras.layers.Dense(2), keras.layers.Dense(1)

    class Parts(Task):
        def build_model(self):
            return Pair()

        def loss(self, model, batch, training):
            return (model.other(model.one(batch["x"]))[:, 0] - batch["y"]) ** 2

    trainer = make_trainer(Parts(), evaluate=True)
    assert trainer.train_and_eval()["test"]["loss"] > 0


def test_an_error_in_an_evaluation_costs_no_steps(regression_task, make_trainer, tmp_path):
    """The checkpoint of that step is due, and the rerun makes up for the evaluation."""

    class Strict(regression_task):
        fails = True

        def loss(self, model, batch, training):
            if not training and self.fails:
                tf.debugging.assert_less(batch["x"], -1e9, "too large")
            return super().loss(model, batch, training)

    arguments = {"train_steps": 6, "eval_interval": 3, "checkpoint_interval": 3, "model_dir": tmp_path}
    with pytest.raises(tf.errors.InvalidArgumentError, match="too large"):
        make_trainer(Strict(), evaluate=True, **arguments).train_and_eval()
    assert (tmp_path / "checkpoints" / "ckpt-3.index").exists()
    mended = Strict()
    mended.fails = False
    again = make_trainer(mended, evaluate=True, **arguments)
    again.train_and_eval()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["split"] == "eval"] == [3, 6]
