"""Being asked to stop while the main thread is busy elsewhere: in processes of their own, with real signals."""

import os
import pty
import signal
import subprocess
import sys
import threading
import time

import pytest

# Precedes all code: a test run in the background may have been started with signals ignored, which its children inherit.
AS_IN_A_TERMINAL = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
for _number in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(_number, signal.SIG_DFL)
"""
# A second Ctrl-C ends the process after half a second instead of one.
QUICK = """
from tallyloop.trainer.distribution import preemption
preemption._LAST_SECONDS = 0.5
"""
# One call into C that lasts for minutes: Python's own handlers do not run before it is over.
LONG_CALL = f"""{QUICK}
import hashlib
with preemption.on_signals():
    print("busy", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)
"""

# Leaves the context in order after a second Ctrl-C, so many seconds later.
LEAVES = (
    QUICK
    + """
import signal, sys, time
try:
    with preemption.on_signals():
        try:
            print("ready", flush=True)
            time.sleep(60)
        finally:
            print("closed", flush=True)
            time.sleep(float({seconds}))
except KeyboardInterrupt:
    print("interrupted", flush=True)
    time.sleep(1)  # what follows has its time
    sys.exit(1)
"""
)

STOPPED = "Stopped. The same command continues from the last checkpoint.\n"


@pytest.fixture
def start():
    """start(code) -> a running process that has printed its first line."""
    started = []

    def run(code):
        process = subprocess.Popen(
            [sys.executable, "-c", AS_IN_A_TERMINAL + code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        timer = threading.Timer(20, process.kill)  # so that a test that waits for a line fails
        timer.start()
        started.append((process, timer))
        process.stdout.readline()
        time.sleep(0.1)  # so that it is in the call after that line
        return process

    yield run
    for process, timer in started:
        timer.cancel()
        process.kill()
        process.communicate()


class TestSignals:
    def test_ask_and_second_ctrl_c_stops(self):
        """In a process of its own: SIGTERM asks; a second Ctrl-C stops at once; afterwards all is as before."""
        code = """
import os, signal, time
from tallyloop.trainer.distribution import preemption
for number in (signal.SIGTERM, signal.SIGINT):
    with preemption.on_signals():
        assert not preemption.requested()
        os.kill(os.getpid(), number)
        assert preemption.requested()
        if number == signal.SIGINT:
            try:
                os.kill(os.getpid(), number)
                time.sleep(5)
            except KeyboardInterrupt:
                print("at once")
    assert not preemption.requested()
assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
"""
        done = subprocess.run(
            [sys.executable, "-c", AS_IN_A_TERMINAL + code], capture_output=True, text=True, timeout=60
        )
        assert (done.returncode, done.stdout) == (0, "at once\n"), done.stderr
        assert done.stderr.count("saving after this inner loop") == 2

    def test_restored_afterwards(self, start):
        process = start("""
import os, signal, socket, sys, threading
from tallyloop.trainer.distribution import preemption
mine, other = socket.socketpair()
other.setblocking(False)
signal.set_wakeup_fd(other.fileno())
print("ready", flush=True)
descriptors = sorted(os.listdir("/dev/fd"))
for number in (signal.SIGTERM, signal.SIGINT):
    with preemption.on_signals():
        assert not preemption.requested()
        os.kill(os.getpid(), number)
        assert preemption.requested()
    assert not preemption.requested()
    assert threading.active_count() == 1
    assert sorted(os.listdir("/dev/fd")) == descriptors
assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
assert signal.set_wakeup_fd(-1) == other.fileno()
assert not {"tensorflow", "keras"} & set(sys.modules)
""")
        assert process.wait(10) == 0, process.stderr.read()
        assert process.stderr.read().count("saving after this inner loop") == 2

    def test_sigterm_only_asks(self, start):
        process = start(LONG_CALL)
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
            process.send_signal(number)
            time.sleep(0.05)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        process.send_signal(signal.SIGINT)
        assert process.wait(5) == 1
        assert process.stderr.read().startswith("SIGTERM: saving after this inner loop.")

    def test_forked_child(self, start):
        """As the pools of `multiprocessing` end their processes."""
        process = start("""
