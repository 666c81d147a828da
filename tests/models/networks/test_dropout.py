"""InvariantDropout: the masks of a run do not depend on the number of replicas."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data import Input
from tallyloop.metrics import UsageError
from tallyloop.models import (
    InvariantDropout,
    TabularTask,
    cnn,
    image_classifier,
    mlp,
    text_classifier,
    transformer,
)
from tallyloop.trainer import Task, Trainer


class Dropped(Task):
    """Drops from 7 numbers per row; the metric `kept` is the rows' masks, (23, 7)."""

    metrics = {"kept": (lambda batch, kept: (tf.transpose(tf.one_hot(batch["row"], 23)) @ kept, 1.0), "sum")}  # noqa: RUF012

    def build_model(self):
        self.dropout = InvariantDropout(0.4, seed=5)
        return keras.Sequential(
            [keras.Input((7,)), self.dropout, keras.layers.Dense(3), InvariantDropout(0.5), keras.layers.Dense(1)]
        )

    def loss(self, model, batch, training):
        return model(batch["x"], training=training)[:, 0] ** 2, self.dropout(batch["x"] ** 0, training=training)


@pytest.fixture(scope="module")
def masks(mirrored_on):
    """masks(replicas) -> (the kept values of each step, the final weights)."""

    @functools.cache
    def run(replicas, jit_compile=False):
        x = np.random.default_rng(0).normal(size=(23, 7)).astype(np.float32)
        seen = []
        trainer = Trainer(
            Dropped(),
            keras.optimizers.SGD(0.01),
            mirrored_on(replicas),
            Input({"x": x, "row": np.arange(23)}, 9, shuffle=False),
            train_steps=6,
            summary_interval=3,  # an epoch: batches of 9, 9 and 5
            jit_compile=jit_compile,
            actions=[lambda _, summary: seen.append(np.asarray(summary.metrics["kept"]))],
        )
        trainer.train()
        return np.array(seen), trainer.model.get_weights()

    return run


class TestInARun:
    @pytest.mark.parametrize(
        ("replicas", "jit_compile"),
        [(2, False), (4, False), *[pytest.param(replicas, True, marks=pytest.mark.slow) for replicas in (2, 4)]],
    )
    def test_masks_and_weights_do_not_depend_on_the_replicas(self, masks, replicas, jit_compile):
        kept, weights = masks(replicas, jit_compile)
        kept_by_one, weights_of_one = masks(1, jit_compile)  # XLA draws other numbers than TensorFlow
        np.testing.assert_array_equal(kept, kept_by_one)
        for mine, its in zip(weights, weights_of_one, strict=True):
            np.testing.assert_allclose(mine, its, rtol=1e-5, atol=1e-6)

    def test_masks_are_random_and_scaled(self, masks):
        kept, _ = masks(1)
        assert set(np.unique(kept)) == {0.0, np.float32(1 / 0.6)}
        assert 0.5 < (kept > 0).mean() < 0.7  # 322 draws of 0.6: a standard deviation is 0.027
        assert not np.array_equal(kept[0], kept[1])
        assert len({row.tobytes() for row in kept.reshape(-1, 7)}) > 30  # of 46


class TestLayer:
    def test_keeps_one_minus_the_rate(self):
        kept = InvariantDropout(0.3, seed=1)(tf.ones([100, 10, 101]), training=True).numpy()
        assert (kept > 0).mean() == pytest.approx(0.7, abs=0.006)  # 4 standard deviations
        assert kept.mean() == pytest.approx(1.0, abs=0.01)

    def test_draws_a_new_mask_per_call_in_training_only(self):
        layer, x = InvariantDropout(0.5, seed=1), tf.ones([4, 3])
        np.testing.assert_array_equal(layer(x, training=False), x)
        assert not np.array_equal(layer(x, training=True), layer(x, training=True))

    def test_loads_from_a_file(self, tmp_path):
        keras.Sequential([keras.Input((3,)), InvariantDropout(0.5, seed=9)]).save(tmp_path / "model.keras")
        loaded = keras.models.load_model(tmp_path / "model.keras")
        assert (loaded.layers[0].rate, loaded.layers[0].seed) == (0.5, 9)

    def test_keeps_half_precision(self):
        assert InvariantDropout(0.5, dtype="mixed_bfloat16")(tf.ones([4, 3]), training=True).dtype == tf.bfloat16

    @pytest.mark.parametrize("rate", [-0.1, 1.0, 2])
    def test_refuses_a_rate_out_of_range(self, rate):
        with pytest.raises(UsageError, match=rf"InvariantDropout.rate = {rate}: expected a number of at least 0"):
            InvariantDropout(rate)


class TestNames:
    """A rate is refused under the name that was bound."""

    @pytest.mark.parametrize("rate", [1.5, -0.1, 1, float("nan"), "0.5", True, None], ids=repr)
    @pytest.mark.parametrize("make", [mlp, cnn, transformer, image_classifier], ids=lambda make: make.__name__)
    def test_of_a_model(self, refused, make, rate):
        with refused(f"{make.__name__}.dropout = {rate!r}: expected a number of at least 0 and less than 1"):
            make(dropout=rate)

    def test_of_a_model_of_rows(self, refused):
        with refused("text_classifier.dropout = 1.5: expected a number of at least 0 and less than 1"):
            text_classifier(lambda: {"text": np.array(["a"])}, dropout=1.5)

    def test_of_a_task(self, refused):
        with refused("TabularTask.dropout = 1.5: expected a number of at least 0 and less than 1"):
            TabularTask(lambda: {}, "y", ["x"], dropout=1.5)
