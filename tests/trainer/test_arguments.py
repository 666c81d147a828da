import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data import Input
from tallyloop.metrics import UsageError
from tallyloop.trainer import Task, Trainer
from tallyloop.trainer.arguments import as_strategy

WHOLE = [
    "train_steps",
    "summary_interval",
    "eval_interval",
    "checkpoint_interval",
    "keep_checkpoints",
    "gradient_accumulation",
]


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("value", [0, -1, 2.5, 3.0, "7", None, True])
def test_what_is_no_positive_whole_number_is_refused_by_its_binding(name, value):
    with pytest.raises(UsageError, match=rf"Trainer.{name} = {value!r}: expected a whole number of at least 1"):
        Trainer(Task(), **{name: value})


@pytest.mark.parametrize("value", [0, -0.5, "1", True, float("nan")])
def test_a_norm_to_clip_to_is_positive(value):
    with pytest.raises(UsageError, match=r"Trainer.clip_global_norm = .*greater than 0, or None"):
        Trainer(Task(), clip_global_norm=value)


def test_numpy_numbers_are_numbers():
    trainer = Trainer(Task(), train_steps=np.int64(7), clip_global_norm=np.float32(0.5))
    assert trainer.train_steps == 7


@pytest.mark.parametrize("task", [Task, None, "task"])
def test_a_task_is_an_instance(task):
    with pytest.raises(UsageError, match=r"Trainer.task = .*wanted a Task"):
        Trainer(task)


@pytest.mark.parametrize("dataset", [{"x": [1]}, Input, "digits"])
def test_a_dataset_is_an_input(dataset):
    with pytest.raises(UsageError, match=r"Trainer.train_dataset = .*wanted an Input"):
        Trainer(Task(), train_dataset=dataset)
    with pytest.raises(UsageError, match=r"Trainer.eval_datasets\['test'\] = .*wanted an Input"):
        Trainer(Task(), eval_datasets={"test": dataset})


def test_eval_datasets_have_names():
    with pytest.raises(UsageError, match=r"Trainer.eval_datasets = .*wanted a dict"):
        Trainer(Task(), eval_datasets=Input({"x": [1]}, 1))


@pytest.mark.parametrize("actions", [[print, "stop"], [3], print])
def test_actions_are_a_sequence_of_functions(actions):
    with pytest.raises(UsageError, match=r"Trainer.actions"):
        Trainer(Task(), actions=actions)


def test_a_strategy_may_be_a_factory_an_instance_or_nothing():
    one = tf.distribute.OneDeviceStrategy("/cpu:1")
    assert as_strategy(one) is one
    assert as_strategy(lambda: one) is one
    assert as_strategy(None).num_replicas_in_sync == 1


@pytest.mark.parametrize("strategy", ["mirrored", lambda: None, 3])
def test_what_is_no_strategy_is_refused(strategy):
    with pytest.raises(UsageError, match=r"Trainer.strategy = .*wanted a tf.distribute.Strategy"):
        as_strategy(strategy)


@pytest.mark.parametrize("name", ["train_dataset", "optimizer"])
def test_training_says_what_it_lacks(name, regression_task, make_trainer):
    with pytest.raises(UsageError, match=rf"Trainer.{name} is needed to train"):
        make_trainer(**{name: None}).train()


def test_evaluating_nothing_is_refused(make_trainer):
    with pytest.raises(UsageError, match=r"Trainer.eval_datasets is empty"):
        make_trainer().evaluate()


def test_constructing_writes_nothing_and_a_folder_that_cannot_be_made_is_refused(tmp_path):
    Trainer(Task(), model_dir=tmp_path / "run" / "deep")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"model_dir=.*file/run.* is a file, not a folder"):
        Trainer(Task(), model_dir=tmp_path / "file" / "run")
