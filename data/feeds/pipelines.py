"""The `tf.data` pipelines behind a stream feed: datasets of global batches."""

import dataclasses
from collections.abc import Callable

import tensorflow as tf

from ...metrics.errors import UsageError
from ..bad_examples import counted, first_bad, total
from ..elements import check_batchable
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
      skip: leave bad examples out. The datasets then have elements `(lost, batch)`, as of `bad_examples.total`. The
        shuffle comes after `map_fn` then, as what raises in it has to be counted in the order of the examples.
    """

    examples: tf.data.Dataset
    map_fn: Callable | None
    batch_size: int
    drop_remainder: bool
    shuffle_buffer: int | None
    seed: int
    skip: bool = False

    def for_evaluation(self) -> tf.data.Dataset:
        """One pass in the order of the examples."""
        return _finished(self._batched(self._pass()))

    def for_training(self, first_batch: int, may_dry_up: bool) -> tf.data.Dataset:
        """Pass after pass, without the first `first_batch` batches.

        `may_dry_up` says that a pass may turn out empty, as that of a generator which was used up. The
        dataset then ends, and does not look for an example in one pass after the other.
        """
        if self.shuffle_buffer is None:
            batches = self._batched(self._pass()).repeat()  # which ends at an empty pass
        else:
            passes = tf.data.Dataset.counter()
            if may_dry_up:
                passes = passes.take_while(lambda _: has_examples(self._pass()))
            batches = passes.flat_map(lambda epoch: self._batched(self._shuffled(epoch)))
        return _finished(batches.skip(first_batch) if first_batch else batches)

    def _pass(self) -> tf.data.Dataset:
        return counted(_mapped(self.examples, self.map_fn)) if self.skip else self.examples

    def _batched(self, examples: tf.data.Dataset) -> tf.data.Dataset:
        if self.skip:
            return examples.batch(self.batch_size, self.drop_remainder).map(total)
        return _mapped(examples, self.map_fn).batch(self.batch_size, self.drop_remainder)

    def _shuffled(self, epoch: tf.Tensor) -> tf.data.Dataset:
        """The examples in the order of this pass.

        `Dataset.shuffle(reshuffle_each_iteration=True).repeat()` would do, were it not restored wrongly from
        a checkpoint taken near the end of a pass (TensorFlow 2.21), and did it not hide from `can_be_saved`
        what comes before it. `Dataset.shuffle` with a pass's own seed cannot be saved. This operation can.
        """
        examples = self._pass()
        specs = tf.nest.flatten(examples.element_spec)
        shuffled = tf.raw_ops.ShuffleDataset(
            input_dataset=tf.data.experimental.to_variant(examples),
            buffer_size=tf.constant(self.shuffle_buffer, tf.int64),
            seed=tf.constant(self.seed, tf.int64),
            seed2=epoch + 1,  # two zeros would mean a seed from the clock
            output_types=[spec.dtype for spec in specs],
            output_shapes=[spec.shape for spec in specs],
            reshuffle_each_iteration=False,
        )
        return tf.data.experimental.from_variant(shuffled, examples.element_spec)


@dataclasses.dataclass(frozen=True)
class MappedRows:
    """Batches of mapped rows of arrays, in the very order of `order`.

    Attributes:
      tensors: a nest of tensors of one length.
      order: of the rows.
      map_fn: applied to each row.
      skip: leave bad examples out; the datasets then have elements `(lost, batch)`, as of `bad_examples.total`.
    """

    tensors: Nest
    order: Order
    map_fn: Callable
    skip: bool = False

    def batches(self, first_step: int) -> tf.data.Dataset:
        """The batches from `first_step` on.

        In training a batch has what is left of its own rows, which may be none, so that any step is still reached at
        once. In an evaluation the following rows move up.
        """
        if self.skip and self.order.endless:
            return _finished(self._numbers(first_step).flat_map(self._left_of_batch))
        if self.skip:
            return _finished(counted(self._examples(first_step)).batch(self.order.batch_size).map(total))
        first_epoch, first_batch = divmod(first_step, self.order.batches_per_epoch)

        def epoch_batches(epoch: tf.Tensor) -> tf.data.Dataset:
            start = tf.where(epoch == first_epoch, tf.constant(first_batch, tf.int64), tf.zeros([], tf.int64))
            numbers = tf.data.Dataset.range(start, self.order.batches_per_epoch)
            rows = numbers.map(lambda number: self._rows(epoch * self.order.batches_per_epoch + number)).unbatch()
            return self._mapped(rows).batch(self.order.batch_size, self.order.drop_remainder)

        epochs = tf.data.Dataset.counter(first_epoch) if self.order.endless else tf.data.Dataset.range(1)
        return _finished(epochs.flat_map(epoch_batches))

    def first_bad(self, first_step: int) -> tuple[int, tf.errors.OpError] | None:
        """The first row from a step on, within an epoch, for which `map_fn` raises, and what it raises."""
        bad = first_bad(self._examples(first_step))
        if bad is None:
            return None
        row = next(iter(self._epoch_of_rows(first_step).skip(bad.index)))
        return int(row), bad.error

    def _numbers(self, first_step: int) -> tf.data.Dataset:
        return tf.data.Dataset.counter(tf.constant(first_step, tf.int64))

    def _epoch_of_rows(self, first_step: int) -> tf.data.Dataset:
        return self._numbers(first_step).take(self.order.batches_per_epoch).map(self._rows).unbatch()

    def _examples(self, first_step: int) -> tf.data.Dataset:
        return self._mapped(self._epoch_of_rows(first_step))

    def _left_of_batch(self, step: tf.Tensor) -> tf.data.Dataset:
        rows = self._rows(step)
        size = tf.shape(rows, out_type=tf.int64)[0]
        good = self._mapped(tf.data.Dataset.from_tensor_slices(rows)).ignore_errors().batch(self.order.batch_size)
        nothing = tf.data.Dataset.from_tensors(tf.nest.map_structure(_no_rows, good.element_spec))
        return good.concatenate(nothing).take(1).map(lambda *batch: _with_lost(size, batch))

    def _rows(self, step: tf.Tensor) -> tf.Tensor:
        rows, sizes = self.order.plan(step, tf.ones([], tf.int64))
        return rows[0, : sizes[0]]

    def _mapped(self, rows: tf.data.Dataset) -> tf.data.Dataset:
        gather = lambda row: tf.nest.map_structure(lambda tensor: tf.gather(tensor, row), self.tensors)  # noqa: E731
        return _mapped(rows.map(gather), self.map_fn)


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


def _with_lost(size: tf.Tensor, batch: tuple) -> tuple[tf.Tensor, Nest]:
    # `Dataset.map` gives the parts of a tuple one by one, and all else as one argument.
    whole = batch[0] if len(batch) == 1 else batch
    return size - tf.shape(tf.nest.flatten(whole)[0], out_type=tf.int64)[0], whole


def _no_rows(spec: tf.TensorSpec) -> tf.Tensor:
    return tf.zeros([0 if size is None else size for size in spec.shape], spec.dtype)


def _finished(dataset: tf.data.Dataset) -> tf.data.Dataset:
    options = tf.data.Options()
    options.deterministic = True
    return dataset.prefetch(tf.data.AUTOTUNE).with_options(options)
