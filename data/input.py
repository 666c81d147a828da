"""`Input`: the configurable that binds a source to the way it is cut into batches."""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Literal, get_args

import gin
import tensorflow as tf

from ..metrics.errors import UsageError
from .checks import one_of, seed_number, true_or_false, whole_number
from .contents import ends_within, read, read_whole
from .elements import Nest, batch_spec, spec_bytes
from .feeds.feed import Feed
from .feeds.pipelines import mapped_examples
from .opening import BatchOptions, open_arrays, open_rows, open_sharded, open_stream, rows_spec
from .rows.mapped import takes_seed
from .rows.rows import Rows, is_by_number, of_arrays
from .streams.opening import warn_read_whole, warn_uneven
from .streams.shards import Shards, Worker, cut

OnError = Literal["raise", "skip"]


@gin.register(module="tallyloop")
class Input:
    """A source of examples, and how to cut it into global batches.

    A global batch is what one step sees over all replicas of all workers; nothing here depends on their number. An
    epoch has every example once; its last batch may be short.

    Args:
      source: a function without arguments (or of `shards`), or what such a function returned: a dict of arrays of equal
        length, of which some may be dicts of arrays again, or a tuple such as `(x, y)`; or rows by number, which is any
        object with `__len__`, and with `__getitem__(i) -> example` or `__getitems__(rows) -> examples` (a dict or tuple of
        stacked arrays, or a list of examples), and memory-mapped arrays in such a dict or tuple; or a `tf.data.Dataset` of
        single examples, which can be read again from its start. Of arrays and rows any step is reached at once, the shuffle is
        over all examples, and each worker reads only the rows of its replicas. The function is called once, when first
        needed; it is called again only for a dataset whose place no checkpoint can hold.
      global_batch_size: the examples per step; 32 as in Keras.
      shuffle: a new order in each epoch, in training: sorted data trained in its order costs accuracy in silence. Evaluation
        keeps the source's order: sums do not depend on it, and predictions should come in the order of the examples.
      cache: read a dataset, or arrays with a `map_fn`, into memory once, after `map_fn`; from then on it behaves like
        arrays.
      map_fn: example -> example, without a batch dimension, made of TensorFlow operations. It is called as by
        `tf.data.Dataset.map`: a dict is one argument, and a tuple is several. A last parameter named `seed`, after those of
        the example, gets a stateless seed, int32 (2,), of this row in this epoch, for `tf.image.stateless_random_*`: the same
        on any number of workers and after a resume, and another one in each epoch. Other random numbers are not repeated
        after a resume.
      seed: the seed of the order, in [0, 2**32).
      drop_remainder: leave out an epoch's short batch, so that all shapes are static. In training only: an
        evaluation sees each example once in any case.
      shuffle_buffer: for a dataset, how many examples the next one is drawn from (in all shards). 10,000 mixes well for most file
        layouts; every checkpoint contains the examples in the buffer.
      on_error: what to do with an example that cannot be read (a corrupt record of a TFRecord file) or for which
        `map_fn` raises. "raise" ends the run and names the file and index. "skip" leaves it out and counts it in the
        metric `data/skipped`. What follows a corrupt record in its file is lost with it, as one example. In training on
        arrays, a batch is short of its bad examples, so that any step is still reached at once; a batch of bad examples
        only ends the run. The `shuffle_buffer` then holds mapped examples. With `cache`, bad examples are skipped when
        the source is read, and their number is logged.
      transform: `transform(example, rng) -> example`, in Python and NumPy, before `map_fn`; of arrays and rows by number.
        `rng` is a `numpy.random.Generator` keyed by (seed, epoch, row).
      read_threads: how many threads read rows by number ahead of the step. More help if reading or `transform` waits for a
        disk or a network, or lets other threads run.
      read_processes: how many processes read the rows and apply `transform` instead. They help a `transform` in Python, which
        holds the GIL. Each has a copy of the source, and of the transform, which are pickled.
      shards: into how many parts a stream is cut, so that each worker reads its own parts only; a multiple of the number of
        workers. In training, every batch has an equal share of each shard, and each shard is repeated on its own: they should be
        of about one size, and no batch is short. The source is `tfrecord`, whose files are distributed to the shards, or a
        function of `(shard, shards)` that returns a dataset of the examples of one. The batches depend on `shards`, and not on
        the number of workers.

    Raises:
      UsageError: an argument is not as described.
    """

    def __init__(
        self,
        source: Callable[..., Any] | Mapping[str, Any] | tuple[Any, ...] | tf.data.Dataset,
        global_batch_size: int = 32,
        shuffle: bool = True,
        cache: bool = False,
        map_fn: Callable[..., Any] | None = None,
        seed: int = 0,
        drop_remainder: bool = False,
        shuffle_buffer: int = 10_000,
        on_error: OnError = "raise",
        transform: Callable[..., Any] | None = None,
        read_threads: int = 2,
        read_processes: int = 0,
        shards: int = 1,
    ):
        if not (callable(source) or isinstance(source, Mapping | tuple | tf.data.Dataset) or is_by_number(source)):
            raise UsageError(
                f"Input.source = {source!r}: expected a function, a dict or tuple of arrays, an object with __len__ and "
                "__getitem__, or a tf.data.Dataset; bind it as in Input.source = @digits"
            )
        if transform is not None and not callable(transform):
            raise UsageError(
                f"Input.transform = {transform!r}: expected a function of (example, rng); bind it without calling it, as in "
                "Input.transform = @my_function"
            )
        if map_fn is not None and not callable(map_fn):
            raise UsageError(
                f"Input.map_fn = {map_fn!r}: expected a function; bind it without calling it, as in "
                "Input.map_fn = @my_function"
            )
        self._source = source
        self._map_fn = map_fn
        self._transform = transform
        self._threads = whole_number("Input.read_threads", read_threads, least=1)
        self._processes = whole_number("Input.read_processes", read_processes, least=0)
        self._cache = true_or_false("Input.cache", cache)
        self._shards = whole_number("Input.shards", shards, least=1)
        batch_size = whole_number("Input.global_batch_size", global_batch_size, least=1)
        if self._shards > batch_size:
            raise UsageError(
                f"Input.shards = {shards}: expected at most Input.global_batch_size = {batch_size}, as each batch has examples "
                "of all shards; lower the one or raise the other"
            )
        self._told = False
        self._options = BatchOptions(
            batch_size=batch_size,
            shuffle=true_or_false("Input.shuffle", shuffle),
            seed=seed_number("Input.seed", seed),
            drop_remainder=true_or_false("Input.drop_remainder", drop_remainder) or self._shards > 1,
            shuffle_buffer=whole_number("Input.shuffle_buffer", shuffle_buffer, least=1),
            skip=one_of("Input.on_error", on_error, get_args(OnError)) == "skip",
        )

    def call_within(self, context: Callable[[], AbstractContextManager[None]]) -> None:
        """Have the source and `map_fn` called inside a context, whenever that is: gin's references need their config then."""
        if not is_by_number(self._source):
            self._source = _within(context, self._source)
        self._map_fn = _within(context, self._map_fn)

    @property
    def global_batch_size(self) -> int:
        """The examples per step, over all replicas of all workers."""
        return self._options.batch_size

    @property
    def settings(self) -> dict[str, Any]:
        """Argument -> value of those that decide what is in the batches, for a record of the run."""
        options = self._options
        return {
            "source": self._source,
            "global_batch_size": options.batch_size,
            "shuffle": options.shuffle,
            "map_fn": self._map_fn,
            "seed": options.seed,
            "drop_remainder": options.drop_remainder,
            "shuffle_buffer": options.shuffle_buffer,
            "transform": self._transform,
            "shards": self._shards,
        }

    def with_batch_size(self, global_batch_size: int) -> Input:
        """Return an Input of the same source, which is not read again, cut into batches of another size."""
        other = copy.copy(self)
        other._options = dataclasses.replace(self._options, batch_size=global_batch_size)
        return other

    def open_train(self, worker: int = 0, workers: int = 1) -> Feed:
        """Return a feed that continues forever, epoch after epoch.

        Args:
          worker: the index of this process among those that share the batches.
          workers: how many share them.

        Raises:
          UsageError: the source gives something that cannot be batched.
        """
        return self._open(self._options, Worker(worker, workers), train=True)

    def open_eval(self, worker: int = 0, workers: int = 1) -> Feed:
        """Return a feed of one pass in the source's order; rewind it for the next pass.

        Args:
          worker: the index of this process among those that share the batches.
          workers: how many share them.

        Raises:
          UsageError: the source gives something that cannot be batched, or it never ends.
        """
        return self._open(self._options.for_evaluation(), Worker(worker, workers), train=False)

    @property
    def batches_per_epoch(self) -> int | None:
        """The steps of a pass over the data in training; None for a stream.

        Raises:
          UsageError: the source gives something that cannot be batched.
        """
        found, _ = self._contents
        if isinstance(found, tf.data.Dataset | Shards):
            return None
        rows = found.length if isinstance(found, Rows) else len(tf.nest.flatten(found)[0])
        batches, rest = divmod(rows, self.global_batch_size)
        return batches + (rest > 0 and not self._options.drop_remainder)

    @property
    def element_spec(self) -> Nest:
        """A nest of `tf.TensorSpec`: the global batch in training, without opening a feed.

        Raises:
          UsageError: the source gives something that cannot be batched.
        """
        found, map_fn = self._contents
        if isinstance(found, Rows):
            return rows_spec(found, self._transform, map_fn, self._options)
        found = found.of(0) if isinstance(found, Shards) else found
        return batch_spec(mapped_examples(found, map_fn).element_spec, self._options.full_batch)

    @property
    def arrays(self) -> Nest | None:
        """All examples as a task gets them, in a dict or tuple, if they are in memory, so that the task can check them.

        None for a stream, for arrays that a `map_fn` has yet to change, and if an example is neither a dict nor a tuple.

        Raises:
          UsageError: the source gives something that cannot be batched.
        """
        found, _ = self._contents
        if not isinstance(found, dict | tuple):
            return None
        return tf.nest.map_structure(lambda tensor: tensor.numpy(), found)

    def can_cache(self, seconds: float, most_bytes: int) -> bool:
        """Return whether `cache = True` would change something, and the mapped examples would fit into so many bytes.

        A stream of unknown length is read for that, for so many seconds at most: one that has not ended by then is refused.

        Raises:
          UsageError: the source gives something that cannot be batched.
        """
        found, map_fn = self._contents
        if isinstance(found, tf.data.Dataset):
            return ends_within(mapped_examples(found, map_fn), seconds, most_bytes)
        if not isinstance(found, Rows) or not found.in_memory or self._by_number:
            return False
        bytes_each = spec_bytes(self.element_spec)
        return bytes_each is not None and found.length * bytes_each <= most_bytes

    @functools.cached_property
    def _contents(self) -> tuple[tf.data.Dataset[Nest] | Nest | Rows | Shards, Callable[..., Any] | None]:
        """The examples read from the source, and the function that is still to be applied to each example."""
        found = read(self._source) if self._shards == 1 else self._cut()
        by_number = self._by_number
        if isinstance(found, tf.data.Dataset | Shards) and by_number:
            raise UsageError(
                "Input.transform, Input.read_processes and an Input.map_fn of (example, seed) go by the number of the row: "
                "expected arrays or rows by number as Input.source, got a stream. Use Dataset.map in the source."
            )
        if isinstance(found, Shards):
            return found, self._map_fn
        if self._cache and (by_number or isinstance(found, Rows)):
            raise UsageError(
                "Input.cache = True: expected arrays in memory or a stream, got rows that are read by number (an object with "
                "__len__, memory-mapped arrays, or arrays with a transform or a map_fn of (example, seed)). Remove it."
            )
        mapped = isinstance(found, tf.data.Dataset) or self._map_fn is not None
        if self._cache and mapped:
            return read_whole(found, self._map_fn, self._options.skip), None
        if not isinstance(found, tf.data.Dataset | Rows) and (by_number or mapped):
            found = of_arrays(tf.nest.map_structure(lambda tensor: tensor.numpy(), found), in_memory=True)
        return found, self._map_fn

    @property
    def _by_number(self) -> bool:
        """True if something goes by the number of the row."""
        return self._transform is not None or takes_seed(self._map_fn) or self._processes > 0

    def _cut(self) -> Shards:
        if self._cache:
            raise UsageError(
                f"Input.shards = {self._shards}, Input.cache = True: expected one of the two, as a cached source is kept in "
                "memory as a whole, and each worker uses its rows of it. Remove Input.shards."
            )
        return cut(self._source, self._shards)

    def _reread(self) -> tf.data.Dataset[Nest]:
        found = read(self._source)
        assert isinstance(found, tf.data.Dataset), "the source gave a dataset before"
        return found

    def _open(self, options: BatchOptions, worker: Worker, train: bool) -> Feed:
        found, map_fn = self._contents
        if isinstance(found, Shards):
            if train and worker.index == 0 and not self._told:
                self._told = True
                warn_uneven(found)
            return open_sharded(found, map_fn, options, worker, train=train)
        if isinstance(found, Rows):
            return open_rows(
                found,
                self._transform,
                map_fn,
                options,
                train=train,
                threads=self._threads,
                processes=self._processes,
                worker=worker,
            )
        if isinstance(found, tf.data.Dataset):
            if worker.count > 1 and not self._told:
                self._told = True
                warn_read_whole(self._source, found, options.batch_size, worker)
            return open_stream(found, map_fn, options, train=train, reread=self._reread)
        return open_arrays(found, options, train=train)


def _within(context: Callable[[], AbstractContextManager[None]], value: Any) -> Any:
    if not callable(value):
        return value

    @functools.wraps(value, updated=())  # of a class, the attributes would make rows by number of it
    def call(*arguments: Any) -> Any:
        with context():
            return value(*arguments)

    return call
