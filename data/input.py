"""`Input`: the configurable that binds a source to how it is batched."""

import copy
import functools
from collections.abc import Callable, Mapping
from typing import Any

import gin
import numpy as np
import tensorflow as tf
from absl import logging

from ..metrics.errors import UsageError
from . import contents, elements
from .bad_examples import FAILURES, check_some_good
from .checks import seed_number, true_or_false, whole_number
from .feeds import pipelines
from .feeds.array_feed import ArrayFeed, SlicedFeed
from .feeds.feed import Feed, Nest
from .feeds.order import Order
from .feeds.pipelines import MappedRows, Stream
from .feeds.stream_feed import StreamFeed
from .naming import name_first_bad, name_row, with_fix


@gin.register(module="tallyloop")
class Input:
    """Examples, and how to cut them into global batches.

    A global batch is what one step sees over all replicas of all workers; nothing here depends on how many
    those are. An epoch has every example once: its last batch is short if need be.

    Args:
      source: a function without arguments, or what such a function returned: a dict of arrays of one length
        (any step is reached at once, and the shuffle is over all examples), or a `tf.data.Dataset` of single
        examples, which must be readable again from its start. The function is called when first needed, and
        once, but for a dataset whose place no checkpoint can hold.
      global_batch_size: examples of a step.
      shuffle: a new order each epoch, in training. Evaluation keeps the source's order: a sum does not
        depend on it, and predictions should come in the order of the examples.
      cache: read a dataset, or arrays with a `map_fn`, into memory once, after `map_fn`; then it is as good
        as arrays.
      map_fn: example -> example, without a batch dimension, made of TensorFlow operations. It is called as
        `tf.data.Dataset.map` would: a dict is one argument. Draw random numbers in it from
        `tf.random.stateless_*` only, as the others are not repeated after a resume.
      seed: of the order, in [0, 2**32).
      drop_remainder: leave out an epoch's short batch, so that all shapes are static. In training only: an
        evaluation sees each example once, whatever is bound here.
      shuffle_buffer: of a dataset, how many examples the next is drawn from. 10,000 mixes well for most file
        layouts; the examples in it are written into every checkpoint.
      on_error: of an example that cannot be read (a corrupt record of a TFRecord file) or for which `map_fn` raises.
        "raise": the run ends and names its file and index. "skip": it is left out, and counted as the metric
        `data/skipped`. What follows a corrupt record in its file is lost with it, as one example. In training on arrays
        a batch is then short of its bad examples, so that any step is still reached at once; a batch of bad ones only
        ends the run. The memory of `shuffle_buffer` holds mapped examples then. With `cache`, bad examples are left out
        at reading, and the log has their number.

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
        on_error: str = "raise",
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
        self._skip = self._skips(on_error)
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
        self._contents  # noqa: B018 (read once, for both)
        whole = copy.copy(self)
        whole._drop_remainder = False
        return whole._open(train=False)

    @property
    def element_spec(self) -> Nest:
        """A nest of `tf.TensorSpec`: the global batch of a feed, without opening one.

        Raises:
          UsageError: the source gives something that cannot be batched.
        """
        return tf.nest.map_structure(
            lambda spec: tf.TensorSpec([self._full_batch, *spec.shape], spec.dtype),
            pipelines.mapped_examples(*self._contents).element_spec,
        )

    @property
    def arrays(self) -> dict[str, np.ndarray] | None:
        """The examples as a task gets them, by key, where all are in memory, so that it may check them.

        None for a stream, for arrays that a `map_fn` will still change, and where an example is no dict.

        Raises:
          UsageError: the source gives something that cannot be batched.
        """
        found, map_fn = self._contents
        if map_fn is not None or not isinstance(found, dict):
            return None
        return {name: tensor.numpy() for name, tensor in found.items()}

    @functools.cached_property
    def _contents(self) -> tuple[tf.data.Dataset | Nest, Callable | None]:
        """What was read, and what remains to be mapped."""
        found = contents.read(self._source)
        in_memory = not isinstance(found, tf.data.Dataset)
        if not self._cache or (in_memory and self._map_fn is None):
            return found, self._map_fn
        return contents.read_whole(found, self._map_fn, self._skip), None

    def _skips(self, on_error: Any) -> bool:
        if on_error not in ("raise", "skip"):
            raise UsageError(f'Input.on_error = {on_error!r}: want "raise" or "skip"; change Input.on_error')
        return on_error == "skip"

    def _open(self, train: bool) -> Feed:
        found, map_fn = self._contents
        if isinstance(found, tf.data.Dataset):
            return self._open_stream(found, map_fn, train)
        order = self._order(len(tf.nest.flatten(found)[0]), train)
        if map_fn is None:
            return (ArrayFeed if order.shuffle else SlicedFeed)(found, order)
        return self._open_mapped(found, order, map_fn, train)

    def _order(self, num_examples: int, train: bool) -> Order:
        elements.refuse_fewer(num_examples, self._least)
        return Order(
            num_examples=num_examples,
            batch_size=self._batch_size,
            shuffle=self._shuffle and train,
            seed=self._seed,
            drop_remainder=self._drop_remainder,
            endless=train,
        )

    def _open_mapped(self, tensors: Nest, order: Order, map_fn: Callable, train: bool) -> Feed:
        repeats = elements.can_be_saved(pipelines.mapped_examples(tensors, map_fn))
        if train and not repeats:
            logging.warning(
                "Input.map_fn draws random numbers, or calls Python: after a resume it will not repeat them, "
                "and the run will differ from one without interruption. Use tf.random.stateless_* in it."
            )
        if self._skip and self._drop_remainder:
            raise UsageError(
                'Input.on_error = "skip" makes batches of arrays short, but Input.drop_remainder = True wants all full: '
                "bind Input.cache = True, which leaves bad examples out before the batches are cut, or drop one of them"
            )
        rows = MappedRows(tensors, order, map_fn, self._skip)
        return StreamFeed(
            rows.batches,
            endless=train,
            counts=self._skip,
            find_bad=functools.partial(name_row, rows),
            seeks=True,
            full_batch=self._full_batch,
            num_examples=order.num_examples,
            batches_per_epoch=order.batches_per_epoch,
        )

    def _open_stream(self, examples: tf.data.Dataset, map_fn: Callable | None, train: bool) -> Feed:
        self._check_start(examples, map_fn)
        if not train:
            return self._open_eval_stream(examples, map_fn)
        saved = elements.can_be_saved(pipelines.mapped_examples(examples, map_fn))
        if not saved:
            logging.warning(
                "The source of Input, or its map_fn, runs Python code, shuffles or draws random numbers, "
                "whose state no checkpoint can hold: after a resume all batches up to there are read again "
                "and thrown away, which takes time and is exact only if they come out the same. "
                "Let Input.shuffle do the shuffling."
            )

        def build(first_batch: int) -> tf.data.Dataset:
            # A dataset that shuffles remembers how often it was read, so a replay takes a new one.
            unread = examples if saved else contents.read(self._source)
            return self._stream(unread, map_fn).for_training(first_batch, may_dry_up=not saved)

        return self._stream_feed(build, examples, map_fn, endless=True, seeks=not saved)

    def _open_eval_stream(self, examples: tf.data.Dataset, map_fn: Callable | None) -> Feed:
        elements.refuse_endless(examples, "an evaluation sees each example once")
        stream = self._stream(examples, map_fn)
        return self._stream_feed(lambda _: stream.for_evaluation(), examples, map_fn, endless=False, seeks=False)

    def _stream_feed(
        self,
        build: Callable[[int], tf.data.Dataset],
        examples: tf.data.Dataset,
        map_fn: Callable | None,
        *,
        endless: bool,
        seeks: bool,
    ) -> Feed:
        return StreamFeed(
            build,
            endless=endless,
            seeks=seeks,
            full_batch=self._full_batch,
            counts=self._skip,
            find_bad=lambda _: name_first_bad(examples, map_fn),
        )

    def _check_start(self, examples: tf.data.Dataset, map_fn: Callable | None) -> None:
        """Refuse a stream that does not give its first batch."""
        if self._skip:
            check_some_good(pipelines.mapped_examples(examples, map_fn), self._least)
            return
        try:
            elements.check_filled(examples, self._least)
        except FAILURES as error:
            if (place := name_first_bad(examples, None)) is None:
                raise
            raise UsageError(with_fix(place)) from error

    def _stream(self, examples: tf.data.Dataset, map_fn: Callable | None) -> Stream:
        return Stream(
            examples=examples,
            map_fn=map_fn,
            batch_size=self._batch_size,
            drop_remainder=self._drop_remainder,
            shuffle_buffer=self._shuffle_buffer if self._shuffle else None,
            seed=self._seed,
            skip=self._skip,
        )

    @property
    def _least(self) -> int:
        return self._batch_size if self._drop_remainder else 1

    @property
    def _full_batch(self) -> int | None:
        return self._batch_size if self._drop_remainder else None
