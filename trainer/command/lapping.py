"""The process of one setting of `--mode=tune`: trains lap by lap, as the one that started it tells, and writes nothing.

python -m tallyloop.trainer.command.lapping PARENT POLICY FLAG...
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import resource
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ...metrics.errors import UsageError
from ...metrics.terminal.spinner import be_silent
from .. import config as configs
from ..distribution.forwarding import die_with
from ..tuning.contestant import LAP
from ..tuning.facts import TRAINER, bound, facts_of
from . import flags, session

if TYPE_CHECKING:
    from ..trainer import Trainer

_SECONDS = 0.5  # of a lap, and the steps in flight
_TO_SETTLE = 0.1  # before a lap: to use up what was read since the last one
_FOREVER = 10**9  # steps
_LONGEST_ERROR = 500
_TO_READ, _PART_TO_CACHE = 20.0, 1 / 8  # seconds; of the memory: what takes more is not tried in memory
_MEMORY_UNIT = 1 if sys.platform == "darwin" else 1024


def main(argv: Sequence[str]) -> None:
    """Train as told on stdin, and answer each line on stdout with one of JSON."""
    parent, policy, *given = argv[1:]
    die_with(int(parent))
    be_silent()
    with _answering() as answer:
        try:
            _serve([argv[0], *given], policy, answer)
        except Exception as error:
            traceback.print_exc()
            answer({"error": _as_text(error), "is_usage": isinstance(error, UsageError)})


@contextlib.contextmanager
def _answering() -> Iterator[Any]:
    """Give what answers; whatever else is printed goes to stderr, from native code, too."""
    with os.fdopen(os.dup(1), "w") as to_parent:
        os.dup2(2, 1)

        def answer(found: dict[str, Any]) -> None:
            print(json.dumps(found), file=to_parent, flush=True)

        yield answer


def _as_text(error: Exception) -> str:
    """Return an error: all of a user's mistake, as its notes tell the fix; else a line."""
    from ..user_code import raised

    if isinstance(error, UsageError):
        return "\n".join([configs.without_gin_notes(str(error)), *getattr(error, "__notes__", ())])
    told = configs.without_gin_notes(raised(error) or f"{type(error).__name__}: {error}")
    return " ".join(told.split())[:_LONGEST_ERROR]


def _serve(argv: Sequence[str], policy: str, answer: Any) -> None:
    request = flags.parse(argv)
    config = session.load_config(request)
    session.start(request, config)
    import keras

    if policy:
        keras.config.set_dtype_policy(policy)
    laps = _Laps()
    begin = time.perf_counter()
    trainer = session.make_trainer(config, None, **_instead(config, laps))
    with session.explained(config):
        trainer.train()
        compiling = trainer.session.trace_seconds + laps.to_first_step
        start = {"first_step": laps.first_step - begin, "compiling": compiling}
        answer({"facts": dataclasses.asdict(facts_of(config, trainer)), **start})
        for asked in iter(sys.stdin.readline, ""):
            answer(_lap(trainer, laps) if asked.strip() == LAP else _can_cache(trainer))


def _lap(trainer: Trainer, laps: _Laps) -> dict[str, Any]:
    kinds = trainer.session.loop.kinds
    if trainer.session.feed.waits:
        laps.run(trainer, _TO_SETTLE)
    laps.run(trainer, _SECONDS)
    compiled = trainer.session.loop.kinds > kinds
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MEMORY_UNIT
    return {"seconds": laps.seconds, "steps": laps.steps_done, "compiled": compiled, "memory": memory}


def _can_cache(trainer: Trainer) -> dict[str, Any]:
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    (dataset,) = trainer.datasets
    try:
        return {"can_cache": dataset.can_cache(_TO_READ, int(_PART_TO_CACHE * memory))}
    except Exception:  # whatever its data raise: the training does without
        return {"can_cache": False}


def _instead(config: configs.Config, laps: _Laps) -> dict[str, Any]:
    """Return the Trainer's arguments that keep it from ending, evaluating, and writing by actions and writers."""
    goes_back = bound(config, "", TRAINER, "on_nonfinite") == "rollback"  # to a checkpoint
    return {
        "train_steps": _FOREVER,
        "train_epochs": None,
        "eval_datasets": None,
        "best_metric": None,
        "best_mode": None,
        "actions": [laps],
        "writers": [],
        **({"on_nonfinite": "halt"} if goes_back else {}),
        **_shorter_loops(bound(config, "", TRAINER, "steps_per_loop")),
    }


def _shorter_loops(steps_per_loop: Any) -> dict[str, Any]:
    """Return the arguments for loops of at most so many steps that end with the lap.

    "auto" makes them shorter only where that costs less than 2% of the time. Nothing is saved at the interval that bounds them.
    """
    if not isinstance(steps_per_loop, int) or steps_per_loop < 2:  # "auto", as short as can be, or a mistake to be told
        return {}
    return {"steps_per_loop": "auto", "checkpoint_interval": steps_per_loop, "keep_every": None}


class _Laps:
    """An action that ends the training after its first step and, whenever it goes on, after some seconds."""

    steps: tuple[int, ...] = (1,)

    def __init__(self) -> None:
        self.first_step: float = 0.0  # when it was over
        self.to_first_step: float = 0.0  # seconds, from the start of the training
        self.seconds: float = 0.0
        self.steps_done: int = 0
        self._most: float = _SECONDS

    def run(self, trainer: Trainer, seconds: float) -> None:
        """Train for so long, and to the end of the loop."""
        self._most = seconds
        trainer.train()

    def start(self, trainer: Trainer) -> None:
        self._timer = threading.Timer(self._most, trainer.stop, ("the lap is over",))
        self._begin, self._step = time.perf_counter(), trainer.step
        if trainer.step:
            self._timer.start()

    def reached(self, trainer: Trainer) -> None:
        self.first_step = time.perf_counter()
        self.to_first_step = self.first_step - self._begin
        trainer.stop("the first step is done")

    def end(self, trainer: Trainer) -> None:
        self.seconds = time.perf_counter() - self._begin
        self.steps_done = trainer.step - self._step
        self._timer.cancel()


if __name__ == "__main__":
    main(sys.argv)
