"""What is asked for, by flags or by a call of `launch`, and what its parts say about each other."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Literal, get_args

from ...metrics.errors import UsageError, did_you_mean
from ..prediction import FORMATS, Format
from ..tuning.settings import batch_sizes

Mode = Literal["train_and_eval", "train", "eval", "predict", "export", "check", "replay", "tune"]
MODES: tuple[Mode, ...] = get_args(Mode)
TRAINING_MODES: tuple[Mode, ...] = ("train_and_eval", "train")
_WORKERS_MODES: tuple[Mode, ...] = (*TRAINING_MODES, "eval", "predict")
MAX_RESTARTS = 3

NO_CONFIG = "No config: give --gin_file=digits.gin (bundled) or a file of your own."


@dataclasses.dataclass(frozen=True)
class Request:
    """The values of the flags of the same names; `tallyloop --help` describes them.

    Raises:
      UsageError: one is wrong, or does not go with another.
    """

    gin_file: Sequence[str] = ()
    gin_param: Sequence[str] = ()
    gin_search_path: Sequence[str] = ()
    import_module: Sequence[str] = ()
    model_dir: str | None = None
    mode: Mode = "train_and_eval"
    checkpoint: str | None = None
    format: Format | None = None
    step: int | None = None
    dry_run: bool = False
    explain: str | None = None
    list_configurables: bool = False
    virtual_cpus: int | None = None
    workers: int | None = None
    max_restarts: int | None = None
    start_timeout: float | None = None
    study: str | None = None
    trials: int | None = None
    jobs: int | None = None
    grid: Sequence[str] = ()
    prune: bool = True
    tune_batch_sizes: str | None = None

    def __post_init__(self) -> None:
        self._check_mode()
        self._check_numbers()
        self._check_workers()
        self._check_study()
        self._check_tune()

    @property
    def only_prints_config(self) -> bool:
        """True if this only looks at the config."""
        return self.list_configurables or self.explain is not None

    @property
    def trains(self) -> bool:
        """True if this trains, and so has something to save when it is asked to stop."""
        return self.mode in TRAINING_MODES and not self.dry_run and not self.only_prints_config

    @property
    def restarts(self) -> int:
        """The number of times that a group of workers is restarted."""
        return MAX_RESTARTS if self.max_restarts is None else self.max_restarts

    def arguments(self) -> list[str]:
        """Return the flags that ask for this."""
        found = []
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value != field.default:
                found += [f"--{field.name}={each}" for each in (value if isinstance(value, list | tuple) else [value])]
        return found

    def _check_mode(self) -> None:
        if self.mode not in MODES:
            hint = did_you_mean(str(self.mode), MODES) or "."
            raise UsageError(f"--mode={self.mode}: expected one of {', '.join(MODES)}{hint}")
        if self.checkpoint and self.mode in TRAINING_MODES:
            raise UsageError(
                f"--checkpoint is for --mode=eval, predict or export, not {self.mode}: training continues from the newest "
                "checkpoint in --model_dir by itself."
            )
        if self.checkpoint and self.mode == "replay":
            raise UsageError(
                f"--checkpoint={self.checkpoint}: expected --step alone with --mode=replay, which begins with the newest "
                "checkpoint before that step: remove it."
            )
        self._check_step()
        if self.format is not None and self.format not in FORMATS:
            hint = did_you_mean(str(self.format), FORMATS) or "."
            raise UsageError(f"--format={self.format}: expected one of {', '.join(FORMATS)}{hint}")
        if self.format is not None and self.mode != "predict":
            raise UsageError(f"--format={self.format} is for --mode=predict, not {self.mode}: remove it.")

    def _check_tune(self) -> None:
        if self.mode != "tune":
            if self.tune_batch_sizes is not None:
                raise UsageError(
                    f"--tune_batch_sizes={self.tune_batch_sizes}: expected --mode=tune with it, got --mode={self.mode}."
                )
            return
        batch_sizes(self.tune_batch_sizes)
        given = [f"--{name}" for name in ("dry_run", "checkpoint") if getattr(self, name)]
        if given:
            raise UsageError(
                f"{given[0]}: expected another mode, got --mode=tune, which trains from the start: remove it."
            )

    def _check_step(self) -> None:
        if self.mode == "replay" and self.step is None:
            raise UsageError("--mode=replay: expected the number of the step to look at, got none: add --step=N.")
        if self.mode != "replay" and self.step is not None:
            raise UsageError(f"--step={self.step}: expected --mode=replay with it, got --mode={self.mode}.")
        if self.mode == "replay" and self.dry_run:
            raise UsageError("--dry_run: expected a mode that trains or evaluates, got --mode=replay: remove it.")

    def _check_numbers(self) -> None:
        least_of = {"virtual_cpus": 1, "step": 1, "workers": 1, "max_restarts": 0, "trials": 1, "jobs": 1}
        for name, least in least_of.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise UsageError(f"--{name}={value}: expected a whole number of at least {least}.")
        if self.start_timeout is not None and not 0 < self.start_timeout < float("inf"):
            raise UsageError(f"--start_timeout={self.start_timeout}: expected a number of seconds greater than 0.")

    def _check_workers(self) -> None:
        if self.workers is None:
            if self.max_restarts is not None:
                raise UsageError(f"--max_restarts={self.max_restarts} is for --workers, which is not given.")
            return
        conflicts = [f"--{name}" for name in ("dry_run", "list_configurables") if getattr(self, name)]
        conflicts += ["--explain"] if self.explain is not None else []
        conflicts += [] if self.mode in _WORKERS_MODES else [f"--mode={self.mode}"]
        if conflicts:
            raise UsageError(
                f"--workers={self.workers} is for --mode={', '.join(_WORKERS_MODES)}, and {conflicts[0]} needs one process: "
                "leave --workers out, and give --gin_param=Trainer.strategy=@mirrored() if the config has "
                "@multi_worker_mirrored()."
            )

    def _check_study(self) -> None:
        if self.study is None:
            given = [name for name in ("trials", "jobs", "grid") if getattr(self, name)]
            if given or not self.prune:
                flag = f"--{given[0]}" if given else "--noprune"
                raise UsageError(f"{flag} is for a study: expected --study=NAME, too, which is not given.")
            return
        if not re.fullmatch(r"\w[\w.-]*", self.study):
            raise UsageError(
                f"--study={self.study}: expected a name for a folder below --model_dir, of letters, digits, _, - and ., such as "
                "learning_rate."
            )
        conflicts = [f"--{name}" for name in ("dry_run", "list_configurables") if getattr(self, name)]
        conflicts += ["--explain"] if self.explain is not None else []
        conflicts += [] if self.mode == "train_and_eval" else [f"--mode={self.mode}"]
        if conflicts:
            raise UsageError(
                f"--study={self.study}: expected --mode=train_and_eval, got {conflicts[0]}: leave --study out, and give each "
                "range a value by --gin_param=NAME=VALUE."
            )
        if bool(self.grid) == (self.trials is not None):
            got = (
                f"--trials={self.trials} and --grid, which has as many trials as combinations"
                if self.grid
                else "neither"
            )
            raise UsageError(
                f"--study={self.study}: expected --trials=N for ranges, or --grid=NAME=VALUE,VALUE, got {got}."
            )
