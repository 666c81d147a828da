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


def caller() -> str:
    """Return `file:line` of the innermost frame outside this package: the line that adds the metric."""
    frame = next((each for each in _frames() if not each.f_code.co_filename.startswith(_PACKAGE)), None)
    return f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame else "?"


def is_repeated() -> bool:
    """Return whether this is a second execution of a call that counts already.

    Two things call a layer once more than the model does: the backward pass of `tf.recompute_grad`, and a Keras RNN
    layer, which calls its cell on the first time step only to see what it returns.
    """
    in_while = False
    for frame in _frames():
        if frame.f_code is tf.GradientTape.gradient.__code__:
            return True
        in_while = in_while or frame.f_code.co_filename == _WHILE_LOOP_FILE
        if frame.f_code is keras.layers.RNN.inner_loop.__code__ and not in_while:
            return not frame.f_locals["self"].unroll
    return False


def _frames() -> Iterator[FrameType]:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back
