"""What a single process does after the flags are checked: load the config, build the Trainer, run the mode.

TensorFlow is loaded on the way, so that module imports which need it stand inside functions.
"""

from __future__ import annotations

import contextlib
import importlib
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gin

from ...metrics.errors import UsageError
from ...metrics.terminal.spinner import be_silent, doing
from ...metrics.writers.run_files import CONFIG
from .. import config as configs
from ..errors import DONE, FAILED
from ..prediction import NPZ
from . import backend, member, run_folder
from .request import NO_CONFIG, Mode, Request

if TYPE_CHECKING:
    from ..errors import ClusterError
    from ..trainer import Trainer

_REPLICAS_TO_CHECK = 3  # as in loop.invariance, which cannot be imported before TensorFlow is set up


def check_files(request: Request) -> None:
    """Check the files and folders that are named, before TensorFlow is loaded, which takes seconds.

    Raises:
      UsageError: there is no config, or a file or folder is missing or in the way.
      OutputError: the disk is full.
    """
    for name in request.gin_file:
        try:
            configs.find(name, request.gin_search_path)
        except UsageError as error:
            raise UsageError(f"--gin_file: {error}") from error
    if request.only_prints_config:
        return
    if not (request.gin_file or request.gin_param):
        raise UsageError(NO_CONFIG + _its_own(request.model_dir))
    writes = not request.dry_run and request.mode not in ("check", "tune")
    if writes and not request.model_dir:
        raise UsageError("--model_dir is required: the folder for everything the run writes, --model_dir=/tmp/run.")
    if request.checkpoint != "best":
        _check_checkpoint(request.checkpoint)
    if writes:
        run_folder.check(Path(str(request.model_dir)), request.mode)


def _check_checkpoint(path: str | None) -> None:
    if path and "://" not in path and not Path(path + ".index").exists():
        raise UsageError(
            f"--checkpoint={path}: no such checkpoint (there is no {path}.index). Expected its path without an ending, such "
            "as /run/checkpoints/ckpt-500, or best."
        )


def run(request: Request) -> int:
    """Run what is asked for; return the exit code.

    Raises:
      UsageError: the flags, the config or the data are wrong.
      RuntimeError: one of `trainer.errors`.
    """
    config = load_config(request)
    if request.list_configurables:
        print(configs.list_configurables())
        return DONE
    if request.explain is not None:
        return _explain(request, config)
    start(request, config)
    return DONE if run_mode(request, config, make_trainer(config, request.model_dir)) else FAILED


def start(request: Request, config: configs.Config) -> None:
    """Join the cluster, if the config has one, and start TensorFlow's devices."""
    backend.check_strategy(config, request)
    with explained(config):
        backend.join_cluster(config, request.mode)
    backend.start_devices()


def load_config(request: Request) -> configs.Config:
    """Read the files and parameters, after registering all that they can name."""
    checks = request.mode == "check"
    if not member.is_first():
        be_silent()
    with doing("loading TensorFlow"):
        backend.load(max(request.virtual_cpus or 1, _REPLICAS_TO_CHECK) if checks else request.virtual_cpus)
        configs.register_keras()
    if str(Path.cwd()) not in sys.path[:1]:
        sys.path.insert(0, str(Path.cwd()))
    for name in request.import_module:
        _import(name)
    config = configs.load(request.gin_file, [*request.gin_param, *_bound_by_flags(request)], request.gin_search_path)
    for warning in config.warnings if member.is_first() else ():
        print(f"Warning: {warning}", file=sys.stderr)
    return config


def _bound_by_flags(request: Request) -> list[str]:
    """Return the bindings of flags that are shorthands for one."""
    timeout = request.start_timeout
    return [] if timeout is None else [f"multi_worker_mirrored.start_timeout={timeout}"]


def _import(name: str) -> None:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name + ".").startswith(error.name + "."):
            raise
        raise UsageError(
            f"--import_module={name}: no such module. It is searched in the working folder ({Path.cwd()}) and where "
            "Python finds packages; write it with dots and without .py."
        ) from error


