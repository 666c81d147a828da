"""What a single process does after the flags are checked: load the config, build the Trainer, run the mode.

TensorFlow is loaded on the way, so that module imports which need it stand inside functions.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import gin

from ...metrics.errors import UsageError
from .. import config as configs
from ..errors import DONE, FAILED
from . import backend, member, run_folder
from .flags import FLAGS, NO_CONFIG, trains

if TYPE_CHECKING:
    from ..errors import ClusterError
    from ..trainer import Trainer

_REPLICAS_TO_CHECK = 3  # as in loop.invariance, which cannot be imported before TensorFlow is set up
# Keras's sentence about data of a wrong shape, without the traceback and the colours around it.


def run() -> int:
    """Run what the flags ask for; return the exit code.

    Raises:
      UsageError: the flags, the config or the data are wrong.
      RuntimeError: one of `trainer.errors`.
    """
    config = _load_config()
    if FLAGS.list_configurables:
        print(configs.list_configurables())
        return DONE
    if FLAGS.explain is not None:
        return _explain(config)
    backend.check_strategy(config)
    with _explained(config):
        backend.join_cluster(config)
    backend.start_devices()
    if FLAGS.dry_run:
        return _dry_run(config)
    return _check(config) if FLAGS.mode == "check" else _run_mode(config)


def _load_config() -> configs.Config:
    """Read the files and parameters, after registering all that they can name."""
    checks = FLAGS.mode == "check"
    backend.load(max(FLAGS.virtual_cpus or 1, _REPLICAS_TO_CHECK) if checks else FLAGS.virtual_cpus)
    configs.register_keras()
    sys.path.insert(0, str(Path.cwd()))
    for name in FLAGS.import_module:
        _import(name)
    config = configs.load(FLAGS.gin_file, [*FLAGS.gin_param, *_bound_by_flags()], FLAGS.gin_search_path)
    for warning in config.warnings if member.is_first() else ():
        print(f"Warning: {warning}", file=sys.stderr)
    return config


def _bound_by_flags() -> list[str]:
    """Return the bindings of flags that are shorthands for one."""
    return [] if FLAGS.start_timeout is None else [f"multi_worker_mirrored.start_timeout={FLAGS.start_timeout}"]


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


def _make_trainer(config: configs.Config) -> Trainer:
    """Build the Trainer from the config: the only place where gin injects."""
    configs.check_required(config, "Trainer")
    with _explained(config):
        return gin.get_configurable("Trainer")(model_dir=Path(FLAGS.model_dir) if FLAGS.model_dir else None)


def _prepare(config: configs.Config, trainer: Trainer) -> None:
    """Build and trace what the mode needs, before anything is written."""
    from . import modes

    with _explained(config), _lost_worker_reported():
        modes.prepare(FLAGS.mode, trainer)
    if FLAGS.mode == "train_and_eval":  # this mode uses everything: a binding that it does not use is a mistake
        configs.check_consumed(config)


def _explain(config: configs.Config) -> int:
    """Print where a value comes from. Whether a binding is used is known only after everything was built and traced."""
    configs.explain(config, FLAGS.explain)  # fails early for an unknown name
    try:
        _prepare(config, _make_trainer(config))
    except Exception as error:
        print(f"Whether a binding is used is not known, as the config does not build: {error}\n")
    print(configs.explain(config, FLAGS.explain))
    return DONE


def _dry_run(config: configs.Config) -> int:
    from . import modes

    trainer = _make_trainer(config)
    _prepare(config, trainer)
    with _explained(config):
        modes.dry_run(FLAGS.mode, trainer)
    print(f"\nConfig:\n\n{configs.operative(config)}")
    print("Dry run: nothing was written.")
    return DONE


def _check(config: configs.Config) -> int:
    from . import modes

    trainer = _make_trainer(config)
    with _explained(config):
        return DONE if modes.check(trainer) else FAILED


def _run_mode(config: configs.Config) -> int:
    from . import modes

    if not config.bindings:
        raise UsageError(NO_CONFIG)
    model_dir = Path(FLAGS.model_dir)
    trainer = _make_trainer(config)
    with contextlib.ExitStack() as stack:
        if trains():
            with _explained(config):
                strategy = trainer.strategy
            with _lost_worker_reported():
                stack.enter_context(run_folder.exclusive(model_dir, strategy))
        _prepare(config, trainer)
        stack.enter_context(
            run_folder.recorded(config, model_dir, trainer.strategy, lambda: trainer.stopped)
            if trains()
            else _explained(config)
        )
        with _lost_worker_reported():
            modes.run(FLAGS.mode, trainer, model_dir, FLAGS.checkpoint)
    return DONE


@contextlib.contextmanager
def _explained(config: configs.Config) -> Iterator[None]:
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
