import keras
import numpy as np
import pytest
import tensorflow as tf
from tallyloop import metrics
from tallyloop.data import Input
from tallyloop.metrics import Tally, UsageError
from tallyloop.trainer import Task, Trainer
from tallyloop.trainer.task import loss_tally, split_outputs


def test_per_example_losses_are_summed_and_counted():
    value, count = loss_tally(tf.constant([1.0, 2.0, 4.0]))
    assert (float(value), float(count)) == (7.0, 3.0)


def test_losses_of_more_axes_count_each_element():
    value, count = loss_tally(tf.ones([4, 5], tf.bfloat16))
    assert (value.dtype, float(value), float(count)) == (tf.float32, 20.0, 20.0)


def test_a_tally_is_taken_as_it_is():
    value, count = loss_tally(Tally(tf.constant(3.0), tf.constant(2, tf.int64)))
    assert (float(value), float(count)) == (3.0, 2.0)


def test_a_scalar_is_refused_with_what_to_return():
    with pytest.raises(UsageError, match=r"loss returned a scalar.*shape \(batch,\).*metrics.Tally\(sum, count\)"):
        loss_tally(tf.constant(0.5))


def test_outputs_beside_the_losses():
    tally = Tally(1.0, 2.0)
    assert split_outputs(("losses", "outputs")) == ("losses", "outputs")
    assert split_outputs((tally, None)) == (tally, None)
    assert split_outputs(tally) == (tally, None)
    with pytest.raises(UsageError, match="a tuple of 3"):
        split_outputs((1, 2, 3))


def test_a_task_that_lacks_a_method_is_named():
    class Unfinished(Task):
        def build_model(self):
            return keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])

    with pytest.raises(NotImplementedError, match="Task must define build_model"):
        Task().build_model()
    with pytest.raises(NotImplementedError, match="Unfinished must define loss"):
        Unfinished().loss(None, None, training=True)
    with pytest.raises(UsageError, match=r"Unfinished cannot predict.*predict_step"):
        Unfinished().predict_step(None, None)


def test_a_scalar_loss_stops_a_run_before_anything_is_written(regression_task, make_trainer, tmp_path):
    class Averaged(regression_task):
        def loss(self, model, batch, training):
            return tf.reduce_mean(super().loss(model, batch, training))

    with pytest.raises(UsageError, match="loss returned a scalar"):
        make_trainer(Averaged(), replicas=2, model_dir=tmp_path / "run").train()
    assert not (tmp_path / "run").exists()


def test_a_loss_that_touches_no_variable_is_refused_with_their_names(regression_task, make_trainer):
    class Constant(regression_task):
        def loss(self, model, batch, training):
            return batch["y"]

    with pytest.raises(UsageError, match=r"depends on no trainable variable: .*dense/kernel.*dense/bias"):
        make_trainer(Constant()).train()


def test_a_model_that_is_none_is_refused(make_trainer, regression_task):
    class Wrong(regression_task):
        def build_model(self):
            return "model"

    with pytest.raises(UsageError, match=r"Wrong.build_model returned 'model'"):
        _ = make_trainer(Wrong()).model


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.first = keras.layers.Dense(4)
        self.last = keras.layers.Dense(1)

    def call(self, inputs):
        hidden = self.first(inputs)
        metrics.add("hidden", hidden)
        return self.last(hidden)


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_subclassed_unbuilt_model_is_built_from_the_data(regression_task, make_trainer, replicas):
    class Unbuilt(regression_task):
        def build_model(self):
            return Subclassed()

    trainer = make_trainer(Unbuilt(), replicas=replicas, train_steps=1, evaluate=True)
    assert [tuple(v.shape) for v in trainer.model.trainable_variables] == [(3, 4), (4,), (4, 1), (1,)]
    assert set(trainer.train_and_eval()["test"]) == {"loss", "hidden"}


def test_an_unbuilt_model_without_data_is_refused(regression_task):
    class Unbuilt(regression_task):
        def build_model(self):
            return Subclassed()

    with pytest.raises(UsageError, match="does not know its input's shape"):
        _ = Trainer(Unbuilt()).model


def test_check_data_sees_the_arrays_of_each_dataset(regression_task, make_trainer, rows):
    seen = []

    class Checked(regression_task):
        def check_data(self, model, arrays, where):
            seen.append((where, sorted(arrays), len(arrays["x"])))

    datasets = {"a": Input(rows(9), 4), "b": Input(rows(5), 4)}
    make_trainer(Checked(), data=8, eval_datasets=datasets).prepare()
    named = {"Trainer.eval_datasets['a']": 9, "Trainer.eval_datasets['b']": 5, "Trainer.train_dataset": 8}
    assert sorted(seen) == [(name, ["x", "y"], n) for name, n in named.items()]


def test_what_check_data_refuses_stops_a_run_before_anything_is_written(regression_task, make_trainer, tmp_path):
    class Checked(regression_task):
        def check_data(self, model, arrays, where):
            raise UsageError(f"{where} is not right")

    with pytest.raises(UsageError, match=r"Trainer.train_dataset is not right"):
        make_trainer(Checked(), model_dir=tmp_path / "run").train()
    assert not (tmp_path / "run").exists()


def test_own_steps_and_registered_metrics(regression_task, make_trainer, rows):
    """train_step and eval_step may differ from loss; the metric functions get the outputs."""

    class Own(regression_task):
        def __init__(self):
            self.metrics = {"group": {"hits": lambda batch, outputs: (tf.reduce_sum(outputs), tf.size(batch["y"]))}}

        def train_step(self, model, batch):
            return self.loss(model, batch, training=True), tf.ones_like(batch["y"])

        def eval_step(self, model, batch):
            losses = self.loss(model, batch, training=False)
            return Tally(2 * tf.reduce_sum(losses), tf.size(losses)), 3 * tf.ones_like(batch["y"])

    seen = []
    trainer = make_trainer(
        Own(),
        data=20,
        replicas=2,
        train_steps=2,
        evaluate=True,
        actions=[lambda _, summary: seen.append(summary)],
    )
    evaluated = trainer.train_and_eval()["test"]
    assert [(s.step, s.split, s.metrics["group/hits"]) for s in seen] == [(2, "train", 1.0), (2, "eval", 3.0)]
    data, (kernel, bias) = rows(20), trainer.model.get_weights()
    errors = data["x"].astype(np.float64) @ kernel[:, 0] + bias - data["y"]
    assert evaluated == {"loss": pytest.approx(2 * np.mean(errors**2), rel=1e-6), "group/hits": 3.0}


def test_a_batch_smaller_than_the_replicas(make_trainer, rows):
    message = r"Trainer.train_dataset: Input.global_batch_size = 3 is smaller than the 4 replicas.*at least 4"
    with pytest.raises(UsageError, match=message):
        make_trainer(replicas=4, data=8, batch=3).train()
