"""Reading ahead of the steps."""

import gc
import subprocess
import sys
import threading

import pytest
from tallyloop.data.rows.processes import worker
from tallyloop.data.rows.reader import Reader
from tallyloop.data.rows.shares import Share

ALL = Share(0, 1)


class Loads:
    """Notes what is loaded; waits for `go` where one is given."""

    def __init__(self):
        self.loaded, self.go = [], threading.Event()
        self.go.set()

    def __call__(self, step, share):
        self.go.wait(10)
        self.loaded.append((step, share))
        if step == 7:
            raise OSError("step 7")
        return step, share


def settled(reader):
    for each in list(reader._loading.values()):
        each.exception(timeout=10)


class TestReader:
    def test_loads_each_share_once_and_ahead(self):
        loads = Loads()
        reader = Reader(loads, 2, ahead=3)
        for step in range(3):
            reader.wait(step)
            assert [reader.take(step, Share(i, 2)) for i in range(2)] == [(step, Share(0, 2)), (step, Share(1, 2))]
        settled(reader)
        assert sorted(loads.loaded) == [(step, Share(i, 2)) for step in range(5) for i in range(2)]

    def test_not_past_the_end(self):
        loads = Loads()
        reader = Reader(loads, 2, ahead=8, end=3)
        for step in range(2):
            reader.wait(step)
            reader.take(step, ALL)
        settled(reader)
        assert sorted(loads.loaded) == [(0, ALL), (1, ALL), (2, ALL)]

    def test_waits_until_the_step_is_there(self):
        loads = Loads()
        reader = Reader(loads, 1, ahead=1)
        reader.wait(0)  # nobody has asked for a share yet
        assert reader.take(0, ALL) == (0, ALL)
        loads.go.clear()
        waiting = threading.Thread(target=reader.wait, args=[1])
        waiting.start()
        waiting.join(0.05)
        assert waiting.is_alive()
        loads.go.set()
        waiting.join(10)
        assert not waiting.is_alive()

    def test_raises_the_error_of_its_step_and_keeps_it(self):
        reader = Reader(Loads(), 2, ahead=4)
        for step in range(5, 7):
            reader.wait(step)
            reader.take(step, ALL)
        assert reader.error is None
        reader.wait(7)
        with pytest.raises(OSError, match="step 7"):
            reader.take(7, ALL)
        assert str(reader.error) == "step 7"

    def test_forgets_what_was_read_ahead(self):
        loads = Loads()
        reader = Reader(loads, 1, ahead=2)
        reader.wait(0)
        reader.take(0, ALL)
        reader.wait(1)
        settled(reader)
        reader.forget()
        assert reader.take(1, ALL) == (1, ALL)
        assert loads.loaded.count((1, ALL)) == 2


# Without TensorFlow, to be quick.
EXITING = f"""
import importlib.util, sys, time
spec = importlib.util.spec_from_file_location("worker", {worker.__file__!r})
worker = importlib.util.module_from_spec(spec)
spec.loader.exec_module(worker)
worker._load_late("tallyloop.data")
from tallyloop.data.rows.reader import Reader

def load(step, share):
    time.sleep(0.5 if step > 1 else 0)
    sys.stdout.write(f"{{step}}\\n")  # whole lines, as two threads write

reader = Reader(load, 2, ahead=8)
reader.take(0, None)
reader.wait(1)
reader.take(1, None)
"""


class TestEnd:
    def test_of_the_interpreter_waits_for_the_calls_that_are_made_only(self):
        """Steps 2 and 3 at that time, and not those up to 9."""
        found = subprocess.run([sys.executable, "-c", EXITING], capture_output=True, text=True, check=False)
        assert found.stderr == ""
        assert sorted(found.stdout.split()) == ["0", "1", "2", "3"]

    def test_of_the_reader_ends_its_threads(self):
        before = set(threading.enumerate())
        reader = Reader(Loads(), 2, ahead=2)
        reader.take(0, ALL)
        started = set(threading.enumerate()) - before
        assert len(started) == 2
        del reader
        gc.collect()
        for each in started:
            each.join(10)
            assert not each.is_alive()
