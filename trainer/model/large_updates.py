"""Updates of large variables: of the rows of a table that have a gradient, or of all numbers in one pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import tensorflow as tf

from .embeddings import copies, is_large, is_large_table


def let_update_large(optimizer: keras.optimizers.Optimizer) -> None:
    """Let an optimizer update large variables in less time, if it is one of Keras's that takes each number by itself.

    - A gradient that is given by its rows, each of them once, changes these rows only, where the rule leaves all others as they
      are. Keras's rule of Adagrad goes through the whole accumulator.
    - Other updates are compiled by XLA on a CPU, in a graph, all of a replica as one function. In TensorFlow, that of Adam goes
      through the variable and its moments eleven times and makes five tensors of their size, whose pages the system has to clear.

    Call this before anything else replaces `apply` or `update_step`, as parameter groups do.
    """
    if type(optimizer) in _KNOWN:
        updates = _LargeUpdates(optimizer)
        optimizer.apply = updates.apply
        optimizer.update_step = updates.update_step


def updated_by_rows(optimizer: keras.optimizers.Optimizer, variables: Sequence[keras.Variable]) -> frozenset[int]:
    """Return the positions of the variables whose gradient may be given by its rows.

    These are large tables that one of Keras's optimizers with a rule for each number updates. Clipping and scales set on the
    optimizer need the whole gradient: there it stays dense.

    Args:
      optimizer: built on the variables, after `let_update_large` of its parts.
      variables: what it updates.
    """
    several = isinstance(optimizer, keras.optimizers.MultiOptimizer)
    owners = [part for part in (optimizer.optimizers if several else [optimizer]) if _takes_rows(part)]
    assert all(hasattr(part, "_trainable_variables") for part in owners), "Keras keeps the variables elsewhere now"
    owned = {id(variable) for part in owners for variable in part._trainable_variables}
    # A constraint goes through all rows, whose single rows had better not be written to (see `embeddings.rows_looked_up`).
    return frozenset(
        i for i, each in enumerate(variables) if id(each) in owned and is_large_table(each) and each.constraint is None
    )


def _takes_rows(optimizer: keras.optimizers.Optimizer) -> bool:
    return (
        "apply" in vars(optimizer)  # not so in a MultiOptimizer that makes its own
        and optimizer.built
        and all(getattr(optimizer, name) is None for name in _NEED_THE_WHOLE_GRADIENT)
    )


def _touches_rows_only(optimizer: keras.optimizers.Optimizer) -> bool:
    """Return whether all else that an update does leaves the rows without a gradient as they are, too."""
    return (
        type(optimizer) in _RULES
        and optimizer.weight_decay is None
        and not optimizer.use_ema
        and not getattr(optimizer, "momentum", 0)
    )


class _LargeUpdates:
    """The methods that take the place of two of an optimizer's.

    A variable waits for the others of its device, as XLA takes a multiple of the time for as many functions as for one.
    """

    def __init__(self, optimizer: keras.optimizers.Optimizer):
        self._optimizer = optimizer
        self._apply = optimizer.apply
        self._update_step = optimizer.update_step
        self._expected: Counter[str] = Counter()  # per device, while `apply` runs
        self._waiting: dict[str, list[tuple[tf.Tensor, tf.Variable, tf.Tensor]]] = {}

    def apply(self, grads: Sequence[Any], trainable_variables: Iterable[keras.Variable] | None = None) -> None:
        """Update all variables that have a gradient."""
        if trainable_variables is None:
            self._apply(grads)  # each by itself
            return
        variables = list(trainable_variables)
        large = [
            each
            for gradient, each in zip(grads, variables, strict=True)
            if gradient is not None and is_large(each) and not self._changes_rows(gradient)
        ]
        # XLA reads variables of one device only, and the rules read the first of the optimizer's, the number of updates.
        devices = {copy.device for copy in copies(self._optimizer.variables[0]) if "CPU" in copy.device}
        self._expected = Counter(copy.device for each in large for copy in copies(each) if copy.device in devices)
        try:
            self._apply(grads, variables)
            assert not self._waiting, "Keras has not updated all large variables"
        finally:
            self._expected, self._waiting = Counter(), {}

    def update_step(self, gradient: Any, variable: tf.Variable, learning_rate: Any) -> None:
        """Update a variable, or let it wait for the others."""
        if self._changes_rows(gradient):
            rule = _RULES[type(self._optimizer)]
            rule(self._optimizer, gradient, variable, keras.ops.cast(learning_rate, variable.dtype))
            return
        # Dense outside of XLA, which would compile anew for each number of rows.
        gradient = tf.convert_to_tensor(gradient)
        expected = self._expected[variable.device]
        if not (expected and is_large(variable) and tf.inside_function()):
            self._update_step(gradient, variable, learning_rate)
            return
        waiting = self._waiting.setdefault(variable.device, [])
        waiting.append((gradient, variable, tf.convert_to_tensor(learning_rate)))
        if len(waiting) == expected:
            self._update_all(*zip(*self._waiting.pop(variable.device), strict=True))

    def _changes_rows(self, gradient: Any) -> bool:
        return isinstance(gradient, tf.IndexedSlices) and _touches_rows_only(self._optimizer)

    def _update_all(
        self, gradients: Sequence[tf.Tensor], variables: Sequence[tf.Variable], rates: Sequence[tf.Tensor]
    ) -> None:
        @tf.function(autograph=False, jit_compile=True)
        def update(gradients: Sequence[tf.Tensor], rates: Sequence[tf.Tensor]) -> None:
            for each in zip(gradients, variables, rates, strict=True):
                self._update_step(*each)

        update(gradients, rates)


def _sgd(optimizer: Any, gradient: tf.IndexedSlices, variable: tf.Variable, rate: tf.Tensor) -> None:
    optimizer.assign_sub(variable, _with(gradient, rate * gradient.values))


def _adagrad(optimizer: Any, gradient: tf.IndexedSlices, variable: tf.Variable, rate: tf.Tensor) -> None:
    assert hasattr(optimizer, "_accumulators"), "Keras keeps Adagrad's accumulators elsewhere now"
    accumulators = optimizer._accumulators[optimizer._get_variable_index(variable)]
    accumulator = _beside(accumulators, variable)
    optimizer.assign_add(accumulator, _with(gradient, tf.square(gradient.values)))
    sums = tf.gather(accumulator, gradient.indices)
    step = rate * gradient.values / tf.sqrt(sums + tf.constant(optimizer.epsilon, sums.dtype))
    optimizer.assign_sub(variable, _with(gradient, step))


def _with(gradient: tf.IndexedSlices, values: tf.Tensor) -> tf.IndexedSlices:
    return tf.IndexedSlices(values, gradient.indices, gradient.dense_shape)


def _beside(state: keras.Variable, variable: tf.Variable) -> tf.Variable:
    """Return the copy of an optimizer's variable that is on the device of a replica's copy of the variable it belongs to."""
    found = copies(state)
    return found[0] if len(found) == 1 else next(each for each in found if each.device == variable.device)


_NEED_THE_WHOLE_GRADIENT = (
    "clipnorm",
    "clipvalue",
    "global_clipnorm",
    "loss_scale_factor",
    "gradient_accumulation_steps",
)
_RULES: dict[type, Callable[..., None]] = {keras.optimizers.SGD: _sgd, keras.optimizers.Adagrad: _adagrad}
_KNOWN = {  # those that take each number of a variable by itself
    *_RULES,
    keras.optimizers.Adadelta,
    keras.optimizers.Adam,
    keras.optimizers.AdamW,
    keras.optimizers.Adamax,
    keras.optimizers.Ftrl,
    keras.optimizers.Lion,
    keras.optimizers.Nadam,
    keras.optimizers.RMSprop,
}
