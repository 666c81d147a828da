"""`configure` and `launch`: the command line from Python and notebooks, any number of times in one process."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, wraps
from pathlib import Path
from typing import Any

import gin

from ...metrics.errors import UsageError
from .. import config as configs
from ..distribution import preemption
from ..errors import DONE, PREEMPTED, WRONG_USAGE, ClusterError, PreemptedError
from ..loop.steering import Steering
from ..prediction import Format
from ..trainer import Trainer
from . import group, session, studying
from .request import Mode, Request

_COMMAND = (sys.executable, "-m", "tallyloop.trainer")


def configure(
    gin_files: Sequence[str] = (),
    gin_params: Sequence[str] = (),
    model_dir: str | Path | None = None,
    gin_search_path: Sequence[str] = (),
    import_module: Sequence[str] = (),
) -> Trainer:
    """Return the Trainer of a gin config, with the checks of the command line.

    The config is gin's while the Trainer works, and not after it: another one may be loaded, and more be registered. What nothing
    has used is an error of `train_and_eval`, as in the command. The run folder has the config, too.

    Args:
      gin_files: config files, searched in the working folder, `gin_search_path`, then the bundled ones; later ones win.
      gin_params: bindings that win over the files, such as "Trainer.train_steps=500".
      model_dir: the folder for everything that the run writes; None writes nothing.
      gin_search_path: more folders to search for config files.
      import_module: modules whose import registers configurables. What a notebook registers itself is known.

    Raises:
      UsageError: the config has a mistake; the message lists all, each with its file and line.
    """
    request = Request(
        gin_file=_texts("gin_files", gin_files),
        gin_param=_texts("gin_params", gin_params),
        gin_search_path=_texts("gin_search_path", gin_search_path),
        import_module=_texts("import_module", import_module),
        model_dir=None if model_dir is None else str(model_dir),
    )
    return _configured(request)


def launch(
    gin_files: Sequence[str] = (),
    gin_params: Sequence[str] = (),
    model_dir: str | Path | None = None,
    mode: Mode = "train_and_eval",
    workers: int | None = None,
    virtual_cpus: int | None = None,
    checkpoint: str | None = None,
    format: Format | None = None,
    step: int | None = None,
    dry_run: bool = False,
    gin_search_path: Sequence[str] = (),
    import_module: Sequence[str] = (),
    max_restarts: int | None = None,
    start_timeout: float | None = None,
    study: str | None = None,
    trials: int | None = None,
    grid: Sequence[str] = (),
    jobs: int | None = None,
    prune: bool = True,
) -> Trainer | None:
    """Do what the command line does with the flags of the same names, and return the Trainer; with `workers` or `study`, None.

    It writes what the command writes, and is asked to stop like it: an interrupt (Ctrl-C, the stop button of a notebook) saves
    and raises `PreemptedError`, and the same call continues. `workers` and the trials of a `study` are processes of their own, as
    of the command: they know what `import_module` registers, and nothing that a notebook defines. `virtual_cpus` must come before
    TensorFlow has started.

    Args:
      gin_files: as `--gin_file`.
      gin_params: as `--gin_param`.
      model_dir: as `--model_dir`.
      mode: as `--mode`.
      workers: as `--workers`.
      virtual_cpus: as `--virtual_cpus`.
      checkpoint: as `--checkpoint`.
      format: as `--format`.
      step: as `--step`.
      dry_run: as `--dry_run`.
      gin_search_path: as `--gin_search_path`.
      import_module: as `--import_module`.
      max_restarts: as `--max_restarts`.
      start_timeout: as `--start_timeout`.
      study: as `--study`.
      trials: as `--trials`.
      grid: as `--grid`, one text per binding.
      jobs: as `--jobs`.
      prune: False is `--noprune`.

    Raises:
      UsageError: the arguments, the config or the data are wrong.
      ClusterError: a worker has failed.
      RuntimeError: another one of `tallyloop.trainer.errors`; or `mode="check"`, and a number differs; or a study, and all its
        trials have failed.
    """
    request = Request(
        gin_file=_texts("gin_files", gin_files),
        gin_param=_texts("gin_params", gin_params),
        gin_search_path=_texts("gin_search_path", gin_search_path),
        import_module=_texts("import_module", import_module),
        model_dir=None if model_dir is None else str(model_dir),
        mode=mode,
        checkpoint=checkpoint,
        format=format,
        step=step,
        dry_run=dry_run,
        virtual_cpus=virtual_cpus,
        workers=workers,
        max_restarts=max_restarts,
        start_timeout=start_timeout,
        study=study,
        trials=trials,
        grid=_texts("grid", grid),
        jobs=jobs,
        prune=prune,
    )
    if request.mode == "tune":
        raise UsageError(
            "launch(mode='tune'): expected a mode that works in this process, and tune starts others, which do not know what a "
            "notebook defines: run tallyloop --mode=tune with the same flags."
        )
    session.check_files(request)
    if request.study is not None:
        return _run_study(request)
    if request.workers is not None:
        return _run_workers(request)
    interruptible = request.trains and threading.current_thread() is threading.main_thread()
    with preemption.on_signals() if interruptible else contextlib.nullcontext():
        trainer = _configured(request)
        with configs.in_use(trainer.config):
            if not session.run_mode(request, trainer.config, trainer):
                raise RuntimeError(f"launch(mode={mode!r}): a number differs between one replica and three; see above.")
    return trainer


def _in_config(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def call(self: _ConfiguredTrainer, *args: Any, **kwargs: Any) -> Any:
        with configs.in_use(self.config), session.explained(self.config):
            return method(self, *args, **kwargs)

    return call


class _ConfiguredTrainer(Trainer):
    """A Trainer whose config is gin's while one of its methods runs.

    Attributes:
      config: what it was made from.
    """

    config: configs.Config

    model = cached_property(_in_config(vars(Trainer)["model"].func))
    strategy = cached_property(_in_config(vars(Trainer)["strategy"].func))
    optimizer = property(_in_config(vars(Steering)["optimizer"].fget))
    session = property(_in_config(vars(Steering)["session"].fget))
    train_steps = property(_in_config(vars(Steering)["train_steps"].fget))
    train = _in_config(Trainer.train)
    summaries = _in_config(Trainer.summaries)  # and `evaluate`, which calls it
    predict = _in_config(Trainer.predict)
    export = _in_config(Trainer.export)
    prepare = _in_config(Trainer.prepare)
    dry_run = _in_config(Trainer.dry_run)
    check = _in_config(Trainer.check)
    replay = _in_config(Trainer.replay)

    def train_and_eval(self) -> dict[str, dict[str, Any]]:
        """Train and evaluate as `Trainer.train_and_eval` does, after a check that everything in the config is used."""
        with configs.in_use(self.config):
            session.prepare("train_and_eval", self.config, self)
            return super().train_and_eval()


def _configured(request: Request) -> _ConfiguredTrainer:
    gin.enter_interactive_mode()  # a cell that registers a task may run again
    config = session.load_config(request)
    with configs.in_use(config):
        session.start(request, config)
        made: Any = session.make_trainer(config, request.model_dir)
    made.__class__ = _ConfiguredTrainer  # gin makes what is registered as Trainer
    made.config = config
    for dataset in made.datasets:  # a user may read one before a method of the Trainer does
        dataset.call_within(lambda: configs.in_use(config))
    return made


def _run_workers(request: Request) -> None:
    call = f"launch(workers={request.workers})"
    code = group.run([*_COMMAND, *request.arguments()], request.workers or 1, request.restarts)
    _check_end(code, call, "workers", "on stderr")
    if code != DONE:
        raise ClusterError(f"{call}: a worker has failed; its message is on stderr.")


def _run_study(request: Request) -> None:
    call = f"launch(study={request.study!r})"
    code = studying.run(request, _COMMAND)
    _check_end(code, call, "trials", "in output.txt of their folders")
    if code != DONE:
        raise RuntimeError(f"{call}: all trials have failed; their messages are in output.txt of their folders.")


def _check_end(code: int, call: str, processes: str, where: str) -> None:
    """Raise what the exit code of other processes means, unless they are done or failed by an error of their own."""
    if code == WRONG_USAGE:
        raise UsageError(
            f"{call}: the {processes} have refused it; their message is {where}. They are processes of their own: what a "
            "notebook defines must be in a module, which import_module names."
        )
    if code == PREEMPTED:
        raise PreemptedError(f"{call}: stopped; what it has done is saved, and the same call continues.")


def _texts(name: str, given: Any) -> list[str]:
    """Return a list of texts; one text alone would be taken for a list of its letters."""
    if isinstance(given, str | Path):
        raise UsageError(f"{name} = {str(given)!r}: expected a list, such as [{str(given)!r}].")
    if isinstance(given, Mapping):
        raise UsageError(
            f"{name} = {given!r}: expected a list of texts, such as {[f'{k}={v}' for k, v in given.items()]}."
        )
    return [str(each) for each in given]
