"""`--mode=tune`: the command of each setting's process, and a temporary folder that is removed in any case."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from ...metrics.errors import UsageError
from ..distribution.preemption import not_ignored
from ..distribution.startup import available_cores
from ..errors import DONE, FAILED
from ..tuning.contestant import Contestant, Failure
from ..tuning.settings import Setting, batch_sizes
from ..tuning.tune import GivenFailure, tune
from .request import Request

_CHILD = f"{__name__.rpartition('.')[0]}.lapping"


def run(request: Request) -> int:
    """Try settings, and print which are fast; return the exit code.

    Raises:
      UsageError: the config as given cannot be trained, by a mistake of the user's.
    """
    sizes = batch_sizes(request.tune_batch_sizes)
    try:
        with _interrupting(), tempfile.TemporaryDirectory(prefix="tallyloop-tune-") as folder:

            def start(setting: Setting) -> Contestant:
                return Contestant(setting, _command(request, setting), Path(folder))

            tune(start, sizes, available_cores(), os.environ)
    except Failure as failure:
        if failure.is_usage:
            raise UsageError(str(failure)) from failure
        print(f"Error: --mode=tune: the config as given cannot be trained: {failure}", file=sys.stderr)
        return FAILED
    except GivenFailure as failure:
        print(f"Error: --mode=tune: the config as given stopped training: {failure}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("\nStopped: the tuning is not complete, and has left nothing behind.", file=sys.stderr)
        return FAILED
    return DONE


def _command(request: Request, setting: Setting) -> list[str]:
    trained = dataclasses.replace(
        request,
        mode="train",
        model_dir=None,
        tune_batch_sizes=None,
        gin_param=[*request.gin_param, *setting.bindings],
    )
    return [sys.executable, "-P", "-m", _CHILD, str(os.getpid()), setting.policy or "", *trained.arguments()]


@contextlib.contextmanager
def _interrupting() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the block as Ctrl-C does, so that what it has made is removed."""
    before = {number: signal.signal(number, _interrupt) for number in not_ignored()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    for each in not_ignored():  # a second one would interrupt the removal
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt
