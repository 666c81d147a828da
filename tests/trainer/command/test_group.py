"""Real processes that stand in for training, and real signals."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from tallyloop.trainer.command import group

# What a launcher process runs: `group.run` on the code of a fake worker, then a check of what was imported.
LAUNCHER = """
import signal, sys
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):  # which a test run in the background may have ignored
    signal.signal(number, signal.SIG_DFL)
for name in sys.argv[4:]:
    signal.signal(signal.Signals[name], signal.SIG_IGN)
from tallyloop.trainer.command import group
code = group.run([sys.executable, "-c", sys.argv[1]], int(sys.argv[2]), int(sys.argv[3]), grace=1.0)
assert not {"tensorflow", "keras", "gin"} & set(sys.modules), "the launcher imported TensorFlow"
sys.exit(code)
"""

# Precedes the code of each fake worker. Every start leaves a file, so that restarts can be counted.
PRELUDE = """
import json, os, signal, sys, time
config = json.loads(os.environ["TF_CONFIG"])
me = config["task"]["index"]
from tallyloop.trainer.command import member
member.die_with_launcher()
starts = sum(name.startswith(f"{me}_") for name in os.listdir("."))
open(f"{me}_{os.getpid()}", "w").close()
def wait_for(other):  # or it may be killed before it has left its file
    while sum(name.startswith(f"{other}_") for name in os.listdir(".")) <= starts: time.sleep(0.02)
