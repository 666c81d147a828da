"""The model that a task builds."""

import keras
import pytest
from tallyloop import metrics
from tallyloop.metrics import UsageError
from tallyloop.trainer import Trainer


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
