"""Pickling the source and the transform for the processes that read rows."""

from __future__ import annotations

import functools
import inspect
import io
import pickle
from collections.abc import Callable
from typing import Any

import cloudpickle
import gin
import gin.config
import numpy as np

from ....metrics.errors import UsageError
from ..transforms import Examples
from .worker import Memory, Span

_DEPTH = 6  # of attributes that an error names


class Pickled:
    """The pickled source that the processes load: a copy for all of them, in shared memory.

    What is defined in the script or notebook itself is pickled with its code, so that no process runs the script.

    Args:
      examples: is pickled.
      count: `Input.read_processes`.

    Attributes:
      memory: has the pickled object.
      spans: where; the buffers, and the object last.
      bindings: gin's, for the configurables that a transform calls.

    Raises:
      UsageError: the source or the transform cannot be pickled.
    """

    def __init__(self, examples: Examples, count: int):
        buffers: list[pickle.PickleBuffer] = []
        try:
            pickled = _dumped(examples, buffers.append)
        except Exception as error:
            raise UsageError(_what_fails(examples, count)) from error
        self.memory: Memory = Memory()
        self.spans: list[Span] = self.memory.put([*buffers, pickle.PickleBuffer(pickled)])
        self.bindings: str = _bindings()


class _Pickler(cloudpickle.Pickler):
    def reducer_override(self, obj: Any) -> Any:
        """Reduce a memory-mapped array to its file, and a function of gin's to the user's own with what is bound."""
        if isinstance(obj, np.memmap) and obj.filename is not None:
            return _mapped, _place(obj)
        if _is_of_gin(obj):
            return _bound(obj)
        return super().reducer_override(obj)


def _dumped(thing: Any, take: Callable[[pickle.PickleBuffer], Any] | None = None) -> bytes:
    with io.BytesIO() as file:
        _Pickler(file, 5, buffer_callback=take).dump(thing)
        return file.getvalue()


def _place(array: np.memmap) -> tuple[Any, ...]:
    root: Any = array
    while isinstance(root.base, np.memmap):
        root = root.base
    start = root.offset + array.__array_interface__["data"][0] - root.__array_interface__["data"][0]
    return str(array.filename), start, array.shape, array.dtype, array.strides


def _mapped(file: str, start: int, shape: Any, dtype: np.dtype, strides: Any) -> np.ndarray:
    return np.ndarray(shape, dtype, np.memmap(file, np.uint8, "r"), start, strides)


def _is_of_gin(thing: Any) -> bool:
    return inspect.isfunction(thing) and thing.__globals__ is vars(gin.config) and hasattr(thing, "__wrapped__")


def _bound(function: Any) -> tuple[Any, ...]:
    """Return how to make the user's function with its bindings again; gin itself knows them in this process only."""
    scope: list[str] = []
    while _is_of_gin(function):
        scope = scope or inspect.getclosurevars(function).nonlocals.get("scope_components", [])
        wrapper, function = function, function.__wrapped__
    with gin.config_scope(scope or None):
        try:
            bindings = gin.get_bindings(wrapper)
        except ValueError:  # a constructor, which has run
            bindings = {}
    return functools.partial, (function,), (function, (), bindings, None)


def _bindings() -> str:
    """Return gin's config without its imports."""
    return "\n".join(line for line in gin.config_str().splitlines() if not line.startswith(("import ", "from ")))


def _what_fails(examples: Examples, count: int) -> str:
    source = getattr(examples.rows.gather, "source", examples.rows.gather)
    for name, value in (("Input.source", source), ("Input.transform", examples.transform)):
        found = _unpicklable(name, value)
        if found is not None:
            return (
                f"Input.read_processes = {count}: expected a source and a transform that can be pickled, got {found}. Make it "
                "where it is used (such as in __getitem__), leave it out in __getstate__, make the transform a function of a "
                "module, or use Input.read_threads."
            )
    raise AssertionError("each can be pickled, but not both")


def _unpicklable(name: str, value: Any) -> str | None:
    """Return the innermost attribute that cannot be pickled, and why; None if all can."""
    try:
        _dumped(value)
    except Exception as error:
        attributes = getattr(value, "__dict__", {}) if name.count(".") < _DEPTH else {}
        inner = (_unpicklable(f"{name}.{key}", each) for key, each in attributes.items())
        return next(filter(None, inner), f"{name} of type {type(value).__name__} ({error})")
    return None
