"""The negative control: defects that were found by hand, planted again."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import numpy as np
import tensorflow as tf
from tallyloop.metrics import Finisher, KerasMetric, Tally
from tallyloop.metrics import keras_metrics as keras_adapter
from tallyloop.metrics import tally as tallies
from tallyloop.metrics.finishers.finish import FINISHERS
from tallyloop.metrics.recording import call_stack
from tallyloop.metrics.recording.nested_functions import OwnTraces
from tallyloop.trainer.step import objective

Patch = Callable[[], contextlib.AbstractContextManager[Any]]


def _shared_traces() -> contextlib.AbstractContextManager[Any]:
    return mock.patch.object(OwnTraces, "of", lambda self, function, context: function)


def _stateless_result() -> contextlib.AbstractContextManager[Any]:
    def finish(self: Any, value: np.ndarray, count: np.ndarray) -> Any:
        state, start = [], 0
        for initial in self._initial():
            stop = start + int(tf.size(initial))
            state.append(initial + tf.cast(value[start:stop].reshape(initial.shape), initial.dtype))
            start = stop
        return keras_adapter._as_written(self._metric.stateless_result(state))

    return mock.patch.object(KerasMetric, "_finish", finish)


def _counted_probes() -> contextlib.AbstractContextManager[Any]:
    return mock.patch.object(call_stack, "_is_probe", return_value=False)


def _naive_sums() -> contextlib.AbstractContextManager[Any]:
    return mock.patch.object(
        tallies, "_sum", lambda values, keep_axis: tf.reduce_sum(values, tallies._other_axes(values, keep_axis))
    )


def _penalties_by_mask() -> contextlib.AbstractContextManager[Any]:
    return mock.patch.object(objective, "_counts_rows", return_value=True)


def _cancelling_std() -> contextlib.AbstractContextManager[Any]:
    def moments(values: Any, weights: Any) -> Tally:
        values = tf.cast(values, tf.float64)
        first, second = tallies.tally(values, weights), tallies.tally(values**2, weights)
        return Tally(tf.stack([first.value, second.value]), first.count)

    def std(value: np.ndarray, count: np.ndarray) -> float:
        mean, mean_square = value / count
        return np.sqrt(np.maximum(mean_square - mean**2, 0.0))

    return mock.patch.dict(FINISHERS, {"std": Finisher("std", "std", std, moments)})


@contextlib.contextmanager
def _wrapping_integers() -> Iterator[None]:
    right = tallies.summed_dtype

    def int64(dtype: tf.DType) -> tf.DType:
        return tf.int64 if dtype.is_integer else right(dtype)

    with mock.patch.object(tallies, "summed_dtype", int64):
        yield


# What was wrong -> a patch under which it is wrong again.
DEFECTS: dict[str, Patch] = {
    "a tf.function shared by steps keeps the first one's sums": _shared_traces,
    "a Keras metric whose result is its variable is 0": _stateless_result,
    "calls that only probe a function are counted": _counted_probes,
    "long sums in float32": _naive_sums,
    "penalties on activations weighted by the mask": _penalties_by_mask,
    "`std` from sums of x and x^2": _cancelling_std,
    "sums of 64-bit integers wrap around": _wrapping_integers,
}
