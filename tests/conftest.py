"""Settings and fixtures that hold for every test of this process."""

import functools
import gc
import importlib.abc
import importlib.machinery
import itertools
import os
import sys
import threading
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pytest


class _AfterImport(importlib.abc.MetaPathFinder):
    """Calls a function with a module once that has been imported: tests that need no TensorFlow do not load it."""

    def __init__(self, name, then):
        self._name, self._then = name, then

    def find_spec(self, fullname, path, target=None):
        spec = importlib.machinery.PathFinder.find_spec(fullname, path) if fullname == self._name else None
        if spec is None:
            return None
        load = spec.loader.exec_module

        def load_and_call(module):
            load(module)
            if self in sys.meta_path:
                sys.meta_path.remove(self)
            self._then(module)

        spec.loader.exec_module = load_and_call
        return spec


def _prepare(tf):
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 4)
    # What is imported stays; a collection, of which tracing causes many, need not look at it again.
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    if (trace := threading.gettrace()) is not None:  # coverage, which sees only the threads that Python has started
        tf.numpy_function = _measured(tf.numpy_function, trace)


def _measured(numpy_function, trace):
    def make(func, *arguments, **keywords):
        def call(*values):
            sys.settrace(trace)
            return func(*values)

        return numpy_function(call, *arguments, **keywords)

    return make


if "tensorflow" in sys.modules:  # tests/mutation/run.py forks with it loaded
    _prepare(sys.modules["tensorflow"])
else:
    sys.meta_path.insert(0, _AfterImport("tensorflow", _prepare))


@functools.cache
def _mirrored(replicas):
    import tensorflow as tf

    return tf.distribute.MirroredStrategy([f"/cpu:{i}" for i in range(replicas)])


@pytest.fixture(scope="session")
def mirrored_on():
    """mirrored_on(n) -> a MirroredStrategy of n replicas."""
    return _mirrored


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(config, items):
    """Mark the cases that `slow.txt` and `nightly.txt` list, and deal what was chosen to the workers of xdist."""
    slow, nightly = (
        set(Path(__file__).with_name(name).read_text().splitlines()) for name in ("slow.txt", "nightly.txt")
    )
    for item in items:
        if item.nodeid in slow:
            item.add_marker(pytest.mark.slow)
        if item.nodeid in nightly:
            item.add_marker(pytest.mark.nightly)
    if "nightly" not in config.option.markexpr:  # slow ones, but not with the slow ones
        config.hook.pytest_deselected(items=[item for item in items if item.nodeid in nightly])
        items[:] = [item for item in items if item.nodeid not in nightly]
    yield
    items[:] = _dealt(items, getattr(config, "workerinput", {}).get("workercount", 1))


def _dealt(items, workers):
    """The items in an order in which each worker's share begins with whole files of `e2e`.

    They share runs of most of a minute. At the end, the workers take over each other's last tests one by one, and each would
    make the runs that these need again; so the last are others, which share less.
    """
    others = [item for item in items if item.path.parent.name != "e2e"]
    files = [list(each) for _, each in itertools.groupby(items, lambda item: item.path)]
    files = [each for each in files if each[0].path.parent.name == "e2e"]
    order = []
    for worker in range(workers):
        order += itertools.chain(*files[worker::workers])
        share = (worker + 1) * len(items) // workers - len(order)
        order += others[: max(share, 0)]
        del others[: max(share, 0)]
    return order


def pytest_sessionfinish():
    """Save the coverage while the process is still waited for: xdist kills its workers 10 s after the last test."""
    coverage = sys.modules.get("coverage")
    measured = coverage.Coverage.current() if coverage else None
    if measured:
        measured.stop()
        measured.save()
