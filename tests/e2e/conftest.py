import gzip
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tallyloop.trainer.loop.timing import TIMES


class Command:
    """The real command, in a process of its own, in a folder that is not the project's."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.model_dir = folder / "run"

    def __call__(self, *arguments, gin_file="digits.gin", model_dir=None):
        given = [f"--gin_file={gin_file}"] if gin_file else []
        given.append(f"--model_dir={model_dir or self.model_dir}")
        return self.raw(*given, *arguments)

    def raw(self, *arguments, **variables):
        environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"} | variables
        return subprocess.run(
            [sys.executable, "-m", "tallyloop.trainer", *arguments],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )

    def ok(self, *arguments, **keywords):
        done = self(*arguments, **keywords)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    def lines(self, model_dir=None):
        """The lines of metrics.jsonl, without what tells how fast the run was."""
        found = self.all_lines(model_dir)
        for line in found:
            line["metrics"] = {path: value for path, value in line["metrics"].items() if path not in TIMES}
        return found

    def all_lines(self, model_dir=None):
        """The lines of metrics.jsonl."""
        return [json.loads(line) for line in ((model_dir or self.model_dir) / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture
def command(tmp_path):
    return Command(tmp_path)


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A finished run of 60 steps on the digits, with all kinds of events on the way."""
    command = Command(tmp_path_factory.mktemp("trained"))
    command.done = command.ok(
        *("--gin_param=" + binding for binding in SHORT),
    )
    return command


SHORT = (
    "Trainer.train_steps=60",
    "Trainer.steps_per_loop=7",
    "Trainer.summary_interval=20",
    "Trainer.eval_interval=30",
    "Trainer.checkpoint_interval=25",
)


@pytest.fixture
def short():
    """The bindings of `trained`, as flags."""
    return ["--gin_param=" + binding for binding in SHORT]


@pytest.fixture
def write_idx():
    """write_idx(path, array): an array of uint8 in the IDX format, gzipped if the name ends in .gz."""

    def write(path, array):
        header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
        data = header + array.astype(np.uint8).tobytes()
        path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)

    return write
