"""A two-stage sparse autoencoder: a loss of several parts, and metrics from inside layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import gin
import keras
import tensorflow as tf

from .. import metrics
from ..trainer.task import Task


@keras.saving.register_keras_serializable(package="tallyloop")
class Stage(keras.layers.Layer):
    """A dense layer that shows what its units do: `NAME/activation` and `NAME/active` (the fraction above 0)."""

    def __init__(self, units: int, activation: str = "relu", **kwargs):
        super().__init__(**kwargs)
        self.dense = keras.layers.Dense(units, activation=activation, dtype=self.dtype_policy)

    def get_config(self):
        """Returns what `keras.models.load_model` makes the layer from."""
        activation = keras.activations.serialize(self.dense.activation)
        return {**super().get_config(), "units": self.dense.units, "activation": activation}

    def build(self, input_shape):
        """Builds the dense layer."""
        self.dense.build(input_shape)

    def call(self, inputs):
        """Returns the activations, shape (batch, units)."""
        outputs = self.dense(inputs)
        with metrics.scope(self.name):
            metrics.add("activation", outputs)
            metrics.add("active", outputs > 0)
        return outputs


@keras.saving.register_keras_serializable(package="tallyloop")
class TwoStageAutoencoder(keras.Model):
    """Encodes in two stages and decodes in two; returns `(reconstruction, code)`."""

    def __init__(self, width: int, code: int, features: int, name: str = "autoencoder", **kwargs):
        super().__init__(name=name, **kwargs)
        self._sizes = {"width": width, "code": code, "features": features}
        self.stage_1 = Stage(width, name="stage_1")
        self.stage_2 = Stage(code, name="stage_2")
        self.decoder = keras.Sequential(
            [keras.layers.Dense(width, activation="relu"), keras.layers.Dense(features)], name="decoder"
        )

    def get_config(self):
        """Returns what `keras.models.load_model` makes the model from."""
        return {**super().get_config(), **self._sizes}

    def call(self, inputs):
        """Returns the reconstruction (batch, features) and the code (batch, code)."""
        code = self.stage_2(self.stage_1(inputs))
        return self.decoder(code), code


@gin.register(module="tallyloop")
def two_stage_autoencoder(width: int = 128, code: int = 32, features: int = 64) -> keras.Model:
    """Returns the autoencoder.

    Args:
      width: units of the first stage, and of the decoder's.
      code: units of the second stage: the size of the code.
      features: the size of an example.
    """
    return TwoStageAutoencoder(width, code, features)


@gin.register(module="tallyloop")
class AutoencoderTask(Task):
    """Squared reconstruction error plus an L1 penalty that keeps the code sparse.

    Shown as `loss/reconstruction`, `loss/sparsity` (as they are) and `loss/total` (weighted).

    Args:
      model: a function that returns a model from examples of shape (batch, features) to `(reconstruction, code)`.
      sparsity: the weight of the penalty.
      features: the batch's key of the examples.
    """

    def __init__(
        self,
        model: Callable[[], keras.Model] = two_stage_autoencoder,
        sparsity: float = 1e-3,
        features: str = "x",
    ):
        self._make_model = model
        self._sparsity = sparsity
        self._features = features

    def build_model(self) -> keras.Model:
        """Returns what the `model` function makes."""
        return self._make_model()

    def loss(self, model: keras.Model, batch: Mapping[str, tf.Tensor], training: bool) -> tf.Tensor:
        """Returns the weighted sum of both parts for each example, shape (batch,)."""
        inputs = batch[self._features]
        reconstruction, code = model(inputs, training=training)
        parts = {
            "reconstruction": tf.reduce_mean(keras.ops.subtract(reconstruction, inputs) ** 2, axis=-1),
            "sparsity": tf.reduce_sum(tf.abs(code), axis=-1),
        }
        return metrics.composite_loss(parts, weights={"sparsity": self._sparsity})

    def predict_step(self, model: keras.Model, batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns each example's `code` and `reconstruction`."""
        reconstruction, code = model(batch[self._features], training=False)
        return {"code": code, "reconstruction": reconstruction}
