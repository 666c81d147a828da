"""The `tf.data` pipelines behind a stream feed: datasets of global batches."""

from collections.abc import Callable

import tensorflow as tf

from .elements import check_batchable
from .feed import Nest
from .order import Order


def of_stream(
    examples: tf.data.Dataset,
    map_fn: Callable | None,
    batch_size: int,
    drop_remainder: bool,
    repeat: bool,
    first_batch: int,
) -> tf.data.Dataset:
    """Batches of a dataset of single examples, from batch number `first_batch` on.

    Each pass over the examples ends with its short batch, as an epoch does: repeat comes after batch.
    """
    batches = _mapped(examples, map_fn).batch(batch_size, drop_remainder)
    if repeat:
        batches = batches.repeat()
    if first_batch:
        batches = batches.skip(first_batch)
    return _finished(batches)


def of_arrays(
    tensors: Nest, order: Order, map_fn: Callable, repeat: bool, first_step: int
) -> tf.data.Dataset:
    """Batches of mapped rows of `tensors`, from `first_step` on, in the very order of `order`."""
    first_epoch, first_batch = divmod(first_step, order.batches_per_epoch)

    def epoch_batches(epoch: tf.Tensor) -> tf.data.Dataset:
        start = tf.where(epoch == first_epoch, tf.constant(first_batch, tf.int64), tf.zeros([], tf.int64))
        numbers = tf.data.Dataset.range(start, order.batches_per_epoch)
        rows = numbers.map(lambda number: batch_rows(epoch * order.batches_per_epoch + number)).unbatch()
        return _mapped(rows.map(example), map_fn).batch(order.batch_size, order.drop_remainder)

    def batch_rows(step: tf.Tensor) -> tf.Tensor:
        rows, sizes = order.plan(step, tf.ones([], tf.int64))
        return rows[0, : sizes[0]]

    def example(row: tf.Tensor) -> Nest:
        return tf.nest.map_structure(lambda tensor: tf.gather(tensor, row), tensors)

    epochs = tf.data.Dataset.counter(first_epoch) if repeat else tf.data.Dataset.range(1)
    return _finished(epochs.flat_map(epoch_batches))


def mapped_examples(examples: tf.data.Dataset | Nest, map_fn: Callable | None) -> tf.data.Dataset:
    """Single examples after `map_fn`, of a dataset or of a nest of tensors."""
    if not isinstance(examples, tf.data.Dataset):
        examples = tf.data.Dataset.from_tensor_slices(examples)
    return _finished(_mapped(examples, map_fn))


def _mapped(examples: tf.data.Dataset, map_fn: Callable | None) -> tf.data.Dataset:
    if map_fn is None:
        return examples
    mapped = examples.map(map_fn, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    check_batchable(mapped, "Input.map_fn")
    return mapped


def _finished(dataset: tf.data.Dataset) -> tf.data.Dataset:
    options = tf.data.Options()
    options.deterministic = True  # also for the parallel parts of the user's own pipeline
    return dataset.prefetch(tf.data.AUTOTUNE).with_options(options)
