"""Sums over replicas and workers, in a graph."""

from __future__ import annotations

import itertools
from typing import Any

import tensorflow as tf

from .workers import is_multi_worker

_PIECE = 1024  # the most rows that a replica sends at once


def sum_over_replicas(strategy: tf.distribute.Strategy, per_replica: Any) -> Any:
    """Return the sums over all replicas of all workers, on this worker. Call it in the cross-replica context.

    Between workers, tensors of one dtype travel as one vector: a message costs more than the few numbers in it.

    Args:
      strategy: the replicas.
      per_replica: a nest of per-replica tensors of known shapes, or `tf.IndexedSlices` of any number of rows, each once; the
        result has each of their rows once, too.
    """
    if not tf.nest.flatten(per_replica):
        return per_replica
    if strategy.num_replicas_in_sync == 1:
        return tf.nest.map_structure(lambda value: strategy.experimental_local_results(value)[0], per_replica)
    if not is_multi_worker(strategy):
        total = strategy.reduce(tf.distribute.ReduceOp.SUM, per_replica, axis=None)
        return tf.nest.map_structure(_rows_once, total)
    flat = tf.nest.flatten(per_replica)
    local = [strategy.experimental_local_results(value)[0] for value in flat]
    whole = [i for i, value in enumerate(local) if not isinstance(value, tf.IndexedSlices)]
    sums: dict[int, Any] = dict(
        zip(whole, _packed_sums(strategy, [flat[i] for i in whole], [local[i] for i in whole]), strict=True)
    )
    for i in {*range(len(flat))} - {*whole}:
        sums[i] = added_by_row(_rows_of_workers(strategy, flat[i], local[i]))
    return tf.nest.pack_sequence_as(per_replica, [sums[i] for i in range(len(flat))])


def added_by_row(slices: tf.IndexedSlices) -> tf.IndexedSlices:
    """Return the same sum with each row once: the rows of equal numbers are added up."""
    rows, places = tf.unique(slices.indices)
    values = tf.math.unsorted_segment_sum(slices.values, places, tf.size(rows))
    return tf.IndexedSlices(values, rows, slices.dense_shape)


def _rows_once(total: Any) -> Any:
    """Add up what the replicas have of each row: TensorFlow's sum of slices only puts them one after the other."""
    return added_by_row(total) if isinstance(total, tf.IndexedSlices) else total


def _packed_sums(strategy: tf.distribute.Strategy, per_replica: list[Any], local: list[tf.Tensor]) -> list[tf.Tensor]:
    if not local:
        return []
    vectors = strategy.run(_packed, args=(per_replica,))
    total = [strategy.reduce(tf.distribute.ReduceOp.SUM, vector, axis=None) for vector in vectors]
    return _unpacked(total, local)


def _rows_of_workers(strategy: tf.distribute.Strategy, per_replica: Any, local: tf.IndexedSlices) -> tf.IndexedSlices:
    """Return the rows of all replicas, one after the other, and zeros for row 0.

    They are sent in pieces of one size, as many as the replica with most of them needs: within a call of a graph, with all the
    steps of its loop, a collective of TensorFlow 2.21 sends one shape only.
    """
    shape = tf.get_static_value(local.dense_shape)
    # Of a wide table of few rows, no more than it has.
    size = _PIECE if shape is None else min(_PIECE, int(shape[0]))
    counts = strategy.reduce(tf.distribute.ReduceOp.SUM, strategy.run(_pieces, args=(per_replica, size)), axis=None)
    most = tf.reduce_max(counts.values)

    def send(i: tf.Tensor, values: tf.TensorArray, rows: tf.TensorArray) -> tuple[tf.Tensor, ...]:
        piece = strategy.run(_piece, args=(per_replica, i, size))
        sent = strategy.reduce(tf.distribute.ReduceOp.SUM, piece, axis=None)
        return i + 1, values.write(i, sent.values), rows.write(i, sent.indices)

    arrays = [tf.TensorArray(each.dtype, most, infer_shape=False) for each in (local.values, local.indices)]
    _, values, rows = tf.while_loop(lambda i, *_: i < most, send, (tf.constant(0), *arrays))
    all_values = tf.ensure_shape(values.concat(), [None, local.values.shape[1]])
    return tf.IndexedSlices(all_values, rows.concat(), local.dense_shape)


def _pieces(slices: tf.IndexedSlices, size: int) -> tf.IndexedSlices:
    """Return the number of pieces of `size` rows as a row: the sum of the replicas' is a list of them."""
    count = -(-tf.size(slices.indices) // size)
    return tf.IndexedSlices(tf.reshape(count, [1, 1]), tf.zeros([1], tf.int32), tf.constant([1, 1]))


def _piece(slices: tf.IndexedSlices, i: tf.Tensor, size: int) -> tf.IndexedSlices:
    """Return piece `i`, filled up by zeros."""
    places = slice(i * size, (i + 1) * size)
    values, rows = slices.values[places], slices.indices[places]
    missing = size - tf.size(rows)
    values = tf.ensure_shape(tf.pad(values, [[0, missing], [0, 0]]), [size, slices.values.shape[1]])
    return tf.IndexedSlices(values, tf.ensure_shape(tf.pad(rows, [[0, missing]]), [size]), slices.dense_shape)


@tf.custom_gradient
def added_up(value: tf.Tensor) -> Any:  # the decorator makes it a function that returns the first of the pair
    """Return the sum over all replicas, in each of them; its gradient is the sum of all their gradients. Call it in a replica."""
    return _summed(value), _summed


def _summed(value: tf.Tensor) -> tf.Tensor:
    """Sum without `ReplicaContext.all_reduce`, after which a process cannot use strategies of two sizes (TensorFlow 2.21)."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return tf.identity(value)
    return context.merge_call(lambda strategy, mine: sum_over_replicas(strategy, mine), args=(value,))


def _packed(nest: Any) -> list[tf.Tensor]:
    """Return one vector per dtype."""
    tensors = [tf.cast(tensor, _sent_as(tensor.dtype)) for tensor in tf.nest.flatten(nest)]
    return [tf.concat([tf.reshape(tensors[i], [-1]) for i in places], 0) for places in _by_dtype(tensors)]


def _unpacked(vectors: list[tf.Tensor], like: list[tf.Tensor]) -> list[tf.Tensor]:
    found = {}
    for vector, places in zip(vectors, _by_dtype(like), strict=True):
        pieces = tf.split(vector, [_size(like[i]) for i in places])
        found |= {i: tf.cast(_reshaped(p, like[i]), like[i].dtype) for i, p in zip(places, pieces, strict=True)}
    return [found[i] for i in range(len(like))]


def _size(tensor: tf.Tensor) -> int | tf.Tensor:
    return tf.size(tensor) if tensor.shape.num_elements() is None else tensor.shape.num_elements()


def _reshaped(piece: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    if like.shape.is_fully_defined():
        return tf.reshape(piece, like.shape)
    return tf.ensure_shape(tf.reshape(piece, tf.shape(like)), like.shape)


def _by_dtype(tensors: list[tf.Tensor]) -> list[list[int]]:
    """Return the positions of the tensors that are sent as each dtype."""
    names = [_sent_as(tensor.dtype).name for tensor in tensors]
    places = sorted(range(len(tensors)), key=lambda i: (names[i], i))
    return [list(group) for _, group in itertools.groupby(places, key=lambda i: names[i])]


def _sent_as(dtype: tf.DType) -> tf.DType:
    """Return float32 for bfloat16, which has no CPU collective in TensorFlow 2.21; the sum gains precision."""
    return tf.float32 if dtype == tf.bfloat16 else dtype
