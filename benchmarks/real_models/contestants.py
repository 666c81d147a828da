"""What a model's module gives the command, and what all of them are trained by: the `Trainer`, and Keras's `fit`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from tallyloop.trainer import Trainer

from ..harness.command import Row
from ..harness.paired import Contestant, Gated

ENDLESS = 10**9  # steps


class Model(NamedTuple):
    """A model of the table.

    Attributes:
      about: how it is measured, in Markdown.
      rows: of the table; their groups are this model's own.
      contestants: takes a group; returns its contestants by name.
    """

    about: str
    rows: Sequence[Row]
    contestants: Callable[[str], Mapping[str, Contestant]]


def by_trainer(steps: int, **arguments: Any) -> Contestant:
    """Return a `Trainer.train` with laps of so many steps, each in one loop and with a summary at its end.

    Args:
      steps: per lap.
      **arguments: of the Trainer.
    """

    def run(halt: Callable[[], None]) -> None:
        Trainer(
            train_steps=ENDLESS,
            steps_per_loop=steps,
            summary_interval=steps,
            actions=[lambda trainer, summary: halt()],
            **arguments,
        ).train()

    return Gated(run, steps)


def by_fit(
    steps: int, model: Callable[[], keras.Model], arrays: Sequence[np.ndarray], batch: int, **compiled: Any
) -> Contestant:
    """Return a `Model.fit` with laps of so many steps, each an epoch and one execution.

    Args:
      steps: per lap.
      model: makes the model.
      arrays: x and y, shuffled and cut into batches by tf.data, as Keras's guides do.
      batch: its size.
      **compiled: passed to `Model.compile`.
    """

    def run(halt: Callable[[], None]) -> None:
        fitted = model()
        fitted.compile(steps_per_execution=steps, **compiled)
        data = tf.data.Dataset.from_tensor_slices(tuple(arrays)).cache().shuffle(len(arrays[0])).repeat()
        callback = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: halt())
        batches = data.batch(batch, drop_remainder=True).prefetch(tf.data.AUTOTUNE)
        fitted.fit(batches, epochs=ENDLESS, steps_per_epoch=steps, verbose=0, callbacks=[callback])

    return Gated(run, steps)
