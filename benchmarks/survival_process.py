"""The processes of a run: starting them, and finding one to kill."""

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

from .survival_settings import Setting

ROOT = Path(__file__).parents[1]
_POLL_SECONDS = 0.001


class CommandError(Exception):
    """The command failed, though nobody had killed it."""


class Command:
    """The real command, training in a folder; every start of it is the same.

    Args:
      setting: what is trained.
      steps: for how long.
      folder: where to.
      pause: the length of a step in seconds.
      variables: more of its environment.

    Attributes:
      orphans: the workers that outlived their launcher, said in words.
    """

    def __init__(
        self, setting: Setting, steps: int, folder: Path, pause: float, variables: dict[str, str] | None = None
    ):
        self.folder = folder
        self._arguments = [*setting.arguments(steps), f"--model_dir={folder}"]
        self._workers = setting.workers
        self._pause = pause
        self._variables = variables or {}
        self._process: subprocess.Popen | None = None
        self.orphans: list[str] = []

    def start(self, pause: float | None = None) -> None:
        """Starts it, if it is not running: a launcher goes on when one of its workers is gone."""
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
        """Whether it has not ended."""
        return self._process is not None and self._process.poll() is None

    def end(self) -> None:
        """Waits for its end.

        Raises:
          CommandError: it has failed, which nothing but a kill should make it do.
        """
        if self._process.wait() != 0:
            raise CommandError(
                f"{self.folder.name}: exit code {self._process.returncode}:\n{self._log.read_text()[-3000:]}"
            )

    def kill(self, choose: random.Random, look: Callable[[], None]) -> str | None:
        """Kills it by SIGKILL, or one of its workers.

        Args:
          choose: draws which.
          look: called once that one is dead.

        Returns:
          Who it was; None if all was over already.
        """
        launcher = self._process.pid
        workers = workers_of(launcher) if self._workers > 1 else {}
        name, pid = choose.choice([("the launcher" if workers else "the process", launcher), *workers.items()])
        if not self.is_running():
            return None
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: _is_gone(pid), 30)
        look()
        self._settle(workers, killed=pid)
        return None if self._process.returncode == 0 else name

    def stop(self) -> None:
        """Ends it by force, whatever it does."""
        if self._process is not None and self._process.poll() is None:
            workers = workers_of(self._process.pid)
            self._process.kill()
            self._process.wait()
            self._end_orphans(workers)

    def _settle(self, workers: dict[str, int], killed: int) -> None:
        """Waits until all of a group have ended, and until the launcher, if it is still there, has started others."""
        launcher = self._process.pid
        if killed == launcher:
            self._process.wait()
            self._end_orphans(workers)
        elif workers:
            wait_until(lambda: all(map(_is_gone, workers.values())), 60)
            wait_until(lambda: not self.is_running() or len(workers_of(launcher)) == self._workers, 60)

    def _end_orphans(self, workers: dict[str, int]) -> None:
        """No worker may outlive its launcher: the next start would find the folder in use."""
        try:
            wait_until(lambda: all(map(_is_gone, workers.values())), 20)
        except TimeoutError:
            for name, pid in workers.items():
                if not _is_gone(pid):
                    self.orphans.append(f"{name} went on after its launcher was killed")
                    os.kill(pid, signal.SIGKILL)

    @property
    def _log(self) -> Path:
        return self.folder.with_suffix(".log")


def workers_of(launcher: int) -> dict[str, int]:
    """The workers that a launcher has started: name -> pid."""
    found = {}
    with contextlib.suppress(FileNotFoundError):
        for pid in Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                for variable in Path(f"/proc/{pid}/environ").read_text().split("\0"):
                    if variable.startswith("TALLYLOOP_WORKER="):
                        found[f"worker {variable.partition('=')[2]}"] = int(pid)
    return found


def _is_gone(pid: int) -> bool:
    """Whether a process has ended, even if nobody has asked for its exit code yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_until(condition: Callable[[], bool], seconds: float) -> None:
    """Waits for the condition, at most `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds} s")
        time.sleep(_POLL_SECONDS)
