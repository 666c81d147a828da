"""Reading a source: what it returns, checked, and in memory where that was asked for."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from ..metrics.errors import UsageError
from .checks import equal_length_arrays
from .elements import check_batchable, refuse_endless, refuse_fewer
from .feed import Nest
from .pipelines import mapped_examples

_ORIGIN = "the source of Input"


def read(source: Any) -> dict[str, tf.Tensor] | tf.data.Dataset:
    """What `source` returns, or is: arrays as tensors in host memory, or a dataset of examples."""
    found = source() if callable(source) else source
    if isinstance(found, tf.data.Dataset):
        check_batchable(found, _ORIGIN)
        return found
    if not isinstance(found, Mapping):
        raise UsageError(
            f"{_ORIGIN} gave a {type(found).__name__}: want a dict of equal-length arrays or an unbatched "
            "tf.data.Dataset; change Input.source"
        )
    arrays = equal_length_arrays(_ORIGIN, found)
    return {key: _host_tensor(key, array) for key, array in arrays.items()}


def read_whole(examples: tf.data.Dataset | Nest, map_fn: Callable | None) -> Nest:
    """All examples after `map_fn`, stacked: a nest of tensors in host memory."""
    mapped = mapped_examples(examples, map_fn)
    refuse_endless(mapped, "Input.cache = True keeps the whole source in memory")
    with tf.device("CPU:0"):
        try:
            chunks = list(mapped.batch(1024))
            refuse_fewer(len(chunks), least=1)
            return tf.nest.map_structure(lambda *parts: tf.concat(parts, 0), *chunks)
        except tf.errors.InvalidArgumentError as error:
            raise UsageError(
                f"Input.cache = True: the examples do not stack ({error.message}); pad them to one shape in "
                "the source or in Input.map_fn"
            ) from error


def _host_tensor(key: str, array: np.ndarray) -> tf.Tensor:
    with tf.device("CPU:0"):
        try:
            return tf.convert_to_tensor(array)
        except (ValueError, TypeError) as error:
            raise UsageError(
                f"{_ORIGIN}: {key!r} has dtype {array.dtype}, which TensorFlow does not know; convert it"
            ) from error