def _its_own(model_dir: str | None) -> str:
    """Return which config the run in a folder was started with; nothing if there is none."""
    given = Path(model_dir) / CONFIG if model_dir else None
    return f" That of the run: --gin_file={shlex.quote(str(given))}" if given and given.is_file() else ""


def make_trainer(config: configs.Config, model_dir: str | Path | None, **instead: Any) -> Trainer:
    """Build the Trainer from the config, but for the arguments `instead`: the only place where gin injects."""
    if not config.bindings:
        raise UsageError(NO_CONFIG)
    configs.check_required(config, "Trainer")
    with explained(config):
        trainer = gin.get_configurable("Trainer")(model_dir=Path(model_dir) if model_dir else None, **instead)
    trainer.run_files = run_folder.ConfigFiles(config)
    return trainer


def prepare(mode: Mode, config: configs.Config, trainer: Trainer) -> None:
    """Build and trace what the mode needs, before anything is written."""
    from . import modes

    with explained(config), _lost_worker_reported(), doing("reading the data and building the model"):
        modes.prepare(mode, trainer)
    if mode == "train_and_eval":  # this mode uses everything: a binding that it does not use is a mistake
        configs.check_consumed(config)


def _explain(request: Request, config: configs.Config) -> int:
    """Print where a value comes from. Whether a binding is used is known only after everything was built and traced."""
    name = str(request.explain)
    configs.explain(config, name)  # fails early for an unknown name
    try:
        prepare(request.mode, config, make_trainer(config, request.model_dir))
    except Exception as error:
        print(f"Whether a binding is used is not known, as the config does not build: {error}\n")
    print(configs.explain(config, name))
    return DONE


def run_mode(request: Request, config: configs.Config, trainer: Trainer) -> bool:
    """Run the mode, or the dry run, on a Trainer; return whether all is well, which only `check` may deny."""
    from . import modes

    if request.dry_run:
        _dry_run(request.mode, config, trainer)
    elif request.mode == "check":
        with explained(config):
            return modes.check(trainer)
    else:
        _run_trainer(request, config, trainer)
    return True


def _dry_run(mode: Mode, config: configs.Config, trainer: Trainer) -> None:
    from . import modes

    prepare(mode, config, trainer)
    with explained(config):
        modes.dry_run(mode, trainer)
    print(f"\nConfig:\n\n{configs.operative(config)}")
    print("Dry run: nothing was written.")


def _run_trainer(request: Request, config: configs.Config, trainer: Trainer) -> None:
    """Run a mode that writes to the Trainer's folder."""
    from . import modes

    model_dir = Path(str(request.model_dir))
    with contextlib.ExitStack() as stack:
        if request.trains:
            with explained(config):
                strategy = trainer.strategy
            with _lost_worker_reported():
                stack.enter_context(run_folder.exclusive(model_dir, strategy))
        prepare(request.mode, config, trainer)
        if not request.trains:
            stack.enter_context(explained(config))
        with _lost_worker_reported():
            modes.run(request.mode, trainer, model_dir, request.checkpoint, request.format or NPZ, request.step)


@contextlib.contextmanager
def explained(config: configs.Config) -> Iterator[None]:
    """Raise an error that the config has caused as a UsageError in terms of the config."""
    try:
        yield
    except Exception as error:
        explained = configs.explain_call_error(error, config) or _raised_by_the_user(error)
        if explained is None:
            raise
        for note in getattr(error, "__notes__", ()):
            explained.add_note(note)
        raise explained from error


def _raised_by_the_user(error: Exception) -> UsageError | None:
    """Return the error that code of the user's raised while the Trainer was made, such as a task's constructor."""
    from ..user_code import raised

    told = None if isinstance(error, OSError | RuntimeError) else raised(error)
    return None if told is None else UsageError(configs.without_gin_notes(told))


@contextlib.contextmanager
def _lost_worker_reported() -> Iterator[None]:
    """Raise TensorFlow's page-long error about a lost worker as a ClusterError of one line."""
    try:
        yield
    except Exception as error:
        if (lost := _lost_worker(error)) is None:
            raise
        raise lost from error


def _lost_worker(error: Exception) -> ClusterError | None:
    from ..distribution import workers

    return workers.lost_worker(error)
