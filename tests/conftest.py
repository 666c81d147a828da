"""Settings and fixtures that hold for every test of this process."""

import functools
import gc
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pytest
import tensorflow as tf  # after the log level, which it reads when imported

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 4
)

# What is imported stays; a collection, of which tracing causes many, need not look at it again.
gc.freeze()
gc.set_threshold(50_000, 20, 100)


@functools.cache
def _mirrored(replicas):
    return tf.distribute.MirroredStrategy([f"/cpu:{i}" for i in range(replicas)])


@pytest.fixture(scope="session")
def mirrored_on():
    """mirrored_on(n) -> a MirroredStrategy of n replicas."""
    return _mirrored
