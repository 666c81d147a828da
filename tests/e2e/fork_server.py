"""Runs Python programs in forks of one process that has TensorFlow loaded, which takes seconds and is not their subject.

Each program has a process, a working folder, an environment and standard streams of its own, as if it had been started; only
its imports have been done. If it starts the command in turn, as `--workers` and `--study` do, that is a fork of it. Nothing may
have started threads or devices before a fork: TensorFlow does that with the first operation, and OpenBLAS is told not to.

A request is a JSON object with "argv" (["-m", MODULE, ...] or [SCRIPT, ...]), "cwd", "environ", "new_session" and "in_terminal",
and three file descriptors. The answers are the process ID and, once it has ended, the process ID and its wait status.
"""

import atexit
import contextlib
import gc
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import traceback

PRELOADED = ("tensorflow", "keras", "sklearn.datasets", "tallyloop.models", "tallyloop.trainer.trainer")
COMMAND = [sys.executable, "-m", "tallyloop.trainer"]


class Loaded(subprocess.Popen):
    """A program that `_fork` starts: a Popen of another kind."""

    def _execute_child(self, args, executable, preexec_fn, close_fds, pass_fds, cwd, env, *others):
        pipes, new_session = others[3:9], others[-2]
        request = {
            "argv": [str(argument) for argument in args[1:]],
            "cwd": str(cwd or os.getcwd()),
            "environ": dict(os.environ if env is None else env),
            "new_session": new_session,
        }
        ends = pipes[0], pipes[3], pipes[5]
        self.pid = self._fork(request, [number if end == -1 else end for number, end in enumerate(ends)])
        self._child_created = True
        self._close_pipe_fds(*pipes)


class Nested(Loaded):
    """What a program starts: a fork of this process if it is the command, and all threads here are Python's, which wait."""

    def _execute_child(self, args, *others):
        if list(args[:3]) != COMMAND or len(os.listdir("/proc/self/task")) != threading.active_count():
            super(Loaded, self)._execute_child(args, *others)
        else:
            super()._execute_child(args, *others)

    def _fork(self, request, streams):
        pid = os.fork()
        if not pid:
            become(request, streams)
        return pid


def serve(client):
    """Answer requests; returns, in a fork of its own, each request that is to be run, and its streams."""

    def reap(*_):
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                client.send(json.dumps(ended).encode())

    signal.signal(signal.SIGCHLD, reap)
    while True:
        message, streams, *_ = socket.recv_fds(client, 1 << 20, 3)
        if not message:
            sys.exit()
        pid = os.fork()
        if not pid:
            return json.loads(message), streams
        for stream in streams:
            os.close(stream)
        client.send(json.dumps([pid]).encode())


def become(request, streams):
    """Run a program with the streams, folder, environment and signals that it would have been started with."""
    if request["new_session"]:
        os.setsid()
    copies = [os.dup(stream) for stream in streams]  # one of them may be in the place of another
    for number, copy in enumerate(copies):
        os.dup2(copy, number)
    os.closerange(3, 1024)
    reset_signals(request.get("in_terminal", False))
    os.environ.clear()
    os.environ.update(request["environ"])
    os.chdir(request["cwd"])
    forget()
    ended = None
    try:
        run(request["argv"])
    except BaseException as error:
        ended = error
    leave(ended)


def forget():
    """Take back what the program that started this one has imported, and its flags."""
    for module in sys.modules.keys() - KEPT:
        del sys.modules[module]
    for name in {*flags.FLAGS} - FLAGS:
        delattr(flags.FLAGS, name)
    flags.FLAGS.unparse_flags()


def reset_signals(in_terminal):
    """Handle signals as a new interpreter does: those that are ignored stay so, but not those of a terminal."""
    if in_terminal:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


def run(argv):
    """Do what the interpreter does with these arguments."""
    is_module = argv[0] == "-m"
    sys.argv = argv[is_module:]
    path = os.environ.get("PYTHONPATH")
    sys.path[:] = [
        os.getcwd() if is_module else os.path.dirname(os.path.abspath(argv[0])),
        *(path.split(os.pathsep) if path else []),
        *PATH,
    ]
    if is_module:
        runpy.run_module(argv[1], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(argv[0], run_name="__main__")


def leave(error):
    """End as the interpreter does after this exception; taking the loaded modules apart would take a second."""
    code = 0
    if isinstance(error, SystemExit):
        code = error.code or 0
        if isinstance(code, str):
            print(code, file=sys.stderr)
            code = 1
    elif error is not None:
        code = 1
        traceback.print_exception(error)
    threading._shutdown()
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
    except OSError:
        code = 120
    if isinstance(error, KeyboardInterrupt):
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    os._exit(code)


if __name__ == "__main__":
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    # Keras does without pandas, which may be installed, and imports pyarrow, whose memory allocator starts a thread.
    sys.modules["pandas"] = None
    for module in PRELOADED:
        __import__(module)
    del sys.modules["pandas"]
    assert len(os.listdir("/proc/self/task")) == 1, "a thread would be missing in the forks"
    gc.freeze()  # or a collection would copy the memory that forks share
    subprocess.Popen = Nested
    from absl import flags

    KEPT, FLAGS, PATH = {*sys.modules}, {*flags.FLAGS}, sys.path[1:]
    client = socket.socket(fileno=int(sys.argv[1]))
    client.send(b"ready")
    become(*serve(client))
