"""Evaluation: exact numbers, several datasets, what it leaves unchanged."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import accuracy_score, log_loss, top_k_accuracy_score
from tallyloop import metrics
from tallyloop.data import Input
from tallyloop.models import ClassifierTask, top_k_accuracy
from tallyloop.models.networks.mlp import mlp
from tallyloop.trainer import Task


@pytest.fixture(scope="module")
def blobs():
    rng = np.random.default_rng(3)
    y = rng.integers(0, 5, 203)
    return {"x": (rng.normal(size=(203, 6)) + np.eye(6)[y]).astype(np.float32), "y": y}


def _top_2(batch, outputs):
    return top_k_accuracy(batch, outputs, k=2)


class TestAgainstScikitLearn:
    @pytest.fixture(scope="class", params=[1, pytest.param(2, marks=pytest.mark.slow), 4])
    @classmethod
    def trained(cls, request, make_trainer, blobs):
        train, test = ({key: value[part] for key, value in blobs.items()} for part in (slice(100), slice(100, 203)))
        task = ClassifierTask(lambda: mlp(hidden=(8,), num_classes=5), metrics={"top": {"2": _top_2}})
        trainer = make_trainer(
            task, data=train, replicas=request.param, train_steps=20, eval_datasets={"test": Input(test, 32)},
            optimizer=keras.optimizers.Adam(0.02),
        )  # fmt: skip
        return trainer, trainer.train_and_eval()["test"], test

    def test_accuracies(self, trained):
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

    def test_again_from_one_trace(self, trained):
        trainer, evaluated, _ = trained
        assert trainer.evaluate() == {"test": evaluated}
        assert trainer.summaries()["test"].counts == {"loss": 103, "accuracy": 103, "top/2": 103}
        assert trainer.traces == {"train": 1, "eval/test": 1}


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

    def test_splits_and_counts(self, found):
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

    def test_actions_get_each_summary(self, found):
        trainer, _, seen = found
        assert seen[1::2] == ["second action"] * 7
        assert all(each[0] is trainer for each in seen[::2])


class TestEvaluation:
    def test_leaves_out_empty_metrics(self, regression_task, make_trainer):
        class Sparse(regression_task):
            def loss(self, model, batch, training):
                metrics.add("never", batch["y"], weights=tf.zeros_like(batch["y"]))
                return super().loss(model, batch, training)

        summary = make_trainer(Sparse(), replicas=2, evaluate=True).summaries()["test"]
        assert set(summary.metrics) == set(summary.counts) == {"loss"}

    def test_model_of_parts(self, make_trainer, rows):
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
