"""Predicting a whole dataset: into memory, or into a file by shards as they come."""

from __future__ import annotations

import contextlib
import inspect
import json
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from ...data import Input
from ...metrics.errors import UsageError
from ..checkpointing.state import owned_variables
from ..distribution import workers
from ..errors import OutputError
from ..step.batches import first_batch
from ..task import Task
from . import formats
from .loop import PredictLoop
from .shard import MadeShard, Shard, StoredShard, in_order
from .unfinished import Unfinished

_SHARD_BYTES, _SHARD_SECONDS = 2**26, 15.0  # a shard is written when it has so much, or so much time has passed


def predict(
    task: Task, model: keras.Model, strategy: tf.distribute.Strategy, dataset: Input, output: str | Path | None = None
) -> Any:
    """Return `task.predict_step` of every example, in order, as a nest of NumPy arrays; or write them to `output`.

    All workers must call this. Each predicts its share; all return everything, or the chief writes the file.

    Args:
      task: its `predict_step` makes the predictions.
      model: the model.
      strategy: the replicas.
      dataset: what to predict.
      output: the file, whose ending is the format; then it is returned as a `Path`.

    Raises:
      DataError: an example cannot be read.
      OutputError: the disk is full.
      UsageError: the task cannot predict, or the file cannot be written.
    """
    if output is not None:
        formats.format_of(Path(output))
    loop = PredictLoop(
        task=task, model=model, strategy=strategy, feed=dataset.open_eval(*workers.index_and_count(strategy))
    )
    if output is None:
        return _in_memory(loop)
    with _output_named(Path(output)):
        return _to_file(loop, Path(output), lambda: _made_of(task, model, dataset, loop))


def _in_memory(loop: PredictLoop) -> Any:
    mine = MadeShard.of(list(loop.batches()) or [_none(loop)])
    everyone: list[Shard] = [mine]
    if workers.is_multi_worker(loop.strategy):
        everyone = [StoredShard(found) for found in workers.exchange_bytes(loop.strategy, b"".join(mine.dump()))]
    outputs = range(len(tf.nest.flatten(loop.outputs)))
    columns = [np.concatenate(list(in_order([[each] for each in everyone], i, loop.local))) for i in outputs]
    return tf.nest.pack_sequence_as(loop.outputs, columns)


def _to_file(loop: PredictLoop, output: Path, made_of: Callable[[], Mapping[str, str]]) -> Path:
    strategy, unfinished = loop.strategy, Unfinished(output)
    names = list(formats.named(loop.outputs))
    with contextlib.ExitStack() as stack:
        note = {}
        if workers.is_chief(strategy):
            output.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(unfinished.locked())
            note = dict(made_of())
            unfinished.begin(note)
        _check_shared(unfinished, note, strategy, output)
        _predict_rest(loop, unfinished, output)
        workers.wait_for_all(strategy)
        if workers.is_chief(strategy):
            everyone = [unfinished.shards(worker) for worker in range(workers.count(strategy))]
            columns = {name: partial(in_order, everyone, i, loop.local) for i, name in enumerate(names)}
            try:
                formats.write(output, columns)
            except UsageError:  # the format cannot hold them, and never will
                unfinished.remove()
                raise
            unfinished.remove()
    workers.finish_together(strategy)
    return output


def _check_shared(
    unfinished: Unfinished, note: Mapping[str, str], strategy: tf.distribute.Strategy, output: Path
) -> None:
    note = json.loads(workers.from_chief(strategy, json.dumps(note)))
    if workers.any_of(strategy, not unfinished.is_seen(note))[0]:
        raise UsageError(f"output = {str(output)!r}: expected a folder that all workers share.")


def _predict_rest(loop: PredictLoop, unfinished: Unfinished, output: Path) -> None:
    """Predict what no shard has yet, and write shards of it."""
    worker = workers.index(loop.strategy)
    done = unfinished.done(worker)
    # All begin at the same batch, as some steps of a task may need every worker.
    first = min(int(each) for each in workers.exchange(loop.strategy, str(done)))
    if first and worker == 0:
        logging.warning("%s continues after %d batches that were predicted before.", output, first)
    waiting: list[list[np.ndarray]] = []
    begun, number, size = time.monotonic(), first, 0
    for number, batch in enumerate(loop.batches(first), first):
        if number < done:
            continue
        waiting.append(batch)
        size += sum(array.nbytes for array in batch)
        if size >= _SHARD_BYTES or time.monotonic() - begun >= _SHARD_SECONDS:
            unfinished.add(worker, number + 1 - len(waiting), MadeShard.of(waiting))
            waiting, begun, size = [], time.monotonic(), 0
    if waiting:
        unfinished.add(worker, number + 1 - len(waiting), MadeShard.of(waiting))
    elif not unfinished.done(worker):
        unfinished.add(worker, 0, MadeShard.of([_none(loop)]))


def _none(loop: PredictLoop) -> list[np.ndarray]:
    """Return the predictions of a batch without examples."""
    return [
        np.zeros([0, *(size or 0 for size in spec.shape[1:])], spec.dtype.as_numpy_dtype)
        for spec in tf.nest.flatten(loop.outputs)
    ]


def _made_of(task: Task, model: keras.Model, dataset: Input, loop: PredictLoop) -> dict[str, str]:
    """Return what predictions depend on, as fingerprints: a run that was killed continues only if all are the same."""
    weights = [v.numpy() for v in (*model.variables, *owned_variables(task))]
    feed = loop.feed
    noted = [item for item in feed.checkpoint_items().values() if isinstance(item, tf.Variable)]
    arrays = dataset.arrays
    if arrays is None:  # of another feed, as this one reads ahead what its replicas ask for
        arrays = first_batch(dataset.open_eval(*workers.index_and_count(loop.strategy)))
    examples = tf.nest.flatten(arrays)
    return {
        "the weights": _fingerprint(weights),
        "predict_step": f"{type(task).__module__}.{type(task).__qualname__} {_source(task)} {formats.named(loop.outputs)}",
        "the data": f"{_fingerprint(examples)} {[item.numpy() for item in noted]} {feed.described}",
        "Input.global_batch_size": str(dataset.global_batch_size),
        "the workers and replicas": f"{workers.count(loop.strategy)} {loop.strategy.num_replicas_in_sync}",
    }


def _source(task: Task) -> str:
    """Return a fingerprint of the code of `predict_step`, which a user may fix before the command is run again."""
    try:
        return f"{zlib.crc32(inspect.getsource(type(task).predict_step).encode()):08x}"
    except (OSError, TypeError):  # typed into an interpreter, or made by a decorator
        return ""


def _fingerprint(arrays: list[np.ndarray]) -> str:
    found = 0
    for array in arrays:
        content = (
            repr(array.tolist()).encode()
            if array.dtype == object
            else np.ascontiguousarray(array.ravel()).view(np.uint8).data
        )
        found = zlib.crc32(content, zlib.crc32(repr((array.dtype, array.shape)).encode(), found))
    return f"{found:08x}"


@contextlib.contextmanager
def _output_named(output: Path) -> Iterator[None]:
    """Tell an error of the file system by the output.

    Raises:
      OutputError: something cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{output} cannot be written ({error.strerror or error}). The complete shards are kept: free some space, or make "
            "the folder writable, and run the same again."
        ) from error
