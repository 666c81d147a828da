"""The hyperparameters of a Trainer that is made in Python have the names that a config has for them."""

import keras
import pytest
from tallyloop.data import Input
from tallyloop.trainer import Trainer
from tallyloop.trainer.dashboard.given import python_hparams


@pytest.fixture
def hparams(regression_task, rows):
    """hparams(...) -> those of a Trainer with these arguments."""

    class Net(regression_task):
        def __init__(self):
            self.width, self.name, self._hidden, self.layers = 3, "net", 5, [1]

    def of(**arguments):
        defaults = {"task": Net(), "optimizer": keras.optimizers.SGD(), "train_dataset": Input(rows(8))}
        return python_hparams(Trainer(**{**defaults, **arguments}))

    return of


ALWAYS = {
    "Input.global_batch_size": 32,
    "Input.source": "x: ndarray, y: ndarray",
    "Net.name": "net",
    "Net.width": 3,
    "SGD.learning_rate": 0.01,
    "Trainer.optimizer": "SGD",
    "Trainer.task": "Net",
}


class TestHparams:
    def test_are_what_was_given_and_differs(self, hparams, tmp_path):
        given = hparams(model_dir=tmp_path, train_steps=7, seed=0, keep_every=None, freeze=["a", "b"], jit_compile=True)
        assert given == ALWAYS | {
            "Trainer.train_steps": 7,
            "Trainer.seed": 0,  # the default, and a number
            "Trainer.freeze": "a, b",
            "Trainer.jit_compile": True,
        }

    def test_of_an_optimizer_are_as_they_were_written(self, hparams):
        given = hparams(optimizer=keras.optimizers.Adam(0.01, beta_1=0.8, weight_decay=0.004))
        adam = {name: value for name, value in given.items() if name.startswith("Adam")}
        assert adam == {"Adam.learning_rate": 0.01, "Adam.beta_1": 0.8, "Adam.weight_decay": 0.004}

    def test_of_a_schedule(self, hparams):
        given = hparams(optimizer=keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.5, 100)))
        assert given["SGD.learning_rate"] == "CosineDecay"
        assert (given["CosineDecay.initial_learning_rate"], given["CosineDecay.decay_steps"]) == (0.5, 100)

    def test_of_several_optimizers_have_the_loss(self, hparams):
        given = hparams(optimizer={"a": keras.optimizers.SGD(0.5), "b": keras.optimizers.Adam(0.25)})
        assert (given["a/SGD.learning_rate"], given["b/Adam.learning_rate"]) == (0.5, 0.25)

    def test_of_an_optimizer_that_training_has_changed_stay(self, hparams, make_trainer):
        optimizer = keras.optimizers.SGD(0.02)
        trainer = make_trainer(optimizer=optimizer)
        optimizer.learning_rate = 0.5
        assert python_hparams(trainer)["SGD.learning_rate"] == 0.02

    def test_of_the_data(self, hparams, rows):
        given = hparams(train_dataset=Input(lambda: rows(8), 4, shuffle=False, seed=3))
        data = {name: value for name, value in given.items() if name.startswith("Input")}
        assert data == {
            "Input.source": "<lambda>",
            "Input.global_batch_size": 4,
            "Input.shuffle": False,
            "Input.seed": 3,
        }
