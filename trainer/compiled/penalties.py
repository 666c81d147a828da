"""What the layers of a compiled model add to its loss, and where its gradients are summed otherwise than by `fit`."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from ...metrics.errors import UsageError
from ..model.layers import layers_of

_TOLERANCE = 1e-3


def check_penalties(model: keras.Model, x: Any) -> None:
    """Check that what layers add (`add_loss`) is the mean over a batch, so that the parts of replicas can be put together.

    Call it in the scope of the strategy.

    Args:
      model: built.
      x: a batch of zeros, of the dtypes and shapes of the data.

    Raises:
      UsageError: a layer adds something else than a number; or, on several replicas, one that grows with the batch.
    """
    once = _added(model, x, 1)
    for loss in once:
        if loss.shape.rank != 0:
            raise UsageError(
                f"from_keras: a layer of {model.name!r} adds a loss of shape {tuple(loss.shape)}, which fit sums up: expected a "
                "number, self.add_loss(keras.ops.mean(...))."
            )
    if not once or tf.distribute.get_strategy().num_replicas_in_sync == 1:
        return
    for loss, of_twice in zip(once, _added(model, x, 2), strict=True):
        if not np.allclose(loss, of_twice, _TOLERANCE):
            raise UsageError(
                f"from_keras: a layer of {model.name!r} adds a loss that is {float(loss):.3g} for some rows, and "
                f"{float(of_twice):.3g} for twice as many: a sum, of which replicas would each take their own part for the mean. "
                "Expected the mean over the batch, self.add_loss(keras.ops.mean(...)); or train on one replica."
            )


def _added(model: keras.Model, x: Any, copies: int) -> list[tf.Tensor]:
    """Return the losses that the layers add for random rows, each of them so many times."""
    random = np.random.default_rng(0)

    def rows(zeros: tf.Tensor) -> tf.Tensor:
        values = tf.constant(random.normal(size=zeros.numpy().shape), zeros.dtype) if zeros.dtype.is_floating else zeros
        return tf.repeat(values, copies, 0)

    weights = [(v, v.value) for v in model.trainable_variables]  # which regularizers read from the scope
    with keras.StatelessScope(weights, collect_losses=True):
        model(keras.tree.map_structure(rows, x), training=False)
        return [tf.convert_to_tensor(loss) for loss in model.losses]


def warn_of_repeated_rows(model: keras.Model) -> None:
    """Warn if `fit` would give other weights, as it takes the gradients of a row that a batch uses twice one by one."""
    optimizers = [model.optimizer, *getattr(model.optimizer, "optimizers", ())]
    linear = all(isinstance(each, keras.optimizers.SGD | keras.optimizers.MultiOptimizer | None) for each in optimizers)
    embeddings = [
        layer.name for layer in layers_of(model) if isinstance(layer, keras.layers.Embedding) and layer.trainable
    ]
    if embeddings and not linear:
        logging.warning(
            "from_keras: %s with %s: where a batch has an id several times, fit squares (or takes the sign of) each of its "
            "gradients apart; here their sum is squared, which is the gradient. The weights therefore differ a little from "
            "those of fit, and are the same on any number of replicas.",
            ", ".join(embeddings),
            type(model.optimizer).__name__,
        )
