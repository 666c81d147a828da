"""What XLA cannot compile, in plain words."""

from __future__ import annotations

import re

import tensorflow as tf

from ..metrics.errors import UsageError

_MISSING = re.compile(r"No registered '(\w+)' OpKernel for XLA")


def cannot_compile(error: tf.errors.OpError) -> UsageError | None:
    """What to raise instead of TensorFlow's error; None if it is another."""
    operations = sorted(set(_MISSING.findall(error.message)))
    if not operations:
        return None
    return UsageError(
        f"Trainer.jit_compile = True: XLA has no {', '.join(operations)}, which the task's loss, the model or a metric uses. "
        "Do that part in Input.map_fn, or set Trainer.jit_compile = False."
    )
