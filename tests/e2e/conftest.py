import gzip
import importlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tallyloop.trainer.loop.timing import TIMES

sys.path.insert(0, str(Path(__file__).parent))
import fork_server


class Programs:
    """Runs Python programs with the imports of the fork server."""

    def __init__(self):
        self._socket, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._statuses = {}
        with its:
            self._server = subprocess.Popen(
                [sys.executable, fork_server.__file__, str(its.fileno())],
                env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
                pass_fds=[its.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        assert self._socket.recv(100) == b"ready"

    def run(self, arguments, cwd: Path, **variables):
        """Run `python *arguments` in that folder, like subprocess.run."""
        environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"} | variables
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        with self.start(arguments, cwd=cwd, env=environment, **streams) as program:
            try:
                output = program.communicate(timeout=300)
            except subprocess.TimeoutExpired:
                program.kill()
                raise
            return subprocess.CompletedProcess(arguments, program.returncode, *output)

    def start(self, arguments, in_terminal=False, **options):
        """Start `python *arguments`, like subprocess.Popen; with `in_terminal`, no signal of one is ignored."""
        return Program([sys.executable, *arguments], self, in_terminal, **options)

    def fork(self, request, streams):
        """Ask for a program; return its process ID."""
        socket.send_fds(self._socket, [json.dumps(request).encode()], streams)
        while len(answer := json.loads(self._socket.recv(100))) > 1:
            self._statuses.update([answer])
        return answer[0]

    def status(self, pid, flags):
        """Return what os.waitpid(pid, flags) would, if it were a child of this process."""
        while pid not in self._statuses:
            try:
                answer = self._socket.recv(100, socket.MSG_DONTWAIT if flags == os.WNOHANG else 0)
            except BlockingIOError:
                return 0, 0
            self._statuses.update([json.loads(answer)])
        return pid, self._statuses[pid]

    def close(self):
        """End the server; what it runs has ended."""
        self._socket.close()
        self._server.wait()


class Program(fork_server.Loaded):
    """A program that the fork server runs."""

    def __init__(self, args, programs: Programs, in_terminal: bool, **options):
        self._programs, self._in_terminal = programs, in_terminal
        super().__init__(args, **options)

    def _fork(self, request, streams):
        return self._programs.fork(request | {"in_terminal": self._in_terminal}, streams)

    def _try_wait(self, wait_flags):
        return self._programs.status(self.pid, wait_flags)

    def _internal_poll(self, _deadstate=None):
        if self.returncode is None and (ended := self._try_wait(os.WNOHANG))[0]:
            self.returncode = os.waitstatus_to_exitcode(ended[1])
        return self.returncode


@pytest.fixture(scope="session")
def programs():
    programs = Programs()
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
        """Run it from the start of the interpreter on, as from a terminal: SIGINT may be ignored where the tests are started."""
        environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"} | variables
        return subprocess.run(
            [sys.executable, "-m", "tallyloop.trainer", *arguments],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def forked(self, *arguments, **streams):
        """Start it, TensorFlow loaded already, as from a terminal, and return the running process."""
        given = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True, "cwd": self.folder, **streams}
        return self._programs.start(["-m", "tallyloop.trainer", *arguments], in_terminal=True, **given)

    def background(self, *arguments, first="", **streams):
        """Start it as from a terminal, from the start of the interpreter on; `first` is Python code to run before it."""
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


@pytest.fixture(scope="session")
def tools():
    """The server of TensorBoard and the browser that the benchmarks take their pictures with."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parents[2])
        yield SimpleNamespace(
            server=importlib.import_module("benchmarks.dashboard.server"),
            browser=importlib.import_module("benchmarks.dashboard.browser"),
        )


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
