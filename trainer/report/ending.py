"""How a run ended, or that it runs, and its attempts: from `run.json` and the lock of its folder."""

from __future__ import annotations

import datetime
import fcntl
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ...metrics.writers.run_files import LOCK, METRICS, RECORD, read_record
from .folders import TRIAL

State = Literal["done", "stopped", "pruned", "failed", "running", "killed", "unknown"]

_ON_REQUEST = "on request"
_REQUESTED = ("PreemptedError", "KeyboardInterrupt")
_MANY_NUMBERS = re.compile(r"\[((?:-?\d+, ){3})(?:-?\d+, ){5,}-?\d+\]")


@dataclass(frozen=True)
class Ending:
    """The end of a run.

    Attributes:
      state: in a word.
      reason: why, in one line; empty if the state says it all.
      attempts: how often it was started.
      seconds: how long its attempts lasted in all; None if the end of one is not known.
    """

    state: State
    reason: str
    attempts: int
    seconds: float | None

    @property
    def is_complete(self) -> bool:
        """True if nothing is left to do for a rerun: all steps are made, or an action has ended the run."""
        return self.state == "done" or (self.state == "stopped" and self.reason != _ON_REQUEST)


def ending(folder: Path) -> Ending:
    """Return how the run of a folder ended; of a trial that was refused, what its study says. Damaged files make it unknown."""
    try:
        record = read_record(folder)
        attempts = record.get("attempts") or [record]
        state, reason = _state(record.get("exit_reason"), folder)
        return Ending(state, reason, len(attempts), _seconds(attempts, folder, state))
    except OSError:
        return Ending(*_of_trial(folder), 0, None)
    except (ValueError, AttributeError, TypeError, KeyError):
        return Ending("unknown", f"{RECORD} is damaged", 0, None)


def brief(reason: str) -> str:
    """Return the first line of why a run failed, with but a few of the numbers that it lists, such as the rows of a batch."""
    return _MANY_NUMBERS.sub(r"[\1...]", reason.strip().split("\n")[0])


def _state(exit_reason: str | None, folder: Path) -> tuple[State, str]:
    if exit_reason is None:
        return ("running", "") if _is_locked(folder / LOCK) else ("killed", "it ended without a word")
    reason = brief(exit_reason)
    if reason == "done":
        return "done", ""
    if reason.startswith("stopped "):
        return "stopped", reason.removeprefix("stopped ")
    if reason.startswith(_REQUESTED):
        pruned = _pruned(folder / TRIAL)
        return ("stopped", _ON_REQUEST) if pruned is None else ("pruned", pruned)
    return "failed", reason


def _pruned(path: Path) -> str | None:
    """Return why its study has pruned a run; None if it has not."""
    state, reason = _state_by_study(path)
    return f"by its study: {reason}".removesuffix(": ") if state == "pruned" else None


def _of_trial(folder: Path) -> tuple[State, str]:
    """Return what its study says of a run without a `run.json`: it was refused, or has not come so far."""
    state, reason = _state_by_study(folder / TRIAL)
    if state == "failed":
        return "failed", brief(reason)
    if state == "running":
        return ("running", "") if _is_locked(folder.parent / LOCK) else ("killed", "its study continues it")
    return "unknown", f"no {RECORD}"


def _state_by_study(path: Path) -> tuple[str, str]:
    """Return the state of a trial, and the reason, by its study; both are empty if there is none."""
    try:
        trial = json.loads(path.read_bytes())
        return str(trial["state"]), str(trial.get("reason", ""))  # earlier versions wrote no reason
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return "", ""


def _is_locked(path: Path) -> bool:
    """Return whether a process holds the lock, which ends with it."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    except OSError:
        return False


def _seconds(attempts: list[dict[str, Any]], folder: Path, state: State) -> float | None:
    ends = [each.get("end") for each in attempts]
    if ends[-1] is None and state == "running":
        ends[-1] = datetime.datetime.now(datetime.UTC).isoformat()
    elif ends[-1] is None and (folder / METRICS).exists():
        written = (folder / METRICS).stat().st_mtime
        ends[-1] = datetime.datetime.fromtimestamp(written, datetime.UTC).isoformat()
    known = [end for end in ends if end is not None]
    if len(known) < len(ends):
        return None
    parsed = datetime.datetime.fromisoformat
    spans = [parsed(end) - parsed(each["start"]) for end, each in zip(known, attempts, strict=True)]
    return sum(max(0.0, span.total_seconds()) for span in spans)
