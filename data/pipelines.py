"""The `tf.data` pipelines behind a stream feed: datasets of global batches."""

import dataclasses
from collections.abc import Callable

import tensorflow as tf

from ..metrics.errors import UsageError
from .elements import check_batchable
from .feed import Nest
from .order import Order


@dataclasses.dataclass(frozen=True)
class Stream:
    """A dataset of single examples and how to cut it into batches.

    Attributes:
      examples: to be read from its start once a pass.
      map_fn: applied to each example, or None.
      batch_size: of the global batch; a pass ends with a short one unless `drop_remainder`.
      shuffle_buffer: how many examples the next is drawn from, in training; None keeps the order.
      seed: of the shuffle; pass e is drawn from (seed, e).
    """

    examples: tf.data.Dataset
    map_fn: Callable | None
    batch_size: int
    drop_remainder: bool
    shuffle_buffer: int | None
    seed: int

    def for_evaluation(self) -> tf.data.Dataset:
        """One pass in the order of the examples."""
        return _finished(self._batched(self.examples))

    def for_training(self, first_batch: int, may_dry_up: bool) -> tf.data.Dataset:
        """Pass after pass, without the first `first_batch` batches.

        `may_dry_up` says that a pass may turn out empty, as that of a generator which was used up. The
        dataset then ends, and does not look for an example in one pass after the other.
        """
        if self.shuffle_buffer is None:
            batches = self._batched(self.examples).repeat()  # which ends at an empty pass
        else:
            passes = tf.data.Dataset.counter()
            if may_dry_up:
                passes = passes.take_while(lambda _: has_examples(self.examples))
            batches = passes.flat_map(lambda epoch: self._batched(self._shuffled(epoch)))
        return _finished(batches.skip(first_batch) if first_batch else batches)

    def _batched(self, examples: tf.data.Dataset) -> tf.data.Dataset:
        return _mapped(examples, self.map_fn).batch(self.batch_size, self.drop_remainder)

    def _shuffled(self, epoch: tf.Tensor) -> tf.data.Dataset:
        """The examples in the order of this pass.

        `Dataset.shuffle(reshuffle_each_iteration=True).repeat()` would do, were it not restored wrongly from
        a checkpoint taken near the end of a pass (TensorFlow 2.21), and did it not hide from `can_be_saved`
        what comes before it. `Dataset.shuffle` with a pass's own seed cannot be saved. This operation can.
        """
        specs = tf.nest.flatten(self.examples.element_spec)
        shuffled = tf.raw_ops.ShuffleDataset(
            input_dataset=tf.data.experimental.to_variant(self.examples),
            buffer_size=tf.constant(self.shuffle_buffer, tf.int64),
            seed=tf.constant(self.seed, tf.int64),
            seed2=epoch + 1,  # two zeros would mean a seed from the clock
            output_types=[spec.dtype for spec in specs],
            output_shapes=[spec.shape for spec in specs],
            reshuffle_each_iteration=False,
        )
        return tf.data.experimental.from_variant(shuffled, self.examples.element_spec)


def of_arrays(tensors: Nest, order: Order, map_fn: Callable, first_step: int) -> tf.data.Dataset:
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

    epochs = tf.data.Dataset.counter(first_epoch) if order.endless else tf.data.Dataset.range(1)
    return _finished(epochs.flat_map(epoch_batches))


def mapped_examples(examples: tf.data.Dataset | Nest, map_fn: Callable | None) -> tf.data.Dataset:
    """Single examples after `map_fn`, of a dataset or of a nest of tensors."""
    if not isinstance(examples, tf.data.Dataset):
        examples = tf.data.Dataset.from_tensor_slices(examples)
    return _finished(_mapped(examples, map_fn))


def has_examples(examples: tf.data.Dataset) -> tf.Tensor:
    """Whether there is a first example, by reading it; in the graph or outside."""
    return examples.take(1).reduce(False, lambda *_: True)


def _mapped(examples: tf.data.Dataset, map_fn: Callable | None) -> tf.data.Dataset:
    if map_fn is None:
        return examples
    try:
        mapped = examples.map(map_fn, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    except tf.errors.InvalidArgumentError as error:
        if "output_shapes" not in error.message:
            raise
        raise UsageError(
            "Input.map_fn returned no tensors: want the mapped example; look for a missing return"
        ) from error
    check_batchable(mapped, "Input.map_fn")
    return mapped


def _finished(dataset: tf.data.Dataset) -> tf.data.Dataset:
    options = tf.data.Options()
    options.deterministic = True
    return dataset.prefetch(tf.data.AUTOTUNE).with_options(options)
