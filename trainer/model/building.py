"""Building the task's model, and naming the dataset in its errors."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import keras
import tensorflow as tf

from ...data import Input
from ...metrics.errors import UsageError
from ..task import Task


def build_model(task: Task, strategy: tf.distribute.Strategy, dataset: Input | None) -> keras.Model:
    """Return the task's model with all its variables created, under the strategy's scope.

    A model that does not know its input's shape is called once, on zeros shaped like a batch of `dataset`.

    Raises:
      UsageError: `build_model` returned something else, or the model cannot be built.
    """
    with strategy.scope():
        model = task.build_model()
        if not isinstance(model, keras.Model):
            raise UsageError(f"{type(task).__name__}.build_model returned {model!r}: expected a keras.Model.")
        if not model.built:
            if dataset is None:
                raise UsageError("The model does not know its input's shape, and no dataset is bound that has one.")
            task.loss(model, _zeros(dataset.element_spec), training=False)
    return model


@contextlib.contextmanager
def traced_on(dataset: str) -> Iterator[None]:
    """Note on an error in the context on which dataset's batches the task was traced."""
    try:
        yield
    except Exception as error:
        error.add_note(f"(while the task was traced on a batch of {dataset})")
        raise


def _zeros(spec):
    """Return one example of zeros."""
    return tf.nest.map_structure(lambda tensor: tf.zeros([1, *[d or 1 for d in tensor.shape[1:]]], tensor.dtype), spec)
