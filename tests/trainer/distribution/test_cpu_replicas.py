"""Replicas on all CPUs of every worker: real workers on this machine, and the private names that it takes."""

import inspect
import os
import subprocess
import sys

import pytest
import tensorflow as tf
from tallyloop.trainer.command.group import free_ports
from tallyloop.trainer.distribution import tf_config
from tallyloop.trainer.distribution.cpu_replicas import tensorflow_is_in_use
from tensorflow.python.distribute.collective_all_reduce_strategy import CollectiveAllReduceExtended

WORKER = """
import os, signal
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from tallyloop.trainer import multi_worker_mirrored

def caught():  # as the kernel knows it
    if not os.path.exists("/proc/self/status"):
        return None
    mask = next(line for line in open("/proc/self/status") if line.startswith("SigCgt"))
    return bool(int(mask.split()[1], 16) >> (signal.SIGTERM - 1) & 1)

before = signal.getsignal(signal.SIGTERM), caught()
strategy = multi_worker_mirrored(start_timeout=60.0)
assert isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
assert multi_worker_mirrored() is strategy

def number():
    return tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, tf.float32) + 1

def reduced_inside():
    return tf.distribute.get_replica_context().all_reduce("SUM", number())

@tf.function
def total():
    sum = 0.0
    for _ in range(3):
        sum += strategy.reduce("SUM", strategy.run(number), axis=None)
    return sum, strategy.reduce("MEAN", strategy.run(reduced_inside), axis=None)

with strategy.scope():
    variable = tf.Variable(float(os.environ["SEED"]))
assert (signal.getsignal(signal.SIGTERM), caught()) == before, "TensorFlow has SIGTERM"
print([device.rpartition("job:")[2] for device in strategy.extended.worker_devices])
print([float(each) for each in total()], float(variable.numpy()))
"""


class TestCpuReplicas:
    @pytest.mark.slow
    def test_two_workers_of_two(self):
        addresses = [f"localhost:{port}" for port in free_ports(2)]
        workers = [
            subprocess.Popen(
                [sys.executable, "-c", WORKER],
                env=os.environ | {"TF_CONFIG": tf_config.write(addresses, index), "SEED": str(7 + index)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for index in range(2)
        ]
        for index, worker in enumerate(workers):
            out, err = worker.communicate(timeout=120)
            assert worker.returncode == 0, err
            devices, numbers = out.splitlines()
            task = f"worker/replica:0/task:{index}/device:CPU"
            assert devices == f"['{task}:0', '{task}:1']"
            # 1 + 2 + 3 + 4 = 10, three times; and worker 0's initial value for all.
            assert numbers == "[30.0, 10.0] 7.0"

    def test_tensorflow_is_in_use(self):
        tf.config.list_logical_devices()
        assert tensorflow_is_in_use()
        code = (
            "import tensorflow as tf; from tallyloop.trainer.distribution.cpu_replicas import tensorflow_is_in_use as used;"
            "before = used(); tf.constant(1); print(before, used())"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
        assert done.stdout == "False True\n"

    def test_private_method_is_as_we_override_it(self):
        method = CollectiveAllReduceExtended._initialize_local_devices
        assert list(inspect.signature(method).parameters) == ["self", "cluster_resolver", "worker_device"]
        assert "num_local_devices = 1" in inspect.getsource(method), (
            "TensorFlow takes all CPUs now: is ours still needed?"
        )
