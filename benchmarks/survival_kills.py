"""Killing a run again and again, each time at a moment drawn at random."""

from __future__ import annotations

import collections
import dataclasses
import random
import time
from collections.abc import Callable
from pathlib import Path

from .survival_compare import differences
from .survival_moment import Moment, steps
from .survival_process import Command, CommandError
from .survival_settings import STEPS_A_KILL, Setting

PAUSE = 0.01  # a step, in seconds: a run of a few seconds is long enough to be hit anywhere
_PATIENCE = 180  # seconds for a start and what follows
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
)  # a third: a save


@dataclasses.dataclass
class Result:
    """What became of a setting.

    Attributes:
      hit: moment -> how many kills.
      victims: who was killed -> how often.
      differences: what differs from the control, run by run.
      runs: how many runs came to their end after kills.
    """

    hit: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    victims: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    differences: list[str] = dataclasses.field(default_factory=list)
    runs: int = 0

    @property
    def kills(self) -> int:
        """How many there were."""
        return sum(self.hit.values())


def survive(setting: Setting, kills: int, seed: int, folder: Path, say: Callable[[str], None]) -> Result:
    """Trains once without and then with `kills` kills, in folders below `folder`, and compares.

    A run that comes to its end early is compared, and the kills go on in another one.
    """
    length = length_for(kills)
    control = train(setting, length, folder / "control")
    choose, result = random.Random(f"{seed} {setting.title}"), Result()
    while result.kills < kills:
        result.runs += 1
        killed = folder / f"killed_{result.runs}"
        command = Command(setting, length, killed, PAUSE)
        try:
            kill_often(command, kills, choose, result, say)
            found = command.orphans + differences(killed, control)
        except CommandError as error:
            found = [*command.orphans, str(error)]
            result.differences += found
            say(f"it does not go on: {found}")
            break
        say("the same as the control" if not found else f"{len(found)} DIFFERENCES: {found[:5]}")
        result.differences += found
    return result


def length_for(kills: int) -> int:
    """How many steps a run has that is to be killed so often."""
    return 100 + STEPS_A_KILL * kills


def train(setting: Setting, length: int, folder: Path, variables: dict[str, str] | None = None) -> Path:
    """Trains without interruption, at full speed; returns the folder."""
    command = Command(setting, length, folder, 0, variables)
    try:
        command.start()
        command.end()
    finally:
        command.stop()
    return folder


def kill_often(command: Command, kills: int, choose: random.Random, result: Result, say: Callable[[str], None]) -> None:
    """Starts the command, kills it, and so on; lets it come to its end after the last kill, or if it is faster."""
    try:
        while result.kills < kills:
            if not _one_life(command, choose, _AIMS[result.kills % len(_AIMS)], result, say):
                command.end()
                return
        command.start(pause=0)
        command.end()
    finally:
        command.stop()


def _one_life(command: Command, choose: random.Random, aim: str, result: Result, say: Callable[[str], None]) -> bool:
    """Starts the command and kills it; returns False if it was over before."""
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
    say(f"kill {result.kills}: {victim}, aimed at {aim}, hit {moments[0]}; the newest checkpoint: {newest[0]}")
    return True


def _wait_for(aim: str, command: Command, born: Moment, choose: random.Random) -> bool:
    """Returns at the moment to kill at; False if the run is over before."""
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
    """Waits for the condition, or for `seconds`; returns whether the run goes on until then."""
    end = time.monotonic() + (_PATIENCE if seconds is None else seconds)
    while command.is_running():
        if condition():
            return True
        if time.monotonic() >= end:
            if seconds is None:
                raise TimeoutError(f"{command.folder}: not within {_PATIENCE} s")
            return True
        time.sleep(_POLL_SECONDS)
    return False


def _torn(folder: Path) -> set[str]:
    """The checkpoints that have their data in place and no index: not yet, or no more."""
    names = {path.name for path in (folder / "checkpoints").glob("ckpt-*")}
    return {name for name in names if name.endswith("00001") and f"{name.split('.')[0]}.index" not in names}


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        state = path.stat()
    except FileNotFoundError:
        return None
    return state.st_ino, state.st_mtime_ns
