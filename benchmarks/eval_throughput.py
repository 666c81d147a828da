"""How fast `Trainer.evaluate` is, beside Keras's `evaluate` and beside a handwritten loop.

python -m benchmarks.eval_throughput             # prints the table
python -m benchmarks.eval_throughput --rounds 5
python -m benchmarks.eval_throughput --write     # also writes docs/eval_throughput.md

The exit code is 1 if a goal is missed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from tallyloop.data import Input
from tallyloop.trainer import Trainer

from .harness.command import Command, Goal, Measured, Row, figures
from .harness.paired import Calls
from .harness.problem import CLASSES, NAMES, Digits, build_model, losses_of, sums

EXAMPLES, BATCH = 100_000, 256
PER_EXECUTION = 50  # batches

ROWS = (
    Row("1 replica", "Keras evaluate / Trainer", "keras", "trainer", Goal(">=", 8)),
    Row("1 replica", "Keras evaluate, 50 steps per execution / Trainer", "keras 50", "trainer", Goal(">=", 4)),
    Row("1 replica", "Trainer / the handwritten packed loop", "trainer", "by hand", Goal("<=", 1.2)),
    Row("1 replica", "Trainer with jit_compile / Trainer", "trainer jit", "trainer", Goal("<=", 0.45)),
    Row("1 replica", "an evaluation with Trainer", "trainer", unit="ms", digits=0),
)
ABOUT = f"""
Each evaluation covers {EXAMPLES:,} examples of 64 floats in batches of {BATCH}, with {len(NAMES)} metrics: the loss, the
accuracy, the recall of each of the ten classes and four more. The model is an MLP 64-128-10.

- **Trainer** is `Trainer.evaluate()` on arrays, compiled before it is timed where it has `jit_compile`.
- **Keras** is `Model.evaluate(x, y)`, with its default settings and compiled with `steps_per_execution={PER_EXECUTION}`; each
  metric computes only what it needs.
- **The handwritten packed loop** is one `tf.function` with `tf.range` over slices of the arrays, which adds up one vector of all
  sums and counts.

All of them first have to give the same {len(NAMES)} numbers. Then they take turns in one process, and a figure is the median of
the rounds' ratios.
"""


class Recall(keras.metrics.Mean):
    """The fraction of one class's examples that are classified correctly."""

    def __init__(self, digit: int):
        super().__init__(f"recall/{digit}")
        self._digit = digit

    def update_state(self, labels, logits, sample_weight=None):
        """Give the examples of other classes the weight 0."""
        super().update_state(accuracy(labels, logits), sample_weight=tf.equal(_flat(labels), self._digit))


def _flat(labels: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.reshape(labels, [-1]), tf.int64)


def accuracy(labels, logits):
    """Return 1 for each example that is classified correctly, else 0."""
    return tf.cast(tf.equal(tf.argmax(logits, -1), _flat(labels)), tf.float32)


def confidence(labels, logits):
    """Return the largest probability of each example."""
    return tf.reduce_max(tf.nn.softmax(logits), -1)


def entropy(labels, logits):
    """Return the entropy of each prediction."""
    logs = tf.nn.log_softmax(logits)
    return -tf.reduce_sum(tf.exp(logs) * logs, -1)


def probability(labels, logits):
    """Return the probability of the correct class."""
    return tf.gather(tf.nn.softmax(logits), _flat(labels), batch_dims=1)


def brier(labels, logits):
    """Return the Brier score of each example."""
    squares = tf.reduce_sum(tf.nn.softmax(logits) ** 2, -1)
    return squares - 2 * probability(labels, logits) + 1


def examples(count: int) -> dict[str, np.ndarray]:
    """Return random examples: `x` float32 (count, 64), `y` int64 (count,)."""
    chance = np.random.default_rng(0)
    return {"x": chance.random((count, 64), np.float32), "y": chance.integers(0, CLASSES, count)}


