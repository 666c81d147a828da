"""The registry: a step's tallies, their sum over replicas, and the numbers that are written."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, cast

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from .device.inner_graph_sums import InnerGraphSums
from .device.packing import Layout, layout_of, pack
from .device.reduction import reduce_packed
from .errors import UsageError, check_parameters
from .finishers.finish import finisher
from .finishers.finisher import Finish, Finisher
from .keras_metrics import KerasMetric
from .paths import flatten, join, normalize
from .recording.recorder import Meaning, Recorder, current_recorder, recording_into
from .tally import Tally, add_tallies

MetricFn = Callable[[Any, Any], tuple[Any, Any]]


class MetricRegistry:
    """The registered metric functions, and the meaning of every path that was computed.

    In a hand-written loop:

        registry = MetricRegistry()

        def step(batch):                                   # in a replica
            with registry.recording():                     # metrics.add records from here on
                outputs = model(batch["x"])
                return registry.compute(batch, outputs)    # {path: Tally}

        per_replica = strategy.run(step, args=(batch,))
        reduced = registry.reduce(strategy, per_replica)   # one reduction for all metrics
        total = registry.merge(total, reduced)             # over batches
        registry.result(total)                             # {path: float}

    Args:
      metrics: name -> `fn(batch, outputs) -> (value, count)`, or a pair of such a function and its finisher, or a Keras
        metric; nested dicts become paths.
      reserved: paths that no metric may have.

    Raises:
      UsageError: a name is malformed or given twice, or a function cannot be called.
    """

    def __init__(self, metrics: Mapping[str, Any] | None = None, reserved: Collection[str] = ()):
        self._reserved = reserved
        self._functions: dict[str, tuple[MetricFn, Finisher]] = {}
        self._meanings: dict[str, Meaning] = {}
        self._logged_empty: set[str] = set()
        self._inner_graph_sums = InnerGraphSums()
        if not isinstance(metrics or {}, Mapping):
            raise UsageError(
                f"metrics = {metrics!r}: expected a dict, name -> function or Keras metric, such as {{'auc': "
                "keras.metrics.AUC()}."
            )
        for path, leaf in flatten(metrics or {}):
            fn, finish = leaf if isinstance(leaf, tuple) else (leaf, None)
            self.register(path, fn, finish)

    def register(self, name: str, fn: MetricFn | keras.metrics.Metric | KerasMetric, finish: Finish = None) -> None:
        """Compute `fn(batch, outputs) -> (value, count)` in every step, under `name`.

        Args:
          name: a path.
          fn: returns a pair of sums over its batch: the value, of any fixed shape, and the count. Or a Keras metric, or a
            `KerasMetric`, which brings its own finisher.
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
            raise UsageError(f"Metric {path!r} is registered already. Give this one another name.")
        if (problem := _problem(fn)) is not None:
            raise UsageError(
                f"Metric {path!r} = {fn!r}: expected a function of (batch, outputs), or a Keras metric{problem}."
            )
        self._functions[path] = fn, finisher(finish)

    @contextlib.contextmanager
    def recording(self) -> Iterator[Recorder]:
        """Record what `metrics.add` of this thread adds inside the block. Call `compute` before the block ends.

        Raises:
          UsageError: metrics were added, but `compute` was not called to collect them.
        """
        with recording_into(Recorder(self._inner_graph_sums)) as recorder:
            yield recorder
        if recorder.paths and not recorder.collected:
            raise UsageError(
                f"The metrics {recorder.paths} were added but not collected. Call registry.compute(batch, outputs) inside "
                "`with registry.recording():`."
            )

    def compute(self, batch: Any, outputs: Any) -> dict[str, Tally]:
        """Return the tallies of one replica's step: the registered and the recorded ones.

        Args:
          batch: passed on to the metric functions.
          outputs: likewise.

        Returns:
          `{path: Tally}` of tensors.

        Raises:
          UsageError: a path is reserved or has two meanings, or a function does not return a pair of sums.
        """
        recorder = current_recorder() or Recorder()
        for path, (fn, finish) in self._functions.items():
            recorder.record_only(path, _as_tally(path, _called(path, fn, batch, outputs)), finish)
        for path, meaning in recorder.meanings.items():
            if path in self._reserved:
                raise UsageError(
                    f"Metric {path!r}: every run writes a metric of this name itself. Give it another name."
                )
            self._check_meaning(path, meaning)
        return recorder.collect()

    def layout(self, tallies: Mapping[str, Tally]) -> Layout:
        """Return where each tally is in a packed vector.

        Args:
          tallies: what `compute` returned.
        """
        maxima = [path for path in tallies if self._finisher(path).combine == "max"]
        return layout_of(tallies, maxima)

    def reduce(self, strategy: tf.distribute.Strategy, per_replica: Mapping[str, Any]) -> dict[str, Tally]:
        """Add up the replicas' tallies: one `ReduceOp.SUM` of one packed vector, whatever the number of metrics.

        Call it in the cross-replica context, eagerly or in a `tf.function`.

        Args:
          strategy: the replicas.
          per_replica: what `strategy.run` returned of a function that returns `compute(...)`.

        Returns:
          `{path: Tally}` of float64 tensors.
        """
        layouts: list[Layout] = []

        def pack_replica(tallies: dict[str, Tally]) -> tf.Tensor:
            layouts.append(self.layout(tallies))
            return pack(tallies, layouts[-1])

        packed = strategy.run(pack_replica, args=(dict(per_replica),))
        return layouts[0].unpack(reduce_packed(strategy, layouts[0], packed))

    def merge(self, total: Mapping[str, Tally] | None, more: Mapping[str, Tally]) -> dict[str, Tally]:
        """Add up the tallies of two batches or steps.

        Args:
          total: those of the batches before; None or empty to start with.
          more: those of another batch.

        Returns:
          `{path: Tally}` of the examples of both.
        """
        merged = dict(total or {})
        for path, tally in more.items():
            known = merged.get(path)
            merged[path] = tally if known is None else add_tallies(known, tally, self._finisher(path).combine)
        return merged

    def result(self, reduced: Mapping[str, Tally], seconds: float | None = None) -> dict[str, float | np.ndarray]:
        """Finish reduced tallies on the host.

        Args:
          reduced: what `reduce` or `merge` returned.
          seconds: the time that they span, for rates (`finish="per_second"`).

        Returns:
          `{path: float or array}`. Metrics without examples are left out and logged once.

        Raises:
          UsageError: a metric is a rate and `seconds` is None.
        """
        return self.finish(reduced, seconds)[0]

    def finish(
        self, reduced: Mapping[str, Tally], seconds: float | None = None
    ) -> tuple[dict[str, float | np.ndarray], dict[str, float]]:
        """Finish reduced tallies on the host like `result`, and return what is behind each value, too.

        Args:
          reduced: as in `result`.
          seconds: as in `result`.

        Returns:
          What `result` returns, and for each path the number of examples, or the sum of their weights.

        Raises:
          UsageError: a metric is a rate and `seconds` is None.
        """
        finished: dict[str, float | np.ndarray] = {}
        counts: dict[str, float] = {}
        for path, tally in reduced.items():
            value, count = map(_float64, tally)
            if not (count if isinstance(count, float) else np.count_nonzero(count)):
                self._log_empty_once(path)
                continue
            finish = self._finisher(path)
            if finish.per_second:
                value = value / _required_seconds(path, seconds)
            expanded = _expand(path, _finished(path, finish, value, count))
            finished.update(expanded)
            counts.update(zip(expanded, _counts(count, len(expanded)), strict=True))
        return finished, counts

    @property
    def paths(self) -> list[str]:
        """The paths of all metrics that were computed so far, sorted."""
        return sorted(self._meanings)

    def _finisher(self, path: str) -> Finisher:
        return self._meanings[path].finisher if path in self._meanings else finisher(None)

    def _check_meaning(self, path: str, meaning: Meaning) -> None:
        known = self._meanings.setdefault(path, meaning)
        if known != meaning:
            raise UsageError(
                f"Metric {path!r} has two meanings in different steps: finish={known.finisher.name!r} with shape "
                f"{known.shape}, and finish={meaning.finisher.name!r} with shape {meaning.shape}."
            )

    def _log_empty_once(self, path: str) -> None:
        if path not in self._logged_empty:
            self._logged_empty.add(path)
            logging.warning("Metric %r: no examples counted, so no point is written.", path)


