"""The registry: a step's tallies, their sum over replicas, and the numbers that are written."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from .device.inner_graph_sums import Spill
from .device.packing import Layout, layout_of, pack
from .errors import UsageError
from .finishers.finish import Finisher, finisher
from .keras_metrics import KerasMetric
from .paths import flatten, join, normalize
from .recording import recorder as recording
from .recording.recorder import Meaning, Recorder, add_tallies
from .tally import Tally

MetricFn = Callable[[Any, Any], tuple]


class MetricRegistry:
    """Registered metric functions, and the meaning of every path that was computed.

    In a loop written by hand:

        registry = MetricRegistry()

        def step(batch):                                   # in a replica
            with registry.recording():                     # metrics.add records from here on
                outputs = model(batch["x"])
                return registry.compute(batch, outputs)    # {path: Tally}

        per_replica = strategy.run(step, args=(batch,))
        reduced = registry.reduce(strategy, per_replica)   # one reduction for all
        total = registry.merge(total, reduced)             # over batches
        registry.result(total)                             # {path: float}

    Args:
      metrics: name -> `fn(batch, outputs) -> (value, count)`, or a pair of that and its finisher, or a Keras metric;
        nested dicts become paths.
      reserved: paths that no metric may have.
    """

    def __init__(self, metrics: Mapping[str, Any] | None = None, reserved: Collection[str] = ()):
        self._reserved = reserved
        self._functions: dict[str, tuple[MetricFn, Finisher]] = {}
        self._meanings: dict[str, Meaning] = {}
        self._said: set[str] = set()
        self._spill = Spill()
        for path, leaf in flatten(metrics or {}):
            fn, finish = leaf if isinstance(leaf, tuple) else (leaf, None)
            self.register(path, fn, finish)

    def register(self, name: str, fn: MetricFn, finish: str | Callable | None = None) -> None:
        """Computes `fn(batch, outputs) -> (value, count)` in every step, under `name`.

        Args:
          name: a path.
          fn: returns a pair of sums over its batch: the value, of any fixed shape, and the count. Or a Keras metric, or a
            `KerasMetric`, which finishes itself.
          finish: as in `metrics.add`.

        Raises:
          UsageError: the name is malformed or taken, or `fn` cannot be called.
        """
        path = normalize(name)
        if isinstance(fn, keras.metrics.Metric):
            fn = KerasMetric(fn)
        if isinstance(fn, KerasMetric):
            finish = fn.finisher
        if path in self._functions:
            raise UsageError(f"Metric {path!r} is registered already: give this one another name.")
        if not callable(fn):
            raise UsageError(f"Metric {path!r}: wanted a function of (batch, outputs), got {fn!r}.")
        self._functions[path] = fn, finisher(finish)

    @contextlib.contextmanager
    def recording(self) -> Iterator[Recorder]:
        """Within it, `metrics.add` of this thread records; call `compute` before it ends.

        Raises:
          UsageError: metrics were added, and `compute` was not called to collect them.
        """
        with recording.recording(self._spill) as recorder:
            yield recorder
        if recorder.paths and not recorder.collected:
            raise UsageError(
                f"The metrics {recorder.paths} were added but not collected: call registry.compute(batch, "
                "outputs) inside `with registry.recording():`."
            )

    def compute(self, batch: Any, outputs: Any) -> dict[str, Tally]:
        """Returns the tallies of one replica's step: the registered ones and the recorded ones.

        Raises:
          UsageError: a path is reserved or has two meanings, or a function does not return a pair of sums.
        """
        recorder = recording.current() or Recorder()
        for path, (fn, finish) in self._functions.items():
            recorder.record_only(path, _as_tally(path, fn(batch, outputs)), finish)
        for path, meaning in recorder.meanings.items():
            if path in self._reserved:
                raise UsageError(f"Metric {path!r} has the name of one that every run writes itself: give it another.")
            self._learn(path, meaning)
        return recorder.collect()

    def layout(self, tallies: Mapping[str, Tally]) -> Layout:
        """Where each of `compute`'s tallies stands in a packed vector."""
        maxima = [path for path in tallies if self._finisher(path).combine == "max"]
        return layout_of(tallies, maxima)

    def reduce(self, strategy: tf.distribute.Strategy, per_replica: Mapping[str, Any]) -> dict[str, Tally]:
        """Adds the replicas' tallies up: one `ReduceOp.SUM` of one packed vector, however many there are.

        Call it in the cross-replica context, eagerly or in a `tf.function`.

        Returns:
          `{path: Tally}` of float64 tensors.
        """
        layouts = []

        def pack_replica(tallies):
            layouts.append(self.layout(tallies))
            context = tf.distribute.get_replica_context()
            packed = pack(tallies, layouts[-1])
            return layouts[-1].to_sum(packed, context.replica_id_in_sync_group, context.num_replicas_in_sync)

        packed = strategy.run(pack_replica, args=(dict(per_replica),))
        total = strategy.reduce(tf.distribute.ReduceOp.SUM, packed, axis=None)
        return layouts[0].unpack(layouts[0].from_sum(total, strategy.num_replicas_in_sync))

    def merge(self, total: Mapping[str, Tally] | None, more: Mapping[str, Tally]) -> dict[str, Tally]:
        """Adds reduced tallies of two batches or steps up; `total` may be None or empty to start with."""
        merged = dict(total or {})
        for path, tally in more.items():
            known = merged.get(path)
            merged[path] = tally if known is None else add_tallies(known, tally, self._finisher(path).combine)
        return merged

    def result(self, reduced: Mapping[str, Tally], seconds: float | None = None) -> dict[str, float | np.ndarray]:
        """Finishes reduced tallies on the host.

        Args:
          reduced: what `reduce` or `merge` returned.
          seconds: the time that they span, for rates (`finish="per_second"`).

        Returns:
          `{path: float or array}`, without the metrics that no example counted in; those are
          logged once.
        """
        return self.finish(reduced, seconds)[0]

    def finish(
        self, reduced: Mapping[str, Tally], seconds: float | None = None
    ) -> tuple[dict[str, float | np.ndarray], dict[str, float]]:
        """Like `result`, and for each of its paths the number of examples, or the weight, behind it."""
        finished: dict[str, float | np.ndarray] = {}
        counts: dict[str, float] = {}
        for path, tally in reduced.items():
            value, count = (part if type(part) is np.float64 else np.asarray(part, np.float64) for part in tally)
            if not np.count_nonzero(count):
                self._say_empty(path)
                continue
            finish = self._finisher(path)
            if finish.per_second:
                value = value / _required_seconds(path, seconds)
            expanded = _expand(path, finish.finish(value, count))
            finished.update(expanded)
            counts.update(zip(expanded, _counts(count, len(expanded)), strict=True))
        return finished, counts

    @property
    def paths(self) -> list[str]:
        """The paths of all metrics that were computed so far."""
        return sorted(self._meanings)

    def _finisher(self, path: str) -> Finisher:
        return self._meanings[path].finisher if path in self._meanings else finisher(None)

    def _learn(self, path: str, meaning: Meaning) -> None:
        known = self._meanings.setdefault(path, meaning)
        if known != meaning:
            raise UsageError(
                f"Metric {path!r} has two meanings in different steps: finish={known.finisher.name!r} with shape "
                f"{known.shape}, and finish={meaning.finisher.name!r} with shape {meaning.shape}."
            )

    def _say_empty(self, path: str) -> None:
        if path not in self._said:
            self._said.add(path)
            logging.warning("Metric %r: no examples counted, so no point is written.", path)


