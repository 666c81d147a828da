"""Processes of `python -m benchmarks.children.NAME`: asked for an answer, or timed lap by lap.

A process that answers prints a line of JSON. One that is timed calls `halt` before its first lap and after each.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
_HALTED = "halted"
_STOPPED = 3  # exit code
_TAIL = 2000  # characters of what a process said before it died


def command(name: str, *arguments: object) -> list[str]:
    """What starts a child."""
    return [sys.executable, "-m", f"benchmarks.children.{name}", *map(str, arguments)]


def ask(name: str, *arguments: object, environments: Sequence[Mapping[str, str]] = ({},)) -> Any:
    """Runs a child, or one for each of the environments, up to the first one's answer, which it returns."""
    children = [Child(command(name, *arguments), environment) for environment in environments]
    try:
        return json.loads(children[0].read(lambda line: line.startswith("{")))
    finally:
        for child in children:
            child.close()


def answer(found: Mapping[str, Any]) -> None:
    """In a child: answers."""
    print(json.dumps(found), flush=True)


class Child:
    """A running process, from its start.

    Args:
      line: the command.
      environment: what is different from this process's.
    """

    def __init__(self, line: Sequence[str], environment: Mapping[str, str]):
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (until `close`)
        self._process = subprocess.Popen(
            line,
            cwd=ROOT,
            env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"} | dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    def tell(self) -> None:
        """Lets it go on."""
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def read(self, wanted: Callable[[str], bool]) -> str:
        """Waits for a line of its output, and returns it."""
        for line in self._process.stdout:
            if wanted(line.strip()):
                return line
        raise RuntimeError(f"exit code {self._process.wait()}: {self._said()}")

    def end(self) -> None:
        """Waits for it to end, and wants it to have been well."""
        if self._process.wait():
            raise RuntimeError(f"exit code {self._process.returncode}: {self._said()}")

    def close(self) -> None:
        """Ends it."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            stream.close()

    def _said(self) -> str:
        self._errors.seek(0)
        return self._errors.read()[-_TAIL:]


class Whole:
    """A contestant that is a whole process: its lap is from its start to a line of its output, or to its end.

    Args:
      line: the command; a function makes it anew for each lap.
      until: whether it is the line; None is the process's end.
    """

    def __init__(self, line: Callable[[], Sequence[str]], until: Callable[[str], bool] | None = None):
        self._line = line
        self._until = until

    def lap(self) -> float:
        """Runs it once."""
        line = self._line()
        started = time.perf_counter()
        child = Child(line, {})
        try:
            if self._until is None:
                child.end()
            else:
                child.read(self._until)
            return time.perf_counter() - started
        finally:
            child.close()

    def close(self) -> None:
        """Nothing."""


class Workers:
    """A contestant that is a process for each of the environments; the first one halts, and so makes all wait.

    Args:
      line: the command.
      environments: of the processes.
      steps: of a lap.
    """

    def __init__(self, line: Sequence[str], environments: Sequence[Mapping[str, str]], steps: int):
        self._steps = steps
        self._children = [Child(line, environment) for environment in environments]
        self._halt()

    def lap(self) -> float:
        """Lets them run up to the next halt."""
        started = time.perf_counter()
        self._children[0].tell()
        self._halt()
        return (time.perf_counter() - started) / self._steps

    def close(self) -> None:
        """Ends them."""
        for child in self._children:
            child.close()

    def _halt(self) -> None:
        self._children[0].read(lambda line: line == _HALTED)


def halts(run: Callable[[Callable[[], None]], None]) -> None:
    """In a timed child: calls `run` with `halt`; what else it prints is not shown."""
    to_parent = sys.stdout

    def halt() -> None:
        print(_HALTED, file=to_parent, flush=True)
        if not sys.stdin.readline():
            os._exit(_STOPPED)  # the parent is gone

    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        halt()
        run(halt)