def by_keras(arrays: dict[str, np.ndarray], weights: list, steps: int) -> Callable[[], dict[str, float]]:
    """Return an evaluation with `Model.evaluate`, `steps` batches per execution."""
    model = build_model()
    model.set_weights(weights)
    own = [accuracy, confidence, entropy, probability, brier]
    model.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[*own, *map(Recall, range(CLASSES))],
        steps_per_execution=steps,
    )
    return lambda: model.evaluate(arrays["x"], arrays["y"], batch_size=BATCH, verbose=0, return_dict=True)


def by_hand(arrays: dict[str, np.ndarray], weights: list) -> Callable[[], dict[str, float]]:
    """Return an evaluation with all sums and counts in one vector."""
    model = build_model()
    model.set_weights(weights)
    loop = _packed_loop(model, *(tf.constant(array) for array in arrays.values()))

    def run():
        pairs = loop().numpy().reshape(-1, 2)
        return {name: float(value / count) for name, (value, count) in zip(NAMES, pairs, strict=True)}

    return run


def _packed_loop(model: keras.Model, x: tf.Tensor, y: tf.Tensor) -> Callable[[], tf.Tensor]:
    @tf.function
    def loop():
        total = tf.zeros([2 * len(NAMES)])
        for i in tf.range(-(-len(y) // BATCH)):
            rows, labels = (tensor[i * BATCH : (i + 1) * BATCH] for tensor in (x, y))
            logits = model(rows, training=False)
            tallies = [_tally(*pair) for pair in sums(labels, logits, losses_of(labels, logits)).values()]
            total += tf.reshape(tf.stack(tallies), [-1])
        return total

    return loop


def _tally(values: tf.Tensor, weights: tf.Tensor | None) -> tf.Tensor:
    weights = tf.ones_like(values) if weights is None else tf.cast(weights, tf.float32)
    return tf.stack([tf.reduce_sum(weights * values), tf.reduce_sum(weights)])


def contestants(count: int) -> dict[str, Callable[[], dict[str, float]]]:
    """Return the evaluations of `count` examples by name; all of them give the same metrics."""
    arrays = examples(count)
    trainer, compiled = (
        Trainer(task=Digits(), eval_datasets={"test": Input(arrays, BATCH)}, jit_compile=jit) for jit in (False, True)
    )
    weights = trainer.model.get_weights()
    compiled.model.set_weights(weights)
    return {
        "trainer": lambda: trainer.evaluate()["test"],
        "trainer jit": lambda: compiled.evaluate()["test"],
        "keras": by_keras(arrays, weights, 1),
        "keras 50": by_keras(arrays, weights, PER_EXECUTION),
        "by hand": by_hand(arrays, weights),
    }


def check_same(evaluations: dict[str, Callable[[], dict[str, float]]]) -> None:
    """Check that all evaluations give the same metrics, within 1e-3."""
    exact = evaluations["by hand"]()
    for name, evaluate in evaluations.items():
        found = evaluate()
        wrong = {
            metric: (found[metric], exact[metric]) for metric in NAMES if abs(found[metric] - exact[metric]) > 1e-3
        }
        assert not wrong, f"{name} differs: {wrong}"


def measure(rows: Sequence[Row], rounds: int) -> Measured:
    """Check the evaluations against each other, then time them."""
    evaluations = contestants(EXAMPLES)
    check_same(evaluations)
    timed = {name: Calls(evaluate, 1) for name, evaluate in evaluations.items()}
    return Measured(figures(rows, lambda _: timed, rounds))


COMMAND = Command(
    name="eval_throughput",
    title="Evaluation",
    reader="users who evaluate often or on much data",
    shows="how fast `Trainer.evaluate` is beside Keras's `evaluate` and beside a handwritten loop",
    about=ABOUT,
    rows=ROWS,
    measure=measure,
    rounds=20,
    a_round="rounds of one evaluation each",
)


def main(arguments: list[str]) -> int:
    """Run the command; return its exit code."""
    return COMMAND.run(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
