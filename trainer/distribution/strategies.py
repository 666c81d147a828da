"""Strategies by the names that a config binds: `Trainer.strategy = @mirrored()`."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence

import gin
import tensorflow as tf

from ...data.checks import number
from ...metrics.errors import UsageError
from . import environment, preemption
from .cpu_replicas import AllDevicesStrategy, tensorflow_is_in_use
from .membership import Membership
from .rendezvous import wait_for_workers
from .startup import ends_process_after, quiet_stderr

_made: list[tf.distribute.Strategy] = []  # the strategy of many workers: a process can join only one cluster


@gin.register(module="tallyloop")
def one_device(device: str | None = None) -> tf.distribute.Strategy:
    """Train on one device.

    Args:
      device: such as "/gpu:0"; None takes the first GPU, or the CPU if there is none.

    Raises:
      UsageError: there is no such device.
    """
    if device is None:
        device = "/gpu:0" if tf.config.list_logical_devices("GPU") else "/cpu:0"
    return tf.distribute.OneDeviceStrategy(_checked(device, "one_device.device"))


@gin.register(module="tallyloop")
def mirrored(devices: Sequence[str] | None = None) -> tf.distribute.Strategy:
    """Train on all devices of this machine, one replica each, in lockstep.

    Args:
      devices: such as ["/gpu:0", "/gpu:1"]; None takes all GPUs, or all (virtual) CPUs if there are none.

    Raises:
      UsageError: there is no such device.
    """
    if devices is None:
        kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
        devices = [device.name for device in tf.config.list_logical_devices(kind)]
    return tf.distribute.MirroredStrategy([_checked(device, "mirrored.devices") for device in devices])


@gin.register(module="tallyloop")
def multi_worker_mirrored(start_timeout: float = 600.0) -> tf.distribute.Strategy:
    """Train on all devices of several machines (workers), one replica each, in lockstep.

    The workers are read from the environment: TF_CONFIG, or the variables of a Kubernetes indexed Job or of Slurm. Each
    worker uses all its GPUs, or all its (virtual) CPUs if it has none. Make the strategy before TensorFlow runs anything in
    this process; making it again returns the same one.

    Args:
      start_timeout: seconds to wait for all the workers, and then for TensorFlow to connect them. 600, because a cluster
        may start them minutes apart.

    Raises:
      UsageError: the environment names no cluster, or a malformed one, or TensorFlow is already in use.
      ClusterError: a worker did not appear in time.
    """
    seconds = number("multi_worker_mirrored.start_timeout", start_timeout, above=0)
    if not _made:
        membership = environment.membership(os.environ)
        if tensorflow_is_in_use():
            raise UsageError(
                "multi_worker_mirrored: TensorFlow is already in use, and a worker must join its cluster first. Make the "
                "strategy before any tensor, optimizer, model or list of devices (an imported module may make one, too)."
            )
        wait_for_workers(membership, seconds)
        with ends_process_after(seconds), preemption.sigterm_kept(), quiet_stderr():
            strategy = AllDevicesStrategy(_resolver(membership))
        _check_equal_devices(membership)
        _made.append(strategy)
    return _made[0]


def is_one_cpu(strategy: tf.distribute.Strategy) -> bool:
    """Return whether the data is where the steps run: an accelerator would copy all of it at each call of a compiled loop."""
    default = strategy is tf.distribute.get_strategy()  # which does not tell its device
    devices = [tf.zeros([]).device] if default else strategy.extended.worker_devices
    return strategy.num_replicas_in_sync == 1 and tf.DeviceSpec.from_string(devices[0]).device_type == "CPU"


def _resolver(membership: Membership) -> tf.distribute.cluster_resolver.ClusterResolver:
    """Return TensorFlow's own resolver for TF_CONFIG; `slurm` and `kubernetes` say why not for those."""
    if membership.source == "TF_CONFIG":
        return tf.distribute.cluster_resolver.TFConfigClusterResolver()
    return tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": list(membership.addresses)}),
        task_type="worker",
        task_id=membership.index,
        rpc_layer="grpc",
    )


def _checked(device: str, binding: str) -> str:
    """Return `device` if it exists: TensorFlow would silently use another one."""
    known = [logical.name for logical in tf.config.list_logical_devices()]
    try:
        spec = tf.DeviceSpec.from_string(device if device.startswith("/") else "/" + device)
    except ValueError:
        spec = None
    matches = [name for name in known if spec and _matches(tf.DeviceSpec.from_string(name), spec)]
    if not matches:
        raise UsageError(f"{binding}: no device {device!r}; there are {', '.join(known)} (see --virtual_cpus).")
    return matches[0]


def _matches(device: tf.DeviceSpec, spec: tf.DeviceSpec) -> bool:
    kind = (spec.device_type or "").upper()
    return device.device_type == kind and device.device_index == (spec.device_index or 0)


def _check_equal_devices(membership: Membership) -> None:
    """Check that all workers have equally many devices: TensorFlow would wait forever for the missing ones.

    Once a cluster is connected, TensorFlow lists the devices of all its workers.

    Raises:
      UsageError: they differ.
    """
    for kind in ("GPU", "CPU"):
        devices = [tf.DeviceSpec.from_string(device.name) for device in tf.config.list_logical_devices(kind)]
        counts = Counter((device.job, device.task) for device in devices)
        if counts and (len(set(counts.values())) > 1 or len(counts) < len(membership.addresses)):
            named = ", ".join(f"/job:{job}/task:{task} has {count}" for (job, task), count in sorted(counts.items()))
            raise UsageError(
                f"The workers have different numbers of {kind}s: {named}. Give each the same number (--virtual_cpus on "
                "CPUs, CUDA_VISIBLE_DEVICES on GPUs)."
            )
        if counts:
            return
