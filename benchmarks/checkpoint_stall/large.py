"""A model of 50 million parameters, trained with plain SGD, so that the parameters are nearly all of the state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tallyloop.data import Input
from tallyloop.trainer import Task, Trainer

FEATURES, WIDTH, CLASSES, BATCH = 1024, 4750, 10, 2
EXAMPLES = 640
LOOP = 5  # steps
LAP = 2 * LOOP
ENDLESS = 10**9  # steps


def build_model() -> keras.Model:
    """Return an MLP with three hidden layers."""
    hidden = [keras.layers.Dense(WIDTH, "relu") for _ in range(3)]
    return keras.Sequential([keras.Input((FEATURES,)), *hidden, keras.layers.Dense(CLASSES)])


def state_bytes(model: keras.Model) -> int:
    """Return the size of the parameters in bytes."""
    return sum(int(np.prod(variable.shape)) * 4 for variable in model.variables)


class Large(Task):
    """Classifies noise."""

    def build_model(self) -> keras.Model:
        """Return the model of 50 million parameters."""
        return build_model()

    def loss(self, model: keras.Model, batch: Mapping[str, tf.Tensor], training: bool) -> tf.Tensor:
        """Return the cross-entropy of each example."""
        return tf.nn.sparse_softmax_cross_entropy_with_logits(batch["y"], model(batch["x"], training=training))


def trainer(folder: Path, save_every: int, action: Callable[[Any, Any], None], **arguments: Any) -> Trainer:
    """Return a Trainer that calls `action` every `LOOP` steps and saves every `save_every`."""
    chance = np.random.default_rng(0)
    rows = {"x": chance.random((EXAMPLES, FEATURES), np.float32), "y": chance.integers(0, CLASSES, EXAMPLES)}
    return Trainer(
        task=Large(),
        optimizer=keras.optimizers.SGD(1e-3),
        train_dataset=Input(rows, BATCH, shuffle=True),
        steps_per_loop=LOOP,
        summary_interval=LOOP,
        checkpoint_interval=save_every,
        keep_checkpoints=1,
        actions=[action],
        model_dir=folder,
        **arguments,
    )
