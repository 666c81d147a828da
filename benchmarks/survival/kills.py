"""Killing a run repeatedly, each time at a random moment."""

from __future__ import annotations

import collections
import dataclasses
import random
import time
from collections.abc import Callable
from pathlib import Path

from .compare import differences
from .moment import Moment, steps
from .process import Command, CommandError
from .settings import STEPS_PER_KILL, Setting

PAUSE = 0.01  # seconds per step: a run of a few seconds is then long enough to be hit anywhere
_PATIENCE = 180  # seconds for a start and for the first sign of progress
_POLL_SECONDS = 0.0005
_AIMS = (
    "any",
    "save",
    "any",
    "start",
    "renames",
    "any",
    "any",
    "save",
    "any",
    "any",
    "renames",
    "any",
)  # one third aims at a save


@dataclasses.dataclass
class Result:
    """The outcome of a setting.

    Attributes:
      hit: moment -> kills.
      victims: process -> kills.
      differences: from the control, of all runs.
      runs: started, each killed several times and then left to finish.
    """

    hit: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    victims: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    differences: list[str] = dataclasses.field(default_factory=list)
    runs: int = 0

    @property
    def kills(self) -> int:
        """The kills of all moments."""
        return sum(self.hit.values())


def survive(setting: Setting, kills: int, seed: int, folder: Path, report: Callable[[str], None]) -> Result:
    """Train once without and then with `kills` kills, in folders below `folder`, and compare the two.

    A run that finishes before the last kill is compared, and the kills continue in another run.

    Args:
      setting: the training.
      kills: in total.
      seed: of the moments to kill at.
      folder: for the runs.
      report: is called with each line of progress.
    """
    length = length_for(kills)
    control = train(setting, length, folder / "control")
    choose, result = random.Random(f"{seed} {setting.title}"), Result()
    while result.kills < kills:
        result.runs += 1
        killed = folder / f"killed_{result.runs}"
        command = Command(setting, length, killed, PAUSE)
        try:
            kill_often(command, kills, choose, result, report)
            found = command.orphans + differences(killed, control)
        except CommandError as error:
            found = [*command.orphans, str(error)]
            result.differences += found
            report(f"the run does not continue: {found}")
            break
        report("equal to the control" if not found else f"{len(found)} DIFFERENCES: {found[:5]}")
        result.differences += found
    return result


def length_for(kills: int) -> int:
    """Return the number of steps of a run that is to be killed `kills` times."""
    return 100 + STEPS_PER_KILL * kills


def train(setting: Setting, length: int, folder: Path, variables: dict[str, str] | None = None) -> Path:
    """Train without interruption at full speed; return the folder."""
    command = Command(setting, length, folder, 0, variables)
    try:
        command.start()
        command.end()
    finally:
        command.stop()
    return folder


def kill_often(
    command: Command, kills: int, choose: random.Random, result: Result, report: Callable[[str], None]
) -> None:
    """Start and kill the command until there were enough kills or it has finished; then let it finish."""
    try:
        while result.kills < kills:
            if not _one_life(command, choose, _AIMS[result.kills % len(_AIMS)], result, report):
                command.end()
                return
        command.start(pause=0)
        command.end()
    finally:
        command.stop()


def _one_life(command: Command, choose: random.Random, aim: str, result: Result, report: Callable[[str], None]) -> bool:
    """Start the command and kill it; return False if it finished first."""
    born = Moment.of(command.folder)
    command.start()
    if not _wait_for(aim, command, born, choose):
        return False
    moments = []
    victim = command.kill(choose, lambda: moments.append(Moment.of(command.folder).since(born)))
    if victim is None:
        return False
    result.hit[moments[0]] += 1
    result.victims[victim] += 1
    newest = steps(command.folder)[-1:] or ["none"]
    report(f"kill {result.kills}: {victim}, aimed at {aim}, hit {moments[0]}; newest checkpoint: {newest[0]}")
    return True


def _wait_for(aim: str, command: Command, born: Moment, choose: random.Random) -> bool:
    """Wait for the moment to kill at; return False if the run finished first."""
    if aim == "start":
        return _while_running(command, lambda: False, choose.uniform(0, 8))
    folder = command.folder
    log, scratch = folder / "metrics.jsonl", folder / "checkpoints" / ".unfinished"
    if not _while_running(command, lambda: _stamp(log) != born.files.get("metrics.jsonl")):
        return False
    if aim == "any":
        return _while_running(command, lambda: False, choose.uniform(0, 2.5))
    newest, skipped = (steps(folder) or [0])[-1], choose.randrange(3)
    if not _while_running(command, lambda: sum(step > newest for step in steps(folder)) >= skipped):
        return False
    before, torn = _stamp(scratch), _torn(folder)
    begun = (lambda: _stamp(scratch) not in (None, before)) if aim == "save" else lambda: bool(_torn(folder) - torn)
    longest = 0.05 if aim == "save" else 0.01
    return _while_running(command, begun) and _while_running(command, lambda: False, choose.uniform(0, longest))


def _while_running(command: Command, condition: Callable[[], bool], seconds: float | None = None) -> bool:
    """Wait for the condition or for `seconds`; return whether the run was still going on."""
    end = time.monotonic() + (_PATIENCE if seconds is None else seconds)
    while command.is_running():
        if condition():
            return True
        if time.monotonic() >= end:
            if seconds is None:
                raise TimeoutError(f"{command.folder}: expected progress within {_PATIENCE} s, got none")
            return True
        time.sleep(_POLL_SECONDS)
    return False


def _torn(folder: Path) -> set[str]:
    """Return the checkpoints that have their data in place but no index: not yet, or no longer."""
    names = {path.name for path in (folder / "checkpoints").glob("ckpt-*")}
    return {name for name in names if name.endswith("00001") and f"{name.split('.')[0]}.index" not in names}


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        state = path.stat()
    except FileNotFoundError:
        return None
    return state.st_ino, state.st_mtime_ns
