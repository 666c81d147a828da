"""Predictions for every example of a dataset."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ...data.feeds.feed import Feed
from ..step.batches import data_errors_located, fetch_one, whole_batch
from ..task import Task


def predict(task: Task, model: keras.Model, feed: Feed) -> Any:
    """Return `task.predict_step` of every example of one pass, in order, on one device.

    Returns:
      A nest of NumPy arrays whose first axis is the dataset.

    Raises:
      DataError: an example cannot be read.
    """

    def predicted(number):
        part, examples = fetch_one(feed, number)
        return task.predict_step(model, whole_batch(feed, part, examples)), examples

    # Called as it was traced: TensorFlow takes many predictions for one function that is traced again, and warns.
    step = tf.function(predicted, autograph=False).get_concrete_function(tf.TensorSpec([], tf.int64))
    feed.rewind()
    batches, number = [], 0
    while feed.batches_per_epoch is None or number < feed.batches_per_epoch:
        with data_errors_located(feed, 0):
            outputs, examples = step(tf.constant(number, tf.int64))
        if examples > 0:
            batches.append(tf.nest.map_structure(np.asarray, outputs))
        elif feed.batches_per_epoch is None:
            break
        number += 1
    return tf.nest.map_structure(lambda *pieces: np.concatenate(pieces), *batches)
