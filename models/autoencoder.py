"""A two-stage sparse autoencoder, as an example of a loss with several parts and of metrics from inside layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

import gin
import keras
import numpy as np
import tensorflow as tf

from .. import metrics
from ..data.checks import number
from ..metrics.errors import UsageError
from ..trainer.task import Task
from .batch import FEATURES, binding_of, maker, part_of, wide

if TYPE_CHECKING:
    from ..metrics.writers import Summary
    from ..trainer import Trainer


@keras.saving.register_keras_serializable(package="tallyloop")
class Stage(keras.layers.Layer):
    """A dense layer with metrics of its units: `NAME/activation`, their mean, and `NAME/active`, the fraction above 0.

    Args:
      units: the number of units.
      activation: the Keras name of their activation.
    """

    def __init__(self, units: int, activation: str = "relu", **kwargs: Any):
        super().__init__(**kwargs)
        self.dense = keras.layers.Dense(units, activation=activation, dtype=self.dtype_policy)

    def get_config(self) -> dict[str, Any]:
        """Return what `keras.models.load_model` makes the layer from."""
        activation = keras.activations.serialize(self.dense.activation)
        return {**super().get_config(), "units": self.dense.units, "activation": activation}

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Build the dense layer."""
        self.dense.build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Return the activations, shape (batch, units)."""
        outputs = self.dense(inputs)
        with metrics.scope(self.name):
            metrics.add("activation", outputs)
            metrics.add("active", outputs > 0)
        return outputs


@keras.saving.register_keras_serializable(package="tallyloop")
class TwoStageAutoencoder(keras.Model):
    """A model that encodes in two stages and decodes in two; see `two_stage_autoencoder`."""

    def __init__(self, width: int, code: int, features: int, name: str = "autoencoder", **kwargs: Any):
        super().__init__(name=name, **kwargs)
        self._sizes = {"width": width, "code": code, "features": features}
        self.stage_1 = Stage(width, name="stage_1")
        self.stage_2 = Stage(code, name="stage_2")
        self.decoder = keras.Sequential(
            [keras.layers.Dense(width, activation="relu"), keras.layers.Dense(features)], name="decoder"
        )

    def get_config(self) -> dict[str, Any]:
        """Return what `keras.models.load_model` makes the model from."""
        return {**super().get_config(), **self._sizes}

    def call(self, inputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the reconstruction (batch, features) and the code (batch, code)."""
        code = self.stage_2(self.stage_1(inputs))
        return self.decoder(code), code


@gin.register(module="tallyloop")
def two_stage_autoencoder(width: int = 128, code: int = 32, features: int = 64) -> keras.Model:
    """Return a model from examples (batch, features) to `(reconstruction, code)`.

    Args:
      width: the units of the first stage, and of the decoder's.
      code: the units of the second stage, which are the size of the code.
      features: the size of an example.
    """
    return TwoStageAutoencoder(width, code, features)


@gin.register(module="tallyloop")
class AutoencoderTask(Task):
    """Squared reconstruction error plus an L1 penalty that keeps the code sparse.

    The metrics `loss/reconstruction` and `loss/sparsity` are the parts without their weights, `loss/total` is the
    weighted sum.

    Args:
      model: a function that returns a model from examples of shape (batch, features) to `(reconstruction, code)`.
      sparsity: the weight of the penalty.
      features: the key of the examples in the batch.

    Raises:
      UsageError: `model` is a model, or cannot be called, or `sparsity` is less than 0.
    """

    def __init__(
        self,
        model: Callable[[], keras.Model] = two_stage_autoencoder,
        sparsity: float = 1e-3,
        features: str = "x",
    ):
        self._make_model = maker("AutoencoderTask.model", model, "two_stage_autoencoder")
        self._sparsity = number("AutoencoderTask.sparsity", sparsity, least=0)
        self._features = features

    def build_model(self) -> keras.Model:
        """Return what the `model` function makes."""
        return self._make_model()

    def loss(self, model: keras.Model, batch: Mapping[str, tf.Tensor], training: bool) -> tf.Tensor:
        """Return the weighted sum of both parts, shape (batch,): one loss per example.

        Raises:
          UsageError: the batch lacks the key, or a reconstruction has another shape than its example.
        """
        inputs = self._inputs_of(batch)
        reconstruction, code = self._outputs(model, inputs, training)
        if not reconstruction.shape[1:].is_compatible_with(inputs.shape[1:]):
            raise UsageError(
                f"AutoencoderTask.model: expected a reconstruction of the shape of {self._features!r}, "
                f"{tuple(inputs.shape[1:])}, got {tuple(reconstruction.shape[1:])}; set the model's number of features"
                f"{binding_of(self._make_model, 'features')}, and flatten examples of several axes in Input.map_fn"
            )
        error = cast("tf.Tensor", keras.ops.subtract(reconstruction, inputs))  # Keras's types cover every backend
        parts = {
            "reconstruction": tf.reduce_mean(error**2, axis=-1),
            "sparsity": tf.reduce_sum(tf.abs(code), axis=-1),
        }
        return metrics.composite_loss(parts, weights={"sparsity": self._sparsity})

    def predict_step(self, model: keras.Model, batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Return each example's `code` (batch, code) and `reconstruction` (batch, features)."""
        reconstruction, code = self._outputs(model, self._inputs_of(batch), training=False)
        return {"code": code, "reconstruction": reconstruction}

    def _inputs_of(self, batch: Any) -> tf.Tensor:
        return part_of(batch, self._features, FEATURES, "The batch", "set AutoencoderTask.features")

    def _outputs(self, model: keras.Model, inputs: tf.Tensor, training: bool) -> tuple[tf.Tensor, tf.Tensor]:
        outputs: Any = model(inputs, training=training)
        if not isinstance(outputs, tuple | list) or len(outputs) != 2:
            got = f"{len(outputs)} outputs" if isinstance(outputs, tuple | list) else f"a {type(outputs).__name__}"
            raise UsageError(
                f"AutoencoderTask.model: expected a pair (reconstruction, code), got {got}; return both from the model"
            )
        reconstruction, code = outputs
        return wide(reconstruction), wide(code)


@gin.register(module="tallyloop")
def silent_units(trainer: Trainer, summary: Summary) -> None:
    """Write to TensorBoard how many units of the code are 0 for every example of an eval set: an action, `@silent_units`.

    Such units are wasted. The metric `stage_2/active`, a mean, doesn't tell them from units that are active now and then.

    Args:
      trainer: whose model encodes.
      summary: that of an evaluation; one of training is passed over.
    """
    if summary.split == "train":
        return
    names = trainer.eval_datasets
    name = summary.split.removeprefix("eval/") if len(names) > 1 else next(iter(names))
    code = trainer.predict(names[name])["code"]
    trainer.board.scalar("code/silent_units", int(np.sum(~np.any(code > 0, axis=0))), summary.split)