def _problem(fn: Any) -> str | None:
    """Return what is wrong with an object that is not a metric function, for the end of a message; None if it may be one."""
    if not callable(fn):
        return ""
    if isinstance(fn, type):
        return f", got a class: write {fn.__name__}() (mind the parentheses)"
    if isinstance(fn, keras.losses.Loss) or (getattr(fn, "__module__", None) or "").startswith("keras."):
        return ", got a function of (y_true, y_pred): write its metric, such as keras.metrics.MeanSquaredError()"
    if hasattr(fn, "update_state"):
        return f", got one of another library: write that of Keras 3, such as keras.metrics.{type(fn).__name__}()"
    return None


def _called(path: str, fn: MetricFn, batch: Any, outputs: Any) -> tuple[Any, Any]:
    try:
        return fn(batch, outputs)
    except TypeError as error:
        check_parameters(error, f"Metric {path!r}", fn, 2, "(batch, outputs)")
        raise


def _as_tally(path: str, pair: Any) -> Tally:
    """Convert what a metric function returned; in the replica, because a constant cannot be reduced."""
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise UsageError(
            f"Metric {path!r}: expected its function to return (value, count), two sums over the batch, got {pair!r}."
        )
    return Tally(*(_numeric(part) for part in pair))


def _finished(path: str, finish: Finisher, value: np.ndarray, count: np.ndarray) -> Any:
    try:
        return finish.finish(value, count)
    except UsageError:
        raise
    except Exception as error:
        line = traceback.extract_tb(error.__traceback__)[-1]
        raise UsageError(
            f"Metric {path!r}: its finish={finish.name!r} raised {type(error).__name__}: {error} "
            f"({line.filename}:{line.lineno}), for a value of shape {np.shape(value)} and a count of shape {np.shape(count)}."
        ) from error


