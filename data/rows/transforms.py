"""Transforms of an example after it was read: in Python, or by TensorFlow, with random numbers of its own.

TensorFlow is imported where it is used, because the processes that read rows do not load it.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ...metrics.errors import DataError, UsageError
from .rows import Rows, map_nest, stacked

if TYPE_CHECKING:
    import tensorflow as tf

    from ..elements import Nest

Transform = Callable[[Any, np.random.Generator], Any]


def takes_seed(map_fn: Callable[..., Any] | None) -> bool:
    """Return whether `Input.map_fn` is a function of `(example, seed)`: its second parameter is named `seed`."""
    if map_fn is None:
        return False
    try:
        names = list(inspect.signature(map_fn).parameters)
    except (TypeError, ValueError):  # a builtin has no signature
        return False
    return len(names) > 1 and names[1] == "seed"


def transformed(examples: Nest, transform: Transform, seed: int, epoch: int, rows: np.ndarray) -> Nest:
    """Return stacked examples after `transform(example, rng)`, each with a generator keyed by (seed, epoch, row).

    Raises:
      DataError: it raised for an example. The message names its row.
    """
    done = []
    for place, row in enumerate(rows.tolist()):
        example = map_nest(lambda array, place=place: array[place], examples)
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, epoch, row))))
        try:
            done.append(transform(example, rng))
        except Exception as error:
            raise DataError(f"Input.transform, row {row} of the source: {type(error).__name__}: {error}") from error
    return stacked(done)


@dataclasses.dataclass(frozen=True)
class Examples:
    """The examples of a source after `Input.transform`, in NumPy.

    Attributes:
      rows: the source.
      transform: `Input.transform`, or None.
      seed: the seed of the run.
    """

    rows: Rows
    transform: Transform | None
    seed: int

    def read(self, epoch: int, rows: np.ndarray) -> Nest:
        """Return the examples of some rows in an epoch, stacked.

        Raises:
          DataError: one of them cannot be read or transformed. The message names its row.
        """
        found = self.rows.examples(rows)
        return found if self.transform is None else transformed(found, self.transform, self.seed, epoch, rows)


class Mapped:
    """Applies `map_fn` to stacked examples, one by one, in a graph that is traced once.

    Args:
      map_fn: `map_fn(example)` or `map_fn(example, seed)`, of TensorFlow operations.
      element_spec: a nest of `tf.TensorSpec`, a single example.
      seed: the seed of the run.

    Attributes:
      element_spec: a nest of `tf.TensorSpec`, a single mapped example.
    """

    def __init__(self, map_fn: Callable[..., Any], element_spec: Nest, seed: int):
        import tensorflow as tf

        self._seed = seed
        seeds = tf.TensorSpec([2], tf.int32)
        with_seed = takes_seed(map_fn)

        def one(example: Nest, key: tf.Tensor) -> Nest:
            # As by `Dataset.map`: a tuple is several arguments, anything else is one.
            arguments = example if isinstance(example, tuple) else (example,)
            return map_fn(*arguments, key) if with_seed else map_fn(*arguments)

        traced = tf.function(one).get_concrete_function(element_spec, seeds)
        if traced.structured_outputs is None:
            raise UsageError(
                "Input.map_fn: expected the mapped example, got nothing; check that the function returns it"
            )
        self.element_spec: Nest = tf.nest.map_structure(
            lambda tensor: tf.TensorSpec(tensor.shape, tensor.dtype), traced.structured_outputs
        )
        batch = tf.nest.map_structure(lambda spec: tf.TensorSpec([None, *spec.shape], spec.dtype), element_spec)
        self._map = tf.function(
            lambda examples, keys: tf.map_fn(
                lambda pair: one(*pair), (examples, keys), fn_output_signature=self.element_spec
            ),
            input_signature=[batch, tf.TensorSpec([None, 2], tf.int32)],
        )

    def __call__(self, examples: Nest, epoch: int, rows: np.ndarray) -> Nest:
        """Return the mapped examples, as arrays."""
        import tensorflow as tf

        keys = np.stack([self._key(epoch, row) for row in rows.tolist()])
        with tf.device("CPU:0"):
            found = self._map(examples, tf.constant(keys))
        return tf.nest.map_structure(lambda tensor: tensor.numpy(), found)

    def _key(self, epoch: int, row: int) -> np.ndarray:
        """Return the stateless seed of an example in an epoch, int32 (2,)."""
        return np.random.SeedSequence((self._seed, epoch, row)).generate_state(2).view(np.int32)
