"""Reading ahead of the steps."""

import gc
import os
import subprocess
import sys
import threading
import time
import weakref

import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data.rows.reader import Reader

NUMBER = tf.TensorSpec([], tf.int64)


class Loads:
    """Gives ten times the number of each step, and notes what is loaded; waits for `go` from the step `held` on."""

    def __init__(self, bad=None, takes=0.0, held=10**9):
        self.loaded, self.bad, self.takes, self.held, self.go = [], bad, takes, held, threading.Event()

    def __call__(self, step, count):
        if step >= self.held:
            self.go.wait(10)
        time.sleep(self.takes)
        self.loaded.append((step, count))
        if self.bad is not None and step <= self.bad < step + count:
            raise OSError(f"step {self.bad}")
        return [np.arange(step, step + count) * 10]

    @property
    def steps(self):
        return sorted(step for first, count in self.loaded for step in range(first, first + count))


def reader(load, threads=2, alike=lambda step: 1000, **arguments):
    return Reader(load, alike, [NUMBER], threads, **arguments)


def taken(source, count):
    """The next steps, and what was loaded for each."""
    found = [source.next() for _ in range(count)]
    return [(int(step), int(each)) for step, (each,) in found]


def until(condition):
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("not within ten seconds")


class TestReader:
    def test_gives_the_steps_in_order_and_loads_each_once_and_ahead(self):
        loads = Loads()
        source = reader(loads, threads=3)
        assert taken(source, 200) == [(step, 10 * step) for step in range(200)]
        until(lambda: len(loads.steps) > 210)
        source.stop()
        assert loads.steps == list(range(len(loads.steps)))

    def test_loads_several_quick_steps_by_one_call_if_they_are_alike(self):
        """All of ten steps up to the next multiple of it, at most."""
        quick, slow = Loads(), Loads(takes=0.01)
        assert len(taken(reader(quick, alike=lambda step: 10 - step % 10), 100)) == 100
        assert max(count for _, count in quick.loaded) > 1
        assert all(step // 10 == (step + count - 1) // 10 for step, count in quick.loaded)
        taken(reader(slow), 20)
        assert {count for _, count in slow.loaded} == {1}

    def test_gives_zeros_past_the_end(self):
        """Zeros follow."""
        loads = Loads()
        source = reader(loads, alike=lambda step: 3 - step, end=3)
        assert taken(source, 5) == [(0, 0), (1, 10), (2, 20), (3, 0), (4, 0)]
        assert loads.steps == [0, 1, 2]

    def test_finishes_in_the_graph(self):
        def finish(flat, threads):
            return tf.data.Dataset.from_tensors({"more": flat[0] + 1})

        source = reader(Loads(), finish=finish, finished=[NUMBER], alike=lambda step: 50 - step, end=50)
        assert taken(source, 60) == [(step, 10 * step + 1 if step < 50 else 0) for step in range(60)]

    def test_an_error_shows_at_its_step_though_several_were_loaded_at_once(self):
        source = reader(Loads(bad=77))
        assert taken(source, 77) == [(step, 10 * step) for step in range(77)]
        with pytest.raises((tf.errors.UnknownError, AssertionError)):
            assert taken(source, 1)[0][0] == 77
        assert str(source.error) == "step 77"
        assert 77 in source.untaken(70)

    def test_continues_elsewhere(self):
        source = reader(Loads(bad=3))
        taken(source, 2)
        until(lambda: source.error is not None)
        source.restart(1000)
        assert taken(source, 2) == [(1000, 10000), (1001, 10010)]
        assert source.error is None

    def test_stops_once_the_calls_that_are_made_have_ended(self):
        """Steps 2 and 3, by a thread each; those that would follow are not loaded."""
        loads = Loads(held=2)
        source = reader(loads, alike=lambda step: 1)
        taken(source, 2)
        until(lambda: len(source.untaken(0)) == 4)
        stopping = threading.Thread(target=source.stop)
        stopping.start()
        stopping.join(0.5)  # by then it waits for them
        assert stopping.is_alive()
        loads.go.set()
        stopping.join(10)
        assert not stopping.is_alive()
        assert loads.steps == [0, 1, 2, 3]

    def test_keeps_nothing_in_memory(self):
        """TensorFlow keeps each function of Python that a graph calls."""
        loads = Loads()
        source, kept = reader(loads), weakref.ref(loads)
        taken(source, 1)
        del loads, source
        gc.collect()
        until(lambda: kept() is None)


EXITING = """
import sys, time
from tallyloop.data import Input

class Slow:
    def __len__(self):
        return 1000

    def __getitems__(self, rows):
        if rows[0] > 1:
            time.sleep(0.6)
        sys.stdout.write(f"{rows[0]}\\n")
        return {"y": rows}

feed = Input(Slow(), 1, shuffle=False).open_train()
feed.first_batch()
feed._reader.next()
time.sleep(0.2)
"""


def test_the_end_of_the_interpreter_waits_for_the_calls_that_are_made_only():
    """Two threads make one each. Row 0 is the first example, and the first batch, too."""
    found = subprocess.run([sys.executable, "-c", EXITING], capture_output=True, text=True, check=False)
    assert "Error" not in found.stderr
    assert sorted(found.stdout.split()[:4]) == ["0", "0", "0", "1"]  # the last two at the same time
    assert len(found.stdout.split()) == 6


# Rows that an operation of TensorFlow draws, as it does the order of a shuffled epoch.
ONE_THREAD = """
import tensorflow as tf
from tallyloop.data.rows.reader import Reader

drawn = tf.function(lambda step, count: tf.cumsum(tf.ones([count], tf.int64)) + step - 1, autograph=False)
number = tf.TensorSpec([], tf.int64)
reader = Reader(lambda step, count: [drawn(tf.constant(step, tf.int64), count).numpy()], lambda step: 1, [number], 1)

@tf.function(autograph=False)
def total():
    def body(step, total):
        _, (row,) = reader.next()
        return step + 1, total + row

    return tf.while_loop(lambda step, _: step < 100, body, (0, tf.constant(0, tf.int64)))[1]

print(int(total()))
"""


def test_one_thread_for_operations_is_not_held_by_a_step_that_waits():
    found = subprocess.run(
        [sys.executable, "-c", ONE_THREAD],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"TF_NUM_INTEROP_THREADS": "1"},
    )
    assert found.stdout == "4950\n", found.stderr  # 0 + 1 + ... + 99
