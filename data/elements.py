"""Checks of the examples that a `tf.data.Dataset` gives."""

import tensorflow as tf

from ..metrics.errors import UsageError


def check_batchable(examples: tf.data.Dataset, origin: str) -> None:
    """Refuse elements that cannot be batched: other things than dense tensors, or of unknown rank.

    Args:
      examples: a dataset of single examples.
      origin: who gives them, the subject of the message.
    """
    for spec in tf.nest.flatten(examples.element_spec):
        if not isinstance(spec, tf.TensorSpec):
            raise UsageError(
                f"{origin} gives {type(spec).__name__} in its elements: want dense tensors; use .to_tensor() "
                "on ragged ones"
            )
        if spec.shape.rank is None:
            raise UsageError(
                f"{origin} gives a tensor of unknown rank, in elements {examples.element_spec}: want known "
                "ranks; state them, as with tf.ensure_shape(x, [None, None, 3])"
            )


def refuse_endless(examples: tf.data.Dataset, purpose: str) -> None:
    """Refuse a dataset that says that it repeats for ever; `purpose` says why it may not."""
    if examples.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise UsageError(f"{purpose}, but the source never ends: remove its .repeat(), or .take() a part")


def check_filled(examples: tf.data.Dataset, least: int) -> None:
    """Refuse a dataset of fewer than `least` examples, as it would never give a batch."""
    known = examples.cardinality().numpy()
    if known < 0:  # unknown or endless, and only reading tells
        known = examples.take(least).reduce(tf.zeros([], tf.int64), lambda count, _: count + 1).numpy()
    refuse_fewer(known, least)


def refuse_fewer(found: int, least: int) -> None:
    """Refuse `found` examples where the first batch takes `least`."""
    if found >= least:
        return
    if found == 0:
        raise UsageError("the source of Input has no examples: want at least one; look at what it reads")
    raise UsageError(
        f"the source of Input has {found} examples: want at least {least} for one full batch, as "
        "Input.drop_remainder = True asks; lower Input.global_batch_size or keep the remainder"
    )


def can_be_saved(examples: tf.data.Dataset) -> bool:
    """Whether a checkpoint of the dataset's iterator brings back all that decides the next elements.

    Python code, random operations and variables are out of its reach; TensorFlow refuses to save an iterator
    with them, but only at the first checkpoint. It does save a shuffle, but brings it back wrongly near the
    end of a pass (TensorFlow 2.21), and looks no further when it meets one.
    """
    (resource,) = tf.nest.flatten(iter(examples), expand_composites=True)
    refuse = 2  # tf.data.experimental.ExternalStatePolicy.FAIL, the policy of `tf.train.Checkpoint`
    try:
        tf.raw_ops.SerializeIterator(resource_handle=resource, external_state_policy=refuse)
    except (tf.errors.FailedPreconditionError, tf.errors.UnimplementedError):
        return False
    return not _shuffles(examples)


def _shuffles(dataset: tf.data.Dataset) -> bool:
    # The public way to look into a pipeline, DatasetToGraphV2, copies the tensors in it.
    return "Shuffle" in type(dataset).__name__ or any(map(_shuffles, dataset._inputs()))
