"""The command: parse, load the config, build the Trainer, run a mode, exit with a code."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from absl import logging

from ...metrics.errors import UsageError
from .. import config as configs
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
        return _fail(error, WRONG_USAGE)
    except KeyboardInterrupt:
        print("\nStopped. The same command continues from the last checkpoint.", file=sys.stderr)
        return FAILED


def _run() -> int:
    config = _load_config()
    if FLAGS.list_configurables:
        print(configs.list_configurables())
        return DONE
    if FLAGS.explain is not None:
        print(configs.explain(config, FLAGS.explain))
        return DONE
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
            f"--import_module={name}: no such module. It is searched in the working folder ({Path.cwd()}) and where Python "
            "finds packages; write it with dots and without .py."
        ) from error


def _make_trainer(config: configs.Config, model_dir: Path | None):
    """Builds the Trainer from the config: the one place where gin injects."""
    import gin

    configs.check_required(config, "Trainer")
    try:
        return gin.get_configurable("Trainer")(model_dir=model_dir)
    except Exception as error:
        explained = configs.explain_call_error(error, config)
        if explained is None:
            raise
        raise explained from error


def _prepare(config: configs.Config, trainer) -> None:
    """Builds and traces what the mode needs; a binding that nothing consumed by then is a mistake."""
    from . import modes

    try:
        modes.prepare(FLAGS.mode, trainer, FLAGS.checkpoint)
    except Exception as error:
        explained = configs.explain_call_error(error, config)
        if explained is None:
            raise
        raise explained from error
    config.check_consumed()


def _dry_run(config: configs.Config) -> int:
    trainer = _make_trainer(config, FLAGS.model_dir and Path(FLAGS.model_dir))
    _prepare(config, trainer)
    summaries = trainer.dry_run()
    trainer.model.summary()
    for summary in summaries:
        print(f"\n{summary.split} metrics:")
        for path, value in sorted(summary.metrics.items()):
            print(f"  {path} = {value}")
    print(f"\nConfig:\n\n{config.operative()}")
    print("Dry run: nothing was written.")
    return DONE


def _run_mode(config: configs.Config) -> int:
    from . import modes
    from .run_folder import RunFolder

    if not config.bindings:
        raise UsageError("There is no config: give --gin_file=digits.gin (bundled) or a file of yours.")
    if not FLAGS.model_dir:
        raise UsageError("--model_dir is required: the folder for everything the run writes, --model_dir=/tmp/run.")
    model_dir = Path(FLAGS.model_dir)
    trainer = _make_trainer(config, model_dir)
    _prepare(config, trainer)
    folder = RunFolder(model_dir, config)
    for change in folder.changes():
        print(f"Changed since the last run: {change}")
    folder.begin()
    try:
        modes.run(FLAGS.mode, trainer, model_dir, FLAGS.checkpoint)
    except BaseException as error:
        folder.end(f"{type(error).__name__}: {error}".strip())
        if isinstance(error, UsageError | KeyboardInterrupt):
            raise
        return _fail(error, FAILED)
    folder.end("done")
    return DONE


def _fail(error: BaseException, code: int) -> int:
    """Says what went wrong. A mistake of the user's needs no traceback; anything else does."""
    if code == WRONG_USAGE and not flags.verbose():
        print(f"Error: {error}", file=sys.stderr)
    else:
        traceback.print_exception(error)
    return code
