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


class Programs:
    """Runs Python programs with the imports of the fork server."""

    def __init__(self, folder: Path):
        self._stdout, self._stderr = folder / "stdout", folder / "stderr"
        environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
        self._server = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("fork_server.py")],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._server.stdout.readline() == "ready\n"

    def run(self, arguments, cwd: Path, **variables):
        """Run `python *arguments` in that folder, like subprocess.run."""
        environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"} | variables
        for path in (self._stdout, self._stderr):
            path.write_text("")
        request = {
            "argv": [str(argument) for argument in arguments],
            "cwd": str(cwd),
            "environ": environment,
            "stdout": str(self._stdout),
            "stderr": str(self._stderr),
        }
        print(json.dumps(request), file=self._server.stdin, flush=True)
        code = int(self._server.stdout.readline())
        return subprocess.CompletedProcess(arguments, code, self._stdout.read_text(), self._stderr.read_text())

    def close(self):
        """End the server; what it runs has ended."""
        self._server.communicate()


@pytest.fixture(scope="session")
def programs(tmp_path_factory):
    programs = Programs(tmp_path_factory.mktemp("programs"))
    yield programs
    programs.close()


class Command:
    """The real command, in a process of its own, in a folder that is not the project's."""

    def __init__(self, folder: Path, programs: Programs):
        self.folder = folder
        self.model_dir = folder / "run"
        self._programs = programs

    def __call__(self, *arguments, gin_file="digits.gin", model_dir=None):
        given = [f"--gin_file={gin_file}"] if gin_file else []
        given.append(f"--model_dir={model_dir or self.model_dir}")
        return self.raw(*given, *arguments)

    def raw(self, *arguments, **variables):
        """Run it with these arguments and environment variables, TensorFlow loaded already."""
        return self._programs.run(["-m", "tallyloop.trainer", *arguments], self.folder, **variables)

    def started(self, *arguments, **variables):
        """Run it from the start of the interpreter on."""
        environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"} | variables
        return subprocess.run(
            [sys.executable, "-m", "tallyloop.trainer", *arguments],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )

    def background(self, *arguments, first="", **streams):
        """Start it as from a terminal, and return the running process: the tests may have been started with SIGINT ignored.

        `first` is Python code to run before it.
        """
        code = f"{first}\nimport runpy, signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        code += "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
        code += "runpy.run_module('tallyloop.trainer', run_name='__main__', alter_sys=True)\n"
        given = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True, **streams}
        return subprocess.Popen([sys.executable, "-c", code, *arguments], cwd=self.folder, **given)

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
def command(tmp_path, programs):
    return Command(tmp_path, programs)


@pytest.fixture(scope="session")
def trained(tmp_path_factory, programs):
    """A finished run of 60 steps on the digits, with all kinds of events on the way."""
    command = Command(tmp_path_factory.mktemp("trained"), programs)
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
