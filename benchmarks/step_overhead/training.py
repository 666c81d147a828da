"""The digits trained by the `Trainer`, in this process or as a child that runs lap by lap.

The child is `python -m benchmarks.step_overhead.training PACKAGES VARIANT FOLDER`: where Tallyloop is installed, one of
`VARIANTS`, and the model_dir. It needs only the public API, so that it runs on the Tallyloop of any commit.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import tallyloop.trainer
import tensorflow as tf
from tallyloop.data import Input
from tallyloop.trainer import Task, Trainer, mirrored, one_device

from ..harness.child import run_in_laps
from ..harness.problem import RATE, Digits, streamed_input, train_input

ENDLESS = 10**9  # steps
LOOP = 50  # steps
SUMMARY = 100  # steps
LAP = 4 * SUMMARY


class Variant(NamedTuple):
    """A training that a child can run."""

    strategy: Callable[[], tf.distribute.Strategy]
    jit_compile: bool
    data: Callable[[], Input] = train_input


VARIANTS = {
    "1 replica": Variant(one_device, False),
    "2 replicas": Variant(mirrored, False),
    "1 replica, jit_compile": Variant(one_device, True),
    "1 replica, jit_compile, a stream": Variant(one_device, True, streamed_input),
}


def make_two_devices() -> None:
    """Make two logical devices of the CPU, for two replicas; call it before anything else uses TensorFlow."""
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)


def by_trainer(
    folder: Path,
    strategy: tf.distribute.Strategy,
    steps_per_loop: int,
    task: Task,
    jit_compile: bool = False,
    data: Callable[[], Input] = train_input,
) -> Callable[[Callable[[], None]], None]:
    """Return a `Trainer.train` with event files, `metrics.jsonl` and console output that halts every `LAP` steps."""

    def run(halt: Callable[[], None]) -> None:
        def halt_at_lap(trainer: Trainer, summary: Any) -> None:
            if summary.step % LAP == 0:
                halt()

        Trainer(
            task=task,
            optimizer=keras.optimizers.SGD(RATE),
            strategy=strategy,
            train_dataset=data(),
            train_steps=ENDLESS,
            steps_per_loop=steps_per_loop,
            summary_interval=SUMMARY,
            checkpoint_interval=ENDLESS,
            jit_compile=jit_compile,
            actions=[halt_at_lap],
            model_dir=folder,
        ).train()

    return run


def main(packages: str, name: str, folder: str) -> None:
    """Run a variant lap by lap, on the Tallyloop in `packages`."""
    assert Path(tallyloop.trainer.__file__).is_relative_to(packages), f"{tallyloop.trainer.__file__}: not in {packages}"
    make_two_devices()
    variant = VARIANTS[name]
    gc.disable()  # a collection would hit one child and not the other
    run_in_laps(by_trainer(Path(folder), variant.strategy(), LOOP, Digits(), variant.jit_compile, variant.data))


if __name__ == "__main__":
    main(*sys.argv[1:])
