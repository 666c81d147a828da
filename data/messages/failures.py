"""What a `tf.data` pipeline raises for an example it cannot read or map, and how that reads in one line."""

from __future__ import annotations

import re

import tensorflow as tf

# TensorFlow's message may hold bytes of the example that are not valid text; Python then fails to make the message.
FAILURES: tuple[type[Exception], ...] = (tf.errors.OpError, UnicodeDecodeError)

# What TensorFlow adds to a message: the names of nodes and of parts of the pipeline, and where a node was defined.
_NOISE = (
    r"\{\{.*?\}\}|\[Op:.*|\[\[.*|name: *$|Error in user-defined function passed to \w+:\d+ .*?iterator: \S+: "
    r"|^Graph execution error:$|^Detected at node .*|^ *File \".*|^<stack traces unavailable>$"
)


def message(error: Exception) -> str:
    """Return the whole message of one of the `FAILURES`."""
    if isinstance(error, UnicodeDecodeError):
        return error.object.decode(errors="backslashreplace")
    return str(error)


def reason(error: Exception) -> str:
    """Return the reason that an error of TensorFlow gives: one line, without the names of nodes.

    The error's type stands in for an empty message.
    """
    text = re.sub(_NOISE, "", message(error), flags=re.MULTILINE)
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    return (lines[0] if lines else type(error).__name__).rstrip(".: ")
