"""The command: parse, load the config, build the Trainer, run a mode, exit with a code."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import select
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

from absl import logging

from ...metrics.errors import DataError, UsageError
from .. import config as configs
from ..distribution import preemption
from ..errors import CheckpointError, ClusterError, NonFiniteError, OutputError, PreemptedError
from . import flags, member
from .exit_codes import DONE, FAILED, PREEMPTED, WRONG_USAGE

FLAGS = flags.FLAGS
REPLICAS_TO_CHECK = 3  # as in trainer.invariance, which is not loaded before TensorFlow may be
_NO_CONFIG = "There is no config: give --gin_file=digits.gin (bundled) or a file of yours."
# Keras's sentence about data of a wrong shape, without the traceback and the colours around it.
_MISFIT = re.compile(r"Input \d+ [^\n]*?is incompatible with the layer[^\n\x1b]*")


def main(argv: Sequence[str]) -> int:
    """Runs the command line; returns the exit code."""
    try:
        code = _main(argv)
        sys.stdout.flush()
    except BrokenPipeError:
        if _output_is_open():
            traceback.print_exc()  # somebody else's pipe
        elif FLAGS.is_parsed():  # it was not for --help, whose reader has seen enough
            print("Error: standard output was closed before the end. The same command continues.", file=sys.stderr)
        return FAILED
    return code


def _output_is_open() -> bool:
    """Tells whether somebody still reads what is printed. If not, it is dropped, so that the exit does not trip on it."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)  # errors are reported without being asked for
    is_open = not poll.poll(0)
    if not is_open:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return is_open


def _main(argv: Sequence[str]) -> int:
    if any(argument in ("--help", "-help", "-h", "--helpshort") for argument in argv[1:]):
        print(flags.help_text())
        return DONE
    try:
        flags.parse(argv)
        logging.use_absl_handler()
        return _run(argv)
    except UsageError as error:
        _log_traceback()
        print("\n".join([f"Error: {error}", *getattr(error, "__notes__", ())]), file=sys.stderr)
        return WRONG_USAGE
    except KeyboardInterrupt:
        print("\nStopped. The same command continues from the last checkpoint.", file=sys.stderr)
        return FAILED
    except PreemptedError as error:
        print(f"{error} The same command continues.", file=sys.stderr)
        return PREEMPTED
    except (CheckpointError, ClusterError, DataError, NonFiniteError, OutputError) as error:
        _log_traceback()
        print(f"Error: {configs.without_gin_notes(str(error))}", file=sys.stderr)
        return FAILED
    except BrokenPipeError:
        raise
    except Exception:
        traceback.print_exc()
        return FAILED


def _run(argv: Sequence[str]) -> int:
    _check_request()
    if FLAGS.workers is not None and not member.is_member():
        from . import group

        return group.run(_same_command(argv), FLAGS.workers, FLAGS.max_restarts)
    if member.is_member():
        member.die_with_launcher()
    # From here on, as loading TensorFlow and meeting the other workers take a while, in which a machine may be taken away.
    with preemption.on_signals() if _trains() else contextlib.nullcontext():
        return _run_here()


def _trains() -> bool:
    """Tells whether this command is to train, and so has something to save when it is asked to stop."""
    looks = FLAGS.dry_run or FLAGS.list_configurables or FLAGS.explain is not None
    return FLAGS.mode in flags.TRAINING_MODES and not looks


def _run_here() -> int:
    config = _load_config()
    if FLAGS.list_configurables:
        print(configs.list_configurables())
        return DONE
    if FLAGS.explain is not None:
        return _explain(config)
    _start_devices(config)
    if FLAGS.dry_run:
        return _dry_run(config)
    return _check(config) if FLAGS.mode == "check" else _run_mode(config)


def _same_command(argv: Sequence[str]) -> list[str]:
    """What runs this command once more: `python -m tallyloop.trainer`, or the installed script."""
    is_module = Path(argv[0]).name == "__main__.py"
    return [sys.executable, *(["-m", __package__.rpartition(".")[0]] if is_module else [argv[0]]), *argv[1:]]


