"""MultiWorkerMirroredStrategy on all devices of a worker: its GPUs or, where there are none, its (virtual) CPUs.

TensorFlow's own strategy takes one CPU per worker, however many logical ones there are
(`CollectiveAllReduceExtended._initialize_local_devices`), so that a laptop could not run several replicas on each of
several workers. The class behind the strategy, that method, and whether TensorFlow is already in use have no public names:
only this module uses them, and tests/trainer/distribution/test_cpu_replicas.py notices when they go.
"""

from __future__ import annotations

import tensorflow as tf
from tensorflow.python.distribute.collective_all_reduce_strategy import CollectiveAllReduceExtended
from tensorflow.python.eager import context


class AllDevicesStrategy(tf.distribute.MultiWorkerMirroredStrategy):
    """Replicas on all devices of this worker.

    Args:
      cluster_resolver: the workers, and which of them this process is.
    """

    def __init__(self, cluster_resolver: tf.distribute.cluster_resolver.ClusterResolver):
        extended = _AllDevices(
            self,
            cluster_resolver=cluster_resolver,
            communication_options=tf.distribute.experimental.CommunicationOptions(),
        )
        tf.distribute.Strategy.__init__(self, extended)  # past the parent's, which makes its own `extended`


class _AllDevices(CollectiveAllReduceExtended):
    def _initialize_local_devices(self, cluster_resolver, worker_device):
        mine = tf.DeviceSpec.from_string(worker_device)
        # The devices of the whole cluster are listed, in every worker.
        specs = [tf.DeviceSpec.from_string(device.name) for device in tf.config.list_logical_devices()]
        local = [spec for spec in specs if (spec.job, spec.task) == (mine.job, mine.task)]
        kind = "GPU" if any(spec.device_type == "GPU" for spec in local) else "CPU"
        indices = sorted(spec.device_index for spec in local if spec.device_type == kind)
        return tuple(f"{worker_device}/device:{kind}:{index}" for index in indices), kind


def tensorflow_is_in_use() -> bool:
    """Return whether TensorFlow has run an op or listed its devices, after which no worker can join a cluster."""
    return context.context()._initialized  # pyright: ignore[reportOptionalMemberAccess] (it is never None)
