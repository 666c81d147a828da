"""Keras metrics as tallies: their state is a sum, so it adds up over replicas and steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gin
import keras
import numpy as np
import tensorflow as tf

from .device.per_replica import outside_trace
from .errors import UsageError
from .finishers.finisher import Finished, Finisher
from .tally import Tally

_ROWS = 6  # of the random batch on which additivity is tried
_PIECES = (slice(0, 2), slice(2, 3), slice(3, _ROWS))  # how that batch is cut
_TOLERANCE = 1e-4


@gin.register(module="tallyloop")
class KerasMetric:
    """A Keras metric as a metric function, exact over replicas and steps: `fn(batch, outputs) -> (value, count)`.

    The tally is the state that `update_state` adds for a batch to a zero state. Tallies add up, and `result` of the sum
    is what one pass over all examples gives. This holds for every metric whose state is a sum over examples. Whether
    it does is tested on a small random batch when the step is traced.

    Args:
      metric: a Keras metric, unbuilt or built; training does not touch its own state.
      labels: the batch's key of `y_true`; None for a metric of values alone, such as `keras.metrics.Mean`.
      predictions: the outputs' key of `y_pred`; None if the outputs are `y_pred`.
      weights: the batch's key of `sample_weight`; None for no weights.

    Raises:
      UsageError: `metric` is not a Keras metric. When the step is traced: the metric is not additive, because its state is a
        maximum or depends on how the data is cut into batches; or it does not take such data. When it is finished: the sums
        are larger than an integer state holds.
    """

    def __init__(
        self,
        metric: keras.metrics.Metric,
        labels: str | None = "y",
        predictions: str | None = None,
        weights: str | None = None,
    ):
        if not isinstance(metric, keras.metrics.Metric):
            raise UsageError(f"KerasMetric.metric = {metric!r}: expected a Keras metric, such as @keras.metrics.AUC().")
        self._metric = metric
        self._labels = labels
        self._predictions = predictions
        self._weights = weights
        self._is_tested = False

    def __call__(self, batch: Any, outputs: Any) -> Tally:
        """Return the batch's contribution to the metric's state, flat float64, and the number of examples."""
        arguments = self._arguments(batch, outputs)
        if not self._is_tested:
            outside_trace(lambda: self._check_additive(_random_like(arguments)))
            self._is_tested = True
        return Tally(tf.concat(_flat(self._added(arguments)), 0), tf.shape(arguments[-2], out_type=tf.int64)[0])

    @property
    def finisher(self) -> Finisher:
        """The finisher that gives the metric's `result` of the summed state: one number per class if it is a vector."""
        return Finisher(self._metric.name, id(self._metric), self._finish)

    def _arguments(self, batch: Any, outputs: Any) -> list[Any]:
        """Return `[y_true,] y_pred, sample_weight`."""
        predicted = outputs if self._predictions is None else outputs[self._predictions]
        values = [] if self._labels is None else [_get(batch, self._labels, self._metric)]
        values = [tf.convert_to_tensor(each) for each in (*values, predicted)]
        if all(each.shape.rank == 1 for each in values):
            # Keras averages over the last axis, which here would be the batch. A column has the same mean.
            values = [each[:, tf.newaxis] for each in values]
        return [*values, None if self._weights is None else _get(batch, self._weights, self._metric)]

    def _added(self, arguments: Sequence[Any], state: Sequence[Any] | None = None) -> list[tf.Tensor]:
        """Return what `update_state` adds to a state, by default the initial one."""
        state = self._initial() if state is None else state
        *values, weights = arguments
        if tf.executing_eagerly() and not len(values[-1]):
            return [tf.zeros_like(part) for part in state]  # some metrics take the maximum of an empty tensor
        updated = self._metric.stateless_update_state(state, *values, sample_weight=weights)
        return [after - before for after, before in zip(updated, state, strict=True)]

    def _initial(self) -> list[tf.Tensor]:
        return [tf.convert_to_tensor(value) for value in self._metric.stateless_reset_state()]

    def _check_additive(self, arguments: Sequence[Any]) -> None:
        """Check on data that the state is a sum: of the old state and the new data, and of the pieces of a batch."""
        name = f"{type(self._metric).__name__} ({self._metric.name})"
        try:
            *values, weights = arguments
            self._metric.update_state(
                *values, sample_weight=weights
            )  # builds the metrics that build themselves on first data
            self._metric.reset_state()
            added = self._added(arguments)
            onto = [
                self._added(arguments, [part + tf.cast(c, part.dtype) for part in self._initial()]) for c in (7, -7)
            ]
            pieces = [self._added([None if a is None else a[part] for a in arguments]) for part in _PIECES]
        except Exception as error:
            raise UsageError(f"Keras metric {name} does not take data such as {_shapes(arguments)}: {error}") from error
        if not all(_close(added, other) for other in onto):
            raise UsageError(
                f"Keras metric {name} is refused: its state is not a sum (perhaps a maximum or a last value), so it cannot "
                "be added up over replicas and steps. Use metrics.add with finish='max' or 'min', or write it as sums."
            )
        if not _close(added, [tf.add_n(parts) for parts in zip(*pieces, strict=True)]):
            raise UsageError(
                f"Keras metric {name} is refused: its result depends on how the examples are cut into batches (perhaps a "
                "statistic over the batch axis). Write it as sums over examples, with a finish function."
            )

    def _finish(self, value: np.ndarray, count: np.ndarray) -> Finished:
        state, start = [], 0
        for initial in self._initial():
            size = int(tf.size(initial))
            added = value[start : start + size].reshape(initial.numpy().shape)
            self._check_range(added, initial.dtype)
            state.append(tf.cast(initial, initial.dtype) + tf.cast(added, initial.dtype))
            start += size
        # Read in the scope: a result that is a variable has the value of the state only there.
        with keras.StatelessScope(state_mapping=list(zip(self._metric.variables, state, strict=True))):
            return _as_written(self._metric.result())

    def _check_range(self, sums: np.ndarray, dtype: tf.DType) -> None:
        if dtype.is_integer and np.abs(sums).sum() > dtype.max:
            raise UsageError(
                f"Keras metric {self._metric.name}: expected sums up to {dtype.max}, as its state is {dtype.name}, got "
                f"{np.abs(sums).sum():.0f}. Give the metric dtype='float64'."
            )


