"""The case of a run that stops in the middle of an epoch and resumes."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable
from pathlib import Path

import keras

from .case import Case
from .problem import BATCH, compiled, descend, difference, rows, sgd, trainer

ROWS, STEPS, SAVE_EVERY, STOP = 128, 16, 5, 12  # 8 steps per epoch; the last save before the stop is at step 10


class Stopped(Exception):
    """The end of a run, by whatever cause."""


class StopAt(keras.callbacks.Callback):
    """Ends a Keras run after `STOP` steps."""

    def on_train_batch_end(self, batch, logs=None):
        """Raise `Stopped` when the optimizer has counted `STOP` steps."""
        if int(self.model.optimizer.iterations.numpy()) == STOP:
            raise Stopped


def _in_a_folder(run: Callable[[Path], tuple[float, float]]) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as folder:
        return run(Path(folder))


def _keras_twice(replicas: int) -> tuple[float, float]:
    def run(folder):
        with contextlib.suppress(Stopped):
            _keras_run(replicas, folder, [StopAt()])
        model = _keras_run(replicas, folder, [])
        return float(model.optimizer.iterations.numpy()), difference(model, descend(rows(ROWS), STEPS))

    return _in_a_folder(run)


def _keras_run(replicas: int, folder: Path, callbacks: list) -> keras.Model:
    model = compiled(replicas)
    backup = keras.callbacks.BackupAndRestore(str(folder / "backup"), save_freq=SAVE_EVERY)
    data = rows(ROWS)
    model.fit(
        data["x"], data["y"], batch_size=BATCH, epochs=2, shuffle=False, verbose=0, callbacks=[backup, *callbacks]
    )
    return model


def stop(_, summary) -> None:
    """Raise `Stopped` after `STOP` steps; an action of the Trainer."""
    if summary.step == STOP:
        raise Stopped


def _tallyloop_twice(replicas: int) -> tuple[float, float]:
    def run(folder):
        with contextlib.suppress(Stopped):
            _tallyloop_run(replicas, folder, [stop])
        optimizer, model = _tallyloop_run(replicas, folder, [])
        return float(optimizer.iterations.numpy()), difference(model, descend(rows(ROWS), STEPS))

    return _in_a_folder(run)


def _tallyloop_run(replicas: int, folder: Path, actions: list):
    optimizer = sgd()
    run = trainer(
        replicas,
        rows(ROWS),
        STEPS,
        optimizer=optimizer,
        model_dir=folder,
        summary_interval=STOP,
        checkpoint_interval=SAVE_EVERY,
        actions=actions,
    )
    run.train()
    return optimizer, run.model


RESUME = Case(
    "16 steps, stopped in mid-epoch and resumed (BackupAndRestore)",
    exact=lambda: (float(STEPS), 0.0),
    keras=_keras_twice,
    tallyloop=_tallyloop_twice,
    form="{:.0f} steps, dW {:.2g}",
)
