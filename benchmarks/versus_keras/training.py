"""Cases of training: the trajectory of the weights."""

from __future__ import annotations

import tensorflow as tf

from .case import Case
from .problem import BATCH, compiled, descend, difference, fitted, rows, sgd, trained

STEPS = 14


def _fit(n: int) -> Case:
    """Return the case of n rows: 103 are 6 batches and one of 7 rows, 97 are 6 and one of a single row."""
    return Case(
        f"dW of fit, {n} rows in batches of {BATCH}",
        exact=lambda: 0.0,
        keras=lambda replicas: difference(fitted(replicas, rows(n), STEPS), descend(rows(n), STEPS)),
        tallyloop=lambda replicas: difference(trained(replicas, rows(n), STEPS), descend(rows(n), STEPS)),
        form="{:.2g}",
    )


OF_FIT = (_fit(103), _fit(97))

JIT = Case(
    "dW with jit_compile=True",
    exact=lambda: 0.0,
    keras=lambda n: difference(fitted(n, rows(96), 12, jit_compile=True), descend(rows(96), 12)),
    tallyloop=lambda n: difference(trained(n, rows(96), 12, jit_compile=True), descend(rows(96), 12)),
    form="{:.2g}",
)

LOOPS = Case(
    "dW with steps_per_execution=4 (Tallyloop: steps_per_loop=4)",
    exact=lambda: 0.0,
    keras=lambda n: difference(fitted(n, rows(96), 12, steps_per_execution=4), descend(rows(96), 12)),
    tallyloop=lambda n: difference(trained(n, rows(96), 12, steps_per_loop=4), descend(rows(96), 12)),
    form="{:.2g}",
)


def unknown_length() -> tf.data.Dataset:
    """Return 102 examples whose number TensorFlow does not know: 7 batches, the last one short."""
    return tf.data.Dataset.from_tensor_slices(rows(102)).filter(lambda example: True)


def _keras_stream(replicas: int) -> tuple[float, float]:
    data = unknown_length().map(lambda example: (example["x"], example["y"])).batch(BATCH)
    model = compiled(replicas)
    model.fit(data, epochs=3, verbose=0)
    return float(model.optimizer.iterations.numpy()), difference(model, descend(rows(102), 21))


def _tallyloop_stream(replicas: int) -> tuple[float, float]:
    optimizer = sgd()
    model = trained(replicas, unknown_length, 21, optimizer=optimizer)
    return float(optimizer.iterations.numpy()), difference(model, descend(rows(102), 21))


UNKNOWN_LENGTH = Case(
    "dataset of unknown length, 3 epochs of 7 batches",
    exact=lambda: (21.0, 0.0),
    keras=_keras_stream,
    tallyloop=_tallyloop_stream,
    form="{:.0f} steps, dW {:.2g}",
)
