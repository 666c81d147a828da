"""Arrays in memory, beside the fastest pipelines of tf.data alone."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from tallyloop.data import Input

from ..harness.paired import Calls, Contestant
from .loops import AHEAD, LOOP, Settled, by_dataset, by_input


def arrays(count: int, features: int) -> dict[str, np.ndarray]:
    """Return random rows: `x` float32 (count, features), `y` int64 (count,)."""
    chance = np.random.default_rng(0)
    return {"x": chance.random((count, features), np.float32), "y": chance.integers(0, 10, count)}


def of_arrays(rows: dict[str, np.ndarray], batch: int) -> Input:
    """Return an Input of full batches of shuffled rows."""
    return Input(rows, batch, shuffle=True, drop_remainder=True)


def gathered(rows: dict[str, np.ndarray], order: tf.data.Dataset) -> tf.data.Dataset:
    """Return batches that tf.data gathers, from the batches of indices in `order`."""
    tensors = {name: tf.constant(array) for name, array in rows.items()}
    return order.map(lambda indices: {name: tf.gather(each, indices) for name, each in tensors.items()}).prefetch(AHEAD)


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


def contestants(count: int, features: int, batch: int, loops: int) -> dict[str, Contestant]:
    """Return Input and both pipelines; a lap is `loops` loops."""
    rows, steps = arrays(count, features), loops * LOOP
    orders = {"epochs": permutations(count, batch), "shuffle": shuffled(count, batch)}
    return {
        "input": Calls(by_input(of_arrays(rows, batch), loops), steps),
        **{name: Settled(Calls(by_dataset(gathered(rows, each), loops), steps)) for name, each in orders.items()},
    }
