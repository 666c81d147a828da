"""A generative adversarial network: a generator of images and a discriminator, each with its own loss and optimizer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import gin
import keras
import numpy as np
import tensorflow as tf

from ... import metrics
from ...data.checks import number
from ...metrics.errors import UsageError
from ...trainer.task import Task
from ..batch import FEATURES, TARGETS, maker, outputs_of, part_of, wide
from ..networks.mlp import mlp

if TYPE_CHECKING:
    from ...trainer import Trainer

_FIX = "set GanTask.features and GanTask.noise, and bind Input.map_fn = @example_with_noise"


class Adversaries(keras.Model):
    """The two networks, each a model of its own."""

    def __init__(self, generator: keras.Model, discriminator: keras.Model):
        super().__init__(name="gan")
        self.generator, self.discriminator = generator, discriminator


@gin.register(module="tallyloop")
def example_with_noise(example: Mapping[str, Any], seed: tf.Tensor, size: int = 32, key: str = "z") -> dict[str, Any]:
    """Return an example with normal noise, drawn with the data and so the same on any number of replicas: an `Input.map_fn`.

    Args:
      example: a dict.
      seed: of the example in this epoch.
      size: how many numbers.
      key: where to put them.
    """
    return {**example, key: tf.random.stateless_normal([size], seed)}


@gin.register(module="tallyloop")
def dense_generator(shape: Sequence[int] = (8, 8, 1), hidden: Sequence[int] = (256, 256)) -> keras.Model:
    """Return a model from noise (batch, size) to images (batch, *shape), numbers from 0 to 1.

    Args:
      shape: of an image.
      hidden: the widths of the hidden layers.
    """
    layers: list[keras.Layer] = [keras.layers.Dense(width, activation="leaky_relu") for width in hidden]
    layers += [keras.layers.Dense(int(np.prod(shape)), activation="sigmoid"), keras.layers.Reshape(tuple(shape))]
    return keras.Sequential(layers, name="generator")


@gin.register(module="tallyloop")
class GanTask(Task):
    """The non-saturating losses of Goodfellow et al. (2014), with the penalty R1 of Mescheder et al. (2018) on real images.

    The losses are `generator` and `discriminator`, whose names `Trainer.optimizer` has. The metric `told_apart` is the share of
    images, real and made, that the discriminator takes for what they are: 0.5 if it cannot tell them apart.

    Args:
      generator: a function that returns a model from noise (batch, size) to images, without parentheses.
      discriminator: a function that returns a model from images to a logit (batch, 1): of being real.
      features: the key of the images in the batch.
      noise: the key of the noise; see `example_with_noise`.
      penalty: the weight of R1, half the squared norm of the discriminator's gradient at a real image.

    Raises:
      UsageError: an argument is not as described.
    """

    def __init__(
        self,
        generator: Callable[[], keras.Model] = dense_generator,
        discriminator: Callable[[], keras.Model] = mlp,
        features: str = "x",
        noise: str = "z",
        penalty: float = 1.0,
    ):
        self._make = (
            maker("GanTask.generator", generator, "dense_generator"),
            maker("GanTask.discriminator", discriminator, "mlp"),
        )
        self._keys = features, noise
        self._penalty = number("GanTask.penalty", penalty, least=0)

    def build_model(self) -> Adversaries:
        """Return both networks."""
        return Adversaries(*(make() for make in self._make))

    def losses(self, model: Adversaries, batch: Any, training: bool) -> dict[str, tf.Tensor]:
        """Return both losses, each of shape (batch,)."""
        real, noise = self._parts(batch)
        made = wide(model.generator(noise, training=training))
        if made.shape[1:] != real.shape[1:]:
            raise UsageError(
                f"GanTask.generator: expected images of the shape of {self._keys[0]!r}, {tuple(real.shape[1:])}, got "
                f"{tuple(made.shape[1:])}; set dense_generator.shape"
            )
        with tf.GradientTape() as tape:
            tape.watch(real)
            of_real = self._logits(model, real, training)
        slope = cast("tf.Tensor", tape.gradient(of_real, real))
        of_made = self._logits(model, made, training)
        metrics.add("told_apart", tf.stack([of_real > 0, of_made < 0], 1))
        penalty = tf.reduce_sum(slope**2, range(1, slope.shape.rank)) / 2
        metrics.add("penalty", penalty)
        return {
            "generator": tf.nn.softplus(-of_made),
            "discriminator": tf.nn.softplus(-of_real) + tf.nn.softplus(of_made) + self._penalty * penalty,
        }

    def variables(self, model: Adversaries, name: str) -> list[keras.Variable]:
        """Return the variables of the network of this name."""
        return getattr(model, name).trainable_variables

    def predict_step(self, model: Adversaries, batch: Any) -> dict[str, tf.Tensor]:
        """Return the `image` (batch, ...) that is made of each noise."""
        noise = part_of(batch, self._keys[1], TARGETS, "The batch", _FIX)
        return {"image": wide(model.generator(noise, training=False))}

    def export(self, model: Adversaries, folder: Path, batch_spec: Any = None) -> None:
        """Write the generator, which makes images of noise."""
        spec = None if batch_spec is None else part_of(batch_spec, self._keys[1], TARGETS, "The batch", _FIX)
        super().export(model.generator, folder, spec)

    def _parts(self, batch: Any) -> list[tf.Tensor]:
        places = zip(self._keys, (FEATURES, TARGETS), strict=True)
        parts = [part_of(batch, key, place, "The batch", _FIX) for key, place in places]
        for key, part in zip(self._keys, parts, strict=True):
            if not part.dtype.is_floating:
                raise UsageError(
                    f"The batch: {key!r} is {part.dtype.name}: expected floating-point numbers, images from 0 to 1, as "
                    "GanTask.generator makes them; convert it in Input.map_fn"
                )
        return parts

    def _logits(self, model: Adversaries, images: tf.Tensor, training: bool) -> tf.Tensor:
        fix = "set dense_generator.shape, or bind a discriminator of such images"
        logits = outputs_of(model.discriminator, images, training, "GanTask.discriminator", fix)
        if logits.shape[1:] != (1,):
            raise UsageError(
                f"GanTask.discriminator: expected one logit per image, got {tuple(logits.shape[1:])} per image; set "
                "mlp.num_classes = 1"
            )
        return tf.cast(logits[:, 0], tf.float32)


@gin.register(module="tallyloop")
def generated_images(trainer: Trainer, count: int = 64, size: int = 32, seed: int = 0) -> np.ndarray:
    """Return images that the generator makes of the same noise each time, for `WriteImages.function`.

    Args:
      trainer: whose model has a `generator`.
      count: how many.
      size: of the noise of one.
      seed: of the noise.
    """
    noise = tf.random.stateless_normal([count, size], (seed, 0))
    return np.clip(wide(trainer.model.generator(noise, training=False)).numpy(), 0, 1)
