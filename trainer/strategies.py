"""Strategies by the names that a config binds: `Trainer.strategy = @mirrored()`."""

from __future__ import annotations

from collections.abc import Sequence

import gin
import tensorflow as tf

from ..metrics.errors import UsageError


@gin.register(module="tallyloop")
def one_device(device: str | None = None) -> tf.distribute.Strategy:
    """Trains on one device.

    Args:
      device: such as "/gpu:0"; None takes the first GPU, or the CPU where there is none.

    Raises:
      UsageError: there is no such device.
    """
    if device is None:
        device = "/gpu:0" if tf.config.list_logical_devices("GPU") else "/cpu:0"
    return tf.distribute.OneDeviceStrategy(_checked(device, "one_device.device"))


@gin.register(module="tallyloop")
def mirrored(devices: Sequence[str] | None = None) -> tf.distribute.Strategy:
    """Trains on all devices of this machine, one replica each, in step.

    Args:
      devices: such as ["/gpu:0", "/gpu:1"]; None takes all GPUs, or all (virtual) CPUs where there is none.

    Raises:
      UsageError: there is no such device.
    """
    if devices is None:
        kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
        devices = [device.name for device in tf.config.list_logical_devices(kind)]
    return tf.distribute.MirroredStrategy([_checked(device, "mirrored.devices") for device in devices])


def _checked(device: str, binding: str) -> str:
    """Returns `device` if it exists: TensorFlow places on another one in silence."""
    known = [logical.name for logical in tf.config.list_logical_devices()]
    try:
        wanted = tf.DeviceSpec.from_string(device if device.startswith("/") else "/" + device)
    except ValueError:
        wanted = None
    matches = [name for name in known if wanted and _matches(tf.DeviceSpec.from_string(name), wanted)]
    if not matches:
        raise UsageError(f"{binding}: no device {device!r}; there are {', '.join(known)} (see --virtual_cpus).")
    return matches[0]


def _matches(device: tf.DeviceSpec, wanted: tf.DeviceSpec) -> bool:
    kind = (wanted.device_type or "").upper()
    return device.device_type == kind and device.device_index == (wanted.device_index or 0)