def _start_devices(config: configs.Config) -> None:
    """Makes TensorFlow's devices; a worker first joins its cluster, which must happen before anything runs an op."""
    from . import backend, many_workers

    many_workers.check_strategy(config)
    with _explained(config):
        many_workers.join(config)
    backend.start()


def _check_request() -> None:
    """Refuses what is known to be wrong before TensorFlow is loaded, which takes seconds."""
    for name in FLAGS.gin_file:
        try:
            configs.find(name, FLAGS.gin_search_path)
        except UsageError as error:
            raise UsageError(f"--gin_file: {error}") from error
    if FLAGS.list_configurables or FLAGS.explain is not None:
        return
    if not (FLAGS.gin_file or FLAGS.gin_param):
        raise UsageError(_NO_CONFIG)
    writes = not FLAGS.dry_run and FLAGS.mode != "check"
    if writes and not FLAGS.model_dir:
        raise UsageError("--model_dir is required: the folder for everything the run writes, --model_dir=/tmp/run.")
    checkpoint = FLAGS.checkpoint
    if checkpoint and "://" not in checkpoint and not Path(checkpoint + ".index").exists():
        raise UsageError(
            f"--checkpoint={checkpoint}: no such checkpoint (there is no {checkpoint}.index); wanted its path "
            "without an ending, such as /run/checkpoints/ckpt-500."
        )
    if writes:
        from . import folders

        folders.check(Path(FLAGS.model_dir), FLAGS.mode)


def _load_config() -> configs.Config:
    """Reads the files and parameters, with everything registered that they may name."""
    from .backend import load

    load(max(FLAGS.virtual_cpus or 1, REPLICAS_TO_CHECK) if FLAGS.mode == "check" else FLAGS.virtual_cpus)
    configs.register_keras()
    sys.path.insert(0, str(Path.cwd()))
    for name in FLAGS.import_module:
        _import(name)
    config = configs.load(FLAGS.gin_file, [*FLAGS.gin_param, *_bound_by_flags()], FLAGS.gin_search_path)
    for warning in config.warnings if member.is_first() else ():
        print(f"Warning: {warning}", file=sys.stderr)
    return config


def _bound_by_flags() -> list[str]:
    """Flags that are short for a binding."""
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


def _make_trainer(config: configs.Config, model_dir: Path | None):
    """Builds the Trainer from the config: the one place where gin injects."""
    import gin

    configs.check_required(config, "Trainer")
    with _explained(config):
        return gin.get_configurable("Trainer")(model_dir=model_dir)


def _prepare(config: configs.Config, trainer) -> None:
    """Builds and traces what the mode needs, before anything is written."""
    from . import modes

    with _explained(config), _lost_worker_told():
        modes.prepare(FLAGS.mode, trainer)
    if FLAGS.mode == "train_and_eval":  # the mode that uses everything: what it did not use is a mistake
        configs.check_consumed(config)


@contextlib.contextmanager
def _explained(config: configs.Config) -> Iterator[None]:
    """Says in the config's terms what went wrong, where the config is the cause."""
    try:
        yield
    except Exception as error:
        explained = configs.explain_call_error(error, config) or _misfit(error)
        if explained is None:
            raise
        for note in getattr(error, "__notes__", ()):
            explained.add_note(note)
        raise explained from error


def _misfit(error: Exception) -> UsageError | None:
    """Returns what to say of data whose shape the model does not take, or None if that is not it."""
    found = _MISFIT.search(str(error))
    if found is None or not isinstance(error, ValueError):
        return None
    return UsageError(
        f"The data does not fit the model: {found[0]}. Change the model, or the dataset's Input.source or Input.map_fn."
    )