import os, signal, time
from tallyloop.trainer.distribution import preemption
with preemption.on_signals():
    print("ready", flush=True)
    mine, its = os.pipe()
    child = os.fork()
    if not child:
        os.write(its, b"!")
        time.sleep(20)
        os._exit(0)
    os.read(mine, 1)
    os.kill(child, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM
    time.sleep(0.1)
    assert not preemption.requested()
    os.kill(os.getpid(), signal.SIGTERM)
    assert preemption.requested()
""")
        assert process.wait(10) == 0, process.stderr.read()

    def test_ignored_ones_stay_ignored(self, start):
        """As `command &` in a script ignores SIGINT, and `nohup` SIGHUP."""
        process = start("""
import os, time
from tallyloop.trainer.distribution import preemption
ignored = (signal.SIGINT, signal.SIGHUP)
for number in ignored:
    signal.signal(number, signal.SIG_IGN)
with preemption.on_signals():
    print("ready", flush=True)
    for number in ignored * 2:
        os.kill(os.getpid(), number)
    time.sleep(0.1)
    assert not preemption.requested()
    child = os.fork()
    if not child:
        os._exit([signal.getsignal(number) for number in ignored] != [signal.SIG_IGN] * 2)
    assert os.waitpid(child, 0)[1] == 0
    os.kill(os.getpid(), signal.SIGTERM)
    assert preemption.requested()
assert [signal.getsignal(number) for number in ignored] == [signal.SIG_IGN] * 2
""")
        assert process.wait(10) == 0, process.stderr.read()
        assert process.stderr.read() == "SIGTERM: saving after this inner loop.\n"  # no word of a second Ctrl-C

    def test_an_ignored_sigterm_in_a_forked_child(self, start):
        process = start("""
import os
signal.signal(signal.SIGTERM, signal.SIG_IGN)
from tallyloop.trainer.distribution import preemption
with preemption.on_signals():
    print("ready", flush=True)
    child = os.fork()
    if not child:
        os._exit(signal.getsignal(signal.SIGTERM) != signal.SIG_IGN)
    assert os.waitpid(child, 0)[1] == 0
""")
        assert process.wait(10) == 0, process.stderr.read()


# Asks whether it is to stop while it prints, as a run does; then prints once more, and ends with the code of a run that saved.
PRINTS = """
import sys, time
from tallyloop.trainer.distribution import preemption
with preemption.on_signals():
    while not preemption.requested():
        print("training", flush=True)
        time.sleep(0.05)
    print("saving", flush=True)
print("saved", file=sys.stderr, flush=True)
sys.exit(42)
"""

# As after `disown`, or before the signal arrives.
NO_SIGHUP = """
import os, sys, time
signal.signal(signal.SIGHUP, signal.SIG_IGN)
from tallyloop.trainer.distribution import preemption
with preemption.on_signals():
    print("training", flush=True)
    while os.isatty(1):
        time.sleep(0.01)
    print("still training", flush=True)
    print("a warning", file=sys.stderr, flush=True)
    assert not preemption.requested()
print("saved", flush=True)
sys.exit(42)
"""


class TestClosedTerminal:
    def test_asks_like_sigterm(self, start):
        process = start(LONG_CALL)
        process.send_signal(signal.SIGHUP)
        assert process.stderr.readline().startswith("SIGHUP: saving after this inner loop.")

    def test_output_stays_where_there_was_no_terminal(self, start):
        process = start(PRINTS)
        process.send_signal(signal.SIGHUP)
        assert process.wait(10) == 42
        assert process.stdout.read().endswith("training\nsaving\n")
        assert process.stderr.read().endswith("saved\n")

    @pytest.mark.parametrize("code", ["PRINTS", "NO_SIGHUP"])
    def test_output_to_it_is_dropped(self, code):
        """With a real terminal: writing to one that is closed is an error."""
        ours, its = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-c", f"{TAKES_THE_TERMINAL}{AS_IN_A_TERMINAL}{globals()[code]}"],
            **dict.fromkeys(("stdin", "stdout", "stderr"), its),
            start_new_session=True,
        )
        os.close(its)
        assert b"training" in os.read(ours, 100)
        os.close(ours)
        assert process.wait(20) == 42


# Makes the terminal at stdin the one that controls this process, so that closing it sends SIGHUP.
TAKES_THE_TERMINAL = "import fcntl, termios\nfcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"


class TestSecondCtrlC:
    def test_ends_one_long_call(self, start):
        process = start(LONG_CALL)
        process.send_signal(signal.SIGINT)
        assert process.stderr.readline().startswith("SIGINT: saving after this inner loop.")  # at once
        process.send_signal(signal.SIGINT)
        assert process.wait(5) == 1
        assert process.stderr.read() == STOPPED

    def test_without_a_reader(self, start):
        process = start(LONG_CALL)
        process.stderr.close()  # nobody reads them
        for _ in range(2):
            process.send_signal(signal.SIGINT)
            time.sleep(0.1)
        assert process.wait(5) == 1

    def test_ends_in_order_unless_slow(self, start):
        for seconds, wanted in ((0, "closed\ninterrupted\n"), (60, "closed\n")):
            process = start(LEAVES.format(seconds=seconds))
            process.send_signal(signal.SIGINT)
            assert process.stderr.readline().startswith("SIGINT: saving")
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == 1
            assert process.stdout.read() == wanted
