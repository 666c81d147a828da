"""Cases of optimizer options, each of which has to act once, on the gradient of all examples."""

from __future__ import annotations

import functools
from collections.abc import Callable

import keras
import numpy as np

from .case import Case
from .problem import RATE, LeastSquares, batches, descend, difference, fitted, gradient, rows, trained

ROWS, STEPS, LIMIT = 96, 12, 0.7
sgd = functools.partial(keras.optimizers.SGD, RATE)


def clip_all(g: np.ndarray) -> np.ndarray:
    """Return the gradient clipped by its global norm."""
    return g * min(1, LIMIT / np.linalg.norm(g))


def clip_each(g: np.ndarray) -> np.ndarray:
    """Return the gradient with kernel and bias each clipped by its own norm."""
    return np.concatenate([clip_all(g[:3]), clip_all(g[3:])])


def clip_values(g: np.ndarray) -> np.ndarray:
    """Return the gradient with each number clipped."""
    return np.clip(g, -LIMIT, LIMIT)


def accumulated(every: int) -> np.ndarray:
    """Return the weights if each update uses the mean of `every` gradients."""
    w, kept = np.zeros(4), []
    for batch in batches(rows(ROWS), STEPS):
        kept.append(gradient(w, batch))
        if len(kept) == every:
            w, kept = w - RATE * np.mean(kept, 0), []
    return w


def averaged(momentum: float, every: int) -> np.ndarray:
    """Return the weights if every few steps they become their moving average, which starts at the weights of step 1."""
    w, average = np.zeros(4), None
    for step, batch in enumerate(batches(rows(ROWS), STEPS), 1):
        w = w - RATE * gradient(w, batch)
        average = w if average is None else momentum * average + (1 - momentum) * w
        w = average if step % every == 0 else w
    return w


def _case(name: str, expected: Callable[[], np.ndarray], **options) -> Case:
    make = functools.partial(sgd, **options)
    return Case(
        f"dW with {name}",
        exact=lambda: 0.0,
        keras=lambda n: difference(fitted(n, rows(ROWS), STEPS, optimizer=make), expected()),
        tallyloop=lambda n: difference(trained(n, rows(ROWS), STEPS, optimizer=make), expected()),
        form="{:.2g}",
    )


IDS = 5


def repeated() -> dict[str, np.ndarray]:
    """Return 96 rows of an id below `IDS`, each several times in a batch, and a number."""
    rng = np.random.default_rng(6)
    return {"x": rng.integers(IDS, size=(ROWS, 1)).astype(np.int32), "y": rng.normal(size=ROWS).astype(np.float32)}


def table() -> keras.Model:
    """Return a model that predicts one number per id, 0 until it is trained."""
    embedding = keras.layers.Embedding(IDS, 1, embeddings_initializer="zeros")
    return keras.Sequential([keras.Input((1,), dtype="int32"), embedding, keras.layers.Flatten()])


def by_adam() -> np.ndarray:
    """Return the numbers after Adam on the whole gradient: an id's rows are added up before they are squared."""
    w, m, v = np.zeros((3, IDS))
    for step, batch in enumerate(batches(repeated(), STEPS), 1):
        ids = batch["x"][:, 0].astype(int)
        g = np.bincount(ids, 2 * (w[ids] - batch["y"]) / len(ids), IDS)
        m, v = m + 0.1 * (g - m), v + 0.001 * (g**2 - v)
        w = w - RATE * np.sqrt(1 - 0.999**step) / (1 - 0.9**step) * m / (np.sqrt(v) + 1e-7)
    return w


adam = functools.partial(keras.optimizers.Adam, RATE)
EMBEDDING = Case(
    "dW with Adam, an embedding whose ids repeat in a batch",
    exact=lambda: 0.0,
    keras=lambda n: difference(fitted(n, repeated(), STEPS, table, adam), by_adam()),
    tallyloop=lambda n: difference(trained(n, repeated(), STEPS, task=LeastSquares(table), optimizer=adam), by_adam()),
    form="{:.2g}",
)


def overflowing() -> dict[str, np.ndarray]:
    """Return 16 rows; times a scale of 2^70, the gradient of the last one overflows float32, and the loss does not."""
    data = {key: value.copy() for key, value in rows(16).items()}
    data["x"][-1], data["y"][-1] = (1e15, 0, 0), 1e5
    return data


def scaling() -> keras.optimizers.Optimizer:
    """Return an optimizer that halves its scale and keeps the weights when a gradient overflows."""
    return keras.optimizers.LossScaleOptimizer(sgd(), initial_scale=2.0**70)


def _keras_overflow(replicas: int) -> tuple[float, float]:
    model = fitted(replicas, overflowing(), 1, optimizer=scaling)
    return difference(model, np.zeros(4)), float(model.optimizer.dynamic_scale.numpy()) / 2.0**70


def _tallyloop_overflow(replicas: int) -> tuple[float, float]:
    optimizer = scaling()
    model = trained(replicas, overflowing(), 1, optimizer=optimizer)
    return difference(model, np.zeros(4)), float(optimizer.dynamic_scale.numpy()) / 2.0**70


OVERFLOW = Case(
    "LossScaleOptimizer, Inf on the last replica only",
    exact=lambda: (0.0, 0.5),
    keras=_keras_overflow,
    tallyloop=_tallyloop_overflow,
    form="dW {:.2g}, scale x {:.2g}",
)

CASES = (
    _case("clipnorm", lambda: descend(rows(ROWS), STEPS, clip_each), clipnorm=LIMIT),
    _case("global_clipnorm", lambda: descend(rows(ROWS), STEPS, clip_all), global_clipnorm=LIMIT),
    _case("clipvalue", lambda: descend(rows(ROWS), STEPS, clip_values), clipvalue=LIMIT),
    _case("gradient_accumulation_steps", lambda: accumulated(2), gradient_accumulation_steps=2),
    _case(
        "ema_overwrite_frequency",
        lambda: averaged(0.5, 3),
        use_ema=True,
        ema_momentum=0.5,
        ema_overwrite_frequency=3,
    ),
)