"""


SAVES_WHEN_TOLD = """
told = []
def save(number, frame):
    told.append(number)
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP): signal.signal(number, save)
while not told: time.sleep(0.02)
time.sleep(1)
print(me, told, flush=True)
sys.exit(42)
"""


class Launcher:
    def __init__(self, folder):
        self.folder = folder

    def start(self, code, workers=2, max_restarts=0, ignored=()):
        return subprocess.Popen(
            [sys.executable, "-c", LAUNCHER, PRELUDE + code, str(workers), str(max_restarts), *ignored],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments, **keywords):
        process = self.start(*arguments, **keywords)
        process.out, process.err = process.communicate(timeout=60)
        return process

    def starts(self, index=0):
        return [int(path.name.split("_")[1]) for path in self.folder.glob(f"{index}_*")]

    def wait_for_pids(self, workers=2):
        end = time.monotonic() + 30
        while time.monotonic() < end:
            if all(self.starts(index) for index in range(workers)):
                time.sleep(0.3)  # for the handlers that follow the file
                return [self.starts(index)[0] for index in range(workers)]
            time.sleep(0.05)
        raise AssertionError("the workers did not start")


@pytest.fixture
def launcher(tmp_path):
    return Launcher(tmp_path)


class TestOutput:
    def test_worker_0_has_stdout_and_the_others_a_prefix_on_stderr(self, launcher):
        done = launcher.run("print('I am', me, len(config['cluster']['worker']))", workers=3)
        assert done.returncode == 0
        assert done.out == "I am 0 3\n"
        assert sorted(done.err.splitlines()) == ["[worker 1] I am 1 3", "[worker 2] I am 2 3"]

    def test_an_error_of_all_workers_is_printed_once(self, launcher):
        error = "print('Error: no such flag\\nwith a note', file=sys.stderr)"
        done = launcher.run(f"time.sleep((1 - me) / 2)\n{error}\nsys.exit(2)")
        assert done.returncode == 2
        assert done.err == "Error: no such flag\nwith a note\n"

    def test_an_error_of_one_worker_is_printed(self, launcher):
        done = launcher.run("if me == 1: print('Error: no GPU here', file=sys.stderr); sys.exit(2)\ntime.sleep(60)")
        assert done.returncode == 2
        assert done.err == "[worker 1] Error: no GPU here\n"


class TestRestarts:
    def test_all_workers_restart_after_a_failure(self, launcher):
        done = launcher.run(
            "if me == 1: wait_for(0)\nif me == 1 and starts < 2: sys.exit(3)\nif starts < 2: time.sleep(60)",
            max_restarts=5,
        )
        assert done.returncode == 0
        assert [len(launcher.starts(index)) for index in range(2)] == [3, 3]
        assert done.err.splitlines() == [
            "Worker 1 exited with code 3: restarting all 2 workers (restart 1 of 5).",
            "Worker 1 exited with code 3: restarting all 2 workers (restart 2 of 5).",
        ]

    def test_end_with_the_last_failure(self, launcher):
        done = launcher.run("if me == 1: wait_for(0); sys.exit(3)\ntime.sleep(60)", max_restarts=1)
        assert done.returncode == 3
        assert len(launcher.starts(1)) == 2
        assert done.err.splitlines()[-1] == "Worker 1 exited with code 3: no restarts left (--max_restarts=1)."

    @pytest.mark.parametrize("code", [2, 42])
    def test_none_after_wrong_usage_and_preemption(self, launcher, code):
        done = launcher.run(f"sys.exit({code})", max_restarts=3)
        assert done.returncode == code
        assert [len(launcher.starts(index)) for index in range(2)] == [1, 1]
        assert done.err == ""


class TestFailure:
    def test_wrong_data_of_one_goes_before_what_the_others_make_of_it(self, launcher):
        stays = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        done = launcher.run(
            f"{stays}open('ready_%d' % me, 'w').close()\n"
            "if me == 0:\n"
            "    while not os.path.exists('ready_1'): time.sleep(0.02)\n"
            "    sys.exit(1)\n"
            "time.sleep(0.1); sys.exit(2)",
            max_restarts=3,
        )
        assert done.returncode == 2
        assert [len(launcher.starts(index)) for index in range(2)] == [1, 1]
        assert done.err == ""

    def test_a_death_by_a_signal_is_named_and_gives_1(self, launcher):
        done = launcher.run("if me == 1: os.kill(os.getpid(), signal.SIGKILL)\ntime.sleep(60)")
        assert done.returncode == 1
        assert "Worker 1 was killed by SIGKILL" in done.err

    def test_a_worker_that_ignores_sigterm_is_killed(self, launcher):
        started = time.monotonic()
        done = launcher.run(
            "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nif me: time.sleep(1); sys.exit(3)\ntime.sleep(60)"
        )
        assert done.returncode == 3
        assert time.monotonic() - started < 30
        with pytest.raises(ProcessLookupError):
            os.kill(launcher.starts(0)[0], 0)


class TestPreemption:
    def test_the_other_workers_have_time_to_save(self, launcher):
        done = launcher.run("if me == 0: time.sleep(2)\nprint('saved', flush=True)\nsys.exit(42)")
        assert done.returncode == 42
        assert done.out == "saved\n"

    @pytest.mark.parametrize(
        ("chief", "code"),
        [
            ("sys.exit(3)", 3),
            ("os.kill(os.getpid(), signal.SIGKILL)", 1),
            ("sys.exit(0)", 42),
        ],
    )
    def test_a_failure_while_the_others_saved_takes_precedence(self, launcher, chief, code):
        done = launcher.run(f"if me == 1: sys.exit(42)\ntime.sleep(1)\n{chief}")
        assert done.returncode == code
        assert ("Worker 0 " in done.err) == (code != 42)

    @pytest.mark.slow
    def test_a_worker_that_does_not_end_has_not_saved(self, launcher):
        done = launcher.run("if me == 1: sys.exit(42)\ntime.sleep(60)")
        assert done.returncode == 1
        assert "Worker 0 was killed by SIGKILL: no restarts left" in done.err


class TestSignals:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
    def test_are_forwarded_once_and_all_workers_awaited(self, launcher, number):
        process = launcher.start(SAVES_WHEN_TOLD, max_restarts=3)
        launcher.wait_for_pids()
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
        assert process.returncode == 42
        assert out == f"0 [{int(number)}]\n"
        assert err == f"[worker 1] 1 [{int(number)}]\n"

    def test_an_ignored_one_stays_ignored_by_all(self, launcher):
        code = "print(signal.getsignal(signal.SIGINT) == signal.SIG_IGN, flush=True)\ntime.sleep(1)"
        process = launcher.start(code, ignored=["SIGINT"])
        launcher.wait_for_pids()
        for _ in range(2):
            process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert (process.returncode, out, err) == (0, "True\n", "[worker 1] True\n")

    def test_a_worker_ended_by_one_is_not_restarted(self, launcher):
        process = launcher.start("time.sleep(60)", max_restarts=3)
        launcher.wait_for_pids()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 1
        assert len(launcher.starts()) == 1

    def test_a_failure_after_one_takes_precedence_over_saved(self, launcher):
        fails = SAVES_WHEN_TOLD.replace("sys.exit(42)", "if me: sys.exit(42)\ntime.sleep(1)\nsys.exit(1)")
        process = launcher.start(fails, max_restarts=3)
        launcher.wait_for_pids()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 1
        assert len(launcher.starts()) == 1

    def test_a_second_ctrl_c_kills(self, launcher):
        process = launcher.start("signal.signal(signal.SIGINT, signal.SIG_IGN)\ntime.sleep(60)")
        launcher.wait_for_pids()
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 1


class TestKilledLauncher:
    @pytest.mark.skipif(sys.platform != "linux", reason="only Linux's kernel does it")
    def test_leaves_no_worker_behind(self, launcher):
        process = launcher.start("time.sleep(60)")
        pids = launcher.wait_for_pids()
        process.kill()
        process.communicate(timeout=10)
        end = time.monotonic() + 10
        while any(os.path.exists(f"/proc/{pid}") for pid in pids) and time.monotonic() < end:
            time.sleep(0.05)
        assert not [pid for pid in pids if os.path.exists(f"/proc/{pid}")]


class TestFreePorts:
    def test_are_distinct_and_free(self):
        ports = group.free_ports(3)
        assert len(set(ports)) == 3
        for port in ports:
            socket.create_server(("localhost", port)).close()
