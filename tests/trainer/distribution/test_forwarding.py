"""Signals of real processes; those of whole groups are in command/test_group.py."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tallyloop.trainer.distribution.forwarding import Signals


class Child:
    def __init__(self):
        self.sent = []

    def send(self, number):
        self.sent.append(number)


@pytest.fixture
def signals():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # the tests may have been started with it ignored
    with Signals() as signals:
        yield signals
    signal.signal(signal.SIGINT, before)


class TestSignals:
    def test_are_forwarded_once_and_a_second_ctrl_c_kills(self, signals):
        child = Child()
        signals.watch([child])
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert (signals.stopping, child.sent) == (True, [signal.SIGTERM])
        os.kill(os.getpid(), signal.SIGINT)
        assert child.sent == [signal.SIGTERM, signal.SIGKILL]

    def test_one_that_came_before_a_child_reaches_it_and_no_other_again(self, signals):
        first, second = Child(), Child()
        signals.watch([first])
        os.kill(os.getpid(), signal.SIGINT)
        signals.watch([first, second])
        assert (first.sent, second.sent) == ([signal.SIGINT], [signal.SIGINT])


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent's end")
def test_a_child_dies_with_a_parent_that_is_killed(tmp_path):
    child = (
        "import os, sys, time; from tallyloop.trainer.distribution.forwarding import die_with; die_with(int(sys.argv[1]));"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    )
    parent = f"import os, subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}, str(os.getpid())])"
    process = subprocess.Popen([sys.executable, "-c", parent])
    deadline = time.monotonic() + 30
    while not ((tmp_path / "pid").exists() and (tmp_path / "pid").read_text()) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    pid = int((tmp_path / "pid").read_text())
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (ProcessLookupError, FileNotFoundError):
            return
        if state == "Z":  # whoever reaps it takes its time
            return
        time.sleep(0.02)
    pytest.fail("the child lives on")
