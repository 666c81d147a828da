"""Examples that cannot be read or mapped: leaving them out, counted, and finding the first of them."""

import re
import time
from typing import NamedTuple

import tensorflow as tf

from ..metrics.errors import UsageError
from .feeds.feed import Nest

# How long it is worth looking for the example that made a run fail.
_SECONDS_TO_LOOK = 300
# A source whose first examples are all bad is another kind of source than was thought. Without this limit, one that
# never ends would be searched for ever.
_ALL_BAD = 1000
_CHUNK = 256
# TensorFlow's names of nodes and of parts of the pipeline.
_NOISE = r"\{\{.*?\}\}|\[Op:.*|\[\[.*|name: *$|Error in user-defined function passed to \w+:\d+ .*?iterator: \S+: "


# TensorFlow's message may hold bytes of the example, which are no text: Python then fails to make the message.
FAILURES = (tf.errors.OpError, UnicodeDecodeError)


class Bad(NamedTuple):
    """The first bad example: its place among the examples, counted from 0, and what was raised."""

    index: int
    error: Exception


def counted(examples: tf.data.Dataset) -> tf.data.Dataset:
    """The good examples as `(lost, example)`: `lost`, int64, is how many bad ones stood beside it.

    The sum of `lost` over all elements is the number of bad examples, those at the end included, if there is a good
    example at all; it does not depend on the order in which they are taken thereafter. All state is in the pipeline,
    so it is saved with the iterator.

    `Dataset.ignore_errors` drops what raises. `Dataset.enumerate` counts it nevertheless, so a gap in the numbers is
    a bad example. Each example waits for the next one, to which an example behind the last belongs: what the last gap
    is told by.
    """
    end = tf.data.Dataset.from_tensors(_empty(examples.element_spec))
    numbered = examples.concatenate(end).enumerate().ignore_errors()
    start = (_empty(examples.element_spec), tf.constant(False), _zero(), _zero())

    def shift(state: Nest, element: Nest) -> tuple[Nest, Nest]:
        (waiting, is_example, lost_before, next_number), (number, example) = state, element
        lost = lost_before + number - next_number
        rest = tf.where(is_example, _zero(), lost)  # before the first example there is nothing to give it to
        return (example, tf.constant(True), rest, number + 1), (is_example, lost, waiting)

    shifted = numbered.scan(start, shift).filter(lambda is_example, lost, example: is_example)
    return shifted.map(lambda is_example, lost, example: (lost, example))


def total(lost: tf.Tensor, batch: Nest) -> tuple[tf.Tensor, Nest]:
    """The same with one number for a batch of `counted` examples."""
    return tf.reduce_sum(lost), batch


def first_bad(examples: tf.data.Dataset, seconds: float = _SECONDS_TO_LOOK) -> Bad | None:
    """The first example that raises; None if there is none, or it was not found in `seconds`."""
    deadline, good = time.monotonic() + seconds, 0
    marks = examples.map(lambda *_: True)
    try:
        for _ in marks.batch(_CHUNK):  # much faster than one by one; a batch with a bad example raises
            good += _CHUNK
            if time.monotonic() > deadline:
                return None
    except FAILURES:
        return _first_one(marks.skip(good), good)
    return None


def check_some_good(examples: tf.data.Dataset, least: int) -> None:
    """Refuse examples of which fewer than `least` are good."""
    good, bad, last, iterator = 0, 0, None, iter(examples)
    while good < least and bad < _ALL_BAD:
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
            f'the source of Input, with Input.on_error = "skip", has {good} good examples before its end or {_ALL_BAD:,} '
            f"bad ones in a row{why}. Want at least {least} for a batch; look at what it reads"
        )


def reason(error: Exception) -> str:
    """What an error of a pipeline says, in one line without TensorFlow's names of nodes."""
    text = re.sub(_NOISE, "", message(error), flags=re.MULTILINE)
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    return (lines[0] if lines else type(error).__name__).rstrip(".: ")


def message(error: Exception) -> str:
    """The whole message of one of the `FAILURES`."""
    if isinstance(error, UnicodeDecodeError):
        return error.object.decode(errors="backslashreplace")
    return str(error)


def _first_one(examples: tf.data.Dataset, start: int) -> Bad | None:
    """The first that raises of a chunk that did; None if none raises again. The chunk may be one of endlessly many."""
    iterator = iter(examples)
    for index in range(start, start + _CHUNK):
        try:
            next(iterator)
        except StopIteration:
            return None
        except FAILURES as error:
            return Bad(index, error)
    return None


def _empty(element_spec: Nest) -> Nest:
    """An example of the right types, and as small as they allow."""
    return tf.nest.map_structure(
        lambda spec: tf.zeros([0 if size is None else size for size in spec.shape], spec.dtype), element_spec
    )


def _zero() -> tf.Tensor:
    return tf.zeros([], tf.int64)
