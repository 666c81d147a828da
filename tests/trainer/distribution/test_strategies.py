import pytest
import tensorflow as tf
from tallyloop.metrics import UsageError
from tallyloop.trainer import mirrored, multi_worker_mirrored, one_device
from tallyloop.trainer.arguments import as_strategy
from tallyloop.trainer.distribution import tf_config


def devices(strategy):
    return [tf.DeviceSpec.from_string(name).device_index for name in strategy.extended.worker_devices]


def test_one_device_is_the_first_cpu_unless_named():
    assert devices(one_device()) == [0]
    assert devices(one_device("/cpu:2")) == devices(one_device("CPU:2")) == [2]


def test_mirrored_takes_all_or_those_named():
    assert devices(mirrored()) == [0, 1, 2, 3]
    assert devices(mirrored(["/cpu:1", "/cpu:3"])) == [1, 3]


@pytest.mark.parametrize("device", ["/cpu:4", "/gpu:0", "/tpu:0", "nonsense", "/cpu:x"])
def test_a_device_that_is_not_there_is_refused_with_those_that_are(device):
    with pytest.raises(UsageError, match=r"one_device.device: no device .*CPU:0.*CPU:3"):
        one_device(device)
    with pytest.raises(UsageError, match=r"mirrored.devices: no device .*CPU:0.*CPU:3"):
        mirrored(["/cpu:0", device])


def test_many_workers_without_a_cluster(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(UsageError, match="--workers=2, or set TF_CONFIG"):
        multi_worker_mirrored()


def test_many_workers_after_tensorflow_was_used(monkeypatch):
    tf.constant(1)
    monkeypatch.setenv("TF_CONFIG", tf_config.write(["localhost:1", "localhost:2"], 0))
    with pytest.raises(UsageError, match=r"TensorFlow is in use already.*Make the strategy first"):
        multi_worker_mirrored()


@pytest.mark.parametrize("seconds", [0, -1.0, float("nan")])
def test_many_workers_start_in_a_time_above_0(seconds):
    with pytest.raises(UsageError, match=r"multi_worker_mirrored.start_timeout = .* greater than 0"):
        multi_worker_mirrored(seconds)


def test_a_parameter_server_is_refused_as_it_is_asynchronous():
    # An instance needs servers to connect to; its class is what counts.
    server = object.__new__(tf.distribute.ParameterServerStrategy)
    with pytest.raises(UsageError, match=r"Trainer.strategy: a ParameterServerStrategy.*asynchronously.*@mirrored\(\)"):
        as_strategy(server)


def test_central_storage_is_refused():
    with pytest.raises(UsageError, match=r"Trainer.strategy: a CentralStorageStrategy keeps the weights"):
        as_strategy(tf.distribute.experimental.CentralStorageStrategy(["/cpu:0", "/cpu:1"]))
