"""The rows of the table: what a run is made of."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import keras
from keras.optimizers import SGD, AdamW
from tallyloop.trainer import Task

from .tasks import DigitsTask, MaskedTask, bfloat16_network, dropping, normalizing

# The examples of an epoch, in batches of 16: 13 full ones; 6, and one of 7 rows, which 2, 3 or 4 replicas cannot share evenly;
# and 6, and one of a single row, which leaves three of four replicas empty.
WHOLE, UNEVEN, RAGGED = 208, 103, 97


_sgd = functools.partial(SGD, 0.1)


@dataclasses.dataclass(frozen=True)
class Setting:
    """A run that has to give the same everywhere.

    Attributes:
      task: makes the task.
      optimizer: makes the optimizer.
      rows: the examples of an epoch.
      shuffle: a new order each epoch; without, the examples come as they are.
      options: further arguments of the Trainer.
      pieces: each batch is given in that many steps that make one update: the same sums, rounded otherwise.
      weights: by how much the weights may differ; see `compare.difference`.
      metrics: and the metrics of the evaluation.
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
    # In the order of the examples, as the mask is made for it.
    "masked loss": Setting(task=MaskedTask, shuffle=False),
    "ragged": Setting(rows=RAGGED),
    "clip_global_norm": Setting(options={"clip_global_norm": 0.3}),
    "clipnorm": Setting(optimizer=functools.partial(SGD, 0.1, clipnorm=0.1)),
    "accumulation": Setting(rows=UNEVEN, options={"gradient_accumulation": 3}),
    "optimizer accumulation": Setting(optimizer=functools.partial(SGD, 0.1, gradient_accumulation_steps=3)),
    # Each replica rounds the sum over its examples to 8 bits; ROUNDING shows what that alone makes of it.
    "bfloat16": Setting(task=functools.partial(DigitsTask, bfloat16_network), weights=1e-2, metrics=1e-2),
    "EMA": Setting(optimizer=functools.partial(SGD, 0.1, use_ema=True, ema_momentum=0.9)),
    "AdamW": Setting(optimizer=functools.partial(AdamW, 0.002, weight_decay=0.01)),
    "momentum SGD": Setting(optimizer=functools.partial(SGD, 0.03, momentum=0.9)),
    "dropout": Setting(task=functools.partial(DigitsTask, dropping), rows=RAGGED),
    "synchronized batch norm": Setting(task=functools.partial(DigitsTask, normalizing), rows=UNEVEN),
    "jit_compile": Setting(options={"jit_compile": True}),
}

# On one device, but with the sums of two halves rounded each, as two replicas do.
ROUNDING: Mapping[str, Setting] = {
    f"{name} in halves": dataclasses.replace(SETTINGS[name], pieces=2) for name in ("plain", "bfloat16")
}
