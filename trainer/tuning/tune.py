"""The course of a tuning: each setting in turn beside the config as given, then the best ones together."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

from ...metrics.errors import UsageError
from ...metrics.terminal.spinner import doing
from .advice import advice, fastest
from .contestant import Contestant, Failure
from .measured import Lap, Measured, Start, paired
from .settings import AS_GIVEN, Setting, alternatives, combined, of_batch_size
from .table import Table

_SECONDS, _LEAST, _MOST = 10.0, 3, 10  # of laps per setting; pairs of laps
_TOGETHER, _ON_BEST = "the faster ones together", "best + "  # names
_JIT = "Trainer.jit_compile = True"
_ALONE = 5  # laps of the config as given, before there is anything to compare

Starter = Callable[[Setting], Contestant]


def tune(start: Starter, sizes: Sequence[int], cores: int, environment: Mapping[str, str]) -> None:
    """Measure, and print the table and the advice.

    Args:
      start: starts the process of a setting.
      sizes: the batch sizes to try.
      cores: how many this process may use.
      environment: its variables.

    Raises:
      Failure: the config as given cannot be trained.
      GivenFailure: it could at first.
      UsageError: there is no batch size to bind.
    """
    with doing("starting the config as given"):
        contestant = start(AS_GIVEN)
    with contestant:
        if sizes and not contestant.facts.dataset:
            raise UsageError(
                "--tune_batch_sizes: expected Trainer.train_dataset = @train/Input() or the like, whose batch size can be bound, "
                "got something else: remove the flag."
            )
        first = _start_again(contestant, start)
        with doing("looking whether the train data fits into memory"):
            can_cache = contestant.can_cache()
        tried = alternatives(contestant.facts, can_cache, cores, environment)
        of_sizes = [of_batch_size(contestant.facts.dataset, size) for size in sizes]
        tuning = _Tuning(contestant, first, start, _table(tried, of_sizes))
        tuning.announce(len(tried) + 1 + len(sizes))
        tuning.try_each(tried)
        tuning.try_together(tried)
        tuning.try_each_on_best(of_sizes)
        print(f"\n{tuning.advice()}", flush=True)


def _start_again(given: Contestant, start: Starter) -> Start:
    """Return a second start of the config as given: the first reads its files from disk, all others from the page cache.

    The laps in which something was compiled stay those of the process that goes on.
    """
    try:
        with doing("starting the config as given once more"), start(AS_GIVEN) as again:
            return dataclasses.replace(again.start, warm_up=given.start.warm_up)
    except Failure:  # such as for the memory of two
        return given.start


class GivenFailure(Exception):
    """The config as given, beside which all is measured, can be trained no longer."""


class _Tuning:
    """The measurements so far."""

    def __init__(self, given: Contestant, first: Start, start: Starter, table: Table):
        self._beside = given
        self._start = start
        self._table = table
        self._found: list[Measured] = []
        self._failed: set[str] = set()
        laps = [given.lap() for _ in range(_ALONE)]
        step = sorted(lap.step for lap in laps)[_ALONE // 2]
        self.given = Measured(AS_GIVEN, first, step, given.facts.examples_per_step, given.memory)

    def announce(self, settings: int) -> None:
        """Print how long it will take, and how the table begins."""
        lap = self._beside.lap().seconds
        minutes = settings * (self._beside.seconds + max(_SECONDS, 2 * _LEAST * lap)) / 60
        print(
            f"Up to {settings} settings in turn, each in a process of its own beside one of the config as given: about "
            f"{math.ceil(minutes)} min, more if compiling takes long. Nothing is written. Other programs disturb it."
        )
        print(f"\n{self._table.header()}\n{self._table.row(self.given)}", flush=True)

    def try_each(self, settings: Sequence[Setting]) -> None:
        """Measure each of these beside the config as given."""
        for setting in settings:
            self._try(setting)

    def try_together(self, tried: Sequence[Setting]) -> None:
        """Measure all together that are faster alone, first those that leave the training as it is."""
        steps = self._beside.facts.train_steps
        faster = [each for each in self._found if each.is_faster and fastest(self.given, [each], steps)]
        same = _compatible([each for each in faster if not each.setting.changes])
        changing = [each.setting for each in faster if each.setting.changes]
        if len(same) > 1:
            self._try(combined(same, _TOGETHER))
        if all(each.bindings != (_JIT,) for each in same):
            self._try_jit_on_best(tried)
        if self._best():
            self.try_each_on_best(changing)

    def try_each_on_best(self, settings: Sequence[Setting]) -> None:
        """Measure each of these with the best of what leaves the training as it is."""
        for setting in settings:
            self._try(self._on_best(setting))

    def advice(self) -> str:
        """Return what to take."""
        return advice(self.given, self._found, self._beside.facts.train_steps)

    def _try_jit_on_best(self, tried: Sequence[Setting]) -> None:
        """Measure `jit_compile` with a faster way of reading, if alone it gained nothing: it was reading that took the time."""
        best = self._best()
        reads = f"{self._beside.facts.dataset}."
        if best and any(line.startswith(reads) for line in best.setting.bindings):
            self.try_each_on_best(
                [each for each in tried if each.bindings == (_JIT,) and each.name not in self._failed]
            )

    def _best(self) -> Measured | None:
        same = [each for each in self._found if each.is_faster and not each.setting.changes]
        return fastest(self.given, same, self._beside.facts.train_steps)

    def _on_best(self, setting: Setting) -> Setting:
        best = self._best()
        return combined([best.setting, setting], _ON_BEST + setting.name) if best else setting

    def _try(self, setting: Setting) -> None:
        try:
            with doing(f"trying {setting.name}"):
                found = self._measured(setting)
        except Failure as failure:
            self._failed.add(setting.name)
            print(self._table.failed_row(setting, str(failure)), flush=True)
            return
        self._found.append(found)
        print(self._table.row(found, self.given), flush=True)

    def _measured(self, setting: Setting) -> Measured:
        with self._start(setting) as contestant:
            pairs = []
            for turn in range(_MOST):
                if turn % 2:  # the first of the two finds the caches of the other
                    lap, beside = contestant.lap(), self._lap_beside()
                else:
                    beside, lap = self._lap_beside(), contestant.lap()
                pairs.append((beside, lap))
                if turn + 1 >= _LEAST and sum(each.seconds for pair in pairs for each in pair) > _SECONDS:
                    break
            examples = contestant.facts.examples_per_step
            return paired(setting, contestant.start, pairs, self.given, examples, contestant.memory)

    def _lap_beside(self) -> Lap:
        try:
            return self._beside.lap()
        except Failure as failure:
            raise GivenFailure(str(failure)) from failure


def _table(tried: Sequence[Setting], of_sizes: Sequence[Setting]) -> Table:
    on_best = [_ON_BEST + each.name for each in [*tried, *of_sizes] if each.changes or each.bindings == (_JIT,)]
    return Table([_TOGETHER, *(each.name for each in tried), *on_best])


def _compatible(found: Sequence[Measured]) -> list[Setting]:
    """Return the fastest of those that set the same."""
    chosen: dict[tuple[str, ...], Setting] = {}
    for each in sorted(found, key=lambda each: each.ratio):
        targets = [line.partition("=")[0] for line in each.setting.bindings] + list(each.setting.variables)
        chosen.setdefault(tuple(targets), each.setting)
    return list(chosen.values())
