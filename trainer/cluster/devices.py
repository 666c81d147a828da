"""How many devices each worker takes part with."""

from __future__ import annotations

from collections import Counter

import tensorflow as tf

from ...metrics.errors import UsageError
from .place import Place


def check_equal_devices(place: Place) -> None:
    """Checks that all workers have as many: TensorFlow would wait for the missing ones for ever.

    Once a cluster has met, TensorFlow lists the devices of all its workers.

    Raises:
      UsageError: they differ.
    """
    for kind in ("GPU", "CPU"):
        devices = [tf.DeviceSpec.from_string(device.name) for device in tf.config.list_logical_devices(kind)]
        counts = Counter((device.job, device.task) for device in devices)
        if counts and (len(set(counts.values())) > 1 or len(counts) < len(place.addresses)):
            named = ", ".join(f"/job:{job}/task:{task} has {count}" for (job, task), count in sorted(counts.items()))
            raise UsageError(
                f"The workers take part with different numbers of {kind}s: {named}. Give each as many (--virtual_cpus on "
                "CPUs, CUDA_VISIBLE_DEVICES on GPUs)."
            )
        if counts:
            return
