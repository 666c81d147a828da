"""How fast `Input` reads arrays, beside the fastest pipelines of `tf.data` alone, and how fast it jumps to a distant step.

python -m benchmarks.input                   # prints the table
python -m benchmarks.input --only seek
python -m benchmarks.input --write           # also writes docs/input.md

The exit code is 1 if a goal is missed.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Sequence

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from tallyloop.data import Input

from .harness.command import Command, Goal, Measured, Row, figures
from .harness.paired import Calls, Contestant

LOOP = 100  # steps
SMALL, LARGE, SEEK = "64 floats, batch 64", "784 floats, batch 256", "seek"
SHAPES = {SMALL: (100_000, 64, 64, 20), LARGE: (20_000, 784, 256, 10)}  # examples, features, batch, loops per lap
FAR = 10**6  # steps
# Batches that tf.data prepares in advance. With AUTOTUNE it soon holds hundreds of them, nearly half a lap, and prepares them
# while the others are being timed.
AHEAD = 8
_FASTER = Goal(">=", 0.95)

ROWS = (
    *(
        row
        for shape in SHAPES
        for row in (
            Row(shape, "Input / tf.data with one permutation per epoch, examples/s", "epochs", "input", _FASTER),
            Row(shape, "Input / tf.data that shuffles indices one by one, examples/s", "shuffle", "input", _FASTER),
            Row(shape, "a batch of Input", "input", unit="us", digits=0),
        )
    ),
    Row(SEEK, "the first batch at step 1,000,000", "far", goal=Goal("<=", 10), unit="ms"),
    Row(SEEK, "the first batch at step 0", "near", unit="ms"),
)
ABOUT = f"""
Batches of shuffled rows are read from arrays in memory, in graph loops of {LOOP} steps that do nothing else.

- **Input** draws each epoch's order from (seed, epoch) in the graph, and gathers a batch with one operation.
- **tf.data with one permutation per epoch** is `Dataset.counter()` mapped to a permutation of the rows, cut into batches of
  indices, then one vectorised `tf.gather` per batch and `prefetch({AHEAD})`, which is short because prefetched batches are
  not timed.
- **tf.data that shuffles indices one by one** is `range(n).shuffle(n).repeat().batch(b)`, then the same.

Both pipelines gather whole batches, because pipelines of single examples are many times slower. A figure is a ratio of examples
per second, the median over the rounds. **seek** runs from `Feed.seek` to a batch in hand, at a different step in each round, in a
graph that is already traced, for the first of the two shapes.
"""


def arrays(count: int, features: int) -> dict[str, np.ndarray]:
    """Return random rows: `x` float32 (count, features), `y` int64 (count,)."""
    chance = np.random.default_rng(0)
    return {"x": chance.random((count, features), np.float32), "y": chance.integers(0, 10, count)}


def by_input(rows: dict[str, np.ndarray], batch: int, loops: int) -> Callable[[], None]:
    """Return a function that reads `loops` loops with `Input`; each call continues where the last one ended."""
    feed = Input(rows, batch, shuffle=True, drop_remainder=True).open_train()
    counter = itertools.count(0, LOOP)

    @tf.function
    def loop(first):
        plan, seen = feed.plan(first, tf.constant(LOOP, tf.int64)), 0.0
        for i in tf.range(LOOP, dtype=tf.int64):
            part, examples = feed.fetch(plan, i)
            seen += _touch(feed.shard(part, examples, 0, 1)[0])
        return seen

    return _repeated(lambda: loop(tf.constant(next(counter), tf.int64)), loops)


def by_tf_data(rows: dict[str, np.ndarray], order: tf.data.Dataset, batch: int, loops: int) -> Callable[[], None]:
    """Return a function that reads `loops` loops with tf.data, which gathers the batches of indices in `order`."""
    tensors = {name: tf.constant(array) for name, array in rows.items()}
    gathered = order.map(lambda indices: {name: tf.gather(tensor, indices) for name, tensor in tensors.items()})
    iterator = iter(gathered.prefetch(AHEAD))

    @tf.function
    def loop(iterator):
        seen = 0.0
        for _ in tf.range(LOOP):
            seen += _touch(next(iterator))
        return seen

    return _repeated(lambda: loop(iterator), loops)


def permutations(count: int, batch: int) -> tf.data.Dataset:
    """Return batches of indices, from one permutation per epoch."""
    full = count // batch * batch

    def one_epoch(_):
        shuffled = tf.random.shuffle(tf.range(count, dtype=tf.int64))[:full]
        return tf.data.Dataset.from_tensor_slices(tf.reshape(shuffled, [-1, batch]))

    return tf.data.Dataset.counter().flat_map(one_epoch)


def shuffled(count: int, batch: int) -> tf.data.Dataset:
    """Return batches of indices that are shuffled one by one."""
    return tf.data.Dataset.range(count).shuffle(count).repeat().batch(batch, drop_remainder=True)


def _touch(batch: dict[str, tf.Tensor]) -> tf.Tensor:
    """Use the batch as little as possible, but keep the graph from dropping it."""
    return batch["x"][-1, -1] + tf.cast(batch["y"][-1], tf.float32)


def _repeated(call: Callable[[], tf.Tensor], loops: int) -> Callable[[], None]:
    def run():
        for _ in range(loops):
            call().numpy()

    return run


def first_batch(steps: Sequence[int]) -> Callable[[], None]:
    """Return a function that reads the first batch at the next of the steps."""
    count, features, batch, _ = SHAPES[SMALL]
    feed = Input(arrays(count, features), batch, shuffle=True).open_train()
    remaining = itertools.cycle(steps)

    @tf.function
    def read(first):
        part, examples = feed.fetch(feed.plan(first, tf.constant(LOOP, tf.int64)), tf.constant(0, tf.int64))
        return feed.shard(part, examples, 0, 1)[0]

    def run():
        step = next(remaining)
        feed.seek(step)
        read(tf.constant(step, tf.int64))["x"].numpy()

    return run


def contestants(group: str) -> dict[str, Contestant]:
    """Return the contestants of a group."""
    if group == SEEK:
        epochs = range(0, 10**7, 5000)  # more than an epoch apart
        return {
            "far": Calls(first_batch([FAR + step for step in epochs]), 1),
            "near": Calls(first_batch([0]), 1),
        }
    count, features, batch, loops = SHAPES[group]
    rows, steps = arrays(count, features), loops * LOOP
    return {
        "input": Calls(by_input(rows, batch, loops), steps),
        "epochs": Calls(by_tf_data(rows, permutations(count, batch), batch, loops), steps),
        "shuffle": Calls(by_tf_data(rows, shuffled(count, batch), batch, loops), steps),
    }


def measure(rows: Sequence[Row], rounds: int) -> Measured:
    """Measure the rows, group by group."""
    return Measured(figures(rows, contestants, rounds))


COMMAND = Command(
    name="input",
    title="Reading arrays",
    reader="users whose data fits in memory",
    shows="how fast `Input` reads batches beside pipelines of `tf.data` alone, and how fast it jumps to a distant step",
    about=ABOUT,
    rows=ROWS,
    measure=measure,
    rounds=40,
    a_round=f"rounds of some loops of {LOOP} steps each",
)


def main(arguments: list[str]) -> int:
    """Run the command; return its exit code."""
    return COMMAND.run(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
