"""The GAN: its losses and penalty beside NumPy, the same weights on any number of replicas, and images like real ones."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.model_selection import LeaveOneOut, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from tallyloop.data import Input, digits
from tallyloop.models import GanTask, dense_generator, example_with_noise, generated_images, mlp
from tallyloop.trainer import Trainer, configure

IMAGES = np.random.default_rng(0).uniform(0, 1, (10, 2, 2, 1)).astype(np.float32)


def generator(hidden=(4,)):
    return dense_generator((2, 2, 1), hidden)


def discriminator(hidden=()):
    return mlp(hidden=hidden, num_classes=1, activation="tanh")


def noisy(example, seed):
    return example_with_noise(example, seed, size=3)


def trainer(strategy=None, steps=0, batch=7, data=None, map_fn=noisy, **task):
    keras.utils.set_random_seed(0)
    networks = {"generator": generator, "discriminator": lambda: discriminator((5,))}
    dataset = Input({"x": IMAGES} if data is None else data, batch, map_fn=map_fn)
    return Trainer(
        GanTask(**(networks | task)),
        {"generator": keras.optimizers.SGD(0.1), "discriminator": keras.optimizers.SGD(0.2)},
        strategy,
        dataset,
        {"test": dataset},
        update_every={"generator": 2},
        train_steps=max(steps, 1),
    )


def test_numbers():
    """A linear discriminator's gradient is its kernel, at every image: R1 is half of its square."""
    run = trainer(discriminator=discriminator, penalty=3.0)
    found = run.evaluate()["test"]
    kernel, bias = (each.numpy().astype(np.float64) for each in run.model.discriminator.weights)
    noise = run.predict(Input({"x": IMAGES}, 7, map_fn=noisy))["image"]
    real, made = ((each.reshape(10, 4) @ kernel + bias)[:, 0] for each in (IMAGES, noise))
    r1 = (kernel**2).sum() / 2
    assert found["penalty"] == pytest.approx(r1, rel=1e-5)
    assert found["loss/generator"] == pytest.approx(np.log1p(np.exp(-made)).mean(), rel=1e-5)
    discriminating = np.log1p(np.exp(-real)) + np.log1p(np.exp(made)) + 3 * r1
    assert found["loss/discriminator"] == pytest.approx(discriminating.mean(), rel=1e-5)
    assert found["told_apart"] == pytest.approx(np.concatenate([real > 0, made < 0]).mean())


class TestReplicas:
    """Batches of 7 and 3: on 4 replicas, one of the latter is empty."""

    @pytest.fixture(scope="class")
    @classmethod
    def alone(cls):
        return cls.trained(None)

    @staticmethod
    def trained(strategy):
        run = trainer(strategy, steps=6)
        run.train()
        return [weight.numpy() for weight in run.model.weights]

    @pytest.mark.parametrize("replicas", [2, pytest.param(4, marks=pytest.mark.slow)])
    def test_same_weights(self, mirrored_on, alone, replicas):
        for mine, one in zip(self.trained(mirrored_on(replicas)), alone, strict=True):
            np.testing.assert_allclose(mine, one, atol=1e-6)


@pytest.mark.slow
def test_learns_to_draw_digits():
    """Judged by the nearest other image, real or made: 0.5 is perfect, 1 is what noise gets."""

    def told_apart(real, made):
        both = np.concatenate([each.reshape(len(each), -1) for each in (real, made)])
        is_made = np.arange(len(both)) >= len(real)
        return cross_val_score(KNeighborsClassifier(1), both, is_made, cv=LeaveOneOut()).mean()

    run = configure(["gan.gin"], ["Trainer.train_steps=3000", "Trainer.actions=[]", "Trainer.eval_interval=3000"])
    real, train = digits("test")["x"], digits("train")["x"]
    at_random = generated_images(run, count=len(real), size=32)
    found = run.train_and_eval()["test"]
    made = generated_images(run, count=len(real), size=32)
    normal = np.random.default_rng(0).multivariate_normal(train.mean(0), np.cov(train.T), len(real)).clip(0, 1)
    assert told_apart(real, made) < told_apart(real, normal) < told_apart(real, at_random)
    assert found["told_apart"] == pytest.approx(0.5, abs=0.1)  # its own discriminator is not sure either


def test_generated_images_are_the_same_each_time():
    run = trainer()
    found = generated_images(run, count=5, size=3)
    assert found.shape == (5, 2, 2, 1)
    assert 0 <= found.min() < found.max() <= 1
    np.testing.assert_array_equal(found, generated_images(run, count=5, size=3))
    assert not np.array_equal(found, generated_images(run, count=5, size=3, seed=1))


def test_noise_is_normal():
    rows = tf.vectorized_map(
        lambda seed: example_with_noise({}, seed, size=50)["z"], tf.range(200, dtype=tf.int32)[:, None] + [[0, 1]]
    )
    assert (float(tf.reduce_mean(rows)), float(tf.math.reduce_std(rows))) == pytest.approx((0, 1), abs=0.05)


class TestRefused:
    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"generator": 1}, "GanTask.generator = 1: expected a function that makes the model"),
            ({"penalty": -1}, "GanTask.penalty = -1: expected a number of at least 0"),
        ],
    )
    def test_wrong_arguments_are_refused(self, refused, given, message):
        with refused(message):
            GanTask(**given)

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            (
                {"map_fn": None},
                "expected the key 'z', got ['x']; set GanTask.features and GanTask.noise, and bind Input",
            ),
            (
                {"discriminator": lambda: mlp((4,))},
                "expected one logit per image, got (10,) per image; set mlp",
            ),
            (
                {"generator": lambda: dense_generator((3, 3, 1))},
                "expected images of the shape of 'x', (2, 2, 1), got (3, 3, 1); set dense_generator.shape",
            ),
            (
                {"data": {"x": (IMAGES * 255).astype(np.uint8)}},
                "The batch: 'x' is uint8: expected floating-point numbers, images from 0 to 1",
            ),
        ],
        ids=["noise", "logits", "shape", "integers"],
    )
    def test_data(self, refused, given, message):
        with refused(message):
            trainer(**given).evaluate()