def _as_tally(path: str, pair: Any) -> Tally:
    """Converts what a metric function returned; here, in the replica, as a constant cannot be reduced."""
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise UsageError(
            f"Metric {path!r}: its function must return (value, count), sums over the batch, got {pair!r}."
        )
    return Tally(*(_numeric(part) for part in pair))


def _counts(count: np.ndarray, numbers: int) -> list[float]:
    """One count for each number that was written: a vector of counts has one for each class that has examples."""
    if count.ndim == 0:
        return [float(count)] * numbers
    present = count[count != 0] if count.ndim == 1 else count
    if present.ndim == 1 and len(present) == numbers:
        return [float(each) for each in present]
    return [float(count.max())] * numbers


def _required_seconds(path: str, seconds: float | None) -> float:
    if seconds is None:
        raise UsageError(f"Metric {path!r} is a rate: give the time it spans, registry.result(reduced, seconds=...).")
    return seconds


def _numeric(part: Any) -> tf.Tensor:
    tensor = tf.convert_to_tensor(part)
    if tensor.dtype.is_bool:
        return tf.cast(tensor, tf.int64)
    return tensor


def _expand(path: str, finished: Any) -> dict[str, float | np.ndarray]:
    if isinstance(finished, Mapping):
        return {join(path, normalize(name)): value for name, value in finished.items()}
    array = np.asarray(finished)
    return {path: float(array) if array.ndim == 0 else array}
