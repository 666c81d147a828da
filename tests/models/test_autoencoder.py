"""The two-stage autoencoder: its parts, and what its layers record."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data import Input
from tallyloop.models import AutoencoderTask, silent_units, two_stage_autoencoder
from tallyloop.trainer import Trainer


@pytest.mark.parametrize("replicas", [1, 4])
def test_metrics_are_those_of_numpy(mirrored_on, dense, rng, replicas):
    """21 rows in batches of 16: a ragged batch of 5."""
    x = rng.normal(size=(21, 6)).astype(np.float32)
    trainer = Trainer(
        AutoencoderTask(lambda: two_stage_autoencoder(width=5, code=3, features=6), sparsity=0.1),
        strategy=mirrored_on(replicas),
        eval_datasets={"test": Input({"x": x}, 16)},
    )
    model = trainer.model
    found = trainer.evaluate()["test"]
    hidden = dense(x.astype(np.float64), model.stage_1.dense, relu=True)
    code = dense(hidden, model.stage_2.dense, relu=True)
    first, last = model.decoder.layers
    reconstruction = dense(dense(code, first, relu=True), last)
    parts = ((reconstruction - x) ** 2).mean(), np.abs(code).sum(1).mean()
    expected = {
        "loss": parts[0] + 0.1 * parts[1],
        "loss/total": parts[0] + 0.1 * parts[1],
        "loss/reconstruction": parts[0],
        "loss/sparsity": parts[1],
        "stage_1/activation": hidden.mean(),
        "stage_1/active": (hidden > 0).mean(),
        "stage_2/activation": code.mean(),
        "stage_2/active": (code > 0).mean(),
    }
    assert found == {path: pytest.approx(value, rel=1e-5) for path, value in expected.items()}
    predicted = trainer.predict(Input({"x": x}, 8))
    np.testing.assert_allclose(predicted["code"], code, atol=1e-5)
    np.testing.assert_allclose(predicted["reconstruction"], reconstruction, atol=1e-5)


class TestRefused:
    def test_a_made_model(self, refused):
        with refused(
            "AutoencoderTask.model = <TwoStageAutoencoder name=autoencoder, built=False>: expected a function that makes"
        ):
            AutoencoderTask(two_stage_autoencoder())

    def test_a_reward_for_active_units(self, refused):
        with refused("AutoencoderTask.sparsity = -0.1: expected a number of at least 0"):
            AutoencoderTask(sparsity=-0.1)

    @pytest.mark.parametrize("step", ["loss", "predict_step"])
    def test_another_key(self, refused, step):
        task = AutoencoderTask(features="image")
        model, more = task.build_model(), {"training": True} if step == "loss" else {}
        with refused("The batch: expected the key 'image', got ['x']; set AutoencoderTask.features"):
            getattr(task, step)(model, {"x": tf.zeros([2, 64])}, **more)

    @pytest.mark.parametrize(("shape", "features"), [((8, 8, 1), 64), ((6,), 1), ((8, 6), 5)])
    def test_a_reconstruction_of_another_shape(self, refused, shape, features):
        """(b, 8, 8, 64) minus (b, 8, 8, 1) would be broadcast."""
        task = AutoencoderTask(two_stage_autoencoder)
        with refused(
            f"AutoencoderTask.model: expected a reconstruction of the shape of 'x', {shape}, got {(*shape[:-1], features)}; "
            "set the model's number of features (two_stage_autoencoder.features), and flatten examples"
        ):
            task.loss(two_stage_autoencoder(features=features), {"x": tf.zeros([2, *shape])}, training=True)

    def test_one_output(self, refused):
        task = AutoencoderTask(lambda: keras.layers.Identity())
        with refused("AutoencoderTask.model: expected a pair (reconstruction, code), got "):
            task.loss(task.build_model(), {"x": tf.zeros([2, 64])}, training=True)


def test_takes_tuples(rng):
    task = AutoencoderTask(lambda: two_stage_autoencoder(features=6))
    model, x = task.build_model(), tf.constant(rng.normal(size=(4, 6)), tf.float32)
    np.testing.assert_array_equal(task.loss(model, (x,), False), task.loss(model, {"x": x}, False))
    assert task.predict_step(model, (x,))["code"].shape == (4, 32)


def test_loads_from_its_file(tmp_path, rng):
    x = rng.normal(size=(4, 6)).astype(np.float32)
    model = two_stage_autoencoder(width=5, code=3, features=6)
    before = model(x)
    model.save(tmp_path / "model.keras")
    for after, expected in zip(keras.models.load_model(tmp_path / "model.keras")(x), before, strict=True):
        np.testing.assert_array_equal(after, expected)


class TestSilentUnits:
    @pytest.fixture
    @staticmethod
    def trainer():
        """A model whose code has 5 units, of which 1 and 3 are 0 for every example, and 0 for those of the second eval set."""
        x = np.eye(6, dtype=np.float32)
        datasets = {"first": Input({"x": x}, 4), "second": Input({"x": x[1:]}, 4)}
        trainer = Trainer(
            AutoencoderTask(lambda: two_stage_autoencoder(width=6, code=5, features=6)), eval_datasets=datasets
        )
        encode = trainer.model.stage_1.dense, trainer.model.stage_2.dense
        kernel = np.zeros((6, 5), np.float32)
        kernel[0, 0], kernel[1, 1], kernel[2, 2], kernel[3, 4] = 1, -1, 1, 1
        for layer, weights in zip(encode, (np.eye(6), kernel), strict=True):
            layer.set_weights([weights, np.zeros(weights.shape[1])])
        return trainer

    @pytest.mark.parametrize(
        ("split", "written"), [("eval/first", [2]), ("eval/second", [3]), ("train", [])], ids=lambda each: str(each)
    )
    def test_are_counted(self, trainer, split, written):
        points = []
        board = SimpleNamespace(scalar=lambda *point: points.append(point))
        run = SimpleNamespace(eval_datasets=trainer.eval_datasets, predict=trainer.predict, board=board)
        silent_units(run, SimpleNamespace(split=split))
        assert points == [("code/silent_units", count, split) for count in written]
