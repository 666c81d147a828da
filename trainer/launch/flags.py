"""The command line's flags."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from absl import flags

from ...metrics.errors import UsageError

MODES = ("train_and_eval", "train", "eval", "predict", "export", "check")
TRAINING_MODES = ("train_and_eval", "train")
_WORKERS_MODES = (*TRAINING_MODES, "eval")

DESCRIPTION = """Trains and evaluates what a gin config describes.

  tallyloop --gin_file=digits.gin --model_dir=/tmp/digits
  tallyloop --gin_file=digits.gin --model_dir=/tmp/digits --gin_param=Trainer.train_steps=5000
  tensorboard --logdir=/tmp/digits

Rerunning the same command continues the run. Exit codes: 0 done; 1 failed; 2 wrong usage or config; 42 asked to stop
(SIGTERM, Ctrl-C), saved: run it again.
"""

FLAGS = flags.FLAGS
_OURS: list[str] = []


def _define(define, name: str, default, text: str) -> None:
    define(name, default, text)
    _OURS.append(name)


_define(
    flags.DEFINE_multi_string,
    "gin_file",
    [],
    "A config file; repeat for several, later ones win. Searched in the working folder, --gin_search_path, then "
    "the bundled configs (digits.gin, digits_cnn.gin, autoencoder.gin).",
)
_define(
    flags.DEFINE_multi_string,
    "gin_param",
    [],
    "One binding, such as Trainer.train_steps=500; repeat for several. Wins over every file.",
)
_define(flags.DEFINE_multi_string, "gin_search_path", [], "Another folder to search config files in; repeatable.")
_define(
    flags.DEFINE_multi_string,
    "import_module",
    [],
    "A module to import, whose gin.register makes your own tasks known; repeatable. The working folder is importable.",
)
_define(
    flags.DEFINE_string,
    "model_dir",
    None,
    "The run's folder: everything it writes. Rerunning with the same one continues the run.",
)
_define(
    flags.DEFINE_string,
    "mode",
    "train_and_eval",
    f"One of {', '.join(MODES)}. eval evaluates --checkpoint, or follows new ones until the last; predict and export "
    "take the newest checkpoint unless --checkpoint names one. check tries the task on one replica and cut over three, and "
    "exits with 1 if a number differs.",
)
_define(
    flags.DEFINE_string,
    "checkpoint",
    None,
    "The checkpoint for --mode=eval, predict or export: /run/checkpoints/ckpt-500.",
)
_define(
    flags.DEFINE_bool,
    "dry_run",
    False,
    "Build everything, run one train and one eval step on the real input, print the model, the metric names and "
    "the config; write nothing.",
)
_define(
    flags.DEFINE_string,
    "explain",
    None,
    "Tell where a parameter's value comes from, such as Trainer.train_steps: every binding with file and line, and "
    "which one wins.",
)
_define(flags.DEFINE_bool, "list_configurables", False, "List what can be configured, with defaults.")
_define(
    flags.DEFINE_integer,
    "virtual_cpus",
    None,
    "Split the CPU into this many logical devices, so that @mirrored() runs as many replicas on a laptop.",
)
_define(
    flags.DEFINE_integer,
    "workers",
    None,
    "Start this many processes of this command on this machine, which train as one with Trainer.strategy = "
    "@multi_worker_mirrored().",
)
_define(
    flags.DEFINE_integer,
    "max_restarts",
    3,
    "With --workers: how often all of them are started again, from the last checkpoint, when one has failed.",
)
_define(
    flags.DEFINE_float,
    "start_timeout",
    None,
    "How many seconds @multi_worker_mirrored() waits for all workers (600 if not bound).",
)


def parse(argv: Sequence[str]) -> None:
    """Parses the command line.

    Raises:
      UsageError: a flag is unknown or has a wrong value.
    """
    try:
        extra = FLAGS(list(argv))[1:]
    except flags.Error as error:
        raise UsageError(f"{error} (tallyloop --help lists the flags)") from error
    if extra:
        raise UsageError(f"{extra[0]!r} is no flag: flags start with --, such as --gin_file={extra[0]}.")
    _check()


def help_text() -> str:
    """What `--help` prints."""
    entries = []
    for name in [*_OURS, "verbosity"]:
        flag = FLAGS[name]
        default = "" if flag.default in (None, [], False) else f" (default: {flag.default})"
        # absl appends its own remark to a multi flag's help; ours says "repeat" already.
        words = " ".join(flag.help.split(";\n")[0].split())
        text = flags.text_wrap(words + default, 100, "      ")
        entries.append(f"  --{name}{_form(flag)}\n{text}")
    return DESCRIPTION + "\nFlags:\n" + "\n".join(entries)


def _form(flag: flags.Flag) -> str:
    if flag.boolean:
        return ""
    return "=N" if flag.flag_type() in ("int", "float") else f"={flag.name.rpartition('_')[2].upper()}"


def _check() -> None:
    if FLAGS.mode not in MODES:
        close = difflib.get_close_matches(FLAGS.mode, MODES, 1)
        hint = f"; did you mean {close[0]}?" if close else "."
        raise UsageError(f"--mode={FLAGS.mode}: wanted one of {', '.join(MODES)}{hint}")
    if FLAGS.virtual_cpus is not None and FLAGS.virtual_cpus < 1:
        raise UsageError(f"--virtual_cpus={FLAGS.virtual_cpus}: wanted a number of at least 1.")
    _check_workers()
    if FLAGS.checkpoint and FLAGS.mode in TRAINING_MODES:
        raise UsageError(
            f"--checkpoint is for --mode=eval, predict or export, not {FLAGS.mode}: training continues from the newest "
            "checkpoint in --model_dir by itself."
        )


def _check_workers() -> None:
    for name, least in (("workers", 1), ("max_restarts", 0)):
        if FLAGS[name].value is not None and FLAGS[name].value < least:
            raise UsageError(f"--{name}={FLAGS[name].value}: wanted a number of at least {least}.")
    if FLAGS.start_timeout is not None and not 0 < FLAGS.start_timeout < float("inf"):
        raise UsageError(f"--start_timeout={FLAGS.start_timeout}: wanted a number of seconds greater than 0.")
    if FLAGS.workers is None:
        if FLAGS["max_restarts"].present:
            raise UsageError(f"--max_restarts={FLAGS.max_restarts} is for --workers, which is not given.")
        return
    alone = [f"--{name}" for name in ("dry_run", "list_configurables") if FLAGS[name].value]
    alone += ["--explain"] if FLAGS.explain is not None else []
    alone += [] if FLAGS.mode in _WORKERS_MODES else [f"--mode={FLAGS.mode}"]
    if alone:
        raise UsageError(
            f"--workers={FLAGS.workers} is for --mode={', '.join(_WORKERS_MODES)}, and {alone[0]} needs one process: leave "
            "--workers out, and give --gin_param=Trainer.strategy=@mirrored() where the config has @multi_worker_mirrored()."
        )
