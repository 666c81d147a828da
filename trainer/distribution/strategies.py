"""Strategies by the names that a config binds: `Trainer.strategy = @mirrored()`."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence

import gin
import tensorflow as tf

from ...metrics.errors import UsageError
from . import environment, preemption
from .cpu_replicas import AllDevicesStrategy, tensorflow_is_in_use
from .membership import Place
from .rendezvous import wait_for_workers
from .startup import ends_process_after, quiet_stderr

_made: list[tf.distribute.Strategy] = []  # the strategy of many workers: a process has one place in one cluster


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


@gin.register(module="tallyloop")
def multi_worker_mirrored(start_timeout: float = 600.0) -> tf.distribute.Strategy:
    """Trains on all devices of several machines (workers), one replica each, in step.

    Who the workers are is read from the environment: TF_CONFIG, a Kubernetes indexed Job's variables, or Slurm's. Each
    takes part with all its GPUs, or with all its (virtual) CPUs where there are none. It must be made before
    TensorFlow runs anything in this process; making it again returns the same.

    Args:
      start_timeout: seconds to wait for all the workers, and then for TensorFlow to connect them. 600, as a cluster may
        start them minutes apart.

    Raises:
      UsageError: the environment names no cluster, or a wrong one, or TensorFlow is in use already.
      ClusterError: a worker did not come in time.
    """
    if not start_timeout > 0:
        raise UsageError(f"multi_worker_mirrored.start_timeout = {start_timeout!r}: wanted a number greater than 0.")
    if not _made:
        place = environment.place(os.environ)
        if tensorflow_is_in_use():
            raise UsageError(
                "multi_worker_mirrored: TensorFlow is in use already, and a worker must join its cluster first. Make the "
                "strategy first, before any tensor, optimizer, model or list of devices (a module that is imported may "
                "make one too)."
            )
        wait_for_workers(place, start_timeout)
        with ends_process_after(start_timeout), preemption.sigterm_kept(), quiet_stderr():
            strategy = AllDevicesStrategy(_resolver(place))
        _check_equal_devices(place)
        _made.append(strategy)
    return _made[0]


def _resolver(place: Place) -> tf.distribute.cluster_resolver.ClusterResolver:
    """TensorFlow's own for TF_CONFIG; for other sources see why not in `slurm` and `kubernetes`."""
    if place.source == "TF_CONFIG":
        return tf.distribute.cluster_resolver.TFConfigClusterResolver()
    return tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": list(place.addresses)}),
        task_type="worker",
        task_id=place.index,
        rpc_layer="grpc",
    )


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


def _check_equal_devices(place: Place) -> None:
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
