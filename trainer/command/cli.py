"""The command: parses the flags, runs a group of workers or a single process, and turns errors into exit codes."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from absl import logging

from ...metrics.errors import DataError, UsageError
from .. import config as configs
from ..errors import (
    DONE,
    FAILED,
    PREEMPTED,
    WRONG_USAGE,
    CheckpointError,
    ClusterError,
    NonFiniteError,
    OutputError,
    PreemptedError,
)
from . import flags
from .flags import FLAGS
from .request import Request

_MODULE = __name__.rpartition(".command.")[0]


def main(argv: Sequence[str]) -> int:
    """Run the command line; return the exit code.

    Args:
      argv: the name of the program, then its arguments.
    """
    try:
        code = _exit_code(argv)
        sys.stdout.flush()
    except BrokenPipeError:
        if _output_is_open():
            traceback.print_exc()  # the broken pipe is another one
        elif FLAGS.is_parsed():  # so it was not --help, whose reader has seen enough
            continues = "" if FLAGS.mode == "tune" else " The same command continues."
            print(f"Error: standard output was closed before the end.{continues}", file=sys.stderr)
        return FAILED
    return code


def _output_is_open() -> bool:
    """Return whether anybody still reads stdout. If not, drop what is still buffered, so that the exit does not fail on it."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)  # errors are reported without being asked for
    is_open = not poll.poll(0)
    if not is_open:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return is_open


def _exit_code(argv: Sequence[str]) -> int:
    if any(argument in ("--help", "-help", "-h", "--helpshort") for argument in argv[1:]):
        print(flags.help_text())
        return DONE
    try:
        request = flags.parse(argv)
        logging.use_absl_handler()
        return _run(argv, request)
    except (DataError, UsageError) as error:
        _log_traceback()
        _print_error(configs.without_gin_notes(str(error)), error)
        return FAILED if isinstance(error, DataError) and error.may_pass else WRONG_USAGE
    except KeyboardInterrupt:
        print("\nStopped. The same command continues from the last checkpoint.", file=sys.stderr)
        return FAILED
    except PreemptedError as error:
        print(f"{error} The same command continues.", file=sys.stderr)
        return PREEMPTED
    except (CheckpointError, ClusterError, NonFiniteError, OutputError) as error:
        _log_traceback()
        _print_error(configs.without_gin_notes(str(error)), error)
        return FAILED
    except BrokenPipeError:
        raise
    except Exception as error:
        return _failed(error)


def _failed(error: Exception) -> int:
    """Print an error of nobody's in particular: by the user's line if one raised it, else with its traceback."""
    told = None
    if "tensorflow" in sys.modules:  # else no code of the user's has run
        from ..user_code import raised

        told = raised(error)
    if told is None:
        traceback.print_exc()
    else:
        _log_traceback()
        _print_error(configs.without_gin_notes(told) + "\n  --verbosity=1 shows the traceback.", error)
    return FAILED


def _print_error(text: str, error: Exception) -> None:
    print("\n".join([f"Error: {text}", *getattr(error, "__notes__", ())]), file=sys.stderr)


def _log_traceback() -> None:
    """Log the traceback with --verbosity=1: for a user's mistake the message alone is enough."""
    logging.debug("Traceback of the error:", exc_info=True)


def _run(argv: Sequence[str], request: Request) -> int:
    # Imported here because --help needs none of them.
    from ..distribution import preemption
    from ..study import process
    from . import member, session

    process.die_with_study()
    session.check_files(request)
    if request.study is not None:
        from . import studying

        return studying.run(request, _same_command(argv[:1]))
    if request.mode == "tune" and not request.only_prints_config:
        from . import tuning

        return tuning.run(request)
    if request.workers is not None and not member.is_member():
        from . import group

        return group.run(_same_command(argv), request.workers, request.restarts)
    if member.is_member():
        member.die_with_launcher()
    # Signals are handled from here on: loading TensorFlow and meeting the other workers take a while, in which the machine
    # may be taken away.
    with preemption.on_signals() if request.trains else contextlib.nullcontext():
        return session.run(request)


def _same_command(argv: Sequence[str]) -> list[str]:
    """Return what runs this command again: `python -m tallyloop.trainer`, or the installed script."""
    is_module = Path(argv[0]).name == "__main__.py"
    return [sys.executable, *(["-m", _MODULE] if is_module else [argv[0]]), *argv[1:]]
