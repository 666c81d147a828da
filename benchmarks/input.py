"""`Input` over arrays, beside the fastest pipelines of tf.data alone; and how long it takes to come to a far step.

python -m benchmarks.input                   # prints the table
python -m benchmarks.input --only seek
python -m benchmarks.input --write           # writes docs/input.md too

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

from benchmarks import goals
from benchmarks.goals import Command, Measured, Row
from benchmarks.paired import Calls, Contestant

LOOP = 100  # steps
SMALL, LARGE, SEEK = "64 floats, batch 64", "784 floats, batch 256", "seek"
SHAPES = {SMALL: (100_000, 64, 64, 20), LARGE: (20_000, 784, 256, 10)}  # examples, features, batch; loops of a lap
FAR = 10**6  # steps
# Batches that tf.data makes ahead. With AUTOTUNE it has hundreds of them after a while, nearly half a lap, and makes them
# while it is the others' turn.
AHEAD = 8
_FASTER = (">=", 0.95)

ROWS = (
    *(
        row
        for shape in SHAPES
        for row in (
            Row(shape, "Input / tf.data with one permutation an epoch, examples/s", "epochs", "input", _FASTER),
            Row(shape, "Input / tf.data that shuffles indices one by one, examples/s", "shuffle", "input", _FASTER),
            Row(shape, "a batch of Input", "input", unit="us", digits=0),
        )
    ),
    Row(SEEK, "the first batch from step 1,000,000 on", "far", goal=("<=", 10), unit="ms"),
    Row(SEEK, "the first batch from step 0 on", "near", unit="ms"),
)
ABOUT = f"""
Batches of shuffled rows of arrays in memory, read in a loop of {LOOP} steps in the graph which does nothing but read them.

- **Input** draws an epoch's order from (seed, epoch) in the graph, and gathers a batch by one operation.
- **tf.data with one permutation an epoch** is `Dataset.counter()` mapped to a permutation of the rows, cut into batches of
  indices, then one vectorised `tf.gather` a batch, and `prefetch({AHEAD})`: few, as what is made ahead is not timed.
- **tf.data that shuffles indices one by one** is `range(n).shuffle(n).repeat().batch(b)`, then the same.

Both gather a batch at a time, as pipelines of single examples are many times as slow. A figure is a ratio of examples per
second: the median of the rounds. **seek** is from `Feed.seek` to a batch in hand, at a step that is another in each round,
in a graph that is traced already, for the first of the two shapes.
"""


def arrays(count: int, features: int) -> dict[str, np.ndarray]:
    """x (count, features), y (count,)."""
    chance = np.random.default_rng(0)
    return {"x": chance.random((count, features), np.float32), "y": chance.integers(0, 10, count)}


def by_input(rows: dict[str, np.ndarray], batch: int, loops: int) -> Callable[[], None]:
    """Goes on from lap to lap."""
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
    """Gathers the batches of indices that `order` gives."""
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
    """Batches of indices, from one permutation an epoch."""
    full = count // batch * batch

    def one_epoch(_):
        shuffled = tf.random.shuffle(tf.range(count, dtype=tf.int64))[:full]
        return tf.data.Dataset.from_tensor_slices(tf.reshape(shuffled, [-1, batch]))

    return tf.data.Dataset.counter().flat_map(one_epoch)


def shuffled(count: int, batch: int) -> tf.data.Dataset:
    """Batches of indices that are shuffled one by one."""
    return tf.data.Dataset.range(count).shuffle(count).repeat().batch(batch, drop_remainder=True)


def _touch(batch: dict[str, tf.Tensor]) -> tf.Tensor:
    """Needs the batch, and does next to nothing with it."""
    return batch["x"][-1, -1] + tf.cast(batch["y"][-1], tf.float32)


def _repeated(call: Callable[[], tf.Tensor], loops: int) -> Callable[[], None]:
    def run():
        for _ in range(loops):
            call().numpy()

    return run


def first_batch(steps: Sequence[int]) -> Callable[[], None]:
    """The first batch at the next of the steps."""
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
    """Those of a group."""
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
    """Group after group."""
    return Measured(goals.figures(rows, contestants, rounds))


COMMAND = Command("input", "Reading arrays", ABOUT, ROWS, measure, 40, f"rounds of some loops of {LOOP} steps each")


def main(arguments: list[str]) -> int:
    """Runs the command; returns its exit code."""
    return COMMAND.run(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
