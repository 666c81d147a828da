"""The rows of the table: the trainings."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import keras
from keras.optimizers import SGD, Adagrad, AdamW
from tallyloop.trainer import Task

from .tasks import DigitsTask, MaskedTask, bfloat16_network, dropping, embedding, normalizing

# The examples per epoch, in batches of 16: 13 full batches; 6 and one of 7 rows, which 2, 3 or 4 replicas cannot share evenly;
# and 6 and one of a single row, which leaves three of four replicas empty.
WHOLE, UNEVEN, RAGGED = 208, 103, 97

_sgd = functools.partial(SGD, 0.1)


@dataclasses.dataclass(frozen=True)
class Setting:
    """A training that has to give the same result everywhere.

    Attributes:
      task: makes the task.
      optimizer: makes the optimizer.
      rows: examples per epoch.
      shuffle: whether each epoch has a new order.
      options: further arguments of the Trainer.
      pieces: steps into which each batch is split, with one update for all of them: the same sums in another order of rounding.
      weights: the tolerance of the weights; see `compare.difference`.
      metrics: the tolerance of the metrics of the evaluation.
    """

    task: Callable[[], Task] = DigitsTask
    optimizer: Callable[[], keras.optimizers.Optimizer] = _sgd
    rows: int = WHOLE
    shuffle: bool = True
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    pieces: int = 1
    weights: float = 1e-5
    metrics: float = 1e-6


SETTINGS: Mapping[str, Setting] = {
    "plain": Setting(),
    # In the order of the examples, which the mask depends on.
    "masked loss": Setting(task=MaskedTask, shuffle=False),
    "ragged": Setting(rows=RAGGED),
    "clip_global_norm": Setting(options={"clip_global_norm": 0.3}),
    "clipnorm": Setting(optimizer=functools.partial(SGD, 0.1, clipnorm=0.1)),
    "accumulation": Setting(rows=UNEVEN, options={"gradient_accumulation": 3}),
    "optimizer accumulation": Setting(optimizer=functools.partial(SGD, 0.1, gradient_accumulation_steps=3)),
    # Each replica rounds the sum over its examples to 8 bits; ROUNDING shows the effect of that alone.
    # One digit whose logits tie in 8 bits changes the accuracy of its class, of 11 digits or so, by a tenth; processors differ.
    "bfloat16": Setting(task=functools.partial(DigitsTask, bfloat16_network), weights=1e-2, metrics=0.2),
    "EMA": Setting(optimizer=functools.partial(SGD, 0.1, use_ema=True, ema_momentum=0.9)),
    "AdamW": Setting(optimizer=functools.partial(AdamW, 0.002, weight_decay=0.01)),
    "momentum SGD": Setting(optimizer=functools.partial(SGD, 0.03, momentum=0.9)),
    "dropout": Setting(task=functools.partial(DigitsTask, dropping), rows=RAGGED),
    "synchronized batch norm": Setting(task=functools.partial(DigitsTask, normalizing), rows=UNEVEN),
    "jit_compile": Setting(options={"jit_compile": True}),
    "large embedding": Setting(
        task=functools.partial(DigitsTask, embedding),
        optimizer=functools.partial(Adagrad, 0.5),
        rows=RAGGED,
        options={"clip_global_norm": 0.3},
        weights=1e-6,
    ),
    # Reduced by rows, and updated by XLA in one pass.
    "large embedding, AdamW": Setting(
        task=functools.partial(DigitsTask, embedding),
        optimizer=functools.partial(AdamW, 0.002, weight_decay=0.01),
        rows=RAGGED,
    ),
}

# On one device, with the sum of each half rounded, as on two replicas.
ROUNDING: Mapping[str, Setting] = {
    f"{name} in halves": dataclasses.replace(SETTINGS[name], pieces=2) for name in ("plain", "bfloat16")
}
