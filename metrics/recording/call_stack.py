"""What the Python stack tells about the call that adds a metric. It is inspected only while tracing."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import keras
import tensorflow as tf

_PACKAGE = str(Path(__file__).parents[1])
_WHILE_LOOP_FILE = inspect.unwrap(tf.while_loop).__code__.co_filename
# TensorFlow's private functions that call the branches of a condition one after the other.
_BRANCHING = {"cond_v2", "indexed_case"}
# They call their function once outside of the loop that they build, only to see what it returns.
_PROBING = {keras.layers.RNN.inner_loop.__code__, inspect.unwrap(keras.ops.map).__code__}
# Private, and called by an RNN that has dropout in its cell, or cells in it: it calls the cell once more than the steps do.
_ALWAYS_PROBING = keras.layers.RNN._maybe_config_dropout_masks.__code__
_LIBRARIES = tuple(str(Path(module.__file__ or "").parent) for module in (tf, keras))
_RECOMPUTING = "inner_recompute_grad"  # the function inside `tf.recompute_grad` that runs in its backward pass


def caller() -> str:
    """Return `file:line` of the innermost frame outside this package: the line that adds the metric."""
    frame = next(each for each in _frames() if not each.f_code.co_filename.startswith(_PACKAGE))
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def is_repeated() -> bool:
    """Return whether this is a second execution of a call that counts already.

    Two things call a layer once more than the model does: the backward pass of `tf.recompute_grad`, and what calls a function
    on a first time step or row only to see what it returns.
    """
    return _is_probe() or _is_recomputed()


def stack() -> list[FrameType]:
    """Return the frames of this call, innermost first, for `are_branches`."""
    return list(_frames())


def are_branches(stack: list[FrameType], other: list[FrameType]) -> bool:
    """Return whether two calls are in two branches of one `tf.cond` or `tf.switch_case`: there, their stacks part."""
    outer = set(map(id, other))
    parting = next(frame for frame in stack if id(frame) in outer)
    return parting.f_code.co_name in _BRANCHING


def _is_probe() -> bool:
    in_loop = False  # of the frame that is looked at: a loop that the user's function builds itself says nothing
    for frame in _frames():
        if not frame.f_code.co_filename.startswith(_LIBRARIES):
            in_loop = False
        in_loop = in_loop or frame.f_code.co_filename == _WHILE_LOOP_FILE
        if frame.f_code is _ALWAYS_PROBING:
            return True
        if frame.f_code in _PROBING:
            if not in_loop and not getattr(frame.f_locals.get("self"), "unroll", False):
                return True
            in_loop = False  # of this loop; it may be in the probe of an outer one
    return False


def _is_recomputed() -> bool:
    for frame in _frames():
        if frame.f_code is tf.GradientTape.gradient.__code__:
            return False  # in the backward pass itself
        if frame.f_code.co_name == _RECOMPUTING:
            return True
    return False


def _frames() -> Iterator[FrameType]:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back
