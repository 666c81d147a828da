"""Keras callbacks that look are called as `fit` calls them; those that steer are refused."""

import csv

import keras
import numpy as np
import pytest
from tallyloop.data import Input
from tallyloop.metrics.errors import UsageError
from tallyloop.trainer import from_keras
from tallyloop.trainer.compiled.callbacks import check_callbacks
from tallyloop.trainer.loop import acting

from . import models


class Noting(keras.callbacks.Callback):
    """Notes the hooks that are called, with their logs."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def on_train_begin(self, logs=None):
        self.calls.append(("train_begin", self.params["epochs"], self.params["steps"]))

    def on_epoch_begin(self, epoch, logs=None):
        self.calls.append(("epoch_begin", epoch))

    def on_epoch_end(self, epoch, logs=None):
        self.calls.append(("epoch_end", epoch, logs))

    def on_train_end(self, logs=None):
        self.calls.append(("train_end",))


def made():
    keras.utils.set_random_seed(3)
    return models.dense()


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """(callbacks of `fit`, callbacks of a Trainer, their CSV files) after the same three epochs."""
    folder = tmp_path_factory.mktemp("callbacks")
    found = []
    for name in ("fit", "trainer"):
        model, (x, y) = made()
        callbacks = [Noting(), keras.callbacks.History(), keras.callbacks.CSVLogger(folder / f"{name}.csv")]
        if name == "fit":
            model.fit(
                x,
                y,
                validation_data=(x[:9], y[:9]),
                batch_size=16,
                epochs=3,
                shuffle=False,
                verbose=0,
                callbacks=callbacks,
            )
        else:
            train, val = Input((x, y), 16, shuffle=False), Input((x[:9], y[:9]), 16)
            from_keras(model, train, {"test": val}, 3, callbacks=callbacks).train_and_eval()
        found.append(callbacks)
    return *found, [list(csv.reader((folder / f"{name}.csv").open())) for name in ("fit", "trainer")]


class TestCalls:
    def test_same_hooks_in_the_same_order(self, both):
        fitted, trained, _ = both
        assert [call[:2] for call in trained[0].calls] == [call[:2] for call in fitted[0].calls]
        assert trained[0].calls[0] == ("train_begin", 3, 3)

    def test_same_logs(self, both):
        fitted, trained, _ = both
        assert trained[1].history.keys() == fitted[1].history.keys() == {"loss", "mae", "val_loss", "val_mae"}
        for name, values in fitted[1].history.items():
            np.testing.assert_allclose(trained[1].history[name], values, rtol=2e-5, err_msg=name)

    def test_same_file(self, both):
        fitted, trained = both[2]
        assert trained[0] == fitted[0]
        np.testing.assert_allclose(np.array(trained[1:], float), np.array(fitted[1:], float), rtol=2e-5)

    def test_one_that_sets_stop_training_ends_the_run(self):
        model, data = made()

        class Stopping(Noting):
            def on_epoch_end(self, epoch, logs=None):
                super().on_epoch_end(epoch, logs)
                self.model.stop_training = epoch == 1

        stopping = Stopping()
        trainer = from_keras(model, Input(data, 16), train_epochs=5, callbacks=[stopping])
        trainer.train()
        assert trainer.step == 6
        assert trainer.stopped == "stopped at step 6: a Keras callback has set model.stop_training"
        assert [call[0] for call in stopping.calls].count("epoch_begin") == 2

    def test_a_run_that_continues_goes_on_counting_epochs(self, tmp_path):
        for epochs in (1, 3):
            model, data = made()
            noting = Noting()
            from_keras(model, Input(data, 16), train_epochs=epochs, callbacks=[noting], model_dir=tmp_path).train()
        assert [call[1] for call in noting.calls if call[0] == "epoch_end"] == [1, 2]

    def test_a_run_that_is_over_keeps_the_file(self, tmp_path):
        for _ in range(2):
            model, data = made()
            csv = keras.callbacks.CSVLogger(str(tmp_path / "log.csv"))
            from_keras(model, Input(data, 16), train_epochs=2, callbacks=[csv], model_dir=tmp_path / "run").train()
        assert (tmp_path / "log.csv").read_text().count("\n") == 3


class TestRefused:
    @pytest.mark.parametrize(
        ("callback", "instead"),
        [
            (keras.callbacks.EarlyStopping(), "tallyloop.trainer.actions.EarlyStopping"),
            (keras.callbacks.ModelCheckpoint("x.keras"), "best_metric"),
            (keras.callbacks.BackupAndRestore("x"), "model_dir"),
            (keras.callbacks.ReduceLROnPlateau(), "learning_rate"),
            (keras.callbacks.LearningRateScheduler(lambda epoch: 0.1), "LearningRateSchedule"),
            (keras.callbacks.TerminateOnNaN(), "on_nonfinite"),
            (keras.callbacks.TensorBoard(), "tensorboard --logdir"),
            (keras.callbacks.SwapEMAWeights(), "use_ema"),
            (keras.callbacks.ProgbarLogger(), "console"),
        ],
        ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
    )
    def test_one_that_steers_is_named_with_what_to_use(self, callback, instead):
        with pytest.raises(
            UsageError, match=rf"the callback {type(callback).__name__} steers fit.*Instead: .*{instead}"
        ):
            check_callbacks([callback])

    def test_every_one_of_keras_is_known(self):
        """One that a new version brings may steer."""
        only_look = {"Callback", "CSVLogger", "History", "LambdaCallback", "RemoteMonitor"}
        assert {name for name in dir(keras.callbacks) if name[0].isupper()} == only_look | acting._INSTEAD.keys()

    @pytest.mark.parametrize("given", [keras.callbacks.History(), "history", [print]], ids=["one", "text", "function"])
    def test_what_is_no_list_of_callbacks(self, given):
        with pytest.raises(UsageError, match=r"expected .*Keras callbacks"):
            check_callbacks(given)

    def test_an_interval_that_is_not_an_epoch(self):
        model, data = made()
        with pytest.raises(UsageError, match=r"eval_interval = 2: expected one epoch, 3 steps"):
            from_keras(model, Input(data, 16), callbacks=[Noting()], eval_interval=2)


def test_hooks_of_batches_and_tests_are_told(caplog):
    class Batches(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None): ...

        def on_test_end(self, logs=None): ...

    check_callbacks([Batches(), keras.callbacks.CSVLogger("x"), keras.callbacks.LambdaCallback(on_epoch_end=print)])
    assert "on_train_batch_end of Batches: called once per epoch, for its last batch" in caplog.text
    assert "on_test_end of Batches: not called" in caplog.text
    assert "CSVLogger" not in caplog.text
    assert "LambdaCallback" not in caplog.text
