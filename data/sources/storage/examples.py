"""`tf.train.Example`s: which features to parse, and parsing many at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import tensorflow as tf

from ....metrics.errors import UsageError
from .rows import objects

Features = Mapping[str, tf.io.FixedLenFeature]

_STORED = (tf.float32, tf.int64, tf.string)


def features_of(binding: str, features: Any) -> dict[str, tf.io.FixedLenFeature]:
    """Return what to parse of a `tf.train.Example`.

    Args:
      binding: as the user writes it: "tfrecord.features".
      features: name -> dtype, or (dtype, shape).

    Raises:
      UsageError: `features` is not such a dict.
    """
    if not isinstance(features, Mapping) or not features or not all(isinstance(name, str) for name in features):
        raise UsageError(
            f"{binding} = {features!r}: expected a dict of names, such as {{'x': ('float32', [8]), 'y': 'int64'}}"
        )
    return {name: _feature(binding, name, given) for name, given in features.items()}


def _feature(binding: str, name: str, given: Any) -> tf.io.FixedLenFeature:
    is_pair = isinstance(given, tuple | list) and len(given) == 2
    dtype, shape = cast("tuple[Any, Any]", given if is_pair else (given, ()))
    try:
        dtype, shape = tf.as_dtype(dtype), tf.TensorShape(shape)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"{binding}: {name!r} is {given!r}: expected a dtype, or a dtype and a shape, as in ('float32', [8])"
        ) from error
    if dtype not in _STORED:
        raise UsageError(
            f"{binding}: {name!r} has dtype {dtype.name}: expected one of {[each.name for each in _STORED]}, "
            "which a tf.train.Example stores; convert it in Input.map_fn"
        )
    if not shape.is_fully_defined():
        raise UsageError(
            f"{binding}: {name!r} has shape {shape}: expected known sizes; store lists of different lengths as "
            "bytes, and decode them in Input.map_fn"
        )
    return tf.io.FixedLenFeature(shape, dtype)


class Parser:
    """Parses many serialized examples at once, by one function in the graph, as calls from Python cost several times as much.

    Args:
      binding: as the user writes it: "tfrecord.features".
      features: what to parse.
    """

    def __init__(self, binding: str, features: Features):
        self._binding, self._features = binding, dict(features)
        records = tf.TensorSpec([None], tf.string)
        self._parse = tf.function(lambda serialized: tf.io.parse_example(serialized, self._features), [records])

    def __call__(self, records: Sequence[bytes], place: Callable[[int], str]) -> dict[str, np.ndarray]:
        """Return the examples, stacked.

        Args:
          records: the serialized examples.
          place: number among `records` -> where it is, for messages.

        Raises:
          UsageError: an example lacks a feature, or isn't one.
        """
        with tf.device("CPU:0"):
            try:
                found = self._parse(objects(records))
            except tf.errors.InvalidArgumentError as error:
                number, reason = _first_bad(records, self._features, error.message)
                raise UsageError(
                    f"{place(number)}: {reason}: expected the features of {self._binding}; correct it"
                ) from error
            return {name: tensor.numpy() for name, tensor in found.items()}


def _first_bad(records: Sequence[bytes], features: Features, otherwise: str) -> tuple[int, str]:
    for number, record in enumerate(records):
        try:
            tf.io.parse_single_example(record, features)
        except tf.errors.InvalidArgumentError as error:
            return number, error.message
    return 0, otherwise
