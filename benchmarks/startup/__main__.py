"""The time to answer `--help`, to the first step, to the result, and to the report, and how often a run traces its loops.

python -m benchmarks.startup             # prints the table
python -m benchmarks.startup --rounds 3
python -m benchmarks.startup --write     # also writes docs/startup.md

The exit code is 1 if a goal is missed.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..harness.command import Command, Goal, Measured, Row, figures
from ..harness.paired import Contestant
from ..harness.processes import WholeProcess, ask, command
from . import FIRST_STEP, run_folders

HELP, FIRST, RESULT, REPORT, TRACES = "--help", "first step", "result", "report", "traces"
TRAIN, EVAL = "traces of the train loop", "traces of the eval loop"
LOOPS = {TRAIN: "train", EVAL: "eval/test"}  # title -> key of Trainer.traces
ROWS = (
    Row(HELP, "tallyloop --help / import absl.app, gin", "help", "imports", Goal("<=", 1.3)),
    Row(HELP, "tallyloop --help", "help", unit="ms", digits=0),
    Row(FIRST, "tallyloop --mode=train / the bare script", "train", "bare", Goal("<=", 1.0)),
    Row(FIRST, "the default mode, which traces evaluation too - the bare script", "train_and_eval", "bare", unit="s"),
    Row(FIRST, "tallyloop --mode=train", "train", unit="s"),
    Row(FIRST, "the bare script", "bare", unit="s"),
    Row(RESULT, "tallyloop --gin_file=digits.gin / the bare script", "digits", "bare digits", Goal("<=", 1.25)),
    Row(RESULT, "tallyloop --gin_file=digits.gin", "digits", unit="s"),
    Row(RESULT, "the bare script", "bare digits", unit="s"),
    Row(REPORT, "tallyloop-report, 50 runs", "report", unit="s", goal=Goal("<=", 0.5)),
    Row(TRACES, TRAIN, goal=Goal("==", 1), digits=0),
    Row(TRACES, EVAL, goal=Goal("==", 1), digits=0),
)
ABOUT = """
The processes run in turn. A figure is the median over the rounds of a ratio or of a difference.

- **--help**: `python -m tallyloop.trainer --help`, from its start to its exit, beside `python -c "import absl.app, gin"`.
- **first step**: the command with `digits.gin` and random rows instead of the digits, from its start until the first step is
  done. The bare script imports only TensorFlow and Keras, builds the same model and optimizer, traces the loop of TensorFlow's
  guides and runs one step. The command also reads and checks the config, looks for a checkpoint, and records and writes metrics.
- **result**: the command of the README, from its start to its exit: 2,000 steps, four evaluations, four checkpoints, and all that
  it writes. The bare script imports, trains as many steps of the same model on the same digits, and evaluates once.
- **report**: `tallyloop-report` on 50 run folders, each with 100 summaries and 100 evaluations, from its start to its exit.
- **traces**: counted in a run with a short last batch in training and in evaluation, loops of different lengths and four
  evaluations.
"""
_PARAMETERS = (
    "train/Input.source=@random_rows",
    "test/Input.source=@random_rows",
    "Trainer.train_steps=1",
    "Trainer.actions=[@say_first_step]",
)


def contestants(group: str, folder: Path) -> dict[str, Contestant]:
    """Return the contestants of a group; each lap is a process."""
    if group == HELP:
        return {
            "help": WholeProcess(lambda: [sys.executable, "-m", "tallyloop.trainer", "--help"]),
            "imports": WholeProcess(lambda: [sys.executable, "-c", "import absl.app, gin"]),
        }
    if group == RESULT:
        return {
            "digits": WholeProcess(lambda: _run(folder, "train_and_eval")),
            "bare digits": WholeProcess(lambda: command("startup.bare", "digits")),
        }
    if group == REPORT:
        runs = str(run_folders.make(folder))
        return {"report": WholeProcess(lambda: [sys.executable, "-m", "tallyloop.trainer.report.command", runs])}
    return {
        "train": WholeProcess(lambda: _first(folder, "train"), _is_first_step),
        "train_and_eval": WholeProcess(lambda: _first(folder, "train_and_eval"), _is_first_step),
        "bare": WholeProcess(lambda: command("startup.bare"), _is_first_step),
    }


def _run(folder: Path, mode: str) -> list[str]:
    """Return the command line of a run in a new folder."""
    line = [sys.executable, "-m", "tallyloop.trainer", "--gin_file=digits.gin", f"--mode={mode}"]
    return [*line, f"--model_dir={tempfile.mkdtemp(dir=folder)}/run"]


def _first(folder: Path, mode: str) -> list[str]:
    """Return the command line of a run that tells when its first step is done."""
    told = "--import_module=benchmarks.startup.first_step"
    return [*_run(folder, mode), told, *(f"--gin_param={each}" for each in _PARAMETERS)]


def _is_first_step(line: str) -> bool:
    return line == FIRST_STEP


def measure(rows: Sequence[Row], rounds: int) -> Measured:
    """Time processes, and count the traces of one run."""
    with tempfile.TemporaryDirectory() as folder:
        timed = [row for row in rows if row.group != TRACES]
        found = figures(timed, lambda group: contestants(group, Path(folder)), rounds)
    counted = [row for row in rows if row.group == TRACES]
    return Measured(found | (traced(counted, ask("startup.traces")) if counted else {}))


def traced(rows: Sequence[Row], traces: Mapping[str, int]) -> dict[Row, float | None]:
    """Return the figures of the trace counts."""
    return {row: traces[LOOPS[row.title]] for row in rows}


COMMAND = Command(
    name="startup",
    title="Starting",
    reader="users who start short runs often",
    shows="how long `--help`, the first step, a result and a report take, and how often a run traces its loops",
    about=ABOUT,
    rows=ROWS,
    measure=measure,
    rounds=10,
    a_round="rounds of one process each",
)


def main(arguments: list[str]) -> int:
    """Run the command; return its exit code."""
    return COMMAND.run(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
