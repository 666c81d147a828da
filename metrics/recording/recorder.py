"""What collects the metrics of one replica's step, and which recorder is active in a thread."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NamedTuple

import tensorflow as tf

from ..device.grouped_sums import GroupedTallies, Unsummed, grouped_sums, to_tally
from ..device.inner_graph_sums import InnerGraphSums, Key
from ..errors import UsageError
from ..finishers.finisher import Finisher
from ..tally import Tally, add_tallies
from .call_stack import are_branches, caller, is_repeated, stack
from .nested_functions import OwnTraces, intercept
from .python_calls import intercept_python_calls

# The names that TensorFlow gives to the graphs of gradients, of functions and of branches and loops.
_OF_GRADIENT = re.compile(r"^__backward_|_grad_\d+$")


class Meaning(NamedTuple):
    """The meaning of a path; it has only one.

    Attributes:
      finisher: how its tally is finished.
      shape: of the tally's value.
    """

    finisher: Finisher
    shape: tuple[int | None, ...]


class Recorder:
    """Collects the tallies of one replica's step while it is traced (or run eagerly).

    Args:
      inner_graph_sums: carries sums out of constructs whose tensors cannot leave.

    Attributes:
      meanings: path -> what it stands for, for every path that was recorded.
      places: path -> `file:line` of the call that recorded it first.
      scopes: the open scopes, outermost first.
      collected: whether `collect` was called.
      records: the number of calls of `record`.
    """

    def __init__(self, inner_graph_sums: InnerGraphSums | None = None):
        self.meanings: dict[str, Meaning] = {}
        self.places: dict[str, str] = {}
        self._stacks: dict[str, dict[str, list[FrameType]]] = {}  # path -> place -> the first call from there
        self.scopes: list[str] = []
        self.collected: bool = False
        self.records: int = 0
        self._contributions: dict[str, Tally | Unsummed] = {}
        self._inner_graph_sums = inner_graph_sums or InnerGraphSums()
        self._inner_keys: dict[str, Key] = {}
        self._graph = _current_graph()
        self._own_traces = OwnTraces()

    @property
    def paths(self) -> list[str]:
        """The paths that were recorded, sorted."""
        return sorted(self.meanings)

    def record(self, path: str, contribution: Tally | Unsummed, finish: Finisher) -> None:
        """Add `contribution` to `path`.

        Raises:
          UsageError: `path` stands for something else already, or the construct lets no such value out.
        """
        self.records += 1
        meaning = Meaning(finish, () if isinstance(contribution, Unsummed) else tuple(contribution.value.shape))
        known = self.meanings.setdefault(path, meaning)
        self.places.setdefault(path, caller())
        if known != meaning:
            raise UsageError(
                f"Metric {path!r} has two meanings ({self.places[path]}, {caller()}): finish={known.finisher.name!r} with shape "
                f"{known.shape}, and finish={finish.name!r} with shape {meaning.shape}. Give one of them another name."
            )
        self._check_place(path)
        if _current_graph() is not self._graph and _is_of_backward_pass(_current_graph(), self._graph):
            raise UsageError(
                f"Metric {path!r} ({caller()}): it is added in the backward pass of a custom gradient inside a nested "
                "tf.function, tf.cond or loop, which lets no value out. Call what has the custom gradient outside of that."
            )
        if _current_graph() is self._graph:
            self._add(path, contribution)
        elif finish.combine == "sum":
            self._inner_keys[path] = self._inner_graph_sums.add(path, to_tally(contribution))
        else:
            raise UsageError(
                f"Metric {path!r} ({caller()}): finish={finish.name!r} cannot be added inside a tf.while_loop, tf.cond, "
                "tf.map_fn or nested tf.function. Return the values from there and add them outside."
            )

    def record_only(self, path: str, contribution: Tally, finish: Finisher) -> None:
        """Record a path that stands for this one metric in a step.

        Raises:
          UsageError: `path` was recorded already.
        """
        if path in self.meanings:
            raise UsageError(
                f"Metric {path!r} has two meanings: it is added at {self.places[path]}, and it is the name of a registered "
                "metric or of the task's loss. Give one of them another name."
            )
        self.record(path, contribution, finish)

    def own_trace(self, function: Any) -> Any:
        """Return a `tf.function` that does what `function` does, and whose traces serve this step and its open scopes."""
        return self._own_traces.of(function, (tuple(self.scopes), is_repeated()))

    def collect(self) -> GroupedTallies:
        """Return the step's tallies. Call it once, at the end of the step."""
        self.collected = True
        for path, key in self._inner_keys.items():
            self._add(path, self._inner_graph_sums.take(key))
        return grouped_sums(self._contributions)

    def _check_place(self, path: str) -> None:
        """Check that all calls that record `path` are of one line, such as that of a layer, or of the branches of a condition."""
        place, known = caller(), self._stacks.setdefault(path, {})
        if place in known:
            return
        here = stack()
        if not all(are_branches(here, other) for other in known.values()):
            raise UsageError(
                f"Metric {path!r} is added by two lines of a step, {self.places[path]} and {place}, and their values would be "
                "mixed. Give one of them another name, or open a metrics.scope around it."
            )
        known[place] = here

    def _add(self, path: str, contribution: Tally | Unsummed) -> None:
        before = self._contributions.get(path)
        if before is not None:
            combine = self.meanings[path].finisher.combine
            contribution = add_tallies(to_tally(before), to_tally(contribution), combine)
        self._contributions[path] = contribution


class _Active(threading.local):
    """The recorders of this thread, innermost last. Replicas are traced in threads of their own."""

    def __init__(self) -> None:
        self.recorders: list[Recorder] = []


_active = _Active()


@contextlib.contextmanager
def recording_into(recorder: Recorder) -> Iterator[Recorder]:
    """Within the block, `metrics.add` of this thread records into `recorder`."""
    _active.recorders.append(recorder)
    try:
        yield recorder
    finally:
        _active.recorders.pop()


def current_recorder() -> Recorder | None:
    """Return the innermost recorder of this thread; None outside a step."""
    return _active.recorders[-1] if _active.recorders else None


def _own_trace(function: Any) -> Any:
    recorder = current_recorder()
    return function if recorder is None else recorder.own_trace(function)


def _refuse_to_keep(make: Callable[[], Any]) -> Any:
    """Return the concrete function that `make` makes, unless it records: kept for another step, it would record into this one."""
    recorder = current_recorder()
    if recorder is None:
        return make()
    before = recorder.records
    made = make()
    if recorder.records > before:
        raise UsageError(
            f"The metrics {recorder.paths} are added by a function whose get_concrete_function was called in a step: a concrete "
            "function belongs to one step. Call the tf.function itself."
        )
    return made


intercept(_own_trace, _refuse_to_keep)
intercept_python_calls(lambda: current_recorder() is not None and not tf.executing_eagerly())


def _is_of_backward_pass(graph: Any, outermost: Any) -> bool:
    """Return whether a graph is, or is inside, one that TensorFlow builds for the gradient of another."""
    while graph is not None and graph is not outermost:
        if _OF_GRADIENT.search(getattr(graph, "name", "")):
            return True
        graph = getattr(graph, "outer_graph", None)
    return False


def _current_graph() -> tf.Graph | None:
    """Return the graph being traced; None when running eagerly."""
    return None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()
