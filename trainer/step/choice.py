"""Updates that XLA makes only under a condition, in place."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from ..model.optimizers import parts

_CHANGES: dict[str, Callable[[tf.Tensor, tf.Tensor], tf.Tensor]] = {
    "assign": lambda old, value: value,
    "assign_add": tf.add,
    "assign_sub": tf.subtract,
}


@contextlib.contextmanager
def changed_only_if(
    condition: tf.Tensor, optimizer: keras.optimizers.Optimizer, variables: Sequence[keras.Variable]
) -> Iterator[None]:
    """Inside the context, an optimizer leaves all variables as they are unless `condition`, without a branch.

    XLA copies whatever goes through a branch. It also copies each moment if the old one is put back at the end, as the weights
    are computed from the new one: so what the optimizer's rule assigns to its own variables is chosen there and then.

    Args:
      condition: bool scalar.
      optimizer: one of Keras's own; each assigns a variable of its rule by `Optimizer.assign` and its like, and by nothing else.
      variables: what it trains.
    """
    before = [(each, tf.convert_to_tensor(each)) for each in (*variables, *optimizer.variables)]
    assigned: set[int] = set()
    own = {id(each.value) for each in optimizer.variables}

    def chosen(variable: Any, value: Any, change: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]) -> None:
        variable = variable.value if isinstance(variable, keras.Variable) else variable
        assigned.add(id(variable))
        old = tf.convert_to_tensor(variable)
        variable.assign(tf.where(condition, change(old, tf.cast(value, variable.dtype)), old))

    for part in parts(optimizer):
        for name, change in _CHANGES.items():
            setattr(part, name, lambda variable, value, change=change: chosen(variable, value, change))
    try:
        yield
    finally:
        for part in parts(optimizer):
            for name in _CHANGES:
                delattr(part, name)
    for variable, old in before:
        if id(variable.value) not in assigned & own:  # the trained ones may also decay
            variable.assign(tf.where(condition, variable, old))
