"""The strategies that gin knows by name."""

import pytest
import tensorflow as tf
from tallyloop.metrics import UsageError
from tallyloop.trainer import mirrored, multi_worker_mirrored, one_device
from tallyloop.trainer.distribution import tf_config


def devices(strategy):
    return [tf.DeviceSpec.from_string(name).device_index for name in strategy.extended.worker_devices]


class TestDevices:
    def test_one_device(self):
        assert devices(one_device()) == [0]
        assert devices(one_device("/cpu:2")) == devices(one_device("CPU:2")) == [2]

    def test_mirrored(self):
        assert devices(mirrored()) == [0, 1, 2, 3]
        assert devices(mirrored(["/cpu:1", "/cpu:3"])) == [1, 3]

    @pytest.mark.parametrize("device", ["/cpu:4", "/gpu:0", "/tpu:0", "nonsense", "/cpu:x"])
    def test_absent_device(self, device):
        with pytest.raises(UsageError, match=r"one_device.device: no device .*CPU:0.*CPU:3"):
            one_device(device)
        with pytest.raises(UsageError, match=r"mirrored.devices: no device .*CPU:0.*CPU:3"):
            mirrored(["/cpu:0", device])


class TestMultiWorkerMirrored:
    def test_without_a_cluster(self, monkeypatch):
        monkeypatch.delenv("TF_CONFIG", raising=False)
        with pytest.raises(UsageError, match="--workers=2, or set TF_CONFIG"):
            multi_worker_mirrored()

    def test_after_tensorflow_was_used(self, monkeypatch):
        tf.constant(1)
        monkeypatch.setenv("TF_CONFIG", tf_config.write(["localhost:1", "localhost:2"], 0))
        with pytest.raises(UsageError, match=r"TensorFlow is already in use.*Make the strategy before"):
            multi_worker_mirrored()

    @pytest.mark.parametrize("seconds", [0, -1.0, float("nan")])
    def test_start_timeout(self, seconds):
        with pytest.raises(UsageError, match=r"multi_worker_mirrored.start_timeout = .* greater than 0"):
            multi_worker_mirrored(seconds)
