"""A recommender: a stock `keras.layers.Embedding` of a million rows, of which a step needs two thousand."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import keras
import tensorflow as tf
from tallyloop import metrics
from tallyloop.data import Input
from tallyloop.trainer import Task, mirrored, one_device

from ..harness.command import FASTEST, Goal, Row
from ..harness.paired import Contestant
from .arrays import IDS, clicks
from .contestants import (
    HUGE_PAGES,
    TORCH,
    TORCH_COMPILE,
    Model,
    apart,
    by_fit,
    by_torch,
    by_trainer,
    run_apart,
    same,
    streamed,
)

LARGE, SMALL, WIDTH = 10**6, 10**4, 64
BATCH = 256
LAP, SLOW_LAP = 500, 5  # steps; the second where each goes through all rows
OPTIMIZERS: Mapping[str, Callable[[], keras.optimizers.Optimizer]] = {
    "SGD": lambda: keras.optimizers.SGD(0.1),
    "Adagrad": lambda: keras.optimizers.Adagrad(0.1),
    "Adam": lambda: keras.optimizers.Adam(0.001),
}
_ROWS = "10^6 rows"
# Groups of their own: a process that goes through all rows takes 2 GB, and 19 of them at once are too many.
_BESIDE_TORCH, _WITH_POOL, _OTHERWISE = ", beside PyTorch", ", memory pool", ", other settings"


def _group(optimizer: str, replicas: int = 1, which: str = "") -> str:
    return f"embedding, {optimizer}, {replicas} replica{'s' if replicas > 1 else ''}{which}"


def _settings(who: str) -> list[str]:
    """Return the contestants of which the fastest is somebody at their best."""
    return [f"{who}{how}" for how in ("", " jit", " pages", " jit pages")]


def _rows(optimizer: str) -> list[Row]:
    """Return the rows of one replica."""
    is_adam = optimizer == "Adam"
    row, beside_torch, otherwise, with_pool = (
        partial(Row, _group(optimizer, which=which if is_adam else ""))
        for which in ("", _BESIDE_TORCH, _OTHERWISE, _WITH_POOL)
    )
    trainer, fit = (FASTEST.join(_settings(each)) for each in ("large", "fit"))
    as_it_is = FASTEST.join(["fit as it is", "fit arrays as it is"])
    found = []
    if not is_adam:
        found = [
            row(f"{_ROWS} / 10^4 rows", "large", "small", Goal("<=", 1.5)),
            row(f"{_ROWS} / 10^4 rows, jit_compile", "large jit", "small jit", Goal("<=", 1.5)),
            row(f"{_ROWS} / 10^4 rows, jit_compile, huge pages", "large jit pages", "small jit pages", Goal("<=", 1.5)),
        ]
    found += [
        beside_torch(f"{_ROWS}: Trainer at its best / PyTorch", trainer, TORCH, Goal("<=", 0.65)),
        row(f"{_ROWS}: Trainer at its best / Keras fit at its best", trainer, fit, Goal("<=", 0.95)),
        otherwise(f"{_ROWS}: Trainer / Keras fit, both at their defaults", "large as it is", as_it_is, Goal("<=", 0.9)),
    ]
    if is_adam:
        jit = f"{_ROWS}: a stream, jit_compile / Keras fit, jit_compile"
        mapped = f"{_ROWS}: with a map_fn, jit_compile / Keras fit, jit_compile"
        compiled = f"{_ROWS}: Trainer at its best / PyTorch, torch.compile"
        found += [
            beside_torch(compiled, trainer, TORCH_COMPILE, Goal("<=", 1.0)),
            row(f"{_ROWS}: Trainer / Keras fit", "large", "fit", Goal("<=", 0.7)),
            row(f"{_ROWS}, both with jit_compile: Trainer / Keras fit", "large jit", "fit jit", Goal("<=", 0.7)),
            with_pool(f"{_ROWS}: Trainer / Keras fit", "large pool", "fit pool", Goal("<=", 0.7)),
            otherwise(jit, "stream jit", "fit jit", Goal("<=", 1.0)),
            otherwise(mapped, "map_fn jit", "fit jit", Goal("<=", 1.0)),
        ]
    return [*found, row(f"a step, {_ROWS}", trainer, unit="ms")]


ROWS = (
    *(row for name in OPTIMIZERS for row in _rows(name)),
    *(Row(_group(name, 2), f"{_ROWS} / 10^4 rows", "large", "small", Goal("<=", 3)) for name in ("SGD", "Adagrad")),
)
ABOUT = f"""
**embedding**: {IDS} ids of {LARGE:,} (or {SMALL:,}) are looked up in a stock `keras.layers.Embedding` {WIDTH} wide, and their
mean goes through 64 units to one logit; batches of {BATCH}, loss and accuracy. A call runs {LAP} steps, or {SLOW_LAP} where
each goes through all rows (`fit` by `steps_per_execution`). Here, the best is the fastest with or without `jit_compile`, each
also with huge pages. In PyTorch the table's gradients are sparse but for Adam; `torch.compile` refuses those. TensorFlow's
memory pool is that of `TF_CPU_ALLOCATOR_USE_BFC=1`.
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
    name = _optimizer(group)
    if group == _group(name, 2):
        return {"large": _trainer(name, LARGE, replicas=2), "small": _trainer(name, SMALL, replicas=2)}
    # Each in a process of its own: a step of 2 ms takes 5 in one whose memory others have filled and freed.
    found = {each: apart("embedding", group, each, _lap(name, each)) for each in _makers(name)}
    found |= _with_pages(group) | by_torch(f"embedding, {name}", _lap(name, "torch"))
    if name == "Adam":
        pool = {"TF_CPU_ALLOCATOR_USE_BFC": "1"}
        found |= {f"{each} pool": apart("embedding", group, each, SLOW_LAP, **pool) for each in ("large", "fit")}
        found |= by_torch(f"embedding, {name}", SLOW_LAP, "compile")
    return found


