"""A pseudo-random permutation that computes each element on its own, in O(1)."""

from __future__ import annotations

import math

import tensorflow as tf

# After four rounds, neighbors stay neighbors half again as often as by chance; after six, no more often.
_ROUNDS = 6
# Up to this size, where six rounds on so few cells prefer some orders, the rows are sorted by random numbers instead.
_TINY = 32
_NARROW = 2**30  # up to this size, rows are numbered in 32 bits, which is faster; the grid has slightly more cells


def permuted(positions: tf.Tensor, epochs: tf.Tensor, num_epochs: int | tf.Tensor, size: int, seed: int) -> tf.Tensor:
    """Return where the permutation of (seed, epoch) sends each position.

    Up to 32 elements are sorted by a random number each, so that every order is equally likely. More of them go through a
    Feistel network on a grid of `rows x columns >= size` cells, whose round functions are tables of random numbers drawn
    from (seed, epoch). A position that lands on a cell past the end is sent on until it lands inside ("cycle walking"),
    which keeps the map one to one. Few positions do, because the grid has less than one row more than it needs.
    See Black and Rogaway, "Ciphers with Arbitrary Finite Domains", 2002.

    `tf.random.experimental.index_shuffle` is not a substitute: it walks in a domain of at least 2^16 cells,
    which costs 10 microseconds per index for 64 examples; it takes no vector of seeds (TensorFlow 2.21 pads them
    wrongly); and its four rounds leave whole runs of consecutive numbers together.

    Args:
      positions: int64 [k], each in [0, size).
      epochs: int64 [k], not decreasing; each value has a permutation of its own.
      num_epochs: at least the number of epochs from the first to the last; an int for XLA.
      size: the number of elements that are permuted.
      seed: in [0, 2**32).

    Returns:
      int64 [k], each in [0, size).
    """
    each_epoch = epochs[0] + tf.range(tf.cast(num_epochs, tf.int64))
    if size <= _TINY:
        orders = tf.argsort(_drawn(each_epoch, [size], seed), axis=1)
        return tf.cast(tf.gather(tf.reshape(orders, [-1]), (epochs - epochs[:1]) * size + positions), tf.int64)
    columns = math.isqrt(size - 1) + 1
    rows = -(-size // columns)
    dtype = tf.int32 if size <= _NARROW else tf.int64
    tables = _tables(each_epoch, rows, columns, seed, dtype)
    offset = tf.cast((epochs - epochs[:1]) * columns, dtype)

    def walk(cells: tf.Tensor, goes_on: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        cells = tf.where(goes_on, _shuffle_once(cells, offset, tables, rows, columns), cells)
        return cells, cells >= size

    cells = tf.cast(positions, dtype)
    # The first walk is inside the loop too: the network is most of what is traced and optimized before the first step.
    found, _ = tf.while_loop(lambda _, goes_on: tf.reduce_any(goes_on), walk, (cells, cells >= 0))
    return tf.cast(found, tf.int64)


def _tables(each_epoch: tf.Tensor, rows: int, columns: int, seed: int, dtype: tf.DType) -> list[tf.Tensor]:
    """Return one table per round, flat over (epoch, cell of the side that the round reads)."""
    sides = tf.constant([rows, columns] * (_ROUNDS // 2), tf.int64)[:, tf.newaxis]
    drawn = tf.math.floormod(_drawn(each_epoch, [_ROUNDS, columns], seed), sides)
    return tf.unstack(tf.cast(tf.reshape(tf.transpose(drawn, [1, 0, 2]), [_ROUNDS, -1]), dtype))


def _drawn(each_epoch: tf.Tensor, shape: list[int], seed: int) -> tf.Tensor:
    """Return random int64 numbers of (seed, epoch), `shape` for each epoch; 63 bits, whose remainders are as good as uniform."""

    def draw(epoch: tf.Tensor) -> tf.Tensor:
        key = tf.stack([tf.constant(seed, tf.int64), epoch])
        return tf.random.stateless_uniform(shape, key, minval=0, maxval=tf.int64.max, dtype=tf.int64, alg="philox")

    return tf.map_fn(draw, each_epoch, fn_output_signature=tf.TensorSpec(shape, tf.int64))


def _shuffle_once(cells: tf.Tensor, offset: tf.Tensor, tables: list[tf.Tensor], rows: int, columns: int) -> tf.Tensor:
    row, column = cells // columns, tf.math.floormod(cells, columns)
    for row_table, column_table in zip(tables[::2], tables[1::2], strict=True):
        row = _wrapped(row + tf.gather(row_table, offset + column), rows)
        column = _wrapped(column + tf.gather(column_table, offset + row), columns)
    return row * columns + column


def _wrapped(sums: tf.Tensor, size: int) -> tf.Tensor:
    """Return `sums % size` of numbers below 2 * size; ten times faster, as 64-bit division is slow."""
    return tf.where(sums >= size, sums - size, sums)
