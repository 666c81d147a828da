"""The processes of a run: starting them, and choosing one to kill."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from ..harness.processes import ROOT
from .settings import Setting

_POLL_SECONDS = 0.001


class CommandError(Exception):
    """The command failed, although nothing had killed it."""


class Command:
    """The real command, training into a folder; every start uses the same command line.

    Args:
      setting: the training.
      steps: to train.
      folder: the model_dir.
      pause: seconds per step.
      variables: to add to its environment.

    Attributes:
      orphans: a sentence for each process that outlived the one that started it.
    """

    def __init__(
        self, setting: Setting, steps: int, folder: Path, pause: float, variables: dict[str, str] | None = None
    ):
        self.folder = folder
        self._arguments = [*setting.arguments(steps), f"--model_dir={folder}"]
        self._workers = setting.workers
        self._readers = setting.readers
        self._pause = pause
        self._variables = variables or {}
        self._process: subprocess.Popen | None = None
        self.orphans: list[str] = []

    def start(self, pause: float | None = None) -> None:
        """Start the command unless it is running, as a launcher is after one of its workers was killed."""
        if self.is_running():
            return
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        variables = {
            "SURVIVAL_PAUSE": str(self._pause if pause is None else pause),
            "PYTHONPATH": path,
            **self._variables,
        }
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tallyloop.trainer", *self._arguments],
                cwd=self.folder.parent,  # which is not the project's
                env=os.environ | variables,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def is_running(self) -> bool:
        """Return whether the command is running."""
        return self._process is not None and self._process.poll() is None

    def end(self) -> None:
        """Wait for the command to finish.

        Raises:
          CommandError: it failed, which only a kill should cause.
        """
        if self._process.wait() != 0:
            raise CommandError(
                f"{self.folder.name}: exit code {self._process.returncode}:\n{self._log.read_text()[-3000:]}"
            )

    def kill(self, choose: random.Random, look: Callable[[], None]) -> str | None:
        """Kill the process, or the launcher or one of its workers, or one that reads, with SIGKILL.

        Args:
          choose: draws which one.
          look: is called once it is dead.

        Returns:
          The name of the process; None if the run had already finished.
        """
        launcher = self._process.pid
        workers = workers_of(launcher) if self._workers > 1 else {}
        readers = readers_of(launcher) if self._readers else {}
        victims = [*workers.items(), *readers.items()][: None if workers else 1]
        name, pid = choose.choice([("the launcher" if workers else "the process", launcher), *victims])
        if not self.is_running():
            return None
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: _is_gone(pid), 30)
        look()
        self._settle(workers | readers, killed=pid)
        return None if self._process.returncode == 0 else name

    def stop(self) -> None:
        """Kill everything that still runs."""
        if self._process is not None and self._process.poll() is None:
            workers = workers_of(self._process.pid) | readers_of(self._process.pid)
            self._process.kill()
            self._process.wait()
            self._end_orphans(workers)

    def _settle(self, workers: dict[str, int], killed: int) -> None:
        """Wait until the whole group has ended and the launcher, if it is alive, has started a new one."""
        launcher = self._process.pid
        if killed == launcher:
            self._process.wait()
            self._end_orphans(workers)
        elif self._workers > 1:
            wait_until(lambda: all(map(_is_gone, workers.values())), 60)
            wait_until(lambda: not self.is_running() or len(workers_of(launcher)) == self._workers, 60)

    def _end_orphans(self, workers: dict[str, int]) -> None:
        """Kill processes that outlive the one that started them, and note them: the next start might find the folder in use."""
        try:
            wait_until(lambda: all(map(_is_gone, workers.values())), 20)
        except TimeoutError:
            for name, pid in workers.items():
                if not _is_gone(pid):
                    self.orphans.append(f"{name} kept running after the process that started it was killed")
                    os.kill(pid, signal.SIGKILL)

    @property
    def _log(self) -> Path:
        return self.folder.with_suffix(".log")


def workers_of(launcher: int) -> dict[str, int]:
    """Return the workers that a launcher has started: name -> pid."""
    found = {}
    with contextlib.suppress(FileNotFoundError):
        for pid in Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                for variable in Path(f"/proc/{pid}/environ").read_text().split("\0"):
                    if variable.startswith("TALLYLOOP_WORKER="):
                        found[f"worker {variable.partition('=')[2]}"] = int(pid)
    return found


def readers_of(process: int) -> dict[str, int]:
    """Return the processes that read rows for a process: name -> pid."""
    found = []
    for path in Path(f"/proc/{process}/task").glob("*/children"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found += [pid for pid in path.read_text().split() if _is_reader(pid)]
    return {f"reader {number}": int(pid) for number, pid in enumerate(sorted(found, key=int))}


def _is_reader(pid: str) -> bool:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return "data/rows/processes/worker.py" in Path(f"/proc/{pid}/cmdline").read_text()
    return False


def _is_gone(pid: int) -> bool:
    """Return whether a process has ended, even if its exit code has not been read yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_until(condition: Callable[[], bool], seconds: float) -> None:
    """Wait for the condition, at most `seconds`.

    Raises:
      TimeoutError: it did not become true in time.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"the condition did not become true within {seconds} s")
        time.sleep(_POLL_SECONDS)
