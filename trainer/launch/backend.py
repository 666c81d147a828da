"""Loading TensorFlow and Keras, without their start-up noise."""

from __future__ import annotations

import importlib
import os

from ...metrics.errors import UsageError
from ..distribution.startup import quiet_stderr

# The modules whose import registers the bundled configurables.
_BUNDLED = (
    "tallyloop.trainer.trainer",
    "tallyloop.trainer.distribution.strategies",
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
    with quiet_stderr():
        import tensorflow as tf

        if virtual_cpus:
            cpu = tf.config.list_physical_devices("CPU")[0]
            split = [tf.config.LogicalDeviceConfiguration() for _ in range(virtual_cpus)]
            tf.config.set_logical_device_configuration(cpu, split)
        for module in _BUNDLED:
            importlib.import_module(module)
    tf.get_logger().setLevel("ERROR")


def start() -> None:
    """Makes TensorFlow's devices: after the config is loaded, as many workers must meet before there are any."""
    import tensorflow as tf

    with quiet_stderr():
        tf.config.list_logical_devices()
