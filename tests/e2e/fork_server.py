"""Runs Python programs in forks of one process that has TensorFlow loaded, which takes seconds and is not their subject.

Reads one request per line, `{"argv": ["-m", MODULE, ...] or [SCRIPT, ...], "cwd", "environ", "stdout", "stderr"}`, and
answers with the exit code, negative for a signal. Each program has a process, a working folder, an environment and
standard streams of its own, as if it had been started; only its imports have been done. Nothing may have started threads
or devices before a fork: TensorFlow does that with the first operation, and OpenBLAS is told not to.
"""

import atexit
import contextlib
import gc
import json
import os
import runpy
import sys
import threading
import traceback

PRELOADED = ("tensorflow", "keras", "sklearn.datasets", "tallyloop.models", "tallyloop.trainer.trainer")


def serve():
    """Answer requests; returns, in a fork of its own, each request that is to be run."""
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if not pid:
            return request
        status = os.waitpid(pid, 0)[1]
        print(os.waitstatus_to_exitcode(status), flush=True)
    sys.exit()


def become(request):
    """Take over the streams, folder and environment that the program would have been started with."""
    for number, path in enumerate((os.devnull, request["stdout"], request["stderr"])):
        os.dup2(os.open(path, os.O_RDWR), number)
    os.environ.clear()
    os.environ.update(request["environ"])
    os.chdir(request["cwd"])


def run(argv):
    """Do what the interpreter does with these arguments."""
    is_module = argv[0] == "-m"
    sys.argv = argv[is_module:]
    sys.path[0] = os.getcwd() if is_module else os.path.dirname(os.path.abspath(argv[0]))
    path = os.environ.get("PYTHONPATH")
    sys.path[1:1] = path.split(os.pathsep) if path else []
    if is_module:
        runpy.run_module(argv[1], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(argv[0], run_name="__main__")


def leave(error):
    """Exit with the code of the exception that ended the program; taking the loaded modules apart would take a second."""
    code = 0
    if isinstance(error, SystemExit) and not isinstance(error.code, str):
        code = error.code or 0
    elif error is not None:
        code = 1
        traceback.print_exception(error)
    threading._shutdown()
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError):
        sys.stdout.flush()
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
    print("ready", flush=True)
    request = serve()
    become(request)
    ended = None
    try:
        run(request["argv"])
    except BaseException as error:
        ended = error
    leave(ended)
