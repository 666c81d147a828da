"""Python functions that are called while a graph runs (`tf.py_function`, `tf.numpy_function`): which of them a step calls.

What such a function adds cannot get into the step, which has been traced by then. In a step, that is an error. A function of
an input pipeline is not part of a step: there, `metrics.add` does nothing, as anywhere else outside of one.
"""

from __future__ import annotations

import inspect
import sys
import threading
from collections.abc import Callable
from typing import Any

import tensorflow as tf

# `tf.py_function`, `tf.numpy_function` and their decorators all make their operation with a private function of this module. The
# public names would not do: users import them before they can be replaced.
_scripts: Any = sys.modules[inspect.unwrap(tf.py_function).__module__]


class _Running(threading.local):
    """A thread's note that it is in a function that a step called."""

    of_step: bool = False


_running = _Running()


def is_of_step() -> bool:
    """Return whether this thread is in a Python function that a traced step called."""
    return _running.of_step


def intercept_python_calls(is_in_step: Callable[[], bool]) -> None:
    """Let `is_of_step` know the functions that are given to TensorFlow while `is_in_step()`. For the whole process, once."""
    make = _scripts._internal_py_func

    def marking(func: Any, *args: Any, **kwargs: Any) -> Any:
        return make(_of_step(func) if is_in_step() else func, *args, **kwargs)

    _scripts._internal_py_func = marking


def _of_step(function: Callable[..., Any]) -> Callable[..., Any]:
    def run(*args: Any) -> Any:
        _running.of_step = True
        try:
            return function(*args)
        finally:
            _running.of_step = False

    return run
