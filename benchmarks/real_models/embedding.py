"""A recommender: a stock `keras.layers.Embedding` of a million rows, of which a step needs two thousand."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import keras
import numpy as np
import tensorflow as tf
from tallyloop import metrics
from tallyloop.data import Input
from tallyloop.trainer import Task, mirrored, one_device

from ..harness.command import Goal, Row
from ..harness.paired import Contestant
from .contestants import Model, by_fit, by_trainer

LARGE, SMALL, WIDTH = 10**6, 10**4, 64
EXAMPLES, IDS, BATCH = 25_600, 8, 256
LAP, SLOW_LAP = 50, 5  # steps; the second where each goes through all rows
OPTIMIZERS: Mapping[str, Callable[[], keras.optimizers.Optimizer]] = {
    "SGD": lambda: keras.optimizers.SGD(0.1),
    "Adagrad": lambda: keras.optimizers.Adagrad(0.1),
    "Adam": lambda: keras.optimizers.Adam(0.001),
}
_GROWS = "10^6 rows / 10^4 rows"


def _group(optimizer: str, replicas: int) -> str:
    return f"embedding, {optimizer}, {replicas} replica{'s' if replicas > 1 else ''}"


ROWS = (
    *(Row(_group(name, 1), _GROWS, "large", "small", Goal("<=", 1.5)) for name in ("SGD", "Adagrad")),
    *(Row(_group(name, 2), _GROWS, "large", "small", Goal("<=", 3)) for name in ("SGD", "Adagrad")),
    *(Row(_group(name, 1), "10^6 rows: Trainer / Keras fit", "large", "fit") for name in ("SGD", "Adagrad")),
    Row(_group("Adam", 1), "10^6 rows: Trainer / Keras fit", "large", "fit", Goal("<=", 0.7)),
    Row(_group("Adam", 1), "10^6 rows: Trainer / Keras fit with jit_compile", "large", "fit jit", Goal("<=", 0.7)),
    Row(
        _group("Adam", 1),
        "10^6 rows, both with jit_compile: Trainer / Keras fit",
        "large jit",
        "fit jit",
        Goal("<=", 0.7),
    ),
    *(Row(_group(name, 1), "a step, 10^6 rows", "large", unit="ms") for name in OPTIMIZERS),
)
ABOUT = f"""
**embedding**: {IDS} ids of {LARGE:,} (or {SMALL:,}) are looked up in a stock `keras.layers.Embedding` {WIDTH} wide, and their
mean goes through 64 units to one logit; batches of {BATCH}, loss and accuracy. A call runs {LAP} steps, or {SLOW_LAP} where each
takes hundreds of milliseconds (`fit` by `steps_per_execution`).
"""


def arrays(rows: int) -> dict[str, np.ndarray]:
    """Return random examples: `ids` int32 (EXAMPLES, IDS) below `rows`, `y` float32 (EXAMPLES,), 0 or 1."""
    chance = np.random.default_rng(0)
    ids = chance.integers(0, rows, (EXAMPLES, IDS)).astype(np.int32)
    return {"ids": ids, "y": (ids.sum(1) % 2).astype(np.float32)}


def build_model(rows: int) -> keras.Model:
    """Return the recommender of a catalogue of `rows` items."""
    layers = keras.layers
    found = [layers.Embedding(rows, WIDTH), layers.GlobalAveragePooling1D(), layers.Dense(64, "relu"), layers.Dense(1)]
    return keras.Sequential([keras.Input((IDS,), dtype="int32"), *found])


class Clicks(Task):
    """Predicts 0 or 1 from the ids.

    Args:
      rows: of the table.
    """

    def __init__(self, rows: int):
        self._rows = rows

    def build_model(self) -> keras.Model:
        """Return the recommender."""
        return build_model(self._rows)

    def loss(self, model: keras.Model, batch: Mapping[str, tf.Tensor], training: bool) -> tf.Tensor:
        """Return the cross-entropies; record the accuracy."""
        logits = model(batch["ids"], training=training)[:, 0]
        metrics.add("accuracy", tf.equal(logits > 0, batch["y"] > 0.5))
        return tf.nn.sigmoid_cross_entropy_with_logits(batch["y"], logits)


def contestants(group: str) -> dict[str, Contestant]:
    """Return the contestants of a group by name."""
    name = next(each for each in OPTIMIZERS if f" {each}," in group)
    replicas = 2 if "2 replicas" in group else 1
    found = {"large": _trainer(name, LARGE, replicas)}
    if name == "Adam":
        found["large jit"] = _trainer(name, LARGE, replicas, jit_compile=True)
    else:
        found["small"] = _trainer(name, SMALL, replicas)
    if replicas == 1:
        found |= {"fit": _fit(name, False)} | ({"fit jit": _fit(name, True)} if name == "Adam" else {})
    return found


def _trainer(optimizer: str, rows: int, replicas: int, jit_compile: bool = False) -> Contestant:
    return by_trainer(
        SLOW_LAP if optimizer == "Adam" else LAP,
        task=Clicks(rows),
        optimizer=OPTIMIZERS[optimizer],
        strategy=mirrored() if replicas > 1 else one_device(),
        train_dataset=Input(arrays(rows), BATCH, drop_remainder=True),
        jit_compile=jit_compile,
    )


def _fit(optimizer: str, jit_compile: bool) -> Contestant:
    return by_fit(
        SLOW_LAP,
        lambda: build_model(LARGE),
        list(arrays(LARGE).values()),
        BATCH,
        optimizer=OPTIMIZERS[optimizer](),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        metrics=[keras.metrics.BinaryAccuracy(threshold=0.0)],
        jit_compile=jit_compile,
    )


MODEL = Model(ABOUT, ROWS, contestants)
