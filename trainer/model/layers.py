"""The task's model: built, its layers found, and which of them are trained."""

from __future__ import annotations

import collections
import contextlib
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from ...data import Input
from ...metrics.errors import UsageError
from ..task import Task, call_loss
from ..user_code import built_on

_CONVOLUTIONS = (
    *(keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D),
    *(keras.layers.Conv1DTranspose, keras.layers.Conv2DTranspose, keras.layers.Conv3DTranspose),
    *(keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D),
    *(keras.layers.SeparableConv1D, keras.layers.SeparableConv2D),
    *(keras.layers.ConvLSTM1D, keras.layers.ConvLSTM2D, keras.layers.ConvLSTM3D),
)


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
            with built_on(dataset.element_spec):
                call_loss(task, model, _zeros(dataset.element_spec), training=False)
    return model


def another_model(
    task: Task, strategy: tf.distribute.Strategy, dataset: Input | None, model: keras.Model
) -> keras.Model:
    """Return one more model with the variables of `model`, which the task made.

    Raises:
      UsageError: the task always returns the same model, and Keras cannot clone it.
    """
    made = build_model(task, strategy, dataset)
    if made is model:
        try:
            with strategy.scope():
                made = keras.models.clone_model(model)
        except Exception as error:  # whatever a user's constructor raises
            raise UsageError(
                f"{type(task).__name__}.build_model returns the same model each time, which Keras cannot clone ({error}): "
                "expected a new one. Make it in build_model, or give its class a get_config()."
            ) from error
    return made


def layers_of(model: keras.Model) -> list[keras.Layer]:
    """Return the model's layers and the layers inside them, at any depth, each once.

    Keras gives public access to the layers of a model, and none to those inside a custom layer.
    """
    return model._flatten_layers(include_self=False)


@contextlib.contextmanager
def calls_replaced(
    layers: Collection[keras.Layer], call_of: Callable[[keras.Layer], Callable[..., Any]]
) -> Iterator[None]:
    """Give layers another `call` inside the context: there is no public way to change how a user's layer computes.

    Args:
      layers: none of them has a `call` of its own.
      call_of: layer -> its call inside the context.
    """
    for layer in layers:
        layer.call = call_of(layer)
    try:
        yield
    finally:
        for layer in layers:
            del layer.call


def weight_names(model: keras.Model) -> dict[int, str]:
    """Return the identity of a weight's TensorFlow variable -> its path, without the model's own name in front.

    Keras numbers the name of a model by how many the process has made, and puts it in front of some paths. A path that two
    weights share is left out.
    """
    paths = {id(weight.value): weight.path.removeprefix(f"{model.name}/") for weight in model.weights}
    counts = collections.Counter(paths.values())
    return {key: path for key, path in paths.items() if counts[path] == 1}


def freeze(model: keras.Model, patterns: Sequence[str]) -> None:
    """Make every layer untrainable whose path or name matches one of the regular expressions.

    A pattern matches from the start of the path or of the name of a layer, and freezes the layers inside it too. As
    in Keras, a frozen BatchNormalization uses its moving statistics, and does not update them.

    Raises:
      UsageError: a pattern matches no layer, or nothing is left to train.
    """
    layers = layers_of(model)
    for pattern in patterns:
        matching = [layer for layer in layers if any(re.match(pattern, name) for name in _names(layer))]
        if not matching:
            known = ", ".join(_names(layer)[-1] for layer in layers)
            raise UsageError(f"Trainer.freeze: {pattern!r} matches no layer: there are {known}.")
        for layer in matching:
            layer.trainable = False
    if patterns and not model.trainable_variables:
        raise UsageError(f"Trainer.freeze = {list(patterns)!r} leaves no variable to train: freeze fewer layers.")


def refuse_stateful(model: keras.Model, replicas: int) -> None:
    """Refuse recurrent layers that carry the state of each example from batch to batch, on several replicas.

    Raises:
      UsageError: there is one.
    """
    stateful = [layer.name for layer in layers_of(model) if getattr(layer, "stateful", False)]
    if stateful and replicas > 1:
        raise UsageError(
            f"{stateful[0]} has stateful=True: its state belongs to the examples of a batch, by position, which {replicas} "
            "replicas do not keep. Train with @one_device(), or pass the state as an input."
        )


def convolves(task: Task, model: keras.Model) -> bool:
    """Return whether the model, or another one that is an attribute of its task, has a convolution.

    In a loop that XLA compiles for a CPU, these take several times as long as outside of one.
    """
    models = [model, *(each for each in vars(task).values() if isinstance(each, keras.Model))]
    return any(isinstance(layer, _CONVOLUTIONS) for each in models for layer in layers_of(each))


def replica_dependent_layers(model: keras.Model) -> list[str]:
    """Return the names of the layers whose results depend on the number of replicas."""
    layers = layers_of(model)
    return [layer.name for layer in layers if hasattr(layer, "seed_generator")] + [
        layer.name
        for layer in layers
        if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable and not layer.synchronized
    ]


def _names(layer: keras.Layer) -> list[str]:
    """Return its name, and its path unless it has none, like an input layer."""
    return [layer.name] if layer.path is None else [layer.name, layer.path]


def _zeros(spec):
    """Return one example of zeros."""
    return tf.nest.map_structure(lambda tensor: tf.zeros([1, *[d or 1 for d in tensor.shape[1:]]], tensor.dtype), spec)