@contextlib.contextmanager
def _lost_worker_told() -> Iterator[None]:
    """Says in one line that another worker is gone, where TensorFlow takes a page."""
    from ..distribution.workers import lost_worker

    try:
        yield
    except Exception as error:
        if (lost := lost_worker(error)) is None:
            raise
        raise lost from error


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
    from . import modes

    trainer = _make_trainer(config, Path(FLAGS.model_dir) if FLAGS.model_dir else None)
    _prepare(config, trainer)
    with _explained(config):
        summaries = trainer.dry_run(**modes.parts(FLAGS.mode))
    trainer.model.summary()
    for summary in summaries:
        print(f"\n{summary.split} metrics:")
        for path, value in sorted(summary.metrics.items()):
            print(f"  {path} = {value}")
    print(f"\nConfig:\n\n{configs.operative(config)}")
    print("Dry run: nothing was written.")
    return DONE


def _check(config: configs.Config) -> int:
    from .check_mode import check

    trainer = _make_trainer(config, Path(FLAGS.model_dir) if FLAGS.model_dir else None)
    with _explained(config):
        return DONE if check(trainer) else FAILED


def _run_mode(config: configs.Config) -> int:
    from . import modes

    if not config.bindings:
        raise UsageError(_NO_CONFIG)
    model_dir = Path(FLAGS.model_dir)
    trainer = _make_trainer(config, model_dir)
    with _alone(config, model_dir, trainer) if _trains() else contextlib.nullcontext():
        _prepare(config, trainer)
        with _recorded(config, model_dir, trainer) if _trains() else _explained(config), _lost_worker_told():
            modes.run(FLAGS.mode, trainer, model_dir, FLAGS.checkpoint)
    return DONE


@contextlib.contextmanager
def _alone(config: configs.Config, model_dir: Path, trainer) -> Iterator[None]:
    """Within it no other run trains in `model_dir`: a second one is refused before it restores and traces, on all workers.

    A folder that is not there yet is made, and locked, only when nothing can be wrong any more, by `_recorded`.

    Raises:
      PreemptedError: a worker was asked to stop before this.
    """
    from ..distribution import workers

    with _explained(config):
        strategy = trainer.strategy
    with contextlib.ExitStack() as stack:
        with _lost_worker_told():
            mine = _locked(stack, model_dir) if workers.is_chief(strategy) and model_dir.exists() else None
            if refusal := workers.from_chief(strategy, mine):
                raise UsageError(refusal)
            if workers.any_of(strategy, preemption.requested())[0]:
                raise PreemptedError("Stopped while starting.")
        yield


def _locked(stack: contextlib.ExitStack, model_dir: Path) -> str | None:
    """Takes the lock up to the end of `stack`; returns why that is refused, if it is."""
    from ..loop import folder_lock as lock
    from . import folders

    try:
        with folders.first_write(model_dir):
            stack.enter_context(lock.locked(model_dir))
    except UsageError as error:
        return str(error)
    return None


@contextlib.contextmanager
def _recorded(config: configs.Config, model_dir: Path, trainer) -> Iterator[None]:
    """The chief describes the run in its folder: how it was started, and why it ended. No other run may write there then."""
    from ..distribution import workers
    from ..loop import folder_lock as lock
    from . import folders
    from .run_folder import RunFolder

    if not workers.is_chief(trainer.strategy):
        yield
        return
    folder = RunFolder(model_dir, config)
    with contextlib.ExitStack() as stack:
        with folders.first_write(model_dir):
            stack.enter_context(lock.locked(model_dir))
            changes = folder.changes()
            folder.begin()
        try:
            for change in changes:
                print(f"Changed since the last run: {change}")
            yield
        except BaseException as error:
            folder.end(f"{type(error).__name__}: {error}".removesuffix(": "))
            raise
        folder.end("done")


def _log_traceback() -> None:
    """A mistake of the user's needs no traceback, unless it is asked for by --verbosity=1."""
    logging.debug("Traceback of the error:", exc_info=True)