def _with_pages(group: str) -> dict[str, Contestant]:
    """Return contestants of a group with huge pages, each in a process of its own."""
    names, optimizer = ("large", "large jit", "small jit", "fit", "fit jit"), _optimizer(group)
    return {f"{each} pages": apart("embedding", group, each, _lap(optimizer, each), **HUGE_PAGES) for each in names}


def _optimizer(group: str) -> str:
    return next(each for each in OPTIMIZERS if f" {each}," in group)


def _lap(optimizer: str, name: str) -> int:
    """Return the steps of a lap: few for who goes through all rows, as `fit` does but with SGD under XLA."""
    slow = "fit" in name and (optimizer, name) != ("SGD", "fit jit")
    return SLOW_LAP if optimizer == "Adam" or slow else LAP


def _makers(name: str) -> dict[str, Callable[[], Contestant]]:
    """Return what makes the contestants of one replica that TensorFlow trains."""
    trainer, fit = partial(_trainer, name, LARGE), partial(_fit, name)
    return {
        "large": trainer,
        "large as it is": partial(trainer, steps_per_loop="auto"),
        "large jit": partial(trainer, jit_compile=True),
        "small": partial(_trainer, name, SMALL),
        "small jit": partial(_trainer, name, SMALL, jit_compile=True),
        "stream jit": lambda: trainer(streamed(clicks(LARGE), BATCH), jit_compile=True),
        "map_fn jit": lambda: trainer(_input(LARGE, map_fn=same), jit_compile=True),
        "fit": partial(fit, jit_compile=False),
        "fit jit": partial(fit, jit_compile=True, steps=_lap(name, "fit jit")),
        "fit as it is": partial(fit, steps_per_execution=1),
        "fit arrays as it is": partial(fit, as_they_are=True, steps_per_execution=1),
    }


def _input(rows: int, **options: Any) -> Input:
    return Input(clicks(rows), BATCH, drop_remainder=True, **options)


def _trainer(
    optimizer: str, rows: int, dataset: Input | None = None, replicas: int = 1, **arguments: Any
) -> Contestant:
    return by_trainer(
        _lap(optimizer, "trainer"),
        task=Clicks(rows),
        optimizer=OPTIMIZERS[optimizer],
        strategy=mirrored() if replicas > 1 else one_device(),
        train_dataset=dataset or _input(rows),
        **arguments,
    )


def _fit(optimizer: str, steps: int = SLOW_LAP, **arguments: Any) -> Contestant:
    return by_fit(
        steps,
        lambda: build_model(LARGE),
        list(clicks(LARGE).values()),
        BATCH,
        optimizer=OPTIMIZERS[optimizer](),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        metrics=[keras.metrics.BinaryAccuracy(threshold=0.0)],
        **arguments,
    )


MODEL = Model(ABOUT, ROWS, contestants)

if __name__ == "__main__":
    group, name = sys.argv[1:]
    run_apart(_makers(_optimizer(group))[name]())
