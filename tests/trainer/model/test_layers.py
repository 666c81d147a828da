"""The model that a task builds, which of its layers are trained, and which are refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tallyloop import metrics
from tallyloop.metrics import UsageError
from tallyloop.trainer import Task, Trainer
from tallyloop.trainer.model.layers import convolves


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.first = keras.layers.Dense(4)
        self.last = keras.layers.Dense(1)

    def call(self, inputs):
        hidden = self.first(inputs)
        metrics.add("hidden", hidden)
        return self.last(hidden)


class TestBuildModel:
    def test_refuses_other_things(self, make_trainer, regression_task):
        class Wrong(regression_task):
            def build_model(self):
                return "model"

        with pytest.raises(UsageError, match=r"Wrong.build_model returned 'model'"):
            _ = make_trainer(Wrong()).model

    @pytest.mark.parametrize("replicas", [1, 2])
    def test_builds_from_the_data(self, regression_task, make_trainer, replicas):
        class Unbuilt(regression_task):
            def build_model(self):
                return Subclassed()

        trainer = make_trainer(Unbuilt(), replicas=replicas, train_steps=1, evaluate=True)
        assert [tuple(v.shape) for v in trainer.model.trainable_variables] == [(3, 4), (4,), (4, 1), (1,)]
        assert set(trainer.train_and_eval()["test"]) == {"loss", "hidden"}

    def test_unbuilt_without_data(self, regression_task):
        class Unbuilt(regression_task):
            def build_model(self):
                return Subclassed()

        with pytest.raises(UsageError, match="does not know its input's shape"):
            _ = Trainer(Unbuilt()).model


class TestFreeze:
    @pytest.mark.parametrize("replicas", [1, 2])
    def test_frozen_layers_stay(self, encoder, make_trainer, replicas):
        """A frozen BatchNormalization keeps its statistics too, as in Keras."""
        trainer = make_trainer(encoder, replicas=replicas, freeze=["encoder"])
        before = {v.path: v.numpy() for v in trainer.model.weights}
        trainer.train()
        changed = {v.path for v in trainer.model.weights if not np.array_equal(v.numpy(), before[v.path])}
        assert changed == {"net/head/kernel", "net/head/bias"}

    def test_pattern_without_a_match(self, encoder, make_trainer):
        with pytest.raises(UsageError, match=r"Trainer.freeze: 'decoder' matches no layer: there are .*encoder"):
            make_trainer(encoder, freeze=["decoder"]).train()

    def test_nothing_left_to_train(self, encoder, make_trainer):
        with pytest.raises(UsageError, match=r"Trainer.freeze .* leaves no variable to train"):
            make_trainer(encoder, freeze=["encoder", "head"]).train()


class TestStatefulLayers:
    def test_refused_on_several_replicas(self, regression_task, make_trainer):
        class Stateful(regression_task):
            def build_model(self):
                return keras.Sequential(
                    [
                        keras.Input((3, 1), batch_size=16),
                        keras.layers.LSTM(2, stateful=True, name="memory"),
                        keras.layers.Dense(1),
                    ]
                )

            def loss(self, model, batch, training):
                return model(batch["x"][..., tf.newaxis], training=training)[:, 0] ** 2

        with pytest.raises(UsageError, match=r"memory has stateful=True"):
            make_trainer(Stateful(), data=32, replicas=2).train()


class TestConvolves:
    @pytest.mark.parametrize(
        ("layer", "found"),
        [
            (keras.layers.Conv2D(1, 2), True),
            (keras.layers.DepthwiseConv1D(2), True),
            (keras.layers.Conv3DTranspose(1, 2), True),
            (keras.Sequential([keras.layers.SeparableConv2D(1, 2)]), True),
            (keras.layers.TimeDistributed(keras.layers.Conv1D(1, 2)), True),
            (keras.layers.ConvLSTM1D(1, 2), True),
            (keras.layers.Dense(1), False),
        ],
        ids=["plain", "depthwise", "transposed", "nested", "wrapped", "recurrent", "none"],
    )
    def test_layers(self, layer, found):
        assert convolves(Task(), keras.Sequential([layer])) is found

    def test_models_of_the_task(self):
        class Distils(Task):
            teacher = None

        task, student = Distils(), keras.Sequential([keras.layers.Dense(1)])
        assert not convolves(task, student)
        task.teacher = keras.Sequential([keras.layers.Conv2D(1, 2)])
        assert convolves(task, student)
