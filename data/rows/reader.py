"""Reading ahead of the steps, in threads of `tf.data`."""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf

from ..elements import zeros_like_spec
from ..feeds.iterators import stopped_at_exit

_MOST = 32  # steps in a block
_SECONDS = 5e-3  # in which a block is to be read
_AHEAD = 4  # blocks that are ready, beside those that are being read, and steps that are finished
_AT_ONCE = 4  # steps that are finished at the same time, each by its part of the cores
_CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

Flat = list[tf.Tensor]
T = TypeVar("T")


class Reader:
    """The steps from some step on, read while a step runs.

    A call of Python takes longer than reading a row or two, so steps that are quickly read are read in blocks of several.
    What is read, and when an error shows, does not depend on it.

    Args:
      load: (step, count) -> the arrays of `count` steps from this one on, each (count, ...); called in the threads.
      alike: step -> how many steps from this one on have arrays of the same shapes, and may be read by one call: at least 1, and
        none after the end.
      specs: the arrays of a step.
      threads: how many calls of `load` at once.
      end: the number of steps, if there is an end. After it come zeros, without end.
      finish: (the arrays of a step, threads) -> a dataset of one element, what so many threads make of them in the graph; None if
        they are left as they are.
      finished: the specs of what it makes.
    """

    def __init__(
        self,
        load: Callable[[int, int], Sequence[np.ndarray]],
        alike: Callable[[int], int],
        specs: Sequence[tf.TensorSpec],
        threads: int,
        end: int | None = None,
        finish: Callable[[Flat, int], tf.data.Dataset[Any]] | None = None,
        finished: Sequence[tf.TensorSpec] = (),
    ):
        self._blocks = _Blocks(load, alike, specs, end)
        self._specs = list(specs)
        self._threads = threads
        self._end = end
        self._finish = finish
        self._found = list(self._specs if finish is None else finished)
        found = [tf.TensorSpec([], tf.int64), *self._found]
        self._kind = {"output_types": [each.dtype for each in found], "output_shapes": [each.shape for each in found]}
        with tf.device("CPU:0"):
            self._iterator = tf.raw_ops.AnonymousIteratorV3(**self._kind)
        scalar = tf.TensorSpec([], tf.int64)
        # A graph, so that another step is no other dataset, which would be traced again.
        self._start = tf.function(self._make, autograph=False).get_concrete_function(scalar, scalar)
        self.restart(0)
        stopped_at_exit(self)

    @property
    def error(self) -> Exception | None:
        """The error of `load` for the first of the steps for which it raised."""
        errors = self._blocks.errors
        return errors[min(errors)] if errors else None

    def untaken(self, step: int) -> range:
        """Return the steps from this one on that have been read, or are being read, without most of those that were taken."""
        last = self._blocks.last
        return range(max(step, last - (self._threads + _AHEAD + 2) * _MOST), last + 1)

    def next(self) -> tuple[tf.Tensor, Flat]:
        """Return (a step, its arrays), of the step after the one before; eagerly or in a graph."""
        # To wait in a thread of the step is much faster than in one of its own. But then there must be another one, for the
        # operations of TensorFlow by which rows are drawn, and which a user's transform may call.
        operation = tf.raw_ops.IteratorGetNextSync if _inter_op_threads() > 1 else tf.raw_ops.IteratorGetNext
        step, *flat = operation(iterator=self._iterator, **self._kind)
        return step, flat

    def restart(self, step: int) -> None:
        """Continue at a step. What was read ahead is dropped, once the calls that are being made have ended."""
        self._put(self._blocks.begin(step), -1)

    def stop(self) -> None:
        """End the reading; wait for the calls that are being made."""
        self._put(0, 0)

    def _put(self, run: int, most: int) -> None:
        with tf.device("CPU:0"):
            self._start(tf.constant(run, tf.int64), tf.constant(most, tf.int64))

    def _make(self, run: tf.Tensor, most: tf.Tensor) -> None:
        """Put the iterator at the start of a run, of so many blocks at most."""
        with tf.device("CPU:0"):
            numbers = tf.data.Dataset.counter().take(most)
            blocks = numbers.map(lambda number: self._read(run, number), num_parallel_calls=self._threads)
            if self._end is None:
                steps = self._steps(blocks)
            else:
                steps = self._steps(blocks.take_while(lambda steps, *_: tf.size(steps) > 0))
                steps = steps.concatenate(tf.data.Dataset.counter(self._end).map(self._zeros))
            steps = steps.with_options(self._options())
            tf.raw_ops.MakeIterator(dataset=tf.data.experimental.to_variant(steps), iterator=self._iterator)

    def _read(self, run: tf.Tensor, number: tf.Tensor) -> tuple[tf.Tensor, ...]:
        types = [tf.int64, *(spec.dtype for spec in self._specs)]
        steps, *flat = tf.numpy_function(_weak(self._blocks.read), [run, number], types)
        shaped = [tf.ensure_shape(each, [None, *spec.shape]) for each, spec in zip(flat, self._specs, strict=True)]
        return tf.ensure_shape(steps, [None]), *shaped

    def _steps(self, blocks: tf.data.Dataset[Any]) -> tf.data.Dataset[Any]:
        # Not after `unbatch`: to wake a thread for each step would cost more than reading it.
        steps = blocks.prefetch(_AHEAD).unbatch()
        if self._finish is None:
            return steps
        finished = steps.interleave(self._finished, cycle_length=_AT_ONCE, block_length=1, num_parallel_calls=_AT_ONCE)
        return finished.prefetch(_AHEAD)

    def _finished(self, step: tf.Tensor, *flat: tf.Tensor) -> tf.data.Dataset[Any]:
        assert self._finish is not None
        finished = self._finish(list(flat), -(-_CORES // _AT_ONCE))
        return finished.map(lambda *nest: (step, *tf.nest.flatten(nest)))

    def _zeros(self, step: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return step, *(tf.ensure_shape(zeros_like_spec(spec, unknown=1), spec.shape) for spec in self._found)

    def _options(self) -> tf.data.Options:
        options = tf.data.Options()
        options.deterministic = True
        options.autotune.enabled = False  # all sizes are given
        options.experimental_optimization.apply_default_optimizations = (
            False  # which takes as long as reading some steps
        )
        options.threading.max_intra_op_parallelism = 1
        # Threads that wait for rows would keep the steps from running.
        options.threading.private_threadpool_size = self._threads + (0 if self._finish is None else _CORES + _AT_ONCE)
        return options


def _inter_op_threads() -> int:
    """Return how many operations TensorFlow runs side by side; its environment counts where the program sets nothing."""
    given = os.environ.get("TF_NUM_INTEROP_THREADS", "").strip()
    by_environment = int(given) if given.isdecimal() else 0
    return tf.config.threading.get_inter_op_parallelism_threads() or by_environment or _CORES


def _weak(method: Callable[..., T]) -> Callable[..., T]:
    """Return the method for a `tf.numpy_function`: TensorFlow never forgets one, and would keep the data in memory."""
    found = weakref.WeakMethod(method)

    def call(*arguments: Any) -> T:
        alive = found()
        assert alive is not None, "nobody reads any more"
        return alive(*arguments)

    return call


class _Blocks:
    """Cuts the steps of a run into blocks, and reads them.

    Attributes:
      errors: step -> what was raised for it, in this run. One that ends late adds to those of its own.
      last: the last step that was read, or begun to be.
    """

    def __init__(
        self,
        load: Callable[[int, int], Sequence[np.ndarray]],
        alike: Callable[[int], int],
        specs: Sequence[tf.TensorSpec],
        end: int | None,
    ):
        self._load = load
        self._alike = alike
        self._none = [np.empty([0] + [n or 0 for n in spec.shape], spec.dtype.as_numpy_dtype) for spec in specs]
        self._end = end
        self._most = 1
        self._lock = threading.Lock()
        self._run = 0
        self._cut: dict[int, range] = {}  # number -> the steps of a block
        self._next = 0, 0  # the number of the block after them, and where it begins
        self.errors: dict[int, Exception] = {}
        self.last: int = 0

    def begin(self, step: int) -> int:
        """Cut blocks from a step on; return the number of this run, which `read` takes."""
        with self._lock:
            self._run += 1
            self._cut.clear()
            self.errors = {}
            self._next = 0, step
            self.last = step
            return self._run

    def read(self, run: np.ndarray, number: np.ndarray) -> list[np.ndarray]:
        """Return the numbers of the steps of a block, and their arrays; without those from the first bad one on.

        Raises:
          Exception: the first step cannot be read.
        """
        steps, errors = self._block(int(run), int(number))
        if not steps:
            return [np.arange(0), *self._none]
        began = time.perf_counter()
        arrays = self._good(steps.start, len(steps), errors)
        quick = time.perf_counter() - began < _SECONDS
        self._most = max(1, min(_MOST, 2 * len(steps) if quick else len(steps) // 2))
        return [np.arange(steps.start, steps.start + len(arrays[0])), *arrays]

    def _block(self, run: int, number: int) -> tuple[range, dict[int, Exception]]:
        with self._lock:
            if run != self._run:
                raise tf.errors.CancelledError(None, None, "the steps are read elsewhere by now")
            while self._next[0] <= number:
                following, step = self._next
                ended = self._end is not None and step >= self._end
                count = 0 if ended else min(self._most, self._alike(step))
                self._cut[following] = range(step, step + count)
                self._next = following + 1, step + count
            self.last = max(self.last, self._cut[number].stop - 1)
            return self._cut.pop(number), self.errors

    def _good(self, step: int, count: int, errors: dict[int, Exception]) -> Sequence[np.ndarray]:
        if count > 1:
            with contextlib.suppress(Exception):
                return self._load(step, count)
        found = [self._one(step, errors)]
        with contextlib.suppress(Exception):
            for later in range(step + 1, step + count):
                found.append(self._one(later, errors))
        return [np.concatenate(parts) for parts in zip(*found, strict=True)] if count > 1 else found[0]

    def _one(self, step: int, errors: dict[int, Exception]) -> Sequence[np.ndarray]:
        try:
            return self._load(step, 1)
        except Exception as error:
            errors[step] = error
            raise
