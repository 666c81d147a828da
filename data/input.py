"""`Input`: the configurable that binds a source to how it is batched."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf
from absl import logging

import gin

from ..metrics.errors import UsageError
from . import contents, elements, pipelines
from .array_feed import ArrayFeed
from .checks import seed_number, true_or_false, whole_number
from .feed import Feed, Nest
from .order import Order
from .stream_feed import StreamFeed


@gin.register
class Input:
    """Examples, and how to cut them into global batches.

    A global batch is what one step sees over all replicas of all workers; nothing here depends on how many
    those are. An epoch has every example once: its last batch is short if need be.

    Args:
      source: a function without arguments, or what such a function returned: a dict of arrays of one length
        (any step is reached at once, and the shuffle is over all examples), or a `tf.data.Dataset` of single
        examples, which must be readable again from its start. It is read when first needed, and once.
      global_batch_size: examples of a step.
      shuffle: a new order each epoch, in training. Evaluation keeps the source's order: a sum does not
        depend on it, and predictions should come in the order of the examples.
      cache: read a dataset, or arrays with a `map_fn`, into memory once, after `map_fn`; then it is as good
        as arrays.
      map_fn: example -> example, without a batch dimension, made of TensorFlow operations. It is called as
        `tf.data.Dataset.map` would: a dict is one argument. Draw random numbers in it from
        `tf.random.stateless_*` only, as the others are not repeated after a resume.
      seed: of the order, in [0, 2**32).
      drop_remainder: leave out an epoch's short batch, so that all shapes are static. Evaluation then leaves
        examples out, too.
      shuffle_buffer: of a dataset, how many examples the next is drawn from. 10,000 mixes well for most file
        layouts; the examples in it are written into every checkpoint.

    Raises:
      UsageError: an argument is not as above.
    """

    def __init__(
        self,
        source: Callable[[], Any] | Mapping[str, Any] | tf.data.Dataset,
        global_batch_size: int,
        shuffle: bool = False,
        cache: bool = False,
        map_fn: Callable[..., Any] | None = None,
        seed: int = 0,
        drop_remainder: bool = False,
        shuffle_buffer: int = 10_000,
    ):
        if not (callable(source) or isinstance(source, Mapping | tf.data.Dataset)):
            raise UsageError(
                f"Input.source = {source!r}: want a function, a dict of arrays or a tf.data.Dataset; "
                "bind it as in Input.source = @digits"
            )
        if map_fn is not None and not callable(map_fn):
            raise UsageError(
                f"Input.map_fn = {map_fn!r}: want a function; bind it without calling it, as in "
                "Input.map_fn = @my_function"
            )
        self._source = source
        self._map_fn = map_fn
        self._batch_size = whole_number("Input.global_batch_size", global_batch_size, least=1)
        self._shuffle = true_or_false("Input.shuffle", shuffle)
        self._cache = true_or_false("Input.cache", cache)
        self._seed = seed_number("Input.seed", seed)
        self._drop_remainder = true_or_false("Input.drop_remainder", drop_remainder)
        self._shuffle_buffer = whole_number("Input.shuffle_buffer", shuffle_buffer, least=1)

    @property
    def global_batch_size(self) -> int:
        """The examples of a step, over all replicas of all workers."""
        return self._batch_size

    def open_train(self) -> Feed:
        """A feed that goes on for ever, epoch after epoch.

        Raises:
          UsageError: the source gives something that cannot be batched.
        """
        return self._open(train=True)

    def open_eval(self) -> Feed:
        """A feed of one pass in the source's order, to be rewound for the next.

        Raises:
          UsageError: the source gives something that cannot be batched, or it never ends.
        """
        return self._open(train=False)

    @functools.cached_property
    def _contents(self) -> tuple[tf.data.Dataset | Nest, Callable | None]:
        """What was read, and what remains to be mapped."""
        found = contents.read(self._source)
        in_memory = not isinstance(found, tf.data.Dataset)
        if not self._cache or (in_memory and self._map_fn is None):
            return found, self._map_fn
        return contents.read_whole(found, self._map_fn), None

    def _open(self, train: bool) -> Feed:
        found, map_fn = self._contents
        if isinstance(found, tf.data.Dataset):
            return self._open_stream(found, map_fn, train)
        order = self._order(len(tf.nest.flatten(found)[0]), train)
        if map_fn is None:
            return ArrayFeed(found, order)
        return self._open_mapped(found, order, map_fn, train)

    def _order(self, num_examples: int, train: bool) -> Order:
        elements.refuse_fewer(num_examples, self._least)
        return Order(
            num_examples, self._batch_size, self._shuffle and train, self._seed, self._drop_remainder
        )

    def _open_mapped(self, tensors: Nest, order: Order, map_fn: Callable, train: bool) -> Feed:
        feed = StreamFeed(
            lambda step: pipelines.of_arrays(tensors, order, map_fn, train, step),
            endless=train,
            seeks=True,
            full_batch=self._full_batch,
            num_examples=order.num_examples,
            batches_per_epoch=order.batches_per_epoch,
        )
        if train and not feed.saveable:
            logging.warning(
                "Input.map_fn draws random numbers, or calls Python: after a resume it will not repeat them, "
                "and the run will differ from one without interruption. Use tf.random.stateless_* in it."
            )
        return feed

    def _open_stream(self, examples: tf.data.Dataset, map_fn: Callable | None, train: bool) -> Feed:
        if not train:
            elements.refuse_endless(examples, "an evaluation sees each example once")
        elements.check_filled(examples, self._least)

        def build(first_batch: int) -> tf.data.Dataset:
            # Shuffled anew each time, as a shuffled dataset remembers how often it was read.
            shuffled = self._shuffled(examples) if train else examples
            return pipelines.of_stream(
                shuffled, map_fn, self._batch_size, self._drop_remainder, train, first_batch
            )

        feed = StreamFeed(build, endless=train, seeks=False, full_batch=self._full_batch)
        if train and not feed.saveable:
            logging.warning(
                "The source of Input, or its map_fn, runs Python code or draws random numbers, whose state "
                "no checkpoint can hold: after a resume all batches up to there are read again and thrown "
                "away, which takes time and is exact only if they come out the same."
            )
        return feed

    def _shuffled(self, examples: tf.data.Dataset) -> tf.data.Dataset:
        if not self._shuffle:
            return examples
        return examples.shuffle(self._shuffle_buffer, seed=self._seed, reshuffle_each_iteration=True)

    @property
    def _least(self) -> int:
        return self._batch_size if self._drop_remainder else 1

    @property
    def _full_batch(self) -> int | None:
        return self._batch_size if self._drop_remainder else None
