"""The feed of a `tf.data` pipeline."""

import atexit
import weakref
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from ...metrics.errors import DataError
from ..bad_examples import message, reason
from ..naming import with_fix
from .feed import Feed, Nest

_NOT_OF_DATA = (tf.errors.OutOfRangeError, tf.errors.CancelledError)
_ALL_BAD = "all examples of a global batch are bad"
_open_feeds: "weakref.WeakSet[StreamFeed]" = weakref.WeakSet()


@atexit.register
def _stop_reading() -> None:
    """Or a process whose source is a Python generator would never end: TensorFlow waits for it, and it for the interpreter."""
    for feed in list(_open_feeds):
        feed.stop()


class StreamFeed(Feed):
    """The batches of a `tf.data.Dataset`, one after the other.

    There is one iterator resource for the feed's whole life. `seek` and `rewind` put it at the start of
    another dataset of the same types instead of making a new one, so the functions that captured it are not
    traced again, and a `tf.train.Checkpoint` that holds it stays valid.

    Args:
      build: makes the dataset of global batches from a given step on.
      endless: a training stream, whose end would be an error; else `fetch` says n = 0 past the end.
      seeks: `seek` rebuilds the dataset; else its place is the iterator's state, a checkpoint item.
      full_batch: the batch size where no batch is short, else None.
      num_examples, batches_per_epoch: where they are known.
      counts: the elements are not batches but `(lost, batch)`: how many bad examples were left out beside them.
      find_bad: step -> what names the first bad example from there on, for `data_error`.
    """

    waits = True

    def __init__(
        self,
        build: Callable[[int], tf.data.Dataset],
        *,
        endless: bool,
        seeks: bool,
        full_batch: int | None,
        num_examples: int | None = None,
        batches_per_epoch: int | None = None,
        counts: bool = False,
        find_bad: Callable[[int], str | None] = lambda step: None,
    ):
        self._build = build
        self._endless = endless
        self._seeks = seeks
        self.full_batch = full_batch
        self.num_examples = num_examples
        self.batches_per_epoch = batches_per_epoch
        self._counts = counts
        self._find_bad = find_bad
        self._from_start = build(0)
        self._iterator = iter(self._from_start)
        self._spec = self._from_start.element_spec
        _open_feeds.add(self)
        self.element_spec = self._spec[1] if counts else self._spec

    def plan(self, first_step: tf.Tensor, num_steps: int | tf.Tensor) -> tuple[()]:
        """Nothing: a stream's batches come in the order in which they are fetched."""
        return ()

    def fetch(self, plan: tuple[()], i: tf.Tensor) -> tuple[Nest, tf.Tensor]:
        """(the next global batch, its number of examples)."""
        with tf.device("CPU:0"):
            if self._endless:
                part = self._iterator.get_next()
                n = self._length(part)
                with tf.control_dependencies([tf.debugging.Assert(n > 0, [_ALL_BAD])] if self._counts else []):
                    return part, tf.identity(n)
            return self._fetch_or_end()

    def seek(self, step: int) -> None:
        """Rebuild the pipeline at `step`, or leave it to the iterator's restored state."""
        if self._seeks:
            self._restart(self._build(step))

    def rewind(self) -> None:
        """Start the dataset from its beginning."""
        self._restart(self._from_start)

    def stop(self) -> None:
        """End the reading in the background; returns when no code of the source runs any more."""
        self._restart(self._from_start.take(0))

    def describe(self, step: int) -> str:
        """The number of the batch since the start, and in its epoch where that is known."""
        if self.batches_per_epoch is None:
            return f"batch {step} of the stream (counted from 0)"
        return f"batch {step % self.batches_per_epoch} of epoch {step // self.batches_per_epoch} (counted from 0)"

    def whole(self, part: Nest) -> Nest:
        """All examples of the batch."""
        return self._batch(part)

    def take(self, part: Nest, begin: tf.Tensor, size: int | tf.Tensor) -> Nest:
        """Examples [begin, begin + size) of the batch."""
        return super().take(self._batch(part), begin, size)

    def skipped(self, part: Nest) -> tf.Tensor | None:
        """How many examples were left out beside those of the batch, where they are counted."""
        return part[0] if self._counts else None

    def data_error(self, error: Exception, step: int) -> DataError | None:
        """The error with the place of the first bad example, if the iterator raised it."""
        if _ALL_BAD in message(error):
            return DataError(f'{_ALL_BAD} ({self._find_bad(step)}); Input.on_error = "skip" cannot go on from there')
        if not (isinstance(error, UnicodeDecodeError) or "IteratorGetNext" in message(error)) or isinstance(
            error, _NOT_OF_DATA
        ):
            return None
        found = self._find_bad(step) or f"an example of the source of Input, which did not raise again: {reason(error)}"
        return DataError(with_fix(found))

    def checkpoint_items(self) -> dict[str, Any]:
        """The iterator of a training feed, unless `seek` alone finds the place again."""
        return {"iterator": self._iterator} if self._endless and not self._seeks else {}

    def _fetch_or_end(self) -> tuple[Nest, tf.Tensor]:
        following = self._iterator.get_next_as_optional()

        def batch_and_size() -> tuple[Nest, tf.Tensor]:
            part = following.get_value()
            return part, self._length(part)

        def end() -> tuple[Nest, tf.Tensor]:
            return tf.nest.map_structure(_zeros, self._spec), tf.zeros([], tf.int64)

        part, n = tf.cond(following.has_value(), batch_and_size, end)
        return tf.nest.map_structure(_shaped, part, self._spec), n

    def _length(self, part: Nest) -> tf.Tensor:
        return tf.shape(tf.nest.flatten(self._batch(part))[0], out_type=tf.int64)[0]

    def _batch(self, part: Nest) -> Nest:
        return part[1] if self._counts else part

    def _restart(self, dataset: tf.data.Dataset) -> None:
        (resource,) = tf.nest.flatten(self._iterator, expand_composites=True)
        tf.raw_ops.MakeIterator(dataset=tf.data.experimental.to_variant(dataset), iterator=resource)


def _zeros(spec: tf.TensorSpec) -> tf.Tensor:
    return tf.zeros([1 if size is None else size for size in spec.shape], spec.dtype)


def _shaped(tensor: tf.Tensor, spec: tf.TensorSpec) -> tf.Tensor:
    return tf.ensure_shape(tensor, spec.shape)
