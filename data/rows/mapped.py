"""`Input.map_fn`: a transform of an example by TensorFlow, with a random seed of its own."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from ...metrics.errors import DataError, UsageError
from ..checks import tracing_map_fn, with_fix
from ..elements import Nest, batch_spec, check_batchable, zeros_like_spec
from ..feeds.iterators import can_be_saved
from ..messages.failures import FAILURES, reason
from ..messages.user_frames import at_line_of

_KEY = tf.TensorSpec([2], tf.int32)  # of a stateless seed

# Operations that give the same result for a stack of examples as for each alone, bit by bit, and that cannot fail for a single
# one. Not exp or a sum: their last bits depend on how many numbers are computed at once.
_ALIKE = frozenset({
    "Abs", "AddV2", "Cast", "Ceil", "Const", "Equal", "Floor", "Greater", "GreaterEqual", "Identity", "Less",
    "LessEqual", "LogicalAnd", "LogicalNot", "LogicalOr", "Maximum", "Minimum", "Mul", "Neg", "NoOp", "NotEqual",
    "Pack", "Placeholder", "RealDiv", "Round", "SelectV2", "Sign", "Square", "Sub",
})  # fmt: skip
# Those for which that holds if some of their arguments are constants -> which.
_BY_CONSTANTS = {
    "ConcatV2": slice(-1, None),
    "Fill": slice(None),
    **dict.fromkeys(("ExpandDims", "OneHot", "Reshape", "ReverseV2", "Slice", "StridedSlice", "Tile"), slice(1, None)),
}
_DTYPES = (tf.bool, tf.uint8, tf.int32, tf.int64, tf.float16, tf.float32, tf.float64, tf.string)
_MOST_NUMBERS = 2**14  # per example: larger ones are mapped by several threads


def takes_seed(map_fn: Callable[..., Any] | None) -> bool:
    """Return whether `Input.map_fn` is a function of `(example, seed)`, or `(x, y, seed)` for tuples.

    Its last positional parameter is named `seed`, and is not the only one. Parameters with a default may follow it.
    """
    if map_fn is None:
        return False
    try:
        parameters = inspect.signature(map_fn).parameters.values()
    except (TypeError, ValueError):  # a builtin has no signature
        return False
    positional = [each for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    names = [each.name for each in positional]
    place = names.index("seed") if "seed" in names else 0
    before, after = positional[:place], positional[place + 1 :]
    return place > 0 and all(_is_required(each) for each in before) and not any(_is_required(each) for each in after)


def _is_required(parameter: inspect.Parameter) -> bool:
    return parameter.default is parameter.empty


class Mapped:
    """Applies `map_fn` to stacked examples in a graph that is traced once.

    One by one, which takes 10 to 20 us each; or all at once, if each of its operations gives the same for a stack.

    Args:
      map_fn: `map_fn(example)` or `map_fn(example, seed)`, of TensorFlow operations; see `takes_seed`.
      element_spec: a nest of `tf.TensorSpec`, a single example.
      seed: the seed of the run.
      name: a row -> what an error calls it.

    Attributes:
      element_spec: a nest of `tf.TensorSpec`, a single mapped example.
      at_once: whether all examples are mapped at once.

    Raises:
      UsageError: `map_fn` raises an error, returns nothing, or what cannot be batched.
    """

    def __init__(
        self,
        map_fn: Callable[..., Any],
        element_spec: Nest,
        seed: int,
        name: Callable[[int], str] = "row {}".format,
    ):
        self._map_fn = map_fn
        self._with_seed = takes_seed(map_fn)
        self._example_spec = element_spec
        self._seed = seed
        self._name = name
        # A graph of its own, so that AutoGraph rewrites `map_fn`, though the step that reads the batches is traced without it.
        self._graph = tf.function(self._one)
        with tracing_map_fn(map_fn, element_spec, seeds=self._with_seed):
            traced = self._graph.get_concrete_function(element_spec, _KEY)
        if traced.structured_outputs is None:
            raise UsageError(
                "Input.map_fn: expected the mapped example, got nothing; check that the function returns it"
            )
        self.element_spec: Nest = tf.nest.map_structure(tf.type_spec_from_value, traced.structured_outputs)
        check_batchable(self.element_spec, "Input.map_fn")
        self.at_once: bool = all(map(_is_alike, traced.graph.get_operations()))
        signature = [batch_spec(element_spec, None), tf.TensorSpec([None, 2], tf.int32)]
        self._map = tf.function(self._mapped_batch, input_signature=signature)

    @property
    def repeatable(self) -> bool:
        """True if `map_fn` gives the same for the same arguments: it calls no Python, and draws random numbers by seeds only."""
        arguments = tf.nest.map_structure(lambda spec: zeros_like_spec(spec, unknown=0), (self._example_spec, _KEY))
        return can_be_saved(tf.data.Dataset.from_tensors(arguments).map(self._one))

    def batch(self, examples: Nest, keys: tf.Tensor, threads: int = 1) -> tf.data.Dataset[Any]:
        """Return a dataset of one element, the mapped examples; `keys` are their stateless seeds. In a graph.

        Some threads map them, unless they are mapped at once.
        """
        if self.at_once:
            mapped = tf.vectorized_map(lambda pair: self._graph(*pair), (examples, keys), fallback_to_while_loop=False)
            return tf.data.Dataset.from_tensors(tuple(mapped) if isinstance(mapped, list) else mapped)  # as by `map`
        calls = threads if threads > 1 else None  # a thread for each example costs more than one for all
        one_by_one = tf.data.Dataset.from_tensor_slices((examples, keys)).map(self._graph, num_parallel_calls=calls)
        size = keys.shape[0]
        return one_by_one.batch(size or tf.shape(keys, tf.int64)[0], drop_remainder=size is not None)

    def keys(self, epoch: int, rows: np.ndarray) -> np.ndarray:
        """Return the stateless seeds of examples in an epoch, int32 (k, 2); zeros where `map_fn` takes none."""
        if not self._with_seed:
            return np.zeros((len(rows), 2), np.int32)
        drawn = (np.random.SeedSequence((self._seed, epoch, row)).generate_state(2) for row in rows.tolist())
        return np.stack([key.view(np.int32) for key in drawn])

    def __call__(self, examples: Nest, epoch: int, rows: np.ndarray) -> Nest:
        """Return the mapped examples, as arrays.

        Raises:
          DataError: `map_fn` raised for one of them. The message names its row.
        """
        keys = self.keys(epoch, rows)
        try:
            return self._mapped(examples, keys)
        except FAILURES as error:
            raise DataError(with_fix(self._named(examples, keys, rows, error))) from error

    def _mapped(self, examples: Nest, keys: np.ndarray) -> Nest:
        with tf.device("CPU:0"):
            return tf.nest.map_structure(lambda tensor: tensor.numpy(), self._map(examples, tf.constant(keys)))

    def _mapped_batch(self, examples: Nest, keys: tf.Tensor) -> Nest:
        if not self.at_once:
            return self.batch(examples, keys).get_single_element()
        # In a function of a dataset, as where a pipeline calls `batch`: elsewhere, TensorFlow makes products of divisions.
        return (
            tf.data.Dataset.from_tensors((examples, keys))
            .flat_map(lambda *both: self.batch(*both))
            .get_single_element()
        )

    def _one(self, example: Nest, key: tf.Tensor) -> Nest:
        # As by `Dataset.map`: a tuple is several arguments, anything else is one.
        arguments = example if isinstance(example, tuple) else (example,)
        return self._map_fn(*arguments, key) if self._with_seed else self._map_fn(*arguments)

    def _named(self, examples: Nest, keys: np.ndarray, rows: np.ndarray, error: Exception) -> str:
        """Return the place and reason of the first example for which `map_fn` raises."""
        for place, row in enumerate(rows.tolist()):
            alone = slice(place, place + 1)
            try:
                self._mapped(tf.nest.map_structure(lambda array, alone=alone: array[alone], examples), keys[alone])
            except FAILURES as one:
                example = tf.nest.map_structure(lambda array, place=place: tf.constant(array[place]), examples)
                line = at_line_of(partial(self._one, example, tf.constant(keys[place])), one)
                return f"Input.map_fn, {self._name(row)}: {reason(one)}{line}"
        return f"Input.map_fn, rows {rows.tolist()[:8]} of the source, which did not raise again: {reason(error)}"


def _is_alike(operation: tf.Operation) -> bool:
    """Return whether an operation gives the same for a stack of examples as for each of them. Shapes must be known."""
    for each in operation.outputs:
        known = each.dtype in _DTYPES and each.shape.is_fully_defined()
        if not known or each.shape.num_elements() > _MOST_NUMBERS:
            return False
    if operation.type == "Squeeze":
        return bool(operation.get_attr("squeeze_dims"))  # without, it would drop a batch of 1
    if operation.type == "Transpose":
        order = tf.get_static_value(operation.inputs[1])
        return order is not None and (order >= 0).all()  # a stack's first axis comes before them
    constants = operation.inputs[_BY_CONSTANTS.get(operation.type, slice(0))]
    known = operation.type in _ALIKE or operation.type in _BY_CONSTANTS
    return known and all(each.op.type == "Const" for each in constants)
