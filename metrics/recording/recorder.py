"""Recording a metric from anywhere below a replica's step."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple

import tensorflow as tf

from ..device.grouped_sums import Addend, Tallies, addend, sum_together, summed
from ..device.inner_graph_sums import Spill
from ..errors import UsageError
from ..finishers.finish import Finisher, finisher
from ..paths import join, normalize
from ..tally import Tally, tally
from .call_stack import caller, is_repeated


class Meaning(NamedTuple):
    """What a path stands for; one path has one meaning."""

    finisher: Finisher
    shape: tuple


class Recorder:
    """Collects the tallies of one replica's step while it is traced (or run eagerly).

    Args:
      spill: carries sums out of constructs whose tensors cannot leave.
    """

    def __init__(self, spill: Spill | None = None):
        self.meanings: dict[str, Meaning] = {}
        self.places: dict[str, str] = {}
        self.scopes: list[str] = []
        self.collected = False
        self._contributions: dict[str, Tally | Addend] = {}
        self._spill = spill or Spill()
        self._spilled: dict[str, tuple] = {}
        self._graph = _graph()

    @property
    def paths(self) -> list[str]:
        """What was recorded."""
        return sorted(self.meanings)

    def record(self, path: str, contribution: Tally | Addend, finish: Finisher) -> None:
        """Adds `contribution` to `path`.

        Raises:
          UsageError: `path` stands for something else already, or the construct lets no sum out.
        """
        meaning = Meaning(finish, () if isinstance(contribution, Addend) else tuple(contribution.value.shape))
        known = self.meanings.setdefault(path, meaning)
        self.places.setdefault(path, caller())
        if known != meaning:
            raise UsageError(
                f"Metric {path!r} has two meanings ({self.places[path]}, {caller()}): finish={known.finisher.name!r} with shape "
                f"{known.shape}, and finish={finish.name!r} with shape {meaning.shape}. Give one of them another name."
            )
        if _graph() is self._graph:
            self._keep(path, contribution)
        elif finish.combine == "sum":
            self._spilled[path] = self._spill.add(path, summed(contribution))
        else:
            raise UsageError(
                f"Metric {path!r} ({caller()}): finish={finish.name!r} cannot be added inside a tf.while_loop, tf.cond, "
                "tf.map_fn or nested tf.function: return the values from there and add them outside."
            )

    def record_only(self, path: str, contribution: Tally, finish: Finisher) -> None:
        """Like `record`, for a path that stands for this one metric in a step.

        Raises:
          UsageError: `path` was recorded already.
        """
        if path in self.meanings:
            raise UsageError(
                f"Metric {path!r} has two meanings: it is added at {self.places[path]}, and it is the name of a registered "
                "metric or of the task's loss. Give one of them another name."
            )
        self.record(path, contribution, finish)

    def collect(self) -> Tallies:
        """The step's tallies; once, at its end."""
        self.collected = True
        for path, key in self._spilled.items():
            self._keep(path, self._spill.take(key))
        return sum_together(self._contributions)

    def _keep(self, path: str, contribution: Tally | Addend) -> None:
        before = self._contributions.get(path)
        if before is not None:
            both = (summed(each) for each in (before, contribution))
            contribution = add_tallies(*both, self.meanings[path].finisher.combine)
        self._contributions[path] = contribution


class _Active(threading.local):
    """The recorders of this thread, innermost last: replicas are traced in threads of their own."""

    def __init__(self):
        self.recorders: list[Recorder] = []


_active = _Active()


def add(name: str, values, weights=None, finish: str | Callable | None = None) -> None:
    """Records a metric: the mean of `values` over all elements, replicas and steps up to the next summary.

    Works anywhere below a replica's step: a layer's `call`, a task's `loss`. Outside a step it does nothing,
    so the same model serves and exports. The same name added twice in one step adds up.

    Args:
      name: a path, `loss/stage_1`; the open `scope`s stand before it.
      values: a tensor of any shape; numbers or bool. Add the values themselves, never their mean: means
        of unequal pieces do not add up. Or a `Tally` of sums that are ready, such as `confusion_matrix` gives.
      weights: None, or a tensor whose shape is a prefix of that of `values`, such as a mask: the metric
        is sum(weights * values) / sum(weights), and what has weight 0 does not count, NaN included.
      finish: what is written of the sums: "mean" (default), "sum", "exp", "sqrt", "std", "min", "max", "per_second",
        "per_class" (one mean an index of the last axis); of a `confusion_matrix`, "confusion_matrix", "f1", "precision",
        "recall" and each with "_macro", "_micro", "_per_class"; of a `score_histogram`, "auc"; one of `per_class(...)`,
        `percentiles(...)`; or a function of `(value, count)` on NumPy arrays.

    Raises:
      UsageError: the name is malformed or has another meaning already, a shape or dtype does not fit, or
        the values cannot leave the construct they are made in.
    """
    recorder = current()
    if recorder is None or is_repeated():
        return
    path = name
    try:
        path, chosen = join(*recorder.scopes, normalize(name)), finisher(finish)
        contribution = _contribution(values, weights, chosen)
    except UsageError as error:
        raise UsageError(f"Metric {path!r} ({caller()}): {error}") from error
    recorder.record(path, contribution, chosen)


def _contribution(values, weights, chosen: Finisher) -> Tally | Addend:
    if "loop_body" in tf.get_current_name_scope().split("/"):
        # What tf.vectorized_map traces is rewritten afterwards: neither a tensor nor a variable gets out right.
        raise UsageError(
            "tf.vectorized_map, inside which it is added, lets nothing out: return the values and add them outside."
        )
    if isinstance(values, Tally):
        return Tally(*map(tf.convert_to_tensor, values))
    if chosen.tally is tally:
        return addend(values, weights)
    return chosen.tally(tf.convert_to_tensor(values), weights)


@contextlib.contextmanager
def scope(name: str) -> Iterator[None]:
    """Prefixes the names of the metrics added inside; nests. Does nothing outside a step.

    Raises:
      UsageError: the name is malformed.
    """
    path, recorder = normalize(name), current()
    if recorder is None:
        yield
        return
    recorder.scopes.append(path)
    try:
        yield
    finally:
        recorder.scopes.pop()


@contextlib.contextmanager
def recording(spill: Spill | None = None) -> Iterator[Recorder]:
    """Makes `add` of this thread record into a new recorder."""
    recorder = Recorder(spill)
    _active.recorders.append(recorder)
    try:
        yield recorder
    finally:
        _active.recorders.pop()


def current() -> Recorder | None:
    """The innermost recorder of this thread, if any."""
    return _active.recorders[-1] if _active.recorders else None


def add_tallies(a: Tally, b: Tally, combine: str = "sum") -> Tally:
    """The tally of both: sums add up, of maxima the larger stays."""
    a, b = (Tally(*map(tf.convert_to_tensor, each)) for each in (a, b))
    dtype, count_dtype = _wider(a.value.dtype, b.value.dtype), _wider(a.count.dtype, b.count.dtype)
    values = tf.cast(a.value, dtype), tf.cast(b.value, dtype)
    count = tf.cast(a.count, count_dtype) + tf.cast(b.count, count_dtype)
    return Tally(tf.maximum(*values) if combine == "max" else tf.add(*values), count)


def _wider(a: tf.DType, b: tf.DType) -> tf.DType:
    return a if a == b else tf.float64


def _graph():
    """The graph being traced; None when running eagerly."""
    return None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()
