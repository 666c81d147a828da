"""The `tf.data` pipelines behind a stream feed: datasets of global batches."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from ...metrics.errors import UsageError
from ..bad_examples import skip_bad, sum_lost
from ..checks import tracing_map_fn
from ..elements import Nest, check_batchable, has_examples


@dataclasses.dataclass(frozen=True)
class Stream:
    """A dataset of single examples, and how to cut it into batches.

    Attributes:
      examples: read from its start in each pass.
      map_fn: applied to each example, or None.
      batch_size: the examples of a global batch; a pass ends with a short one unless `drop_remainder`.
      drop_remainder: leave out the short batch of a pass.
      shuffle_buffer: how many examples the next one is drawn from, in training; None keeps the order.
      seed: the seed of the shuffle; pass e is drawn from (seed, e).
      skip: leave bad examples out. The elements of the datasets are then `(lost, batch)`, as `bad_examples.sum_lost` gives
        them. The shuffle then follows `map_fn`, because the examples that raise in it are counted in their order.
    """

    examples: tf.data.Dataset[Nest]
    map_fn: Callable[..., Any] | None
    batch_size: int
    drop_remainder: bool
    shuffle_buffer: int | None
    seed: int
    skip: bool = False

    @property
    def full_batch(self) -> int | None:
        """The batch size if no batch is short, else None."""
        return self.batch_size if self.drop_remainder else None

    def mapped(self) -> tf.data.Dataset[Nest]:
        """Return the single examples of a pass after `map_fn`."""
        return mapped_examples(self.examples, self.map_fn)

    def for_evaluation(self) -> tf.data.Dataset[Nest]:
        """Return the batches of one pass in the order of the examples."""
        options = tf.data.Options()
        # Its thread sleeps for as long as the pass took, up to a minute, while an iterator that has come to its end waits to be
        # deleted (TensorFlow 2.21). Without it, as many examples are mapped at once as there are cores.
        options.autotune.enabled = False
        return prefetched(self._batched(self.in_order())).with_options(options)

    def for_training(self, first_batch: int, may_dry_up: bool) -> tf.data.Dataset[Nest]:
        """Return the batches of pass after pass.

        Args:
          first_batch: how many batches to leave out at the start.
          may_dry_up: a pass may turn out empty, such as that of a used-up generator. The dataset then ends, instead of
            searching one pass after the other for an example.
        """
        if self.shuffle_buffer is None:
            batches = self._batched(self.in_order()).repeat()  # ends at an empty pass
        else:
            passes = tf.data.Dataset.counter()
            if may_dry_up:
                passes = passes.take_while(lambda _: has_examples(self.in_order()))
            batches = passes.flat_map(lambda number: self._batched(self.shuffled(self.in_order(), number)))
        return prefetched(batches.skip(first_batch) if first_batch else batches)

    def in_order(self) -> tf.data.Dataset[Nest]:
        """Return the examples of a pass in the order of the source; before `map_fn`, unless bad ones are skipped."""
        return skip_bad(_mapped(self.examples, self.map_fn)) if self.skip else self.examples

    def _batched(self, examples: tf.data.Dataset[Nest]) -> tf.data.Dataset[Nest]:
        if self.skip:
            return examples.batch(self.batch_size, self.drop_remainder).map(sum_lost)
        return _mapped(examples, self.map_fn).batch(self.batch_size, self.drop_remainder)

    def shuffled(self, examples: tf.data.Dataset[Nest], number: tf.Tensor) -> tf.data.Dataset[Nest]:
        """Return these examples in the order of a pass, which is their own without a `shuffle_buffer`.

        `Dataset.shuffle(reshuffle_each_iteration=True).repeat()` would do, but it is restored wrongly from
        a checkpoint taken near the end of a pass (TensorFlow 2.21), and it hides from `can_be_saved` what comes before
        it. `Dataset.shuffle` with a seed per pass cannot be saved. This operation can.
        """
        if self.shuffle_buffer is None:
            return examples
        specs = tf.nest.flatten(examples.element_spec)
        shuffled = tf.raw_ops.ShuffleDataset(
            input_dataset=tf.data.experimental.to_variant(examples),
            buffer_size=tf.constant(self.shuffle_buffer, tf.int64),
            seed=tf.constant(self.seed, tf.int64),
            seed2=number + 1,  # two zeros would mean a seed from the clock
            output_types=[spec.dtype for spec in specs],
            output_shapes=[spec.shape for spec in specs],
            reshuffle_each_iteration=False,
        )
        return tf.data.experimental.from_variant(shuffled, examples.element_spec)


def mapped_examples(examples: tf.data.Dataset[Nest] | Nest, map_fn: Callable[..., Any] | None) -> tf.data.Dataset[Nest]:
    """Return single examples after `map_fn`, of a dataset or of a nest of tensors."""
    if not isinstance(examples, tf.data.Dataset):
        examples = tf.data.Dataset.from_tensor_slices(examples)
    return prefetched(_mapped(examples, map_fn))


def _mapped(examples: tf.data.Dataset[Nest], map_fn: Callable[..., Any] | None) -> tf.data.Dataset[Nest]:
    if map_fn is None:
        return examples
    with tracing_map_fn(map_fn, examples.element_spec):
        try:
            mapped = examples.map(map_fn, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        except tf.errors.InvalidArgumentError as error:
            if "output_shapes" not in error.message:
                raise
            raise UsageError(
                "Input.map_fn: expected the mapped example, got nothing; check that the function returns it"
            ) from error
    check_batchable(mapped.element_spec, "Input.map_fn")
    return mapped


def prefetched(dataset: tf.data.Dataset[Nest]) -> tf.data.Dataset[Nest]:
    """Return a dataset that is read ahead, always in the same order."""
    options = tf.data.Options()
    options.deterministic = True
    return dataset.prefetch(tf.data.AUTOTUNE).with_options(options)
