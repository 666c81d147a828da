"""Examples that cannot be read or mapped: skipping and counting them, and finding the first of them."""

from __future__ import annotations

import time
from typing import NamedTuple

import tensorflow as tf

from ..metrics.errors import UsageError
from .elements import Nest, zeros_like_spec
from .messages.failures import FAILURES, reason

# How long it is worth searching for the example that ended a run.
_SEARCH_SECONDS = 300
# A source whose first 1,000 examples are all bad is not what the user thinks it is. Without this limit, a source that never
# ends would be searched forever.
_MOST_BAD_IN_A_ROW = 1000
_CHUNK = 256
ALL_BAD = "all examples of a global batch are bad"


class Bad(NamedTuple):
    """The first bad example.

    Attributes:
      index: its position among the examples, counted from 0.
      error: what was raised for it.
    """

    index: int
    error: Exception


def skip_bad(examples: tf.data.Dataset[Nest]) -> tf.data.Dataset[Nest]:
    """Return the good examples as `(lost, example)`, where `lost`, int64, counts the bad examples next to this one.

    The sum of `lost` over all elements is the number of bad examples, those at the end included, if there is a good
    example at all. It does not depend on the order in which the elements are taken afterwards. All state is in the
    pipeline, so it is saved with the iterator.

    `Dataset.ignore_errors` drops what raises, and `Dataset.enumerate` counts it nevertheless: a gap in the numbers is
    a bad example. Each example waits for the next one before it is passed on. One more element is appended, so that the
    last example has a next one, and a gap at the end is seen.
    """
    end = tf.data.Dataset.from_tensors(_smallest_example(examples.element_spec))
    numbered = examples.concatenate(end).enumerate().ignore_errors()
    start = (_smallest_example(examples.element_spec), tf.constant(False), _zero(), _zero())

    def shift(state: Nest, element: Nest) -> tuple[Nest, Nest]:
        (waiting, is_example, lost_before, next_number), (number, example) = state, element
        lost = lost_before + number - next_number
        carried = tf.where(is_example, _zero(), lost)  # before the first example there is none to count it with
        return (example, tf.constant(True), carried, number + 1), (is_example, lost, waiting)

    shifted = numbered.scan(start, shift).filter(lambda *element: element[0])
    return shifted.map(lambda is_example, lost, example: (lost, example))


def sum_lost(lost: tf.Tensor, batch: Nest) -> tuple[tf.Tensor, Nest]:
    """Return a batch of `skip_bad` with one number of lost examples, int64 scalar, in place of one per example."""
    return tf.reduce_sum(lost), batch


def first_bad(examples: tf.data.Dataset[Nest]) -> Bad | None:
    """Return the first example that raises; None if there is none, or none was found in five minutes."""
    deadline, good = time.monotonic() + _SEARCH_SECONDS, 0
    marks = examples.map(lambda *_: True)
    try:
        for _ in marks.batch(_CHUNK):  # much faster than one by one; a batch with a bad example raises
            good += _CHUNK
            if time.monotonic() > deadline:
                return None
    except FAILURES:
        return _first_of_chunk(marks.skip(good), good)
    return None


def check_some_good(examples: tf.data.Dataset[Nest], least: int) -> None:
    """Refuse a source with fewer than `least` good examples."""
    good, bad, last, iterator = 0, 0, None, iter(examples)
    while good < least and bad < _MOST_BAD_IN_A_ROW:
        try:
            next(iterator)
            good, bad = good + 1, 0
        except StopIteration:
            break
        except FAILURES as error:
            bad, last = bad + 1, error
    if good < least:
        why = f"; the last bad one: {reason(last)}" if last else ""
        raise UsageError(
            f'the source of Input, with Input.on_error = "skip", has {good} good examples before its end or before '
            f"{_MOST_BAD_IN_A_ROW:,} bad ones in a row{why}: expected at least {least} for a batch; check what it reads"
        )


def _first_of_chunk(examples: tf.data.Dataset[Nest], start: int) -> Bad | None:
    """Return the first bad example of a chunk that raised; None if nothing raises again.

    It reads no further than the chunk, as the source may never end.
    """
    iterator = iter(examples)
    for index in range(start, start + _CHUNK):
        try:
            next(iterator)
        except StopIteration:
            return None
        except FAILURES as error:
            return Bad(index, error)
    return None


def _smallest_example(element_spec: Nest) -> Nest:
    return tf.nest.map_structure(lambda spec: zeros_like_spec(spec, unknown=0), element_spec)


def _zero() -> tf.Tensor:
    return tf.zeros([], tf.int64)
