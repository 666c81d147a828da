"""Recording a metric from anywhere below a replica's step."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf

from .errors import UsageError
from .finish import Finisher, finisher
from .paths import join, normalize
from .tally import Tally

_PACKAGE = str(Path(__file__).parent)


class Meaning(NamedTuple):
    """What a path stands for; one path has one meaning."""

    finisher: Finisher
    shape: tuple


class Recorder:
    """Collects the tallies of one replica's step while it is traced (or run eagerly)."""

    def __init__(self):
        self.tallies: dict[str, Tally] = {}
        self.meanings: dict[str, Meaning] = {}
        self.scopes: list[str] = []
        self.collected = False
        self._graph = _graph()

    def record(self, path: str, contribution: Tally, finish: Finisher) -> None:
        """Adds `contribution` to `path`.

        Raises:
          UsageError: `path` stands for something else already, or the tensors cannot leave the construct
            (a `tf.while_loop`, `tf.cond`, ...) that they are made in.
        """
        if _graph() is not self._graph:
            raise UsageError(
                f"Metric {path!r} is added inside a tf.while_loop, tf.cond, tf.map_fn, tf.recompute_grad or nested "
                f"tf.function ({_caller()}), whose tensors cannot leave it: return the values from there and add them "
                "outside."
            )
        meaning = Meaning(finish, tuple(contribution.value.shape))
        known = self.meanings.setdefault(path, meaning)
        if known != meaning:
            raise UsageError(
                f"Metric {path!r} has two meanings ({_caller()}): finish={known.finisher.name!r} with shape "
                f"{known.shape}, and finish={finish.name!r} with shape {meaning.shape}. Give one of them another name."
            )
        before = self.tallies.get(path)
        self.tallies[path] = contribution if before is None else add_tallies(before, contribution)


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
        of unequal pieces do not add up.
      weights: None, or a tensor whose shape is a prefix of that of `values`, such as a mask: the metric
        is sum(weights * values) / sum(weights), and what has weight 0 does not count, NaN included.
      finish: what is written of the sums: "mean" (default), "sum", "exp", "sqrt", "std", "per_class" (one mean an
        index of the last axis), or a function of `(value, count)` on NumPy arrays.

    Raises:
      UsageError: the name is malformed or has another meaning already, a shape or dtype does not fit, or
        the values cannot leave the construct they are made in.
    """
    recorder = current()
    if recorder is None:
        return
    path = join(*recorder.scopes, normalize(name))
    chosen = finisher(finish)
    try:
        contribution = chosen.tally(tf.convert_to_tensor(values), weights)
    except UsageError as error:
        raise UsageError(f"Metric {path!r} ({_caller()}): {error}") from error
    recorder.record(path, contribution, chosen)


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
def recording() -> Iterator[Recorder]:
    """Makes `add` of this thread record into a new recorder."""
    recorder = Recorder()
    _active.recorders.append(recorder)
    try:
        yield recorder
    finally:
        _active.recorders.pop()


def current() -> Recorder | None:
    """The innermost recorder of this thread, if any."""
    return _active.recorders[-1] if _active.recorders else None


def add_tallies(a: Tally, b: Tally) -> Tally:
    """The tally of both: sums add up."""
    dtype = _wider(a.value.dtype, b.value.dtype)
    count_dtype = _wider(a.count.dtype, b.count.dtype)
    return Tally(
        tf.cast(a.value, dtype) + tf.cast(b.value, dtype),
        tf.cast(a.count, count_dtype) + tf.cast(b.count, count_dtype),
    )


def _wider(a: tf.DType, b: tf.DType) -> tf.DType:
    return a if a == b else tf.float64


def _graph():
    """The graph being traced; None when running eagerly."""
    return None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()


def _caller() -> str:
    """`file:line` of the innermost frame outside this package: the line that adds the metric."""
    frame = sys._getframe(1)
    while frame.f_back and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
