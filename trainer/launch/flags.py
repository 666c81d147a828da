"""The flags: their definitions, the text of `--help`, and what their values say about each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

from absl import flags

from ...metrics.errors import UsageError, did_you_mean

Mode = Literal["train_and_eval", "train", "eval", "predict", "export", "check"]
MODES: tuple[Mode, ...] = get_args(Mode)
TRAINING_MODES: tuple[Mode, ...] = ("train_and_eval", "train")
_WORKERS_MODES: tuple[Mode, ...] = (*TRAINING_MODES, "eval", "predict")
FORMATS: tuple[str, ...] = (
    "npz",
    "jsonl",
    "parquet",
)  # as in prediction.formats, which cannot be imported before TensorFlow

NO_CONFIG = "No config: give --gin_file=digits.gin (bundled) or a file of your own."

_DESCRIPTION = """Trains and evaluates what a gin config describes.

  tallyloop --gin_file=digits.gin --model_dir=/tmp/digits
  tallyloop --gin_file=digits.gin --model_dir=/tmp/digits --gin_param=Trainer.train_steps=5000
  tensorboard --logdir=/tmp/digits

Running the same command again continues the run. Exit codes: 0 done; 1 failed; 2 wrong usage or config; 42 stopped by
SIGTERM, Ctrl-C or a closed terminal after saving a checkpoint: run the command again.
"""

FLAGS: flags.FlagValues = flags.FLAGS
_OURS: list[str] = []


def _define(define: Callable[..., Any], name: str, default: Any, text: str) -> None:
    define(name, default, text)
    _OURS.append(name)


_define(
    flags.DEFINE_multi_string,
    "gin_file",
    [],
    "A config file; repeatable, later files override earlier ones. Searched in the working folder, --gin_search_path, then "
    "the bundled configs (digits.gin, digits_cnn.gin, autoencoder.gin).",
)
_define(
    flags.DEFINE_multi_string,
    "gin_param",
    [],
    "One binding, such as Trainer.train_steps=500; repeatable. Overrides all files.",
)
_define(flags.DEFINE_multi_string, "gin_search_path", [], "Another folder to search for config files; repeatable.")
_define(
    flags.DEFINE_multi_string,
    "import_module",
    [],
    "A module whose import registers your own tasks with gin.register; repeatable. Modules in the working folder can be "
    "imported.",
)
_define(
    flags.DEFINE_string,
    "model_dir",
    None,
    "The folder for everything the run writes. Running again with the same folder continues the run.",
)
_define(
    flags.DEFINE_string,
    "mode",
    "train_and_eval",
    f"One of {', '.join(MODES)}. eval evaluates --checkpoint, or each new checkpoint up to the last one; predict and export "
    "use the newest checkpoint unless --checkpoint is given. check runs the task on one replica and cut over three, and "
    "exits with code 1 if a number differs.",
)
_define(
    flags.DEFINE_string,
    "checkpoint",
    None,
    "The checkpoint for --mode=eval, predict or export, such as /run/checkpoints/ckpt-500; best for that of "
    "Trainer.best_metric.",
)
_define(
    flags.DEFINE_string,
    "format",
    "npz",
    f"The format of the files that --mode=predict writes to predictions/: {', '.join(FORMATS)}.",
)
_define(
    flags.DEFINE_bool,
    "dry_run",
    False,
    "Build everything, run one train step and one eval step on the real input, print the model, the metric names and "
    "the config, and write nothing.",
)
_define(
    flags.DEFINE_string,
    "explain",
    None,
    "Print where the value of a parameter, such as Trainer.train_steps, comes from: all bindings with file and line, and "
    "which one wins.",
)
_define(flags.DEFINE_bool, "list_configurables", False, "List everything that can be configured, with defaults.")
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
    "Start this many processes of this command on this machine. They train together with Trainer.strategy = "
    "@multi_worker_mirrored().",
)
_define(
    flags.DEFINE_integer,
    "max_restarts",
    3,
    "With --workers: the number of times that all workers are restarted from the last checkpoint after one has failed.",
)
_define(
    flags.DEFINE_float,
    "start_timeout",
    None,
    "Seconds for which @multi_worker_mirrored() waits for all workers (600 if not bound).",
)


def help_text() -> str:
    """Return what `--help` prints."""
    entries = []
    for name in [*_OURS, "verbosity"]:
        flag = FLAGS[name]
        default = "" if flag.default in (None, [], False) else f" (default: {flag.default})"
        # absl appends its own remark to the help of a repeatable flag; ours mentions that already.
        words = " ".join(flag.help.split(";\n")[0].split())
        text = flags.text_wrap(words + default, 100, "      ")
        entries.append(f"  --{name}{_form(flag)}\n{text}")
    return _DESCRIPTION + "\nFlags:\n" + "\n".join(entries)


def _form(flag: flags.Flag) -> str:
    if flag.boolean:
        return ""
    return "=N" if flag.flag_type() in ("int", "float") else f"={flag.name.rpartition('_')[2].upper()}"


def parse(argv: Sequence[str]) -> None:
    """Parse the command line.

    Raises:
      UsageError: a flag is unknown, has a wrong value, or does not go with another.
    """
    try:
        extra = FLAGS(list(argv))[1:]
    except flags.Error as error:
        raise UsageError(f"{error} (tallyloop --help lists the flags)") from error
    if extra:
        raise UsageError(f"{extra[0]!r}: expected a flag, which starts with --, such as --gin_file={extra[0]}.")
    if FLAGS.mode not in MODES:
        hint = did_you_mean(FLAGS.mode, MODES) or "."
        raise UsageError(f"--mode={FLAGS.mode}: expected one of {', '.join(MODES)}{hint}")
    if FLAGS.checkpoint and FLAGS.mode in TRAINING_MODES:
        raise UsageError(
            f"--checkpoint is for --mode=eval, predict or export, not {FLAGS.mode}: training continues from the newest "
            "checkpoint in --model_dir by itself."
        )
    if FLAGS.format not in FORMATS:
        hint = did_you_mean(FLAGS.format, FORMATS) or "."
        raise UsageError(f"--format={FLAGS.format}: expected one of {', '.join(FORMATS)}{hint}")
    if FLAGS["format"].present and FLAGS.mode != "predict":
        raise UsageError(f"--format={FLAGS.format} is for --mode=predict, not {FLAGS.mode}: remove it.")
    _check_numbers()
    _check_workers()


def _check_numbers() -> None:
    for name, least in (("virtual_cpus", 1), ("workers", 1), ("max_restarts", 0)):
        value = FLAGS[name].value
        if value is not None and value < least:
            raise UsageError(f"--{name}={value}: expected a whole number of at least {least}.")
    if FLAGS.start_timeout is not None and not 0 < FLAGS.start_timeout < float("inf"):
        raise UsageError(f"--start_timeout={FLAGS.start_timeout}: expected a number of seconds greater than 0.")


def _check_workers() -> None:
    if FLAGS.workers is None:
        if FLAGS["max_restarts"].present:
            raise UsageError(f"--max_restarts={FLAGS.max_restarts} is for --workers, which is not given.")
        return
    conflicts = [f"--{name}" for name in ("dry_run", "list_configurables") if FLAGS[name].value]
    conflicts += ["--explain"] if FLAGS.explain is not None else []
    conflicts += [] if FLAGS.mode in _WORKERS_MODES else [f"--mode={FLAGS.mode}"]
    if conflicts:
        raise UsageError(
            f"--workers={FLAGS.workers} is for --mode={', '.join(_WORKERS_MODES)}, and {conflicts[0]} needs one process: "
            "leave --workers out, and give --gin_param=Trainer.strategy=@mirrored() if the config has "
            "@multi_worker_mirrored()."
        )


def only_prints_config() -> bool:
    """Return whether this command only looks at the config."""
    return FLAGS.list_configurables or FLAGS.explain is not None


def trains() -> bool:
    """Return whether this command trains, and so has something to save when it is asked to stop."""
    return FLAGS.mode in TRAINING_MODES and not FLAGS.dry_run and not only_prints_config()
