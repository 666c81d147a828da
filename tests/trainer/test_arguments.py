"""The Trainer's arguments: what is wrong is refused by its binding."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data import Input
from tallyloop.metrics import UsageError
from tallyloop.trainer import Task, Trainer
from tallyloop.trainer.actions import EarlyStopping
from tallyloop.trainer.arguments import as_strategy

WHOLE = [
    "summary_interval",
    "eval_interval",
    "checkpoint_interval",
    "keep_checkpoints",
    "gradient_accumulation",
]


class TestNumbers:
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            *itertools.product(WHOLE, [0, -1, 2.5, 3.0, "7", None, True]),
            *itertools.product(["train_steps", "train_epochs"], [0, -1, 2.5, 3.0, "7", True]),
        ],
    )
    def test_whole_and_positive(self, name, value):
        with pytest.raises(UsageError, match=rf"Trainer.{name} = {value!r}: expected a whole number of at least 1"):
            Trainer(Task(), **{name: value})

    @pytest.mark.parametrize("value", [0, -0.5, "1", True, float("nan")])
    def test_clip_norm_is_positive(self, value):
        with pytest.raises(UsageError, match=r"Trainer.clip_global_norm = .*greater than 0, or None"):
            Trainer(Task(), clip_global_norm=value)

    def test_numpy(self):
        trainer = Trainer(Task(), train_steps=np.int64(7), clip_global_norm=np.float32(0.5))
        assert trainer.train_steps == 7

    @pytest.mark.parametrize("value", [0, -1, 2.5, True, "long"])
    def test_steps_per_loop(self, make_trainer, value):
        expected = r"Trainer.steps_per_loop = .*expected a whole number of at least 1, or 'auto'"
        with pytest.raises(UsageError, match=expected):
            make_trainer(steps_per_loop=value)


class TestObjects:
    @pytest.mark.parametrize("task", [Task, None, "task"])
    def test_task(self, task):
        with pytest.raises(UsageError, match=r"Trainer.task = .*expected a Task"):
            Trainer(task)

    @pytest.mark.parametrize("dataset", [{"x": [1]}, Input, "digits"])
    def test_dataset(self, dataset):
        with pytest.raises(UsageError, match=r"Trainer.train_dataset = .*expected an Input"):
            Trainer(Task(), train_dataset=dataset)
        with pytest.raises(UsageError, match=r"Trainer.eval_datasets\['test'\] = .*expected an Input"):
            Trainer(Task(), eval_datasets={"test": dataset})

    def test_eval_datasets(self):
        with pytest.raises(UsageError, match=r"Trainer.eval_datasets = .*expected a dict"):
            Trainer(Task(), eval_datasets=Input({"x": [1]}, 1))

    def test_names_what_to_write_in_python_and_in_a_config(self):
        told = r"ndarray of shape \(5,\): expected an Input, such as Input\(source, global_batch_size=32\), or .*@train/Input\(\)"
        with pytest.raises(UsageError, match=rf"^Trainer.train_dataset = {told}"):
            Trainer(Task(), train_dataset=np.zeros(5))
        with pytest.raises(
            UsageError, match=r"expected a Task, such as MyTask\(\), or in a config @ClassifierTask\(\)"
        ):
            Trainer(Task)
        with pytest.raises(UsageError, match=r"A compiled model is trained by from_keras\.$"):
            Trainer(keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)]))

    @pytest.mark.parametrize(
        ("given", "told"),
        [
            (EarlyStopping("loss", "min", 3), r"summary\): write \[EarlyStopping\(\.\.\.\)\]\.$"),
            (print, r"summary\): write \[print\]\.$"),
            (EarlyStopping, r"expected a list of functions of \(trainer, summary\)\.$"),
            (
                [keras.callbacks.EarlyStopping()],
                r"callback EarlyStopping. Instead: actions=\[tallyloop.trainer.actions.Early",
            ),
            ([keras.callbacks.ModelCheckpoint], "callback ModelCheckpoint. Instead: model_dir with"),
            ([keras.callbacks.CSVLogger("a")], r"CSVLogger. Instead: a function of \(trainer, summary\); from_keras"),
        ],
    )
    def test_actions_are_told_what_to_write(self, given, told):
        with pytest.raises(UsageError, match=told):
            Trainer(Task(), actions=given)

    @pytest.mark.parametrize(
        "actions",
        [
            [print, "stop"],
            [3],
            print,
            [dict],  # mind the parentheses
            [type("NoRestore", (), {"start": print, "state": dict})()],
            [type("NoSteps", (), {"reached": print})()],
            [type("OneStep", (), {"reached": print, "steps": 100})()],
        ],
    )
    def test_actions(self, actions):
        with pytest.raises(UsageError, match=r"Trainer.actions"):
            Trainer(Task(), actions=actions)

    def test_strategy(self):
        one = tf.distribute.OneDeviceStrategy("/cpu:1")
        assert as_strategy(one) is one
        assert as_strategy(lambda: one) is one
        assert as_strategy(None).num_replicas_in_sync == 1

    @pytest.mark.parametrize("strategy", ["mirrored", lambda: None, 3])
    def test_refuses_other_strategies(self, strategy):
        with pytest.raises(UsageError, match=r"Trainer.strategy = .*expected a tf.distribute.Strategy"):
            as_strategy(strategy)

    def test_refuses_a_parameter_server(self):
        # An instance needs servers to connect to; its class is what counts.
        server = object.__new__(tf.distribute.ParameterServerStrategy)
        with pytest.raises(
            UsageError, match=r"Trainer.strategy: a ParameterServerStrategy.*asynchronously.*@mirrored\(\)"
        ):
            as_strategy(server)

    def test_refuses_central_storage(self):
        with pytest.raises(UsageError, match=r"Trainer.strategy: a CentralStorageStrategy keeps the weights"):
            as_strategy(tf.distribute.experimental.CentralStorageStrategy(["/cpu:0", "/cpu:1"]))

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"freeze": "encoder"}, r"Trainer.freeze = 'encoder': expected a list"),
            ({"freeze": ["("]}, r"Trainer.freeze: '\(' isn't a regular expression"),
            ({"initial_weights_map": ["a"]}, r"Trainer.initial_weights_map = \['a'\]: expected a dict"),
            ({"deterministic": "yes"}, r"Trainer.deterministic = 'yes': expected True or False"),
            ({"deterministic": True, "seed": None}, r"Trainer.deterministic = True needs a seed"),
        ],
    )
    def test_patterns_and_flags(self, make_trainer, arguments, message):
        with pytest.raises(UsageError, match=message):
            make_trainer(**arguments)