def _get(batch: Any, key: str, metric: keras.metrics.Metric) -> tf.Tensor:
    if not isinstance(batch, Mapping) or key not in batch:
        found = sorted(batch) if isinstance(batch, Mapping) else type(batch).__name__
        raise UsageError(
            f"Keras metric {metric.name}: expected a batch with the key {key!r}, got {found}. Set KerasMetric.labels and weights."
        )
    return batch[key]


def _flat(parts: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    return [tf.reshape(tf.cast(part, tf.float64), [-1]) for part in parts]


def _random_like(arguments: Sequence[Any]) -> list[Any]:
    """Return eager data with the shapes and dtypes of traced tensors; integers are 0 or 1, valid classes of any metric."""
    random = np.random.default_rng(0)

    def make(tensor: tf.Tensor | None) -> tf.Tensor | None:
        if tensor is None:
            return None
        shape = [_ROWS, *[3 if size is None else size for size in tensor.shape[1:]]]
        if tensor.dtype.is_floating:
            return tf.constant(random.uniform(0.05, 0.95, shape), tensor.dtype)
        return tf.cast(tf.constant(random.integers(0, 2, shape)), tensor.dtype)

    return [make(argument) for argument in arguments]


def _close(first: Sequence[Any], second: Sequence[Any]) -> bool:
    return all(np.allclose(a, b, rtol=_TOLERANCE, atol=_TOLERANCE) for a, b in zip(first, second, strict=True))


def _shapes(arguments: Sequence[Any]) -> str:
    return ", ".join(f"{a.dtype.name}{tuple(a.shape)}" for a in arguments if a is not None)


def _as_written(result: Any) -> Finished:
    if isinstance(result, Mapping):
        return {path: number for name, each in result.items() for path, number in _named(name, _as_written(each))}
    array = np.asarray(keras.ops.convert_to_numpy(result), np.float64)
    return {f"class_{i}": float(each) for i, each in enumerate(array)} if array.ndim == 1 else array


def _named(name: str, written: Finished) -> list[tuple[str, Any]]:
    """Return what is written of one entry of a dict: a number, or one number for each class below its name."""
    if isinstance(written, Mapping):
        return [(f"{name}/{below}", each) for below, each in written.items()]
    return [(name, float(written) if np.ndim(written) == 0 else written)]
