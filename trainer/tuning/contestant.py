"""A setting's process: it trains lap by lap, when it is told to, and is stopped meanwhile."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from ..distribution.preemption import not_ignored
from .measured import Lap, Start
from .settings import Facts, Setting

LAP, CAN_CACHE = "lap", "can cache"  # what the process is told
_MOST_WARM_UP, _STEADY = 6, 0.1  # laps; the difference of two that are as long as those after them will be
_MOST_COMPILING = 6  # laps in a row
_TO_START = 900.0  # seconds: compiling a large model takes minutes
_TO_LAP = 300.0
_TO_END = 10.0
_LONGEST_REASON = 300


class Failure(Exception):
    """A setting cannot be trained.

    Args:
      reason: why not.
      is_usage: whether a user can change that.
    """

    def __init__(self, reason: str, is_usage: bool = False):
        super().__init__(reason)
        self.is_usage = is_usage


class Contestant:
    """A process that trains with a setting. A context; it ends with it.

    On Linux it is stopped by a signal while it waits: else it would read ahead what it trains on in its next lap, and slow down
    the process that is measured then. The processes that read for it finish what they have begun.

    Args:
      setting: the setting.
      command: starts the process.
      folder: for its output and its temporary files.

    Attributes:
      seconds: how long it took to start and to warm up.
      facts: what it trains.
      start: what it did before its laps.
      memory: the most resident memory so far, in bytes.

    Raises:
      Failure: it cannot be trained.
    """

    def __init__(self, setting: Setting, command: Sequence[str], folder: Path):
        begin = time.monotonic()
        self.setting = setting
        descriptor, errors_path = tempfile.mkstemp(dir=folder)  # each its own
        self._errors = Path(errors_path)
        with contextlib.ExitStack() as undo:
            with _signals_put_off(), os.fdopen(descriptor, "wb") as errors:  # one in Popen would lose the process
                self._process = subprocess.Popen(
                    command,
                    env=os.environ | _environment(folder) | dict(setting.variables),
                    start_new_session=True,  # Ctrl-C reaches only the one that started it
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                )
                undo.callback(self._kill)
            found = self._answer(_TO_START)
            self.facts: Facts = Facts(**found["facts"])
            self._not_counted: list[Lap] = []
            self._warm_up()
            self.start: Start = Start(found["first_step"], found["compiling"], self._not_counted)
            undo.pop_all()
        self.seconds: float = time.monotonic() - begin

    def __enter__(self) -> Contestant:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if kind is None:
                self._process.send_signal(signal.SIGCONT)
                with contextlib.suppress(OSError):
                    self._pipe("stdin").close()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(_TO_END)
        finally:
            self._kill()

    def lap(self) -> Lap:
        """Train for a while; a lap in which something was compiled belongs to the start, and another one follows."""
        lap, compiled = self._lap()
        for _ in range(_MOST_COMPILING):
            if not compiled:
                break
            self._not_counted.append(lap)
            lap, compiled = self._lap()
        return lap

    def can_cache(self) -> bool:
        """Return whether the train data may be read into memory as a whole, ends, and fits; it is read for some seconds."""
        return self._asked(CAN_CACHE)["can_cache"]

    def _lap(self) -> tuple[Lap, bool]:
        found = self._asked(LAP)
        self.memory: int = found["memory"]
        return Lap(found["seconds"], found["steps"]), found["compiled"]

    def _asked(self, what: str) -> dict[str, Any]:
        """Let the process go on until it has answered."""
        self._process.send_signal(signal.SIGCONT)
        with contextlib.suppress(OSError):  # it has ended: there is no answer
            self._pipe("stdin").write(f"{what}\n".encode())
            self._pipe("stdin").flush()
        found = self._answer(_TO_LAP)
        if sys.platform == "linux":  # elsewhere a stopped process would outlive a parent that is killed
            self._process.send_signal(signal.SIGSTOP)
        return found

    def _warm_up(self) -> None:
        laps = self._not_counted
        for _ in range(2):
            laps.append(self._lap()[0])
        while len(laps) < _MOST_WARM_UP and abs(laps[-1].step / laps[-2].step - 1) > _STEADY:
            laps.append(self._lap()[0])

    def _pipe(self, name: str) -> Any:
        return getattr(self._process, name)

    def _answer(self, patience: float) -> dict[str, Any]:
        """Return what the process says next.

        Raises:
          Failure: it has failed or ended, or says nothing for too long.
        """
        output = self._pipe("stdout")
        if not select.select([output], [], [], patience)[0]:
            raise Failure(f"no answer within {patience:.0f} s")
        line = output.readline()
        if not line:
            raise Failure(self._end())
        found = json.loads(line)
        if "error" in found:
            raise Failure(found["error"], found["is_usage"])
        return found

    def _end(self) -> str:
        """Return why the process has ended."""
        code = self._process.wait()
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        lines = self._errors.read_text(errors="replace").strip().splitlines()
        return f"{how}: {lines[-1].strip()[:_LONGEST_REASON]}" if lines else how

    def _kill(self) -> None:
        """End the process, if it still runs, and those that it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for name in ("stdin", "stdout"):
            with contextlib.suppress(OSError):
                self._pipe(name).close()


@contextlib.contextmanager
def _signals_put_off() -> Iterator[None]:
    """Put off what would interrupt the block until after it.

    By other handlers: a thread's mask would leave the signals to the other threads, and be that of the process started here.
    """
    noted: list[int] = []
    before = {number: signal.signal(number, lambda got, frame: noted.append(got)) for number in not_ignored()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in noted[:1]:
            signal.raise_signal(number)


def _environment(folder: Path) -> Mapping[str, str]:
    """Return what keeps a process from leaving anything behind, and from taking an accelerator's whole memory."""
    return {"PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": str(folder), "TF_FORCE_GPU_ALLOW_GROWTH": "true"}
