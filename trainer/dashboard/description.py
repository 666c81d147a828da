"""What the writers are told about a run."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from absl import logging

from ...metrics.writers.run_files import CONFIG, OPERATIVE_CONFIG
from ...metrics.writers.summary import RunDescription
from .given import python_hparams


class Record(Protocol):
    """The record of a start of a run."""

    changes: Sequence[str]
    """The differences from the config of the start before."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """The contents of `run.json`."""
        ...


def describe_run(trainer: Any, record: Record) -> RunDescription:
    """Return the description of a run that is about to begin, or to go on.

    Args:
      trainer: prepared.
      record: of this start.
    """
    files = trainer.run_files
    hparams = files.hparams() if files is not None else python_hparams(trainer)
    configs = files.texts() if files is not None else {}
    as_given = configs.get(CONFIG) or "".join(f"{name} = {value!r}\n" for name, value in hparams.items())
    texts: dict[str, Callable[[], str]] = {
        "config/as given": lambda: _fenced(as_given),
        "config/as used": lambda: _fenced(configs.get(OPERATIVE_CONFIG, "")),
        "config/changed since the last run": lambda: _bullets(record.changes),
        "run/command": lambda: _command(record.facts),
        "model/summary": lambda: _fenced(_summary(trainer.model)),
    }
    made = {title: _made(title, text) for title, text in texts.items()}
    return RunDescription(Path(trainer.model_dir), trainer.step, hparams, {t: text for t, text in made.items() if text})


def _made(title: str, text: Callable[[], str]) -> str:
    try:
        return text()
    except Exception as error:  # a model is a user's code; its picture must not cost the run
        logging.warning("TensorBoard lacks the text %r: %s: %s", title, type(error).__name__, error)
        return ""


def _fenced(text: str) -> str:
    return f"```\n{text.rstrip()}\n```" if text.strip() else ""


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- `{line}`" for line in lines)


def _summary(model: Any) -> str:
    lines: list[str] = []
    model.summary(print_fn=lambda line, *_, **__: lines.append(line), line_length=100)
    return "\n".join(lines)


def _command(facts: Mapping[str, Any]) -> str:
    """Return the command line, and a table of where and with what it ran."""
    rows = {name: value for name, value in facts.items() if name in ("start", "host", "git_revision", "devices")}
    rows["versions"] = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    rows["devices"] = ", ".join(facts["devices"])
    table = "".join(f"| {name.replace('_', ' ')} | {value} |\n" for name, value in rows.items() if value is not None)
    return f"{_fenced(shlex.join(facts['argv']))}\n\n| | |\n|---|---|\n{table}"
