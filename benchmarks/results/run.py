"""A run of the real command in a process of its own, and what it wrote."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

_ERROR_TAIL = 3000  # characters of standard error in a message


class Run(NamedTuple):
    """A finished training.

    Attributes:
      config: the name of the config, without ".gin".
      parameters: the bindings of the command line.
      folder: its model_dir.
      seconds: from the start of the process to its end, the imports included.
      prepared: those of `parameters` that `Config.prepare` has made; a user does without.
    """

    config: str
    parameters: tuple[str, ...]
    folder: Path
    seconds: float
    prepared: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """The command line, with paths shortened to their last part, and without what `Config.prepare` binds."""
        short = [_short(each) for each in self.parameters if each not in self.prepared]
        flags = [f"--gin_file={self.config}.gin", f"--model_dir=runs/{self.config}"]
        return shlex.join(["tallyloop", *flags, *(f"--gin_param={each}" for each in short)])

    def points(self, metric: str, split: str = "eval") -> list[tuple[int, float]]:
        """Return (step, value) of each summary of a split ("train", "eval", or "eval/NAME") that has the metric."""
        lines = (json.loads(line) for line in (self.folder / "metrics.jsonl").read_text().splitlines())
        of_split = (line for line in lines if line["split"] == split)
        return [(line["step"], line["metrics"][metric]) for line in of_split if metric in line["metrics"]]

    @property
    def splits(self) -> list[str]:
        """The splits of metrics.jsonl, in the order of their first summary."""
        lines = (json.loads(line) for line in (self.folder / "metrics.jsonl").read_text().splitlines())
        return list(dict.fromkeys(line["split"] for line in lines))

    def again(self, name: str, *flags: str, parameters: Sequence[str] = ()) -> Run:
        """Train the same config with more bindings and flags, in a folder beside this run's."""
        return train(self.config, (*self.parameters, *parameters), self.folder.with_name(name), flags)

    def command(self, *flags: str) -> None:
        """Run the command again on the folder of this run, such as with `--mode=predict`."""
        tallyloop(self.config, self.parameters, self.folder, flags)


def train(config: str, parameters: Sequence[str], folder: Path, flags: Sequence[str] = ()) -> Run:
    """Train a bundled config, and wait for the end."""
    seconds = tallyloop(config, parameters, folder, flags)
    return Run(config, tuple(parameters), folder, seconds)


def tallyloop(config: str, parameters: Sequence[str], folder: Path, flags: Sequence[str] = ()) -> float:
    """Run the command, and return the seconds.

    Raises:
      RuntimeError: its exit code is not 0.
    """
    bindings = [f"--gin_param={each}" for each in parameters]
    line = [sys.executable, "-m", "tallyloop.trainer", f"--gin_file={config}.gin", f"--model_dir={folder}"]
    started = time.perf_counter()
    done = subprocess.run(
        [*line, *bindings, *flags], capture_output=True, text=True, env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    )
    if done.returncode:
        raise RuntimeError(f"{config}: exit code {done.returncode}: {done.stderr[-_ERROR_TAIL:]}")
    return time.perf_counter() - started


def _short(binding: str) -> str:
    name, _, value = binding.partition("=")
    path = Path(value.strip("\"'"))
    return f'{name}="{path.name}"' if os.sep in value and path.exists() else binding
