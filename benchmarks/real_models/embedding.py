"""A recommender: a stock `keras.layers.Embedding` of a million rows, of which a step needs two thousand."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping

import keras
import tensorflow as tf
from tallyloop import metrics
from tallyloop.data import Input
from tallyloop.trainer import Task, mirrored, one_device

from ..harness.command import Goal, Row
from ..harness.paired import Contestant
from .arrays import IDS, clicks
from .contestants import Model, apart, by_fit, by_torch, by_trainer, run_apart

LARGE, SMALL, WIDTH = 10**6, 10**4, 64
BATCH = 256
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
        "10^6 rows: Trainer with TensorFlow's memory pool / Keras fit",
        "large pool",
        "fit",
    ),
    Row(
        _group("Adam", 1),
        "10^6 rows, both with TensorFlow's memory pool: Trainer / Keras fit",
        "large pool",
        "fit pool",
        Goal("<=", 0.7),
    ),
    Row(
        _group("Adam", 1),
        "10^6 rows, both with jit_compile: Trainer / Keras fit",
        "large jit",
        "fit jit",
        Goal("<=", 0.7),
    ),
    *(
        Row(_group(name, 1), "10^6 rows: Trainer / PyTorch", "large", "torch", Goal("<=", 0.65))
        for name in ("SGD", "Adagrad")
    ),
    Row(_group("Adam", 1), "10^6 rows, jit_compile: Trainer / PyTorch", "large jit", "torch", Goal("<=", 0.65)),
    *(Row(_group(name, 1), "a step, 10^6 rows", "large", unit="ms") for name in OPTIMIZERS),
)
ABOUT = f"""
**embedding**: {IDS} ids of {LARGE:,} (or {SMALL:,}) are looked up in a stock `keras.layers.Embedding` {WIDTH} wide, and their
mean goes through 64 units to one logit; batches of {BATCH}, loss and accuracy. A call runs {LAP} steps, or {SLOW_LAP} where each
takes hundreds of milliseconds (`fit` by `steps_per_execution`). In PyTorch the table's gradients are sparse but for Adam.
TensorFlow's memory pool is that of `TF_CPU_ALLOCATOR_USE_BFC=1`.
"""


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
        logits = model(batch["x"], training=training)[:, 0]
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
        if name == "Adam":
            pool = {"TF_CPU_ALLOCATOR_USE_BFC": "1"}
            found |= {f"{each} pool": apart("embedding", group, each, SLOW_LAP, **pool) for each in ("large", "fit")}
        found |= by_torch(f"embedding, {name}", SLOW_LAP if name == "Adam" else LAP)
    return found


def _trainer(optimizer: str, rows: int, replicas: int, jit_compile: bool = False) -> Contestant:
    return by_trainer(
        SLOW_LAP if optimizer == "Adam" else LAP,
        task=Clicks(rows),
        optimizer=OPTIMIZERS[optimizer],
        strategy=mirrored() if replicas > 1 else one_device(),
        train_dataset=Input(clicks(rows), BATCH, drop_remainder=True),
        jit_compile=jit_compile,
    )


def _fit(optimizer: str, jit_compile: bool) -> Contestant:
    return by_fit(
        SLOW_LAP,
        lambda: build_model(LARGE),
        list(clicks(LARGE).values()),
        BATCH,
        optimizer=OPTIMIZERS[optimizer](),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        metrics=[keras.metrics.BinaryAccuracy(threshold=0.0)],
        jit_compile=jit_compile,
    )


MODEL = Model(ABOUT, ROWS, contestants)

if __name__ == "__main__":
    group, name = sys.argv[1:]
    run_apart(contestants(group)[name])
