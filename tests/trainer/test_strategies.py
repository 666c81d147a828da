import pytest
import tensorflow as tf
from tallyloop.metrics import UsageError
from tallyloop.trainer import mirrored, one_device


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