def _counts(count: np.ndarray, numbers: int) -> list[float]:
    """Return one count per number that is written: of a vector of counts, those of the classes that have examples."""
    if count.ndim == 0:
        return [float(count)] * numbers
    present = count[count != 0] if count.ndim == 1 else count
    if present.ndim == 1 and len(present) == numbers:
        return [float(each) for each in present]
    return [float(count.max())] * numbers


def _required_seconds(path: str, seconds: float | None) -> float:
    if seconds is None:
        raise UsageError(
            f"Metric {path!r} is a rate: expected the time that it spans. Call registry.result(reduced, seconds=...)."
        )
    return seconds


def _float64(part: Any) -> np.ndarray:
    """Convert a sum to float64. A NumPy scalar, as most are, stays one: it has all methods of an array."""
    return cast("np.ndarray", part) if type(part) is np.float64 else np.asarray(part, np.float64)


def _numeric(part: Any) -> tf.Tensor:
    tensor = tf.convert_to_tensor(part)
    if tensor.dtype.is_bool:
        return tf.cast(tensor, tf.int64)
    return tensor


def _expand(path: str, finished: Any) -> dict[str, float | np.ndarray]:
    if isinstance(finished, float):  # most are, and to ask for a Mapping takes a microsecond
        return {path: float(finished)}
    if isinstance(finished, Mapping):
        return {join(path, normalize(name)): value for name, value in finished.items()}
    array = np.asarray(finished)
    return {path: float(array) if array.ndim == 0 else array}
