"""How right the advice of `--mode=tune` is: the gain that it tells beside the one of who follows it.

python -m benchmarks.advice                   # four models: half an hour
python -m benchmarks.advice --only tabular    # one of them
python -m benchmarks.advice --write           # also writes docs/advice.md

The exit code is 1 if a goal is missed.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from ..harness.command import Command, Goal, Measured, Row
from ..harness.processes import ROOT
from ..harness.report import progress
from .configs import CONFIGS

TOLD, FOLLOWED, OFF = (
    "predicted: time per step / as given",
    "followed: time per step / as given",
    "followed / predicted - 1",
)
SECONDS = 12  # of a run that follows the advice, or does not
SUMMARIES = 6  # of it; the first one has the start
ROWS = [
    Row(name, title, goal=Goal("<=", 0.1) if title == OFF else None)
    for name in CONFIGS
    for title in (TOLD, FOLLOWED, OFF)
]
ABOUT = f"""
The config is tuned with `--mode=tune`, and then trained with and without the advised lines and variables, in turn: ordinary runs
with `--mode=train`, a model directory and {SUMMARIES} summaries in about {SECONDS} seconds, of which the first does not count.
**predicted** is the ratio that the tuning printed, **followed** the median of the ratios of `time/step_ms`. Where nothing is to
be changed, `jit_compile` is compared instead, if the tuning has measured it. The models are `char_lm.gin`, `mnist_cnn.gin`,
`tabular.gin` with two layers of 256 units and 40,000 made rows in batches of 4,096, and an embedding of 10^6 rows 64 wide
with Adam and batches of 256.
"""


class Advice(NamedTuple):
    """The settings to take, and their gain.

    Attributes:
      name: of the setting.
      ratio: the time per example, of that as given.
      flags: of the command.
      environment: variables.
    """

    name: str = "as given"
    ratio: float = 1.0
    flags: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()


def advice_in(printed: str) -> Advice:
    """Return what a tuning advised that trains the same; what it told of `jit_compile`, if the config is to stay as it is."""
    found = re.search(r"^Fastest: (.+)\. ([\d.]+) \(.+? times the time.+$", printed, re.M)
    if found is None:
        assert "Keep the config as it is" in printed, printed
        line = re.search(r"^(jit_compile = (?:True|False)) +[\d.]+ \w+ +([\d.]+) ", printed, re.M)
        return (
            Advice(f"as given, beside {line[1]}", float(line[2]), (f"--gin_param=Trainer.{line[1]}",))
            if line
            else Advice()
        )
    lines = [line.strip() for line in printed[found.end() :].split("\n\n")[0].splitlines() if line.startswith("      ")]
    bindings = [line for line in lines if " = " in line]
    variables = [
        pair.partition("=")[::2] for line in lines if " = " not in line for pair in line.split() if "=" in pair
    ]
    imports = [f"--import_module={line.split()[1]}" for line in lines if line.startswith("import ")]
    return Advice(
        found[1], float(found[2]), (*imports, *(f"--gin_param={each}" for each in bindings)), tuple(variables)
    )


def step_of_given(printed: str) -> float:
    """Return the seconds of a step of the config as given, as a tuning printed them."""
    (value, unit) = re.search(r"^as given +([\d.]+) (s|ms|us) ", printed, re.M).groups()
    return float(value) / {"s": 1, "ms": 1e3, "us": 1e6}[unit]


def measure(rows: Sequence[Row], rounds: int) -> Measured:
    """Return the figures of some rows."""
    figures: dict[Row, float | None] = {}
    advised = ["## What was advised", ""]
    for name in dict.fromkeys(row.group for row in rows):
        printed = _run([*CONFIGS[name], "--mode=tune"], {})
        chosen, step = advice_in(printed), step_of_given(printed)
        progress(f"{name}: {chosen}")
        ratios = [_ratio(name, step, chosen, turn) for turn in range(rounds)] if chosen != Advice() else []
        followed = median(ratios) if ratios else None
        found = {TOLD: chosen.ratio, FOLLOWED: followed, OFF: followed and abs(followed / chosen.ratio - 1)}
        figures |= {row: found[row.title] for row in rows if row.group == name}
        pairs = ", ".join(f"{each:.2f}" for each in ratios)
        advised.append(f"- **{name}**: {chosen.name}{f' (followed: {pairs})' if pairs else ''}")
    return Measured({row: figures[row] for row in rows}, "\n".join(advised))


def _ratio(name: str, step: float, chosen: Advice, turn: int) -> float:
    """Return the time of a step that follows the advice, of that as given; the other one first at every second turn."""
    both = [chosen, Advice()]
    times = {each.name: _step_ms(name, step * each.ratio, each) for each in (both if turn % 2 else reversed(both))}
    return times[chosen.name] / times[Advice().name]


def _step_ms(name: str, step: float, advice: Advice) -> float:
    """Return the median `time/step_ms` of a run whose steps take about `step` seconds."""
    interval = max(1, round(SECONDS / SUMMARIES / step))
    with tempfile.TemporaryDirectory() as folder:
        length = interval * SUMMARIES
        params = {"train_steps": length, "summary_interval": interval, "actions": []}
        params |= dict.fromkeys(("eval_interval", "checkpoint_interval"), length)
        flags = [f"--gin_param=Trainer.{each}={value}" for each, value in params.items()]
        _run(
            [*CONFIGS[name], *flags, *advice.flags, "--mode=train", f"--model_dir={folder}/run"],
            dict(advice.environment),
        )
        lines = [json.loads(line) for line in Path(folder, "run", "metrics.jsonl").read_text().splitlines()]
    found = [line["metrics"]["time/step_ms"] for line in lines if line["split"] == "train"]
    assert len(found) == SUMMARIES, found
    return median(found[1:])


def _run(flags: Sequence[str], environment: Mapping[str, str]) -> str:
    line = [sys.executable, "-m", "tallyloop.trainer", *flags]
    done = subprocess.run(line, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"exit code {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout


COMMAND = Command(
    name="advice",
    title="Checking the tuner's advice",
    reader="people who ask whether `--mode=tune` can be believed",
    shows="how much the settings that it advises gain when they are followed",
    about=ABOUT,
    rows=ROWS,
    measure=measure,
    rounds=3,
    a_round="pairs of runs with and without the advice",
)


def main(arguments: list[str]) -> int:
    """Run the command; return its exit code."""
    return COMMAND.run(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
