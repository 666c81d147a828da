"""Loading TensorFlow and Keras, without their start-up noise."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import tempfile
from collections.abc import Iterator

from absl import logging

from ...metrics.errors import UsageError

# The modules whose import registers the bundled configurables.
_BUNDLED = (
    "tallyloop.trainer.trainer",
    "tallyloop.trainer.strategies",
    "tallyloop.data",
    "tallyloop.models.autoencoder",
    "tallyloop.models.classifier",
    "tallyloop.models.mlp",
)


def load(virtual_cpus: int | None) -> None:
    """Imports TensorFlow and Keras, splits the CPU, and registers what a config can name."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if os.environ.setdefault("KERAS_BACKEND", "tensorflow") != "tensorflow":
        raise UsageError(f"KERAS_BACKEND={os.environ['KERAS_BACKEND']}: Tallyloop needs tensorflow; unset it.")
    with _quiet_stderr():
        import tensorflow as tf

        if virtual_cpus:
            cpu = tf.config.list_physical_devices("CPU")[0]
            split = [tf.config.LogicalDeviceConfiguration() for _ in range(virtual_cpus)]
            tf.config.set_logical_device_configuration(cpu, split)
        tf.config.list_logical_devices()
        for module in _BUNDLED:
            importlib.import_module(module)
    tf.get_logger().setLevel("ERROR")


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Holds back what native code prints while it loads, before its log level is in force; logs it if verbose.

    It writes to the file descriptor, not to `sys.stderr`. An exception lets it through: it may tell why.
    """
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        failed = True
        try:
            yield
            failed = False
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            held.seek(0)
            text = held.read().decode(errors="replace")
            if failed:
                sys.stderr.write(text)
            elif text:
                logging.debug("TensorFlow's start-up messages:\n%s", text)
