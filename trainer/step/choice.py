"""Updates that XLA makes only under a condition, in place."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import keras
import tensorflow as tf

from ..model.embeddings import copies
from ..model.optimizers import parts

_CHANGES: dict[str, Callable[[tf.Tensor, tf.Tensor], tf.Tensor]] = {
    "assign": lambda old, value: value,
    "assign_add": tf.add,
    "assign_sub": tf.subtract,
}
_CHANGES_OF_ROWS: dict[str, Callable[[Any, tf.IndexedSlices], Any]] = {
    "assign_add": lambda variable, rows: variable.scatter_add(rows),
    "assign_sub": lambda variable, rows: variable.scatter_sub(rows),
}


@contextlib.contextmanager
def changed_only_if(
    condition: tf.Tensor, optimizer: keras.optimizers.Optimizer, variables: Sequence[keras.Variable]
) -> Iterator[None]:
    """Let an optimizer leave all variables as they are unless `condition`, inside the context and without a branch.

    XLA copies whatever goes through a branch. It also copies each moment if the old one is put back at the end, as the weights
    are computed from the new one: so what the optimizer's rule assigns to its own variables is chosen there and then.

    Args:
      condition: bool scalar.
      optimizer: one of Keras's own; each assigns a variable of its rule by `Optimizer.assign` and its like, and by nothing else.
      variables: what it trains.
    """
    before = [(each, tf.convert_to_tensor(each)) for each in (*variables, *optimizer.variables)]
    done: set[int] = set()  # the variables whose change was chosen
    own = {id(each.value) for each in optimizer.variables}

    def chosen(variable: Any, value: Any, name: str) -> None:
        variable = variable.value if isinstance(variable, keras.Variable) else variable
        if isinstance(value, tf.IndexedSlices):  # all that happens to the variable
            done.add(id(variable))
            _CHANGES_OF_ROWS[name](variable, _where(condition, value))
            return
        if id(variable) in own:  # the trained ones may also decay
            done.add(id(variable))
        old = tf.convert_to_tensor(variable)
        variable.assign(tf.where(condition, _CHANGES[name](old, tf.cast(value, variable.dtype)), old))

    for part in parts(optimizer):
        for name in _CHANGES:
            setattr(part, name, partial(chosen, name=name))
    try:
        yield
    finally:
        for part in parts(optimizer):
            for name in _CHANGES:
                delattr(part, name)
    for variable, old in before:
        if not _ids(variable) & done:
            variable.assign(tf.where(condition, variable, old))


def _ids(variable: keras.Variable) -> set[int]:
    """Return how `done` may name it: an update is given a replica's copy."""
    return {id(variable.value), *map(id, copies(variable))}


def _where(condition: tf.Tensor, rows: tf.IndexedSlices) -> tf.IndexedSlices:
    values = tf.where(condition, rows.values, tf.zeros_like(rows.values))
    return tf.IndexedSlices(values, rows.indices, rows.dense_shape)
