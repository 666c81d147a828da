"""The search of ranges by optuna. Its book is optuna's own SQLite file."""

from __future__ import annotations

import contextlib
import importlib
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ...metrics.errors import UsageError
from ..config.syntax import render
from .book import Outcome, Trial
from .space import Parameter, Space

FILE = "study.db"
_METRIC = "metric"  # an attribute of the study
_REASON = "reason"  # of a trial


class Search:
    """The book of a search.

    Optuna leaves a trial whose process was killed as running forever. Here it is taken up again: its values are those that are
    recorded, and the rest is chosen as it would have been, since the sampler is seeded with the number of the trial.

    Args:
      folder: of the study.
      name: of the study.
      space: what varies.
      count: how many trials there are to be in all.
      prune: whether trials that are worse than half of those before are ended early.
      in_parallel: whether several trials are under way at once.

    Raises:
      UsageError: optuna is not installed, or the study has been begun with another metric.
    """

    def __init__(self, folder: Path, name: str, space: Space, count: int, prune: bool, in_parallel: bool):
        self._optuna = _library()
        self._space = space
        self._count = count
        self._in_parallel = in_parallel
        self._open: dict[int, Any] = {}
        self._study = self._load(folder / FILE, name, prune)

    def trials(self) -> list[Trial]:
        """Return those so far."""
        return [self._trial(each) for each in self._study.get_trials(deepcopy=False)]

    def next(self) -> Trial | None:
        """Choose the values of another trial, from the results of those before."""
        number = len(self._study.get_trials(deepcopy=False))
        if number >= self._count:
            return None
        self._seed(number)
        self._choose(self._study.ask())
        return self.trials()[number]

    def report(self, number: int, points: Sequence[tuple[int, float]]) -> bool:
        """Note the metric; return whether it is worse than that of half of the trials before at this step."""
        trial = self._open[number]
        known = self._study.get_trials(deepcopy=False)[number].intermediate_values
        for step, value in points:
            if step not in known:
                trial.report(value, step)
        return bool(points) and trial.should_prune()

    def finish(self, number: int, outcome: Outcome, value: float | None, reason: str) -> None:
        """Note how a trial ended."""
        states = self._optuna.trial.TrialState
        state = {"done": states.COMPLETE, "pruned": states.PRUNED, "failed": states.FAIL}[outcome]
        if reason:
            self._open[number].set_user_attr(_REASON, reason)
        self._study.tell(number, value if outcome == "done" else None, state)

    def _load(self, path: Path, name: str, prune: bool) -> Any:
        optuna, direction = self._optuna, f"{self._space.mode}imize"
        pruner = optuna.pruners.MedianPruner() if prune else optuna.pruners.NopPruner()
        if not path.exists():
            _create(optuna, path, name, direction, self._space.metric)
        with _readable(path):
            study = optuna.load_study(study_name=None, storage=_url(path), pruner=pruner)
            began = study.user_attrs[_METRIC], f"{study.direction.name.lower()}"
        if began != (self._space.metric, direction):
            raise UsageError(
                f"--study={name}: expected the metric that {path.parent} was begun with, {began[1]} {began[0]}, got {direction} "
                f"{self._space.metric}: change Trainer.best_metric and best_mode back, or choose another name."
            )
        for frozen in study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.RUNNING]):
            study.sampler = self._sampler(frozen.number)
            # Private, as optuna has no public way to go on with a trial of a process that is gone.
            self._choose(optuna.trial.Trial(study, frozen._trial_id))
        return study

    def _seed(self, number: int) -> None:
        self._study.sampler = self._sampler(number)

    def _sampler(self, number: int) -> Any:
        # One seed for all would begin again with the same values after each restart.
        return self._optuna.samplers.TPESampler(seed=number, constant_liar=self._in_parallel)

    def _choose(self, trial: Any) -> None:
        for parameter in self._space.parameters:
            try:
                _suggest(trial, parameter)
            except ValueError as error:
                raise UsageError(
                    f"{parameter.name} = {parameter.range.text}: expected the kind of range, and the same choices, that the "
                    f"study was begun with ({error}): change it back, or choose another --study."
                ) from error
        self._open[trial.number] = trial

    def _trial(self, frozen: Any) -> Trial:
        names = {"COMPLETE": "done", "PRUNED": "pruned", "FAIL": "failed"}
        values = {name: _text(value) for name, value in frozen.params.items()}
        outcome: Any = names.get(frozen.state.name)
        value = frozen.value if outcome == "done" else None
        return Trial(frozen.number, values, outcome, value, frozen.user_attrs.get(_REASON, ""))


def _suggest(trial: Any, parameter: Parameter) -> None:
    name, kind, arguments = parameter.name, parameter.range.kind, parameter.range.arguments
    if kind == "choice":
        trial.suggest_categorical(
            name, [render(each) for each in arguments]
        )  # optuna stores no lists and no references
    elif kind == "int":
        low, high, step = (*arguments, 1)[:3]
        trial.suggest_int(name, low, low + math.floor((high - low) / step) * step, step=step)
    else:
        trial.suggest_float(name, *arguments, log=kind == "loguniform")


def _text(value: str | float) -> str:
    """Return a value as gin reads it; more than six digits of a number would be noise in every table."""
    if isinstance(value, str):
        return value
    return repr(float(f"{value:.6g}") if isinstance(value, float) else value)


def _library() -> Any:
    try:
        optuna = importlib.import_module("optuna")
    except ImportError as error:
        raise UsageError(
            f'--study: expected optuna to be installed, as with: pip install "tallyloop[study]" ({error}). A --grid needs none.'
        ) from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def _create(optuna: Any, path: Path, name: str, direction: str, metric: str) -> None:
    """Create the file whole: a kill must not leave one without some of its tables."""
    temporary = path.with_name(f".{path.name}.tmp")
    for left in path.parent.glob(f"{temporary.name}*"):
        left.unlink()
    storage = optuna.storages.RDBStorage(_url(temporary))
    study = optuna.create_study(storage=storage, study_name=name, direction=direction)
    study.set_user_attr(_METRIC, metric)
    storage.remove_session()
    storage.engine.dispose()
    os.replace(temporary, path)


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # of sqlite, of sqlalchemy, of alembic
        told = str(error).strip().split("\n")[0]
        raise UsageError(
            f"{path} cannot be read ({type(error).__name__}: {told}): expected the file of a study of optuna. Restore it, or "
            "choose another --study."
        ) from error


def _url(path: Path) -> str:
    return f"sqlite:///{path.absolute()}"
