"""char_lm lap by lap: `python -m benchmarks.results.char_lm_laps WHO FOLDER FILE BINDING...`, with WHO one of `CONTESTANTS`.

FILE is the text. The child of PyTorch must not import TensorFlow: the two in one process end in a segmentation fault.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from ..harness.child import run_in_laps

LAP = 10  # steps
CONTESTANTS = ("trainer", "trainer jit", "torch")
_ENDLESS = 10**6  # steps

Run = Callable[[Callable[[], None]], None]


def by_trainer(folder: Path, bindings: Sequence[str], jit_compile: bool) -> Run:
    """Return a training of char_lm.gin that halts every `LAP` steps, each time after a summary."""
    import gin
    from tallyloop.trainer import configure

    lengths = [f"Trainer.{name}={_ENDLESS}" for name in ("train_steps", "eval_interval", "checkpoint_interval")]
    more = [*lengths, f"Trainer.summary_interval={LAP}", f"Trainer.jit_compile={jit_compile}"]

    def run(halt: Callable[[], None]) -> None:
        gin.register("halt_at_lap", module="benchmarks")(lambda trainer, summary: halt())
        configure(["char_lm.gin"], [*bindings, *more, "Trainer.actions=[@halt_at_lap]"], model_dir=folder).train()

    return run


def by_torch(file: Path) -> Run:
    """Return nanoGPT's training on a text, which halts every `LAP` steps."""

    def run(halt: Callable[[], None]) -> None:
        from .nanogpt import Training

        training = Training(file)
        while True:
            training.run(LAP)
            halt()

    return run


def main(who: str, folder: str, file: str, *bindings: str) -> None:
    """Run a contestant lap by lap."""
    gc.disable()  # a collection would hit one child and not the other
    if who == "torch":
        run_in_laps(by_torch(Path(file)))
    else:
        run_in_laps(by_trainer(Path(folder), [*bindings, f"text.path={file!r}"], jit_compile=who == "trainer jit"))


if __name__ == "__main__":
    main(*sys.argv[1:])
