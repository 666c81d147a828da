"""Checks of the elements of a `tf.data.Dataset` of examples: their types and their number."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from ..metrics.errors import UsageError

Nest = Any  # tensors, or their specs, in dicts, tuples and lists, as `tf.nest` takes them


def check_batchable(element_spec: Nest, origin: str) -> None:
    """Refuse elements that cannot be batched.

    Args:
      element_spec: a nest of type specs, a single example.
      origin: what gives them; the subject of the message.

    Raises:
      UsageError: an element has parts that are not dense tensors of known rank.
    """
    for spec in tf.nest.flatten(element_spec):
        if not isinstance(spec, tf.TensorSpec):
            raise UsageError(
                f"{origin} gives {type(spec).__name__} in its elements: expected dense tensors; call .to_tensor() "
                "on ragged ones"
            )
        if spec.shape.rank is None:
            raise UsageError(
                f"{origin} gives a tensor of unknown rank, in elements {element_spec}: expected known "
                "ranks; set them, as with tf.ensure_shape(x, [None, None, 3])"
            )


def batch_spec(element_spec: Nest, full_batch: int | None) -> Nest:
    """Return the specs of a batch of examples, of so many if none is short."""
    return tf.nest.map_structure(lambda each: tf.TensorSpec([full_batch, *each.shape], each.dtype), element_spec)


def refuse_endless(examples: tf.data.Dataset[Nest], purpose: str) -> None:
    """Refuse a dataset that is known to repeat forever; `purpose` says why it may not."""
    if examples.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise UsageError(f"{purpose}, but the source never ends: remove its .repeat(), or .take() a part")


def check_filled(examples: tf.data.Dataset[Nest], least: int) -> None:
    """Refuse a dataset of fewer than `least` examples, which would never give a batch."""
    known = int(examples.cardinality())
    if known < 0:  # unknown or endless: only reading tells
        known = int(examples.take(least).reduce(tf.zeros([], tf.int64), lambda count, _: count + 1))
    refuse_fewer(known, least)


def refuse_fewer(found: int, least: int) -> None:
    """Refuse a source of `found` examples where the first batch takes `least`."""
    if found >= least:
        return
    if found == 0:
        raise UsageError("the source of Input has no examples: expected at least one; check what it reads")
    raise UsageError(
        f"the source of Input has {found} examples: expected at least {least} for one full batch, because "
        "Input.drop_remainder = True; lower Input.global_batch_size, or keep the remainder"
    )


def has_examples(examples: tf.data.Dataset[Nest]) -> tf.Tensor:
    """Return a bool scalar, whether the dataset has a first example, by reading it; in a graph or eagerly."""
    return examples.take(1).reduce(tf.constant(False), lambda *_: tf.constant(True))


def zeros_like_spec(spec: tf.TensorSpec, unknown: int) -> tf.Tensor:
    """Return zeros of the type of `spec`, with the size `unknown` where the spec leaves it open."""
    return tf.zeros([unknown if size is None else size for size in spec.shape], spec.dtype)


def spec_bytes(spec: Nest) -> int | None:
    """Return the bytes of an example of a batch of this spec; None if its shape, or the length of a text, is open."""
    flat = tf.nest.flatten(spec)
    sizes = [None if each.dtype == tf.string else each.shape[1:].num_elements() for each in flat]
    known = [size * each.dtype.size for size, each in zip(sizes, flat, strict=True) if size is not None]
    return sum(known) if len(known) == len(flat) else None
