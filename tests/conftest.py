"""Settings and fixtures that hold for every test of this process."""

import functools
import gc
import os
import sys
import threading
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pytest
import tensorflow as tf  # after the log level, which it reads when imported

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 4
)

# What is imported stays; a collection, of which tracing causes many, need not look at it again.
gc.freeze()
gc.set_threshold(50_000, 20, 100)


if (_trace := threading.gettrace()) is not None:  # coverage, which sees only the threads that Python has started
    _numpy_function = tf.numpy_function

    def _measured(func, *arguments, **keywords):
        def call(*values):
            sys.settrace(_trace)
            return func(*values)

        return _numpy_function(call, *arguments, **keywords)

    tf.numpy_function = _measured


@functools.cache
def _mirrored(replicas):
    return tf.distribute.MirroredStrategy([f"/cpu:{i}" for i in range(replicas)])


@pytest.fixture(scope="session")
def mirrored_on():
    """mirrored_on(n) -> a MirroredStrategy of n replicas."""
    return _mirrored


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark the cases that `slow.txt` lists."""
    listed = set(Path(__file__).with_name("slow.txt").read_text().splitlines())
    for item in items:
        if item.nodeid in listed:
            item.add_marker(pytest.mark.slow)


def pytest_sessionfinish():
    """Save the coverage while the process is still waited for: xdist kills its workers 10 s after the last test."""
    coverage = sys.modules.get("coverage")
    measured = coverage.Coverage.current() if coverage else None
    if measured:
        measured.stop()
        measured.save()
