"""The flags: their definitions, and the text of `--help`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from absl import flags

from ...metrics.errors import UsageError
from ..prediction import FORMATS, NPZ
from .request import MAX_RESTARTS, MODES, Request

_EXPECTED = {
    "invalid literal for int()": "a whole number",
    "could not convert string to float": "a number",
    "('Non-boolean argument": "true or false",
}

_DESCRIPTION = """Trains and evaluates what a gin config describes.

  tallyloop --gin_file=digits.gin --model_dir=/tmp/digits
  tallyloop --gin_file=digits.gin --model_dir=/tmp/digits --gin_param=Trainer.train_steps=5000
  tallyloop --gin_file=search.gin --model_dir=/tmp --study=rates --trials=20
  tallyloop-report /tmp/digits /tmp/rates
  tensorboard --logdir=/tmp/digits

Running the same command again continues the run. Exit codes: 0 done; 1 failed; 2 wrong usage, config or data; 42 stopped
by SIGTERM, Ctrl-C or a closed terminal after saving a checkpoint: run the command again.
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
    "the bundled configs (digits.gin, mnist_cnn.gin, image_folder.gin, two_tower.gin, gan.gin, ...; docs/results.md lists them).",
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
    "exits with code 1 if a number differs. replay writes what happened in the step --step to replay/step-N/. tune "
    "tries which settings train fastest on this machine, prints the lines to take, and writes nothing.",
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
    NPZ,
    f"The format of the files that --mode=predict writes to predictions/: {', '.join(FORMATS)}.",
)
_define(
    flags.DEFINE_integer,
    "step",
    None,
    "The step that --mode=replay makes once more, from the newest checkpoint before it.",
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
    MAX_RESTARTS,
    "With --workers: the number of times that all workers are restarted from the last checkpoint after one has failed.",
)
_define(
    flags.DEFINE_float,
    "start_timeout",
    None,
    "Seconds for which @multi_worker_mirrored() waits for all workers (600 if not bound).",
)


_define(
    flags.DEFINE_string,
    "study",
    None,
    "Train several times, below --model_dir/STUDY, with values chosen from ranges in the config, such as "
    "%search.loguniform(1e-4, 1e-1), or from --grid. Running again continues what was under way.",
)
_define(flags.DEFINE_integer, "trials", None, "With --study: the number of trainings in all, for ranges.")
_define(
    flags.DEFINE_multi_string,
    "grid",
    [],
    "With --study: values of one binding, such as keras.optimizers.Adam.learning_rate=1e-3,1e-2; repeatable, for all "
    "combinations.",
)
_define(flags.DEFINE_integer, "jobs", None, "With --study: the number of trainings at once (1).")
_define(
    flags.DEFINE_bool,
    "prune",
    True,
    "With --study and ranges: end a training early that is worse than half of those before; --noprune does not.",
)
_define(flags.DEFINE_string, "tune_batch_sizes", None, "With --mode=tune: batch sizes to try, too, such as 32,64.")


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


def parse(argv: Sequence[str]) -> Request:
    """Parse the command line; return what it asks for.

    Raises:
      UsageError: a flag is unknown, has a wrong value, or does not go with another.
    """
    try:
        extra = FLAGS(list(argv))[1:]
    except flags.Error as error:
        raise UsageError(f"{_as_expected(error)} (tallyloop --help lists the flags)") from error
    if extra:
        raise UsageError(f"{extra[0]!r}: expected a flag, which starts with --, such as --gin_file={extra[0]}.")
    return _request()


def _as_expected(error: flags.Error) -> str:
    """Return what absl says, or, where that is Python's own words about a value, what was expected."""
    for words, expected in _EXPECTED.items():
        given, is_found, _ = str(error).partition(f": {words}")
        if is_found:
            return f"{given.removeprefix('flag ')}: expected {expected}"
    return str(error)


def _request() -> Request:
    """Return what the parsed flags ask for."""
    given = {field.name: FLAGS[field.name].value for field in dataclasses.fields(Request)}
    unasked = {name: None for name in ("max_restarts", "format") if not FLAGS[name].present}  # else it is the default
    return Request(**{**given, **unasked})
