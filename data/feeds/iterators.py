"""The iterators of `tf.data`, whose state a checkpoint holds."""

from __future__ import annotations

import atexit
import weakref
from typing import Protocol

import tensorflow as tf

from ...metrics.errors import UsageError
from ..elements import Nest

# `tf.data.experimental.ExternalStatePolicy.FAIL`, which `tf.train.Checkpoint` uses: refuse a pipeline with state outside.
_REFUSE_EXTERNAL_STATE = 2
_BATCHES = {"_BatchDataset", "_ParallelBatchDataset", "_PaddedBatchDataset", "_RebatchDataset"}
_MAPS = {"_MapDataset", "_ParallelMapDataset"}
_KEEPS_ELEMENTS = {
    *("_PrefetchDataset", "CacheDataset", "_SnapshotDataset", "_OptionsDataset", "_AssertCardinalityDataset"),
    *("_ShuffleDataset", "_RepeatDataset", "_TakeDataset", "_SkipDataset", "_ShardDataset", "_FilterDataset"),
    *("_TakeWhileDataset", "_IgnoreErrorsDataset"),
}


class _Reading(Protocol):
    def stop(self) -> None:
        """Stop reading in the background, and wait until no Python code runs there any more."""


_reading: weakref.WeakSet[_Reading] = weakref.WeakSet()


def stopped_at_exit(reading: _Reading) -> None:
    """Have a pipeline stopped when the interpreter exits, or a process whose pipeline calls Python never ends.

    TensorFlow waits for the call, and the call for the interpreter.
    """
    _reading.add(reading)


@atexit.register
def _stop_all() -> None:
    for each in list(_reading):
        each.stop()


def serialize_iterator(iterator: tf.data.Iterator[Nest]) -> tf.Tensor:
    """Return the state of an iterator as `tf.train.Checkpoint` saves it, a tensor of variants.

    Raises:
      tf.errors.FailedPreconditionError: its pipeline calls Python, or has state outside (random operations, variables).
      tf.errors.UnimplementedError: TensorFlow cannot save a part of its pipeline.
    """
    return tf.raw_ops.SerializeIterator(
        resource_handle=_resource(iterator), external_state_policy=_REFUSE_EXTERNAL_STATE
    )


def restart_iterator(iterator: tf.data.Iterator[Nest], dataset: tf.data.Dataset[Nest]) -> None:
    """Move an iterator to the start of another dataset of the same types.

    The resource stays the same, so functions that captured it and checkpoints that hold it remain valid.
    """
    tf.raw_ops.MakeIterator(dataset=tf.data.experimental.to_variant(dataset), iterator=_resource(iterator))


def can_be_saved(examples: tf.data.Dataset[Nest]) -> bool:
    """Return whether a checkpoint of the dataset's iterator restores everything that decides its next elements.

    A checkpoint cannot hold the state of Python code, random operations and variables. TensorFlow refuses to save an
    iterator with them, but only at the first checkpoint. It does save a shuffle, but restores it wrongly near the
    end of a pass (TensorFlow 2.21), and does not check what comes before a shuffle.
    """
    try:
        serialize_iterator(iter(examples))
    except (tf.errors.FailedPreconditionError, tf.errors.UnimplementedError):
        return False
    return not _shuffles(examples)


def refuse_batched(dataset: tf.data.Dataset[Nest]) -> None:
    """Refuse a dataset whose elements are known to be batches: they end in a `batch` that only maps and the like follow.

    A batch may also be one example, such as a window of a series. These are let through: what a map has made of a
    window, and windows of a fixed length of a single series.

    Raises:
      UsageError: they are.
    """
    batches, mapped = dataset, False
    while (kind := type(batches).__name__) in _MAPS | _KEEPS_ELEMENTS:
        mapped |= kind in _MAPS
        (batches,) = batches._inputs()
    if kind not in _BATCHES:
        return
    parts = len(tf.nest.flatten(batches.element_spec))
    ends, begins = (
        [spec.shape[:1].as_list() for spec in tf.nest.flatten(each.element_spec)] for each in (dataset, batches)
    )
    fixed = begins[0] != [None]
    if any(end != begins[0] for end in ends) or (parts == 1 and (fixed or len(ends) > 1)):
        return
    raise UsageError(
        f"the source of Input: expected a tf.data.Dataset of single examples, got batches, {dataset.element_spec}: remove "
        "the .batch(...), or append .unbatch(), as Input makes the batches (Input.global_batch_size). If each of them is one "
        "example, such as a window, append .flat_map(tf.data.Dataset.from_tensors)"
    )


def _resource(iterator: tf.data.Iterator[Nest]) -> tf.Tensor:
    (resource,) = tf.nest.flatten(iterator, expand_composites=True)
    return resource


def _shuffles(dataset: tf.data.Dataset[Nest]) -> bool:
    # The public way to look into a pipeline, DatasetToGraphV2, copies the tensors in it.
    return "Shuffle" in type(dataset).__name__ or any(map(_shuffles, dataset._inputs()))
