"""The feed of a `tf.data` pipeline."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from ...metrics.errors import DataError
from ..bad_examples import ALL_BAD
from ..checks import with_fix
from ..elements import Nest, zeros_like_spec
from ..messages.failures import message, reason
from .feed import UNLIMITED, Feed
from .iterators import restart_iterator, stopped_at_exit

_NOT_OF_DATA = (tf.errors.OutOfRangeError, tf.errors.CancelledError)
_UNEQUAL = "Cannot batch tensors with different shapes"  # of TensorFlow


@dataclasses.dataclass(frozen=True)
class Batching:
    """The known facts about the batches of a stream.

    Attributes:
      full_batch: the batch size if no batch is short, else None.
      num_examples: the examples per epoch, if known.
      batches_per_epoch: the steps per epoch, if known.
    """

    full_batch: int | None
    num_examples: int | None = None
    batches_per_epoch: int | None = None


class StreamFeed(Feed):
    """The batches of a `tf.data.Dataset`, one after the other.

    One iterator resource serves the feed's whole life. `seek` and `rewind` put it at the start of another dataset of
    the same types instead of making a new one. So the functions that captured it are not traced again, and a
    `tf.train.Checkpoint` that holds it remains valid.

    Args:
      build: step -> the dataset of global batches from that step on.
      batching: what is known of the batches.
      endless: a training stream, whose end would be an error; else `fetch` returns n = 0 past the end.
      seeks: `seek` rebuilds the dataset; else the place is the iterator's state, an item of the checkpoint.
      counts: the elements are `(lost, batch)`, with the number of bad examples skipped next to the batch.
      find_bad: step -> the place and reason of the first bad example from there on, for `data_error`.
    """

    waits = True

    def __init__(
        self,
        build: Callable[[int], tf.data.Dataset[Nest]],
        batching: Batching,
        *,
        endless: bool,
        seeks: bool,
        counts: bool = False,
        find_bad: Callable[[int], str | None] = lambda step: None,
    ):
        self._build = build
        self._endless = endless
        self._seeks = seeks
        self._counts = counts
        self._find_bad = find_bad
        self._from_start = build(0)
        self._iterator = iter(self._from_start)
        self._spec: Nest = self._from_start.element_spec
        stopped_at_exit(self)
        self.element_spec: Nest = self._spec[1] if counts else self._spec
        self.full_batch: int | None = batching.full_batch
        self.num_examples: int | None = batching.num_examples
        self.batches_per_epoch: int | None = batching.batches_per_epoch

    def plan(self, first_step: tf.Tensor, num_steps: int | tf.Tensor) -> tuple[()]:
        """Return nothing: the batches of a stream come in the order in which they are fetched."""
        return ()

    def steps_to_plan(self, longest: int) -> int:
        """Return UNLIMITED: there is nothing to plan."""
        return UNLIMITED

    def fetch(self, plan: tuple[()], i: tf.Tensor) -> tuple[Nest, tf.Tensor]:
        """Return (the next global batch, its number of examples)."""
        with tf.device("CPU:0"):
            if self._endless:
                part = self._iterator.get_next()
                n = self._length(part)
                with tf.control_dependencies([tf.debugging.Assert(n > 0, [ALL_BAD])] if self._counts else []):
                    return part, tf.identity(n)
            return self._fetch_or_end()

    def seek(self, step: int) -> None:
        """Rebuild the pipeline at `step`, or leave the place to the iterator's restored state."""
        if self._seeks:
            restart_iterator(self._iterator, self._build(step))

    def rewind(self) -> None:
        """Start the dataset from its beginning."""
        restart_iterator(self._iterator, self._from_start)

    def stop(self) -> None:
        """Stop reading in the background, and wait until no code of the source runs any more."""
        restart_iterator(self._iterator, self._from_start.take(0))

    def whole(self, part: Nest) -> Nest:
        """Return all examples of the batch."""
        return self._batch(part)

    def take(self, part: Nest, begin: tf.Tensor, size: int | tf.Tensor) -> Nest:
        """Return examples [begin, begin + size) of the batch."""
        return super().take(self._batch(part), begin, size)

    def skipped(self, part: Nest) -> tf.Tensor | None:
        """Return how many examples were skipped next to those of the batch, if they are counted."""
        return part[0] if self._counts else None

    def data_error(self, error: Exception, step: int) -> DataError | None:
        """Return the error with the place of the first bad example, if the iterator raised it."""
        if ALL_BAD in message(error):
            return DataError(f'{ALL_BAD} ({self._find_bad(step)}); Input.on_error = "skip" cannot continue from there')
        if not (isinstance(error, UnicodeDecodeError) or "IteratorGetNext" in message(error)) or isinstance(
            error, _NOT_OF_DATA
        ):
            return None
        if _UNEQUAL in message(error):
            return DataError(
                f"the source of Input has examples of different shapes: {reason(error)}. Pad them in the source; if it is "
                "batched already, give it as dataset.unbatch(), as Input makes the batches"
            )
        found = self._find_bad(step)
        if found is not None:
            return DataError(with_fix(found))
        told = f"an example of the source of Input, which did not raise again: {reason(error)}"
        return DataError(with_fix(told), may_pass=True)

    def checkpoint_items(self) -> dict[str, Any]:
        """Return the iterator of a training feed, unless `seek` alone finds the place again."""
        return {"iterator": self._iterator} if self._endless and not self._seeks else {}

    def _fetch_or_end(self) -> tuple[Nest, tf.Tensor]:
        following = self._iterator.get_next_as_optional()

        def batch_and_size() -> tuple[Nest, tf.Tensor]:
            part = following.get_value()
            return part, self._length(part)

        def end() -> tuple[Nest, tf.Tensor]:
            part = tf.nest.map_structure(lambda spec: zeros_like_spec(spec, unknown=1), self._spec)
            return part, tf.zeros([], tf.int64)

        part, n = tf.cond(following.has_value(), batch_and_size, end)
        return tf.nest.map_structure(lambda tensor, spec: tf.ensure_shape(tensor, spec.shape), part, self._spec), n

    def _length(self, part: Nest) -> tf.Tensor:
        return tf.shape(tf.nest.flatten(self._batch(part))[0], out_type=tf.int64)[0]

    def _batch(self, part: Nest) -> Nest:
        return part[1] if self._counts else part
