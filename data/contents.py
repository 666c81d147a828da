"""Reading a source: its arrays as checked tensors, its dataset, or all of it into memory; and naming its first bad example."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from ..metrics.errors import UsageError
from .bad_examples import check_some_good, first_bad, skip_bad
from .checks import equal_length_arrays, map_arrays, takes_shards, with_fix
from .elements import Nest, batch_spec, check_batchable, refuse_endless, refuse_fewer, spec_bytes
from .feeds.iterators import refuse_batched
from .feeds.pipelines import mapped_examples
from .messages.failures import FAILURES, reason
from .messages.user_frames import at_line_of
from .rows.rows import Rows, as_rows, is_by_number
from .sources.records import Records

_ORIGIN = "the source of Input"

_TEXT_BYTES = 24  # of a text in a tensor, besides a long one's letters


def read(source: Any) -> Nest | tf.data.Dataset[Nest] | Rows:
    """Return what `source` returns, or is: a nest of tensors in host memory, a dataset of single examples, or rows by number.

    Raises:
      UsageError: it is neither, or it cannot be cut into batches.
    """
    found = _called(source)
    if isinstance(found, tf.data.Dataset):
        check_batchable(found.element_spec, _ORIGIN)
        refuse_batched(found)
        return found
    rows = as_rows(found)
    if rows is not None:
        return rows
    if not isinstance(found, Mapping | tuple):
        raise UsageError(
            f"{_ORIGIN}: expected a dict or tuple of equal-length arrays, an object with __len__ and __getitem__, or an "
            f"unbatched tf.data.Dataset, got a {type(found).__name__}; change Input.source"
        )
    return map_arrays(_host_tensor, equal_length_arrays(_ORIGIN, found))


def read_whole(examples: tf.data.Dataset[Nest] | Nest, map_fn: Callable[..., Any] | None, skip: bool = False) -> Nest:
    """Return all examples after `map_fn`, stacked: a nest of tensors in host memory.

    Args:
      examples: a dataset of single examples, or a nest of tensors with one row per example.
      map_fn: applied to each example, or None.
      skip: leave bad examples out, and log their number.

    Raises:
      UsageError: the dataset never ends, has no examples, or a bad one; or the examples differ in shape.
    """
    mapped = mapped_examples(examples, map_fn)
    refuse_endless(mapped, "Input.cache = True keeps the whole source in memory")
    if skip:
        check_some_good(mapped, least=1)
        return _stacked_without_bad(skip_bad(mapped))
    try:
        return _stacked(mapped)
    except (UsageError, *FAILURES) as error:
        if (place := name_first_bad(examples, map_fn)) is None:
            raise
        raise UsageError(with_fix(place)) from error


def ends_within(examples: tf.data.Dataset[Nest], seconds: float, most_bytes: int) -> bool:
    """Return whether all examples, without bad ones, take at most so much memory.

    If their number or size is unknown, they are read, and dropped; those that have not all come within the time count as too
    many.
    """
    length, bytes_each = int(examples.cardinality()), spec_bytes(batch_spec(examples.element_spec, None))
    if length >= 0 and bytes_each is not None:
        return length * bytes_each <= most_bytes
    if length == tf.data.INFINITE_CARDINALITY:
        return False
    deadline = time.time() + seconds
    totals = (
        examples.map(_bytes)
        .ignore_errors()
        .scan(tf.zeros([], tf.int64), lambda total, size: (total + size, total + size))
    )
    beyond = totals.filter(lambda total: (total > most_bytes) | (tf.timestamp() > deadline))
    return not any(True for _ in beyond.take(1))


def _bytes(*example: Nest) -> tf.Tensor:
    """Return the number of bytes of an example, int64 scalar."""
    return tf.add_n([_tensor_bytes(each) for each in tf.nest.flatten(example)])


def _tensor_bytes(tensor: tf.Tensor) -> tf.Tensor:
    if tensor.dtype == tf.string:
        return tf.reduce_sum(tf.cast(tf.strings.length(tensor), tf.int64) + _TEXT_BYTES)
    return tf.size(tensor, tf.int64) * tensor.dtype.size


def _called(source: Any) -> Any:
    if takes_shards(source):
        return source(0, 1)
    return source() if callable(source) and not is_by_number(source) else source


def name_first_bad(examples: tf.data.Dataset[Nest] | Nest, map_fn: Callable[..., Any] | None) -> str | None:
    """Return the place and reason of the first example that cannot be read or mapped; None if none was found.

    It is the first in the order of the source, so in a shuffled pass it may not be the one that ended the run.

    Args:
      examples: a dataset of single examples, or a nest of tensors with one row per example.
      map_fn: the map function, or None to read only.
    """
    if isinstance(examples, Records):
        return _name_record(examples, map_fn)
    told = _first_bad(examples, map_fn)
    return None if told is None else f"the source of Input, example {told}"


def _name_record(records: Records, map_fn: Callable[..., Any] | None) -> str | None:
    for file in records.files:
        told = _first_bad(records.of([file]), map_fn)
        if told is not None:
            return f"tfrecord: {file.path!r}, record {told}"
    return None


def _first_bad(examples: tf.data.Dataset[Nest] | Nest, map_fn: Callable[..., Any] | None) -> str | None:
    """Return the number and the reason of the first bad example, and the user's line if `map_fn` raised it."""
    bad = first_bad(mapped_examples(examples, map_fn))
    if bad is None:
        return None
    line = "" if map_fn is None else at_line_of(partial(_map_again, examples, map_fn, bad.index), bad.error)
    return f"{bad.index} (counted from 0): {reason(bad.error)}{line}"


def _map_again(examples: tf.data.Dataset[Nest] | Nest, map_fn: Callable[..., Any], index: int) -> Any:
    """Map an example without a graph, so that Python's traceback has the lines of `map_fn`."""
    example = next(iter(mapped_examples(examples, None).skip(index)))
    return map_fn(*example) if isinstance(example, tuple) else map_fn(example)


def _stacked_without_bad(examples: tf.data.Dataset[Nest]) -> Nest:
    lost, stacked = _stacked(examples)
    if bad := int(tf.reduce_sum(lost)):
        logging.warning("Input.cache = True: skipped %d bad examples; %d are kept in memory.", bad, len(lost))
    return stacked


def _stacked(mapped: tf.data.Dataset[Nest]) -> Nest:
    with tf.device("CPU:0"):
        try:
            chunks = list(mapped.batch(1024))
            refuse_fewer(len(chunks), least=1)
            return tf.nest.map_structure(lambda *parts: tf.concat(parts, 0), *chunks)
        except tf.errors.InvalidArgumentError as error:
            raise UsageError(
                f"Input.cache = True: the examples do not stack ({error.message}); pad them to the same shape in "
                "the source or in Input.map_fn"
            ) from error


def _host_tensor(key: str, array: np.ndarray) -> tf.Tensor:
    with tf.device("CPU:0"):
        try:
            return tf.convert_to_tensor(array)
        except (ValueError, TypeError) as error:
            raise UsageError(
                f"{_ORIGIN}: {key!r} has dtype {array.dtype}, which TensorFlow does not support; convert it"
            ) from error
