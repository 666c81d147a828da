"""char_lm lap by lap: `python -m benchmarks.results.char_lm_laps WHO FOLDER BINDING...`, with WHO one of `CONTESTANTS`."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import gin

from ..harness.child import run_in_laps

LAP = 10  # steps
CONTESTANTS = ("trainer", "trainer jit", "torch")
_ENDLESS = 10**6  # steps

Run = Callable[[Callable[[], None]], None]


def by_trainer(folder: Path, bindings: Sequence[str], jit_compile: bool) -> Run:
    """Return a training of char_lm.gin that halts every `LAP` steps, each time after a summary."""
    from tallyloop.trainer import configure

    lengths = [f"Trainer.{name}={_ENDLESS}" for name in ("train_steps", "eval_interval", "checkpoint_interval")]
    more = [*lengths, f"Trainer.summary_interval={LAP}", f"Trainer.jit_compile={jit_compile}"]

    def run(halt: Callable[[], None]) -> None:
        gin.register("halt_at_lap", module="benchmarks")(lambda trainer, summary: halt())
        configure(["char_lm.gin"], [*bindings, *more, "Trainer.actions=[@halt_at_lap]"], model_dir=folder).train()

    return run


def by_torch(files: Sequence[Path]) -> Run:
    """Return nanoGPT's training, which halts every `LAP` steps."""
    from .nanogpt import Training

    def run(halt: Callable[[], None]) -> None:
        training = Training(files)
        while True:
            training.run(LAP)
            halt()

    return run


def files_of(bindings: Sequence[str]) -> list[Path]:
    """Return the files that char_lm reads with these bindings of the command line."""
    from tallyloop.data import python_sources

    given = [value for name, _, value in (each.partition("=") for each in bindings) if name == "text.path"]
    return [Path(each.strip("\"'")) for each in given[-1:] or python_sources()]


def main(who: str, folder: str, *bindings: Any) -> None:
    """Run a contestant lap by lap."""
    gc.disable()  # a collection would hit one child and not the other
    if who == "torch":
        run_in_laps(by_torch(files_of(bindings)))
    else:
        run_in_laps(by_trainer(Path(folder), bindings, jit_compile=who == "trainer jit"))


if __name__ == "__main__":
    main(*sys.argv[1:])
