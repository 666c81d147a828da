"""The command: parse, load the config, build the Trainer, run a mode, exit with a code."""

from __future__ import annotations

import contextlib
import importlib
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

from absl import logging

from ...metrics.errors import UsageError
from .. import config as configs
from ..errors import NonFiniteError
from . import flags

FLAGS = flags.FLAGS
DONE, FAILED, WRONG_USAGE = 0, 1, 2


def main(argv: Sequence[str]) -> int:
    """Runs the command line; returns the exit code."""
    if any(argument in ("--help", "-help", "-h", "--helpshort") for argument in argv[1:]):
        print(flags.help_text())
        return DONE
    try:
        flags.parse(argv)
        logging.use_absl_handler()
        return _run()
    except UsageError as error:
        _log_traceback()
        print(f"Error: {error}", file=sys.stderr)
        return WRONG_USAGE
    except KeyboardInterrupt:
        print("\nStopped. The same command continues from the last checkpoint.", file=sys.stderr)
        return FAILED
    except NonFiniteError as error:
        _log_traceback()
        print(f"Error: {error}", file=sys.stderr)
        return FAILED
    except Exception:
        traceback.print_exc()
        return FAILED


def _run() -> int:
    config = _load_config()
    if FLAGS.list_configurables:
        print(configs.list_configurables())
        return DONE
    if FLAGS.explain is not None:
        return _explain(config)
    return _dry_run(config) if FLAGS.dry_run else _run_mode(config)


def _load_config() -> configs.Config:
    """Reads the files and parameters, with everything registered that they may name."""
    from .backend import load

    load(FLAGS.virtual_cpus)
    configs.register_keras()
    sys.path.insert(0, str(Path.cwd()))
    for name in FLAGS.import_module:
        _import(name)
    config = configs.load(FLAGS.gin_file, FLAGS.gin_param, FLAGS.gin_search_path)
    for warning in config.warnings:
        print(f"Warning: {warning}", file=sys.stderr)
    return config


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


def _make_trainer(config: configs.Config, model_dir: Path | None):
    """Builds the Trainer from the config: the one place where gin injects."""
    import gin

    configs.check_required(config, "Trainer")
    with _explained(config):
        return gin.get_configurable("Trainer")(model_dir=model_dir)


def _prepare(config: configs.Config, trainer) -> None:
    """Builds and traces what the mode needs, before anything is written."""
    from . import modes

    with _explained(config):
        modes.prepare(FLAGS.mode, trainer, FLAGS.checkpoint)
    if FLAGS.mode == "train_and_eval":  # the mode that uses everything: what it did not use is a mistake
        configs.check_consumed(config)


@contextlib.contextmanager
def _explained(config: configs.Config) -> Iterator[None]:
    """Says in the config's terms what went wrong, where the config is the cause."""
    try:
        yield
    except Exception as error:
        explained = configs.explain_call_error(error, config)
        if explained is None:
            raise
        raise explained from error


def _explain(config: configs.Config) -> int:
    """Prints where a value comes from. What is used is known only once everything was built and traced."""
    configs.explain(config, FLAGS.explain)  # an unknown name is said before the building
    try:
        _prepare(config, _make_trainer(config, None))
    except Exception as error:
        print(f"Whether a binding is used is not known, as the config does not build: {error}\n")
    print(configs.explain(config, FLAGS.explain))
    return DONE


def _dry_run(config: configs.Config) -> int:
    trainer = _make_trainer(config, Path(FLAGS.model_dir) if FLAGS.model_dir else None)
    _prepare(config, trainer)
    summaries = trainer.dry_run()
    trainer.model.summary()
    for summary in summaries:
        print(f"\n{summary.split} metrics:")
        for path, value in sorted(summary.metrics.items()):
            print(f"  {path} = {value}")
    print(f"\nConfig:\n\n{configs.operative(config)}")
    print("Dry run: nothing was written.")
    return DONE


def _run_mode(config: configs.Config) -> int:
    from . import modes

    if not config.bindings:
        raise UsageError("There is no config: give --gin_file=digits.gin (bundled) or a file of yours.")
    if not FLAGS.model_dir:
        raise UsageError("--model_dir is required: the folder for everything the run writes, --model_dir=/tmp/run.")
    model_dir = Path(FLAGS.model_dir)
    trainer = _make_trainer(config, model_dir)
    _prepare(config, trainer)
    with _recorded(config, model_dir) if FLAGS.mode in ("train", "train_and_eval") else contextlib.nullcontext():
        modes.run(FLAGS.mode, trainer, model_dir, FLAGS.checkpoint)
    return DONE


@contextlib.contextmanager
def _recorded(config: configs.Config, model_dir: Path) -> Iterator[None]:
    """Describes the run in its folder: how it was started, and why it ended."""
    from .run_folder import RunFolder

    folder = RunFolder(model_dir, config)
    for change in folder.changes():
        print(f"Changed since the last run: {change}")
    _begin(folder, model_dir)
    try:
        yield
    except BaseException as error:
        folder.end(f"{type(error).__name__}: {error}".removesuffix(": "))
        raise
    folder.end("done")


def _begin(folder, model_dir: Path) -> None:
    try:
        folder.begin()
    except OSError as error:
        raise UsageError(
            f"--model_dir={model_dir} cannot be written ({error.strerror}): choose another folder."
        ) from error


def _log_traceback() -> None:
    """A mistake of the user's needs no traceback, unless it is asked for by --verbosity=1."""
    logging.debug("Traceback of the error:", exc_info=True)
