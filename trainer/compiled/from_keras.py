"""`from_keras`: a Trainer of a compiled Keras model."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import keras
import tensorflow as tf

from ...data import Input
from ...metrics.errors import UsageError, did_you_mean
from ..trainer import Trainer
from .arguments import is_compiled, overridden, own_metrics
from .callbacks import KerasCallbacks, check_callbacks
from .class_weights import check_class_weight
from .cloning import strategy_for
from .optimizer import continued
from .penalties import warn_of_repeated_rows
from .task import CompiledTask

_INTERVALS = ("summary_interval", "eval_interval", "checkpoint_interval")


def from_keras(
    compiled_model: keras.Model,
    train_dataset: Input | None = None,
    eval_datasets: Mapping[str, Input] | None = None,
    train_epochs: int | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    class_weight: Mapping[int, float] | None = None,
    **trainer: Any,
) -> Trainer:
    """Return a Trainer of a compiled Keras model: with its losses, metrics, optimizer and current weights.

    On one device it trains as `fit(shuffle=False)` does if `Input.shuffle` is False; on several replicas and workers it does the
    same. The model itself is trained where its variables serve, on one device or in the scope it was created in, and otherwise a
    copy: `trainer.model`.

    Args:
      compiled_model: after `compile(optimizer, loss, loss_weights, metrics, weighted_metrics)`.
      train_dataset: batches of `(x, y)` or `(x, y, sample_weight)`, in the structures that `fit` takes, with tuples for lists.
      eval_datasets: name -> the data to evaluate on, likewise.
      train_epochs: the number of passes over `train_dataset`; 1 unless `train_steps` is given.
      callbacks: Keras callbacks that only look. They are called on the chief, for epochs: `summary_interval` and
        `eval_interval` are one epoch then.
      class_weight: class -> the weight of its examples in training, as for `fit`.
      **trainer: other arguments of `Trainer`. The intervals are one epoch by default, where the length of the data is known.

    Raises:
      UsageError: the model is not compiled, or has something that would not be what `fit` makes of it; the message names it.
    """
    _check_model(compiled_model)
    _check_inputs(train_dataset, eval_datasets)
    _check_arguments(trainer)
    if train_dataset is not None and compiled_model.built and not compiled_model.trainable_variables:
        raise UsageError(
            f"from_keras: the model {compiled_model.name!r} has no variable to train: expected some layer with trainable = True."
        )
    example = next((each for each in (train_dataset, *(eval_datasets or {}).values()) if each is not None), None)
    if example is None:
        raise UsageError("from_keras: expected a train_dataset or eval_datasets, got none.")
    if train_dataset is not None:
        warn_of_repeated_rows(compiled_model)
    if train_epochs is None and trainer.get("train_steps") is None and train_dataset is not None:
        train_epochs = 1
    epoch = None if train_dataset is None else _steps_per_epoch(train_dataset)
    trainer = {**(dict.fromkeys(_INTERVALS, epoch) if epoch else {}), **trainer}
    if checked := check_callbacks(callbacks):
        epochs = train_epochs or -(-trainer["train_steps"] // _epoch_of_callbacks(epoch, trainer))
        action = KerasCallbacks(checked, _epoch_of_callbacks(epoch, trainer), epochs)
        trainer["actions"] = [action, *trainer.get("actions", ())]
    return Trainer(
        task=CompiledTask(compiled_model, example, check_class_weight(class_weight)),
        optimizer=continued(compiled_model.optimizer),
        strategy=partial(strategy_for, compiled_model, trainer.pop("strategy", None)),
        train_dataset=train_dataset,
        eval_datasets=eval_datasets,
        train_epochs=train_epochs,
        **trainer,
    )


def _steps_per_epoch(dataset: Input) -> int | None:
    try:
        return dataset.batches_per_epoch
    except UsageError as error:
        error.add_note(
            "(fit takes several inputs or outputs in a list, and an Input in a tuple or dict: ((x_1, x_2), y))"
        )
        raise


def _epoch_of_callbacks(epoch: int | None, trainer: Mapping[str, Any]) -> int:
    """Return the steps of an epoch, after which callbacks are called with the metrics of that epoch."""
    if epoch is None:
        raise UsageError(
            "from_keras: callbacks are called for epochs: expected a train_dataset whose length is known, of arrays or rows by "
            "number, got a stream or none. Use actions=[...], which are called with each summary."
        )
    for name in ("summary_interval", "eval_interval"):
        if trainer[name] != epoch:
            raise UsageError(
                f"from_keras: {name} = {trainer[name]}: expected one epoch, {epoch} steps, as callbacks are given the metrics of "
                "epochs. Leave it out, or use actions=[...], which are called with each summary."
            )
    return epoch


def _check_model(model: Any) -> None:
    if not isinstance(model, keras.Model):
        raise UsageError(f"from_keras: compiled_model = {model!r}: expected a compiled keras.Model.")
    if tf.distribute.has_strategy():
        raise UsageError(
            "from_keras: call it outside any `with strategy.scope():`; the Trainer enters its own where needed."
        )
    if not is_compiled(model):
        raise UsageError(
            f"from_keras: the model {model.name!r} is not compiled: expected model.compile(optimizer, loss, ...) before."
        )
    if found := overridden(model):
        raise UsageError(
            f"from_keras: {type(model).__name__} overrides {', '.join(found)}, which is not called: expected a model that trains "
            "by the losses of compile and add_loss. Write a Task, whose loss or train_step does the same (docs/tasks.md)."
        )
    for layer, metric in own_metrics(model):
        raise UsageError(
            f"from_keras: the layer {layer!r} updates a Keras metric of its own, {metric!r}, whose state would differ between "
            "replicas: expected tallyloop.metrics.add(name, values) in its call instead."
        )


def _check_inputs(train_dataset: Any, eval_datasets: Any) -> None:
    named = {"train_dataset": train_dataset}
    if isinstance(eval_datasets, Mapping):
        named |= {f"eval_datasets[{name!r}]": dataset for name, dataset in eval_datasets.items()}
    elif isinstance(eval_datasets, Input | tuple | tf.data.Dataset):
        raise UsageError(
            f"from_keras: eval_datasets = {type(eval_datasets).__name__}: expected a dict of name -> Input, such as "
            '{"val": Input((x_val, y_val), global_batch_size=32)}.'
        )
    for name, dataset in named.items():
        if dataset is not None and not isinstance(dataset, Input):
            raise UsageError(
                f"from_keras: {name} = {type(dataset).__name__}: expected an Input, such as Input((x, y), "
                "global_batch_size=32)."
            )


_INSTEAD = {
    "task": "the model is the task; a Task of your own goes to Trainer",
    "optimizer": "the optimizer is that of compile",
    "epochs": "train_epochs",
    "batch_size": "Input((x, y), global_batch_size=32)",
    "shuffle": "Input((x, y), shuffle=False, ...)",
    "validation_data": 'eval_datasets={"val": Input((x_val, y_val), ...)}',
    "validation_split": "eval_datasets with the rows that you set aside",
    "sample_weight": "a source of (x, y, sample_weight)",
    "steps_per_epoch": "train_steps, for all of training",
    "initial_epoch": "model_dir, whose newest checkpoint a rerun continues",
    "validation_freq": "eval_interval, in steps",
    "verbose": "nothing: a run that writes to no terminal shows no progress bar",
    "x": "train_dataset=Input((x, y), global_batch_size=32)",
    "y": "train_dataset=Input((x, y), global_batch_size=32)",
}


_OF_TRAINER = tuple(inspect.signature(Trainer.__init__).parameters)[1:]


def _check_arguments(trainer: Mapping[str, Any]) -> None:
    for name in trainer:
        if name in _INSTEAD:
            raise UsageError(f"from_keras: got {name}=..., expected an argument of Trainer. Instead: {_INSTEAD[name]}.")
        if name not in _OF_TRAINER:
            hint = did_you_mean(name, _OF_TRAINER) or "."
            raise UsageError(f"from_keras: got {name}=..., expected an argument of Trainer{hint}")
