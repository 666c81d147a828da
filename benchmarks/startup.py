"""How long it takes to answer `--help`, and to come to the first step; and how often a run traces its loops.

python -m benchmarks.startup             # prints the table
python -m benchmarks.startup --rounds 3
python -m benchmarks.startup --write     # writes docs/startup.md too

The exit code is 1 if a goal is missed.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import goals
from benchmarks.children.rows import FIRST_STEP
from benchmarks.children.talking import Whole, ask, command
from benchmarks.goals import Command, Measured, Row
from benchmarks.paired import Contestant

HELP, FIRST, TRACES = "--help", "first step", "traces"
TRAIN, EVAL = "traces of the train loop", "traces of the eval loop"
LOOPS = {TRAIN: "train", EVAL: "eval/test"}  # title -> its name in Trainer.traces
ROWS = (
    Row(HELP, "tallyloop --help / import absl.app, gin", "help", "imports", ("<=", 1.3)),
    Row(HELP, "tallyloop --help", "help", unit="ms", digits=0),
    Row(FIRST, "tallyloop --mode=train - the bare script", "train", "bare", ("<=", 1.0), "s"),
    Row(FIRST, "the default mode, which traces evaluation too - the bare script", "train_and_eval", "bare", unit="s"),
    Row(FIRST, "tallyloop --mode=train", "train", unit="s"),
    Row(FIRST, "the bare script", "bare", unit="s"),
    Row(TRACES, TRAIN, goal=("==", 1), digits=0),
    Row(TRACES, EVAL, goal=("==", 1), digits=0),
)
ABOUT = """
Whole processes, in turn; a figure is the median of the ratios, or of the differences, of the rounds.

- **--help**: from the start of `python -m tallyloop.trainer --help` to its end, beside `python -c "import absl.app, gin"`.
- **first step**: from the start of the process until the first step is done, of the command with `digits.gin` and random rows in
  place of the digits; beside a script that imports nothing but TensorFlow and Keras, builds the same model and optimizer, traces
  the loop of TensorFlow's guides and runs one step. The command reads and checks the config, looks for a checkpoint, records
  metrics and writes them too.
- **traces**: of a run with a short last batch in training and in evaluation, loops of different lengths and four evaluations.
"""
_PARAMETERS = (
    "train/Input.source=@random_rows",
    "test/Input.source=@random_rows",
    "Trainer.train_steps=1",
    "Trainer.actions=[@say_first_step]",
)


def contestants(group: str, folder: Path) -> dict[str, Contestant]:
    """Those of a group, each a process a lap."""
    if group == HELP:
        return {
            "help": Whole(lambda: [sys.executable, "-m", "tallyloop.trainer", "--help"]),
            "imports": Whole(lambda: [sys.executable, "-c", "import absl.app, gin"]),
        }
    return {
        "train": Whole(lambda: _run(folder, "train"), _is_first_step),
        "train_and_eval": Whole(lambda: _run(folder, "train_and_eval"), _is_first_step),
        "bare": Whole(lambda: command("bare"), _is_first_step),
    }


def _run(folder: Path, mode: str) -> list[str]:
    """The command, into a new folder."""
    return [
        *(sys.executable, "-m", "tallyloop.trainer", "--gin_file=digits.gin", f"--mode={mode}"),
        f"--model_dir={tempfile.mkdtemp(dir=folder)}/run",
        "--import_module=benchmarks.children.first_step",
        *(f"--gin_param={each}" for each in _PARAMETERS),
    ]


def _is_first_step(line: str) -> bool:
    return line == FIRST_STEP


def measure(rows: Sequence[Row], rounds: int) -> Measured:
    """Times processes, and counts traces in one."""
    with tempfile.TemporaryDirectory() as folder:
        timed = [row for row in rows if row.group != TRACES]
        found = goals.figures(timed, lambda group: contestants(group, Path(folder)), rounds)
    counted = [row for row in rows if row.group == TRACES]
    return Measured(found | (traced(counted, ask("traces")) if counted else {}))


def traced(rows: Sequence[Row], traces: Mapping[str, int]) -> dict[Row, float | None]:
    """The rows of the traces."""
    return {row: traces[LOOPS[row.title]] for row in rows}


COMMAND = Command("startup", "Starting", ABOUT, ROWS, measure, 10, "rounds of a process each")


def main(arguments: list[str]) -> int:
    """Runs the command; returns its exit code."""
    return COMMAND.run(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
