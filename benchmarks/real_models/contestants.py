"""What a model's module gives the command, and what all of them are trained by: the `Trainer`, Keras's `fit`, and others."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from typing import Any, Literal, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from tallyloop.data import Input

from ..harness.child import run_in_laps
from ..harness.command import FASTEST, Row
from ..harness.paired import Contestant, Gated
from ..harness.processes import LapProcesses, command

ENDLESS = 10**9  # steps
HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
TORCH, TORCH_COMPILE, TORCH_PRODUCTS = (
    FASTEST.join([name, f"{name} pages"]) for name in ("torch", "torch compile", "torch products")
)


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


def by_trainer(steps: int, together: int = 1, **arguments: Any) -> Contestant:
    """Return a `Trainer.train` with laps of so many steps, each with a summary at its end and, if nothing else is asked for, one
    loop.

    Args:
      steps: per lap.
      together: steps that count as one, as they share an update.
      **arguments: of the Trainer.
    """

    # Here, as its import sets how malloc keeps memory: `fit` is measured without that.
    from tallyloop.trainer import Trainer

    def run(halt: Callable[[], None]) -> None:
        Trainer(
            train_steps=ENDLESS,
            summary_interval=steps,
            actions=[lambda trainer, summary: halt()],
            **{"steps_per_loop": steps, **arguments},
        ).train()

    return Gated(run, steps // together)


def same(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Return the batch: a `map_fn` that costs what any does."""
    return batch


def streamed(arrays: Mapping[str, np.ndarray], batch: int) -> Input:
    """Return shuffled arrays, as a stream of which no length is known."""
    stream = tf.data.Dataset.from_tensor_slices(dict(arrays)).cache()
    return Input(stream, batch, shuffle=True, drop_remainder=True)


def by_fit(
    steps: int,
    model: Callable[[], keras.Model],
    arrays: Sequence[np.ndarray],
    batch: int,
    as_they_are: bool = False,
    **compiled: Any,
) -> Contestant:
    """Return a `Model.fit` with laps of so many steps, each one execution if nothing else is asked for.

    Args:
      steps: per lap.
      model: makes the model.
      arrays: x and y.
      batch: its size.
      as_they_are: give `fit` the arrays, which it shuffles and cuts, without the rows that would make a shorter lap: an epoch has
        many laps, as Keras takes 0.2 s to begin one. If not, tf.data does both, as Keras's guides do, and each lap is an epoch.
      **compiled: passed to `Model.compile`.
    """

    def run(halt: Callable[[], None]) -> None:
        fitted = model()
        fitted.compile(**{"steps_per_execution": steps, **compiled})
        fit = partial(fitted.fit, epochs=ENDLESS, verbose=0)
        if as_they_are:
            lap = steps * batch
            whole = [each[: len(each) // lap * lap] for each in arrays]
            assert len(whole[0]), "a lap has more examples than there are"
            callback = keras.callbacks.LambdaCallback(on_train_batch_end=lambda i, logs: (i + 1) % steps or halt())
            fit(*whole, batch, callbacks=[callback])
        else:
            data = tf.data.Dataset.from_tensor_slices(tuple(arrays)).cache().shuffle(len(arrays[0])).repeat()
            batches = data.batch(batch, drop_remainder=True).prefetch(tf.data.AUTOTUNE)
            callback = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: halt())
            fit(batches, steps_per_epoch=steps, callbacks=[callback])

    return Gated(run, steps)


def by_torch(model: str, steps: int, how: Literal["", "compile", "products"] = "") -> dict[str, Contestant]:
    """Return PyTorch's training with and without huge pages, each in a process of its own; {} if it is not installed.

    Args:
      model: of `in_torch.MODELS`.
      steps: per lap.
      how: "compile" for `torch.compile`, "products" for the products of matrices alone.
    """
    if find_spec("torch") is None:
        return {}
    line = command("real_models.in_torch", model, steps, *([f"--{how}"] if how else []))
    name = f"torch {how}".strip()
    return {name: LapProcesses(line, [{}], steps), f"{name} pages": LapProcesses(line, [HUGE_PAGES], steps)}


def by_jax(steps: int) -> dict[str, Contestant]:
    """Return JAX's training of the transformer in a process of its own; nothing where JAX or optax is not installed."""
    if find_spec("jax") is None or find_spec("optax") is None:
        return {}
    return {"jax": LapProcesses(command("real_models.in_jax", steps), [{}], steps)}


def apart(module: str, group: str, name: str, steps: int, **environment: str) -> Contestant:
    """Return a contestant of a group in a process of its own, for settings of the whole process.

    Args:
      module: of this package; its `contestants` has it, and it calls `run_apart` as a command.
      group: as `contestants` takes it.
      name: of the contestant.
      steps: per lap.
      **environment: variables of the process.
    """
    return LapProcesses(command(f"real_models.{module}", group, name), [environment], steps)


def run_apart(contestant: Contestant) -> None:
    """Run a contestant lap by lap, as the process of `apart`."""

    def run(halt: Callable[[], None]) -> None:
        while True:
            contestant.lap()
            halt()

    gc.disable()  # a collection would hit one process and not the other
    run_in_laps(run)
