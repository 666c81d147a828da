"""Networks of the bundled kinds: a character transformer, a convolutional network, multilayer perceptrons for tables.

`python -m benchmarks.real_models.networks NETWORK NAME` runs a contestant lap by lap, in an environment that may be another.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from tallyloop import metrics, models
from tallyloop.data import Input
from tallyloop.trainer import Task, one_device
from tallyloop.trainer.tuning.facts import uses_onednn

from ..harness.command import FASTEST, Goal, Row
from ..harness.paired import Calls, Contestant
from . import arrays
from .contestants import (
    HUGE_PAGES,
    TORCH,
    TORCH_COMPILE,
    TORCH_PRODUCTS,
    Model,
    apart,
    by_fit,
    by_jax,
    by_torch,
    by_trainer,
    run_apart,
    same,
    streamed,
)

ACCUMULATED = 8  # steps per update
SETTINGS = ("", " jit", " onednn", " jit onednn", " pages", " jit pages")  # of the Trainer and of `fit`
GIVEN_ARRAYS = (" arrays", " arrays onednn", " arrays pages")  # of `fit`; slow with jit_compile
ENVIRONMENTS = {"pages": HUGE_PAGES} | ({} if uses_onednn() else {"onednn": {"TF_ENABLE_ONEDNN_OPTS": "1"}})


class Network(NamedTuple):
    """A network and how it is trained.

    Attributes:
      about: it, in Markdown.
      build: makes the model, from `x` to logits.
      optimizer: makes the optimizer, without clipping.
      data: makes `x` and `y`.
      batch: the number of examples.
      lap: steps.
      clip: the largest global norm of the gradients; None does not clip.
    """

    about: str
    build: Callable[[], keras.Model]
    optimizer: Callable[..., keras.optimizers.Optimizer]
    data: Callable[[], dict[str, np.ndarray]]
    batch: int
    lap: int
    clip: float | None = None


NETWORKS: Mapping[str, Network] = {
    "transformer": Network(
        "`char_lm.gin`'s model, 4 blocks 128 wide; batches of 12 windows of 64 bytes; AdamW, clipped",
        models.transformer,
        partial(keras.optimizers.AdamW, 1e-3, weight_decay=0.1, beta_2=0.99),
        arrays.tokens,
        batch=12,
        lap=20,
        clip=1.0,
    ),
    "cnn": Network(
        "`mnist_cnn.gin`'s model, 3 convolutions with BatchNormalization; batches of 64 images of 28 x 28; AdamW",
        lambda: models.cnn((16, 32, 64), arrays.DIGITS),
        partial(keras.optimizers.AdamW, 1e-3, weight_decay=0.01),
        arrays.images,
        batch=64,
        lap=10,
    ),
    "tabular": Network(
        f"two layers of 256 units on {arrays.COLUMNS} columns; batches of 4,096 rows; Adam",
        lambda: models.mlp((256, 256), arrays.CLASSES),
        partial(keras.optimizers.Adam, 1e-3),
        arrays.table,
        batch=4096,
        lap=16,
    ),
    "wide": Network(
        f"five layers of 2,048 units on {arrays.COLUMNS} columns, 17 million parameters; batches of 256 rows; AdamW",
        lambda: models.mlp((2048,) * 5, arrays.CLASSES),
        partial(keras.optimizers.AdamW, 1e-4, weight_decay=0.01),
        arrays.table,
        batch=256,
        lap=10,
    ),
}


class Classifies(Task):
    """Predicts a class of each example, or of each of its tokens.

    Args:
      build: makes the model.
    """

    def __init__(self, build: Callable[[], keras.Model]):
        self._build = build

    def build_model(self) -> keras.Model:
        """Return the model."""
        return self._build()

    def loss(self, model: keras.Model, batch: Mapping[str, tf.Tensor], training: bool) -> tf.Tensor:
        """Return the cross-entropies, one per example; record the accuracy."""
        logits = model(batch["x"], training=training)
        metrics.add("accuracy", tf.equal(tf.argmax(logits, -1, tf.int32), batch["y"]))
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(batch["y"], logits)
        return tf.reduce_mean(tf.reshape(losses, [tf.shape(losses)[0], -1]), -1)


def contestants(name: str) -> dict[str, Contestant]:
    """Return the contestants of a network by name, each in a process of its own."""
    network = NETWORKS[name]
    found = {each: apart("networks", name, each, network.lap) for each in _makers(network)}
    found |= {
        f"{each} {how}": apart("networks", name, each, network.lap, **environment)
        for how, environment in ENVIRONMENTS.items()
        for each in ("trainer", "trainer jit", "fit", "fit jit", "fit arrays")
    }
    for how in ("", "compile", "products"):
        found |= by_torch(name, network.lap, how)
    if name == "transformer":
        found |= {each: apart("networks", name, each, network.lap // 4) for each in _accumulating(network)}
        found |= by_jax(network.lap)
    return found


def _makers(network: Network) -> dict[str, Callable[[], Contestant]]:
    """Return what makes the contestants that TensorFlow trains, batch by batch."""
    trainer, fit = partial(_trainer, network), partial(_fit, network)
    found = {
        "trainer": trainer,
        "trainer as it is": partial(trainer, steps_per_loop="auto"),
        "trainer deterministic": partial(trainer, deterministic=True, seed=0),
        "trainer jit": partial(trainer, jit_compile=True),
        "stream jit": lambda: trainer(streamed(network.data(), network.batch), jit_compile=True),
        "map_fn jit": lambda: trainer(_input(network, map_fn=same), jit_compile=True),
        "fit": partial(fit, jit_compile=False),
        "fit jit": partial(fit, jit_compile=True),
        "fit arrays": partial(fit, as_they_are=True, jit_compile=False),
        "fit as it is": partial(fit, steps_per_execution=1),
        "fit arrays as it is": partial(fit, as_they_are=True, steps_per_execution=1),
    }
    found |= {
        "evaluation": partial(_evaluation, network, jit_compile=False),
        "evaluation jit": partial(_evaluation, network, jit_compile=True),
    }
    if has_bfloat16():
        half = network._replace(build=partial(_with_policy, "mixed_bfloat16", network.build))
        found["bfloat16"] = partial(_trainer, half)
    return found


def _accumulating(network: Network) -> dict[str, Callable[[], Contestant]]:
    """Return what makes the contestants with large batches, and with as many small ones: a quarter of the updates a lap."""
    large = network._replace(batch=ACCUMULATED * network.batch, lap=network.lap // 4)
    small = network._replace(lap=ACCUMULATED * large.lap)
    accumulated = partial(_trainer, small, together=ACCUMULATED, gradient_accumulation=ACCUMULATED)
    return {
        "accumulated": accumulated,
        "accumulated jit": partial(accumulated, jit_compile=True),
        "large batch": partial(_trainer, large),
        "large batch jit": partial(_trainer, large, jit_compile=True),
    }


def has_bfloat16() -> bool:
    """Return whether this CPU multiplies bfloat16 matrices."""
    information = Path("/proc/cpuinfo")
    return information.exists() and "avx512_bf16" in information.read_text()


def _with_policy(name: str, build: Callable[[], keras.Model]) -> keras.Model:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        return build()
    finally:
        keras.config.set_dtype_policy(before)


def _input(network: Network, **options: Any) -> Input:
    return Input(network.data(), network.batch, shuffle=True, drop_remainder=True, **options)


def _trainer(network: Network, dataset: Input | None = None, together: int = 1, **arguments: Any) -> Contestant:
    return by_trainer(
        network.lap,
        together,
        task=Classifies(network.build),
        optimizer=network.optimizer,
        strategy=one_device(),
        train_dataset=dataset or _input(network),
        clip_global_norm=network.clip,
        **arguments,
    )


def _evaluation(network: Network, jit_compile: bool) -> Contestant:
    """Return evaluations of as many batches as a lap has."""
    from tallyloop.trainer import Trainer  # as in `by_trainer`

    rows = {name: each[: network.lap * network.batch] for name, each in network.data().items()}
    trainer = Trainer(
        task=Classifies(network.build),
        strategy=one_device(),
        eval_datasets={"test": Input(rows, network.batch)},
        jit_compile=jit_compile,
    )
    return Calls(trainer.evaluate, network.lap)


def _fit(network: Network, **compiled: Any) -> Contestant:
    return by_fit(
        network.lap,
        network.build,
        list(network.data().values()),
        network.batch,
        optimizer=network.optimizer(**({} if network.clip is None else {"global_clipnorm": network.clip})),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        **compiled,
    )


def _rows(name: str) -> list[Row]:
    # A process of the wide one takes a gigabyte: fewer of them.
    tried = [how for how in (*SETTINGS, *GIVEN_ARRAYS) if name != "wide" or "onednn" not in how]
    settings, given_arrays = ([how for how in each if how in tried] for each in (SETTINGS, GIVEN_ARRAYS))
    trainer = FASTEST.join(f"trainer{how}" for how in settings)
    fit = FASTEST.join(f"fit{how}" for how in (*settings, *given_arrays))
    as_it_is = FASTEST.join(["fit as it is", "fit arrays as it is"])
    found = [
        Row(name, "Trainer at its best / PyTorch", trainer, TORCH, Goal("<=", 0.65)),
        Row(name, "Trainer at its best / PyTorch, torch.compile", trainer, TORCH_COMPILE, Goal("<=", 1.0)),
        Row(name, "PyTorch: its products alone / a step", TORCH_PRODUCTS, TORCH),
        Row(name, "Trainer at its best / Keras fit at its best", trainer, fit, Goal("<=", 0.95)),
        Row(name, "Trainer / Keras fit, both at their defaults", "trainer as it is", as_it_is, Goal("<=", 0.9)),
        Row(name, "a step of the Trainer at its best", trainer, unit="ms"),
        Row(name, "Trainer: jit_compile / without", "trainer jit", "trainer"),
        Row(name, "Keras fit: jit_compile / without", "fit jit", "fit"),
        Row(name, "Trainer: huge pages / without", "trainer pages", "trainer"),
    ]
    if name != "wide":
        found += [
            Row(name, "a stream, jit_compile / Keras fit, jit_compile", "stream jit", "fit jit", Goal("<=", 1.0)),
            Row(name, "with a map_fn, jit_compile / Keras fit, jit_compile", "map_fn jit", "fit jit", Goal("<=", 1.0)),
            Row(name, "Trainer: oneDNN, where it is off by itself / without", "trainer onednn", "trainer"),
            Row(name, "Trainer: deterministic / without", "trainer deterministic", "trainer"),
        ]
    if name == "transformer":
        found += [
            Row(name, "evaluation: jit_compile / without", "evaluation jit", "evaluation", Goal("<=", 0.7)),
            Row(name, "jit_compile / JAX, lax.scan", "trainer jit", "jax", Goal("<=", 1.1)),
            *(
                Row(
                    name,
                    f"accumulation of {ACCUMULATED} / a batch as large{said}",
                    f"accumulated{how}",
                    f"large batch{how}",
                    Goal("<=", 1.1),
                )
                for said, how in (("", ""), (", jit_compile", " jit"))
            ),
            Row(name, "mixed_bfloat16 / float32", "bfloat16", "trainer"),
        ]
    return found


MODELS = {
    name: Model(f"\n**{name}**: {network.about}; {network.lap} steps per call.\n", _rows(name), contestants)
    for name, network in NETWORKS.items()
}


if __name__ == "__main__":
    of, name = sys.argv[1:]
    run_apart((_makers(NETWORKS[of]) | _accumulating(NETWORKS[of]))[name]())
