"""Predictions for every example of a dataset."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ...data import Input
from ...data.feeds.feed import Feed
from ..step.batches import named
from ..task import Task


def first_batch(dataset: Input) -> Any:
    """The first global batch that training on a stream would see, as NumPy; the dataset is not used up."""
    feed = dataset.open_train()
    with named(feed, 0):
        part, examples = feed.fetch(
            feed.plan(tf.constant(0, tf.int64), tf.constant(1, tf.int64)), tf.constant(0, tf.int64)
        )
    batch, _ = feed.shard(part, examples, 0, 1)
    return tf.nest.map_structure(lambda tensor: tensor.numpy(), batch)


def predict(task: Task, model: keras.Model, feed: Feed) -> Any:
    """Returns `task.predict_step` of every example of one pass, in order, on one device.

    Returns:
      A nest of NumPy arrays whose first axis is the dataset.
    """
    zero, one = tf.constant(0, tf.int64), tf.constant(1, tf.int64)

    @tf.function(autograph=False)
    def step(number):
        part, examples = feed.fetch(feed.plan(number, one), zero)
        batch, _ = feed.shard(part, examples, 0, 1)
        return task.predict_step(model, batch), examples

    feed.rewind()
    batches, number = [], 0
    while feed.batches_per_epoch is None or number < feed.batches_per_epoch:
        with named(feed, 0):
            outputs, examples = step(tf.constant(number, tf.int64))
        if examples == 0:
            break
        batches.append(tf.nest.map_structure(np.asarray, outputs))
        number += 1
    return tf.nest.map_structure(lambda *pieces: np.concatenate(pieces), *batches)
