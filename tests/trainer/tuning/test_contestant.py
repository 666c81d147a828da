"""The process of a setting: here, scripts that answer as it does, without TensorFlow."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from tallyloop.trainer.tuning import contestant
from tallyloop.trainer.tuning.contestant import Contestant, Failure
from tallyloop.trainer.tuning.measured import Lap
from tallyloop.trainer.tuning.settings import Setting

SCRIPT = """
import json, os, sys
answer = lambda found: print(json.dumps(found), flush=True)
start = lambda: answer({"facts": json.loads(os.environ["FACTS"]), "first_step": 2.5, "compiling": 0.5})
"""
LAPS = """
start()
for steps in [int(text) for text in os.environ["STEPS"].split(",")]:
    if not sys.stdin.readline():
        break
    answer({"seconds": 1.0, "steps": steps, "compiled": False, "memory": 5})
"""

READING = """
import threading, time
ready = 0
def read():
    global ready
    while True:
        time.sleep(0.01)
        ready += 1
threading.Thread(target=read, daemon=True).start()
start()
while sys.stdin.readline():
    answer({"seconds": 1.0, "steps": 1 + ready, "compiled": False, "memory": 5})
    ready = 0
"""


@pytest.fixture
def started(facts, tmp_path):
    """started(code, NAME=...) -> a contestant"""

    def started(code, **variables):
        variables["FACTS"] = json.dumps(dataclasses.asdict(facts))
        return Contestant(Setting("s", variables=variables), [sys.executable, "-c", SCRIPT + code], tmp_path)

    return started


class TestContestant:
    def test_is_told_to_train_lap_by_lap(self, started, facts):
        with started(LAPS, STEPS="10,10,20,30") as found:
            assert (found.facts, found.start.first_step, found.start.compiling) == (facts, 2.5, 0.5)
            assert found.start.warm_up == [Lap(1.0, 10), Lap(1.0, 10)]
            assert [found.lap(), found.lap()] == [Lap(1.0, 20), Lap(1.0, 30)]
            assert found.memory == 5

    def test_warms_up_until_laps_are_alike(self, started):
        with started(LAPS, STEPS="1,2,4,8,8,9") as found:
            assert [lap.steps for lap in found.start.warm_up] == [1, 2, 4, 8, 8]

    def test_a_lap_that_compiles_is_part_of_the_start(self, started):
        """As where the first short batch of an epoch comes."""
        code = LAPS.replace("False", "steps == 3")
        with started(code, STEPS="10,10,20,3,20,3,3,3,3,3,3,3") as found:
            assert [found.lap().steps, found.lap().steps] == [20, 20]
            assert [lap.steps for lap in found.start.warm_up] == [10, 10, 3]
            assert found.start.cost(0.05) == pytest.approx(2.5 + 0.5 + 0.5 + 1 - 3 * 0.05)
            assert found.lap().steps == 3  # a source of ever new shapes does not end

    def test_reads_nothing_ahead_while_it_waits(self, started):
        with started(READING) as found:
            found.lap()
            time.sleep(0.5)  # in which it would read 50 steps
            assert found.lap().steps < 20

    @pytest.mark.parametrize("answer", [True, False])
    def test_tells_whether_the_data_may_be_cached(self, started, answer):
        asked = f"answer({{'can_cache': sys.stdin.readline() == 'can cache\\n' and {answer}}})"
        with started(LAPS + asked, STEPS="1,1") as found:
            assert found.can_cache() is answer

    def test_ends_by_itself_although_it_waited(self, started, tmp_path):
        with started(LAPS + f"open('{tmp_path}/ended', 'w')", STEPS="10,10"):
            pass
        assert (tmp_path / "ended").exists()

    def test_leaves_no_bytecode_and_keeps_its_files_in_the_folder(self, started, tmp_path):
        code = 'answer({"error": os.environ["TMPDIR"] + os.environ["PYTHONDONTWRITEBYTECODE"], "is_usage": False})'
        with pytest.raises(Failure, match=f"^{re.escape(str(tmp_path))}1$"):
            started(code)


class TestFailure:
    @pytest.mark.parametrize("is_usage", [True, False])
    def test_is_what_the_process_says(self, started, is_usage):
        with pytest.raises(Failure, match=r"^no op$") as caught:
            started(f'answer({{"error": "no op", "is_usage": {is_usage}}})')
        assert caught.value.is_usage is is_usage

    @pytest.mark.parametrize(
        ("code", "told"),
        [
            ("sys.exit(3)", "exit code 3"),
            ("sys.exit('out of luck')", "exit code 1: out of luck"),
            ("os.kill(os.getpid(), 9)", "killed by SIGKILL"),
            ("start(); sys.stdin.readline(); os.kill(os.getpid(), 11)", "killed by SIGSEGV"),
        ],
    )
    def test_is_how_it_ended(self, started, code, told):
        with pytest.raises(Failure, match=f"^{told}$"):
            started(code)

    def test_is_told_by_the_errors_of_its_own_process(self, started):
        fails = LAPS + "sys.stdin.readline(); sys.exit('of ' + os.environ['NAME'])"
        with started(fails, STEPS="1,1", NAME="one") as one, started(fails, STEPS="1,1", NAME="the other") as other:
            for each, told in ((one, "one"), (other, "the other")):
                with pytest.raises(Failure, match=f"^exit code 1: of {told}$"):
                    each.lap()

    def test_of_a_process_that_hangs(self, started, monkeypatch):
        monkeypatch.setattr(contestant, "_TO_LAP", 0.2)
        with pytest.raises(Failure, match=r"^no answer within 0 s$"):
            started("start(); import time; time.sleep(60)")


class TestEnd:
    def test_takes_along_what_the_process_has_started(self, started, tmp_path):
        code = """
import subprocess
child = subprocess.Popen(["sleep", "60"], stdout=subprocess.DEVNULL)
open("child", "w").write(str(child.pid))
"""
        code = code.replace('"child", "w"', f'"{tmp_path}/child", "w"')
        with started(code + LAPS, STEPS="1,1"):
            pid = int((tmp_path / "child").read_text())
        state, deadline = Path(f"/proc/{pid}/stat"), time.monotonic() + 10
        while state.exists() and state.read_text().split()[2] != "Z" and time.monotonic() < deadline:
            time.sleep(0.01)
        assert time.monotonic() < deadline

    def test_comes_although_its_start_is_interrupted(self, started, monkeypatch):
        """By Ctrl-C after the system has the process, and before anything in Python has; any thread may get the signal."""
        begun, over = [], threading.Event()
        before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have had it ignored

        class Interrupted(subprocess.Popen):
            def _execute_child(self, *arguments, **options):
                super()._execute_child(*arguments, **options)
                begun.append(self)
                os.kill(os.getpid(), signal.SIGINT)
                for _ in range(100):
                    time.sleep(0.001)

        monkeypatch.setattr(contestant.subprocess, "Popen", Interrupted)
        other = threading.Thread(target=over.wait)
        other.start()
        try:
            with pytest.raises(KeyboardInterrupt):
                started(LAPS, STEPS="1,1")
        finally:
            signal.signal(signal.SIGINT, before)
            over.set()
            other.join()
        assert begun[0].returncode == -signal.SIGKILL
