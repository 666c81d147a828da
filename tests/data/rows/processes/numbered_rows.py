"""A source and transforms for processes that read rows, in a module that does not import TensorFlow."""

import itertools
import os
import re
import signal
import sys
import time
from collections import deque
from pathlib import Path

import gin
import numpy as np


class Numbers:
    """Row i is {"x": [i, i], "name": "row i"}; `bad` rows cannot be read."""

    def __init__(self, length=1000, bad=()):
        self.length, self.bad = length, bad

    def __len__(self):
        return self.length

    def __getitem__(self, row):
        if row in self.bad:
            raise OSError("a hole in the disk")
        return {"x": np.full(2, row, np.float32), "name": f"row {row}"}


def noisy(example, rng):
    return {**example, "x": example["x"] + np.float32(rng.normal())}


def where(example, rng):
    """The process, and whether it has TensorFlow."""
    return {"pid": os.getpid(), "tensorflow": "tensorflow" in sys.modules, "empty": np.zeros(0)}


def refusing(example, rng):
    if example["x"][0] == 7:
        raise ValueError("no sevens")
    return example


def ragged(example, rng):
    return np.zeros(int(example["x"][0]) % 2)


def crashing(example, rng):
    if example["x"][0] == 7:
        os.kill(os.getpid(), signal.SIGSEGV)
    return example


class Holding:
    """Keeps the GIL in one call for ever, after it has written its pid to a file; only the first time if `once`."""

    def __init__(self, file, once=False):
        self.file, self.once = file, once

    def __call__(self, example, rng):
        if not (self.once and Path(self.file).exists()):
            Path(self.file).write_text(str(os.getpid()))
            deque(itertools.repeat(0), maxlen=0)
        return example


class Sleeping:
    """Takes its time."""

    def __init__(self, seconds):
        self.seconds = seconds

    def __call__(self, example, rng):
        time.sleep(self.seconds)
        return example


@gin.register(module="numbered_rows")
def scaled(example, rng, by=1.0):
    return {"x": example["x"] * np.float32(by), "offset": offset()}


@gin.configurable(module="numbered_rows")
def offset(value=0.0):
    return np.float32(value)


@gin.configurable(module="numbered_rows")
def offset_of_a_task(example, rng, task=None):
    """`task` is bound to something that only the parent has imported."""
    return {"x": example["x"]}


def calls_offset_of_a_task(example, rng):
    return offset_of_a_task(example, rng)


def gone(pid):
    """Whether a process has ended; a zombie has."""
    try:
        return re.search(r"\) (\S)", Path(f"/proc/{pid}/stat").read_text())[1] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.01)
    return found
