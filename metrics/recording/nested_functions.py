"""Traces of a `tf.function` that belong to one step: what a step records must not come from another step's trace."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import tensorflow as tf

# The class of what `tf.function` returns has no public name, and neither has a way to trace a function anew: its traces
# are cached by the arguments alone. `_clone` keeps all options of the function, such as `jit_compile`.
_Function: Any = type(tf.function(lambda: None))


class OwnTraces:
    """Gives each `tf.function` that a step calls a trace of its own.

    A trace that records metrics adds them to the sums of the step that traced it, under the scopes that were open then. Were
    it reused, a second step (of the eval set, or of another Trainer) would miss the metric and corrupt the first one's sum.
    """

    def __init__(self) -> None:
        self._clones: dict[Hashable, Any] = {}

    def of(self, function: Any, context: Hashable) -> Any:
        """Return a copy of `function` that shares no trace with it; the same one for the same `context`."""
        key = id(function), context
        if key not in self._clones:
            # The function too, or another one might get its id.
            self._clones[key] = function._clone(None), function
        return self._clones[key][0]


def intercept(choose: Callable[[Any], Any], check_kept: Callable[[Callable[[], Any]], Any]) -> None:
    """Let each call of a `tf.function` call `choose(function)` instead. For the whole process, once.

    Functions of a loaded SavedModel are left alone: they have no Python code that could record.

    Args:
      choose: function -> the function to call.
      check_kept: calls what it is given, which makes a concrete function, and returns that; it may be kept for other steps.
    """
    call, concrete = _Function.__call__, _Function.get_concrete_function

    def redirected(self: Any, *args: Any, **kwargs: Any) -> Any:
        return call(choose(self) if type(self) is _Function else self, *args, **kwargs)

    def redirected_concrete(self: Any, *args: Any, **kwargs: Any) -> Any:
        if type(self) is not _Function:
            return concrete(self, *args, **kwargs)
        return check_kept(lambda: concrete(choose(self), *args, **kwargs))

    _Function.__call__, _Function.get_concrete_function = redirected, redirected_concrete
