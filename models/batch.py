"""What the bundled tasks share: the parts of a batch, the precision of a loss, and the weights of its examples."""

from __future__ import annotations

import contextlib
import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ..metrics.errors import UsageError

_COLORS = re.compile(r"\x1b\[[0-9;]*m")  # in messages of Keras
_PLACES = ("x", "y", "sample_weight")  # of the parts of a tuple
FEATURES, TARGETS, _WEIGHTS = range(3)


def part_of(batch: Any, key: str, place: int, where: str, fix: str) -> Any:
    """Return `batch[key]` of a dict, `batch[place]` of a tuple.

    Args:
      batch: a dict; or a tuple `(x, y)` or `(x, y, sample_weight)`, as Keras takes it.
      key: what to look for in a dict.
      place: where it stands in a tuple.
      where: what the batch is, for the message.
      fix: what the user can do about it, for the message.

    Raises:
      UsageError: the batch is neither, or lacks the part.
    """
    if isinstance(batch, tuple):
        if place < len(batch):
            return batch[place]
        names = ", ".join(_PLACES[: place + 1])
        raise UsageError(
            f"{where}: expected a tuple ({names}) or a dict with the key {key!r}, got a tuple of {len(batch)}; {fix}"
        )
    if isinstance(batch, Mapping) and key in batch:
        return batch[key]
    found = sorted(batch) if isinstance(batch, Mapping) else type(batch).__name__
    raise UsageError(f"{where}: expected the key {key!r}, got {found}; {fix}")


def numbers_of(column: tf.Tensor, key: str, binding: str, dtype: Any = tf.float32) -> tf.Tensor:
    """Return a column of a batch as floating-point numbers.

    Args:
      column: the column.
      key: its name in the batch.
      binding: what says that it holds numbers, for the message.
      dtype: of the result.

    Raises:
      UsageError: it holds strings, which TensorFlow would refuse only once the step runs, without a name.
    """
    if column.dtype == tf.string:
        raise UsageError(
            f"The batch: column {key!r} holds strings: expected numbers, as {binding} names it; correct the file. With a dtype "
            f"in the source, as in csv.columns = {{{key!r}: 'float32'}}, the message names the line"
        )
    return tf.cast(column, dtype)


def wide(numbers: tf.Tensor) -> tf.Tensor:
    """Return numbers of half precision as float32: under mixed precision, losses and predictions would be rounded to them."""
    return tf.cast(numbers, tf.float32) if numbers.dtype in (tf.bfloat16, tf.float16) else numbers


def maker(binding: str, make: Callable[..., keras.Model], example: str = "my_model") -> Callable[..., keras.Model]:
    """Return the function that makes a model; a model itself is refused.

    Args:
      binding: what names it, for the message, such as "ClassifierTask.model".
      make: its value.
      example: a function, for the message.

    Raises:
      UsageError: it is a model, or cannot be called.
    """
    if isinstance(make, keras.Model) or not callable(make):
        raise UsageError(
            f"{binding} = {make!r}: expected a function that makes the model, so that the Trainer can make it on all devices; "
            f"write @{example}, not @{example}()"
        )
    return make


def binding_of(make: Callable[..., Any], parameter: str) -> str:
    """Return a parameter of a model function as a message names it, ` (mlp.num_classes)`; empty if the function lacks it."""
    name = getattr(make, "__name__", "")
    with contextlib.suppress(TypeError, ValueError):  # of a callable without a signature
        if name and parameter in inspect.signature(make).parameters:
            return f" ({name}.{parameter})"
    return ""


def outputs_of(model: keras.Model, inputs: Any, training: bool, where: str, fix: str) -> Any:
    """Return what a model makes of its inputs.

    Args:
      model: the model.
      inputs: a tensor (batch, ...).
      training: whether to train.
      where: what the model is, to begin an error with.
      fix: what the user can do about inputs that it does not accept.

    Raises:
      UsageError: the model does not accept the inputs; Keras tells this in several lines and kinds of errors.
    """
    try:
        return model(inputs, training=training)
    except (TypeError, ValueError, tf.errors.InvalidArgumentError) as error:
        if isinstance(error, UsageError):
            raise
        lines = [line for line in _COLORS.sub("", str(error)).splitlines() if line]
        reason = next((line for line in lines if "encountered when calling" not in line), type(error).__name__)
        got = f"{inputs.dtype.name} of shape (batch, {', '.join(map(str, inputs.shape[1:]))})"
        raise UsageError(f"{where}: expected inputs that it accepts, got {got}: {reason}; {fix}") from error


def weighted(losses: tf.Tensor, batch: Any, key: str | None, training: bool, task: str) -> tf.Tensor:
    """Return losses times the weights of their examples.

    As in Keras, their mean is a sum divided by the number of examples, not by the sum of the weights.

    Args:
      losses: shape (batch,).
      batch: a dict or a tuple.
      key: the key of the weights in a dict, or None. A batch of an evaluation may lack it.
      training: whether the batch is one of training.
      task: the name of the task, for messages.

    Raises:
      UsageError: the weights are missing in training, or they aren't one number per example.
    """
    has_weights = len(batch) > _WEIGHTS if isinstance(batch, tuple) else isinstance(batch, Mapping) and key in batch
    if not has_weights and (key is None or not training):
        return losses
    key = key or _PLACES[_WEIGHTS]
    weights = part_of(batch, key, _WEIGHTS, "The batch", f"set {task}.sample_weight")
    if len(weights.shape) != 1:
        raise UsageError(
            f"{task}.sample_weight = {key!r}: expected one weight per example, of shape (n,), got shape {tuple(weights.shape)}"
        )
    return losses * numbers_of(weights, key, f"{task}.sample_weight", losses.dtype)


def training_rows(source: Any, binding: str) -> Mapping[str, Any]:
    """Return all rows of a source as columns, for what a model learns from them before it is trained.

    Args:
      source: a function that returns a dict of arrays, or rows by number.
      binding: where it was bound, for messages.

    Raises:
      UsageError: it returns something else.
    """
    if not callable(source):
        raise UsageError(f"{binding} = {source!r}: expected a source without parentheses, such as @train/csv")
    found: Any = source()
    if hasattr(found, "__getitems__"):
        found = found.__getitems__(np.arange(len(found)))
    if not isinstance(found, Mapping):
        raise UsageError(
            f"{binding}: expected a source of a dict of arrays, or of rows by number with __getitems__, got a "
            f"{type(found).__name__}"
        )
    return found
