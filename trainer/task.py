"""What a user writes: a model, and the loss of a batch, or several losses."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from ..metrics.errors import UsageError
from ..metrics.tally import Tally, tally
from .export.inputs import inputs_of
from .export.saving import save

ONE_LOSS = ""  # the name of the loss of a task that has only one
_LOSSES = "one loss per example, a Tally of their sum and count, or (losses, outputs)"
_NAMED_LOSSES = "a dict of several losses, name -> one loss per example"


class Task:
    """A model, its loss and its metrics. Subclass it; only `build_model` and `loss` must be written, or instead of `loss`,
    `losses` and `variables`.

    A task never sees a replica: it gets a batch of any size, and returns one loss per example. Sums, counts and
    the division by the global count are the Trainer's.

    Attributes:
      metrics: name -> `fn(batch, outputs) -> (value, count)`, sums over the batch; or a pair `(fn, finish)`; or a Keras
        metric, which gets `batch["y"]` and the outputs (see `metrics.KerasMetric`). Nested dicts become paths.
    """

    metrics: Mapping[str, Any] = {}

    def build_model(self) -> keras.Model:
        """Return the model. Called once, under the strategy's scope."""
        raise NotImplementedError(f"{type(self).__name__} must define build_model(self) -> keras.Model.")

    def loss(self, model: keras.Model, batch: Any, training: bool) -> Any:
        """Return the losses of a batch: a tensor with one loss per example, never their mean.

        Args:
          model: what `build_model` returned.
          batch: a nest of tensors whose first axis is the batch.
          training: True in a train step.

        Returns:
          Losses of shape (batch,), or with more axes (one loss per token); or a `Tally` of their sum and their
          count, which is what masked losses need; or a pair `(losses, outputs)`, where the
          metric functions get `outputs`.
        """
        raise NotImplementedError(f"{type(self).__name__} must define loss(self, model, batch, training).")

    def losses(self, model: keras.Model, batch: Any, training: bool) -> Any:
        """Return several losses of a batch, each of which trains its own variables with its own optimizer, as in a GAN.

        Define it instead of `loss`, together with `variables`. `Trainer.optimizer` has the same names.

        Args:
          model: what `build_model` returned.
          batch: a nest of tensors whose first axis is the batch.
          training: True in a train step.

        Returns:
          A dict: name -> losses, each as `loss` returns them; or a pair `(dict, outputs)`. Each is recorded as `loss/NAME`.
        """
        raise NotImplementedError(f"{type(self).__name__} must define losses(self, model, batch, training).")

    def variables(self, model: keras.Model, name: str) -> list[keras.Variable]:
        """Return the variables that one of several losses trains, such as `model.generator.trainable_variables`.

        Args:
          model: what `build_model` returned.
          name: of the loss.
        """
        raise UsageError(
            f"{type(self).__name__} must define variables(self, model, name) -> the variables that the loss `name` trains, as it "
            "defines losses."
        )

    def train_step(self, model: keras.Model, batch: Any) -> Any:
        """Run the forward pass of a train step.

        Args:
          model: that of `build_model`.
          batch: a replica's share of it.

        Returns:
          What `loss` or `losses` returns.
        """
        return call_loss(self, model, batch, training=True)

    def eval_step(self, model: keras.Model, batch: Any) -> Any:
        """Run the forward pass of an eval step.

        Args:
          model: that of `build_model`.
          batch: a replica's share of it.

        Returns:
          What `loss` or `losses` returns.
        """
        return call_loss(self, model, batch, training=False)

    def predict_step(self, model: keras.Model, batch: Any) -> Any:
        """Return the predictions of a batch: a nest of tensors whose first axis is the batch.

        By default, what the model returns for its inputs in the batch: of a dict, the keys that are the names of its inputs,
        else "x", else the only key; of a tuple, its first part. A model whose inputs are named otherwise, or whose output is
        not the prediction yet, such as logits, needs a `predict_step` of its own.

        Raises:
          UsageError: the batch has none of these.
        """
        purpose, fix = f"{type(self).__name__} cannot predict", "define predict_step(self, model, batch)"
        return model(inputs_of(model, batch, purpose, fix), training=False)

    def export(self, model: keras.Model, folder: Path, batch_spec: Any = None) -> None:
        """Write the trained model below `folder`: as `model.keras`, and as a SavedModel in `saved_model/`, unless overridden.

        Args:
          model: the trained model, with the averages of its weights if the optimizer keeps any.
          folder: exists. What is written there takes the place of the previous export once this returns.
          batch_spec: a nest of `tf.TensorSpec`, a batch; None if no dataset is bound. An override may leave it out.

        Raises:
          UsageError: the model can be written in neither form.
        """
        save(model, folder, batch_spec)

    def check_data(self, model: keras.Model, arrays: Mapping[str, np.ndarray], where: str) -> None:
        """Check a whole dataset before anything is trained or written; for sources that are arrays.

        Args:
          model: what `build_model` returned.
          arrays: the dataset.
          where: the binding that it comes from, to name in an error.

        Raises:
          UsageError: the data cannot be right for the model, such as a label that isn't a class.
        """


def has_several_losses(task: Task) -> bool:
    """Return whether the task defines `losses`, and not `loss`.

    Raises:
      UsageError: it defines both. A subclass may replace the one that it inherits by the other.
    """
    for each in type(task).__mro__:
        defined = {name for name in ("loss", "losses") if callable(vars(each).get(name))}
        if len(defined) == 2 and each is not Task:
            raise UsageError(f"{each.__name__} defines both loss and losses: expected one of them; remove the other.")
        if defined:
            return each is not Task and defined == {"losses"}
    return False


def call_loss(task: Task, model: keras.Model, batch: Any, training: bool) -> Any:
    """Call the task's `loss`, or its `losses`."""
    return (task.losses if has_several_losses(task) else task.loss)(model, batch, training=training)


class TaskLosses:
    """The names of a task's losses, and the variables that each of them trains. A single loss has the name `ONE_LOSS`.

    Args:
      task: the task.
      model: its built model.
      names: the names that the losses are to have, which are those of `Trainer.optimizer`; None takes any.
    """

    def __init__(self, task: Task, model: keras.Model, names: Iterable[str] | None = None):
        self._task = task
        self.model: keras.Model = model
        self._names = None if names is None else list(names)
        self.several: bool = has_several_losses(task)

    @property
    def models(self) -> list[keras.Model]:
        """The model, and others that the task has as attributes, such as a teacher."""
        others = {id(each): each for each in vars(self._task).values() if isinstance(each, keras.Model)}
        others.pop(id(self.model), None)
        return [self.model, *others.values()]

    def split(self, result: Any) -> tuple[dict[str, Any], Any]:
        """Split what the task returned for a batch into name -> losses, and outputs (None if there are none).

        Raises:
          UsageError: it is nothing that a task may return.
        """
        losses, outputs = split_outputs(result, _NAMED_LOSSES if self.several else _LOSSES)
        return (self._by_name(losses) if self.several else {ONE_LOSS: losses}), outputs

    def variables(self, name: str) -> list[keras.Variable]:
        """Return the variables that a loss trains; those that are frozen are left out.

        Raises:
          UsageError: the task does not say which, or they are not variables of the model.
        """
        trainable = self.model.trainable_variables
        if not self.several:
            return trainable
        given = self._asked(name)
        known = {id(each) for each in self.model.variables}
        strange = [each.path for each in given if id(each) not in known]
        if strange:
            raise UsageError(
                f"{self._call(name)} returned {', '.join(strange)}: expected variables of the model that build_model returns, "
                "and these are not of the model."
            )
        found = {id(each) for each in given}
        if not (trained := [each for each in trainable if id(each) in found]):
            raise UsageError(
                f"{self._call(name)} returned no variable that is trainable: expected those that the loss trains."
            )
        return trained

    def check_variables(self, names: Iterable[str]) -> None:
        """Check that no two losses train one variable, and warn of variables that none of them trains.

        Raises:
          UsageError: two do.
        """
        trained_by: dict[int, str] = {}
        for name in names:
            for variable in self.variables(name):
                other = trained_by.setdefault(id(variable), name)
                if other != name:
                    raise UsageError(
                        f"{type(self._task).__name__}.variables: {variable.path} is trained by both {other!r} and {name!r}: "
                        "expected each variable in one loss, as two optimizers cannot both update it. Add the losses up, or "
                        "give it to one of them."
                    )
        left = [variable.path for variable in self.model.trainable_variables if id(variable) not in trained_by]
        if left:
            where = f"{type(self._task).__name__}.variables"
            logging.warning("%s: no loss trains them, and they stay as they are; see %s.", ", ".join(left), where)

    def _by_name(self, losses: Any) -> dict[str, Any]:
        if not isinstance(losses, Mapping) or not losses:
            raise UsageError(f"returned {losses!r}: expected {_NAMED_LOSSES}.")
        wrong = [name for name in losses if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_-]+", name)]
        if wrong:
            raise UsageError(f"returned a loss {wrong[0]!r}: expected a name of letters, digits, '_' and '-'.")
        if self._names is not None and losses.keys() != set(self._names):
            raise UsageError(self._differ(list(losses), self._names))
        return dict(losses)

    def _differ(self, losses: list[str], optimizers: list[str]) -> str:
        changes = [f"add one for {name!r}" for name in losses if name not in optimizers]
        changes += [f"remove {name!r}" for name in optimizers if name not in losses]
        return (
            f"returned the losses {', '.join(map(repr, losses))}, and Trainer.optimizer has {', '.join(map(repr, optimizers))}: "
            f"expected the same names; in Trainer.optimizer, {', '.join(changes)}."
        )

    def _asked(self, name: str) -> list[keras.Variable]:
        try:
            given = self._task.variables(self.model, name)
        except (KeyError, AttributeError, IndexError, ValueError) as error:
            names = ", ".join(map(repr, self._names or [name]))
            raise UsageError(
                f"{self._call(name)} raised {type(error).__name__}: {error}. It was expected to return the variables that this "
                f"loss trains; the names of the losses are those of Trainer.optimizer: {names}."
            ) from error
        if not isinstance(given, list | tuple) or not all(isinstance(each, keras.Variable) for each in given):
            raise UsageError(
                f"{self._call(name)} returned {given!r}: expected a list of variables, such as "
                "model.generator.trainable_variables" + (". Does it lack a `return`?" if given is None else ".")
            )
        return list(given)

    def _call(self, name: str) -> str:
        return f"{type(self._task).__name__}.variables(model, {name!r})"


@dataclasses.dataclass(frozen=True)
class SumOfMeans:
    """A loss with several counts: each part is divided by its own over all replicas, and the means are added up.

    Attributes:
      parts: losses as `Task.loss` returns them, such as one masked output each.
    """

    parts: Sequence[Any]


def split_outputs(result: Any, expected: str = _LOSSES) -> tuple[Any, Any]:
    """Split what `loss` or `losses` returned into losses and outputs (None if there are none)."""
    if result is None:
        raise UsageError(f"returned None: expected {expected}. Does it lack a `return`?")
    if isinstance(result, tuple) and not isinstance(result, Tally):
        if len(result) != 2:
            raise UsageError(f"returned a tuple of {len(result)}: expected {expected}.")
        return result
    return result, None


def loss_tally(losses: Any) -> Tally:
    """Return the losses as a `Tally` of float32, or of float64 if they are float64.

    Raises:
      UsageError: the losses are averaged already (a scalar).
    """
    if isinstance(losses, Tally):
        return _scalar_tally(losses)
    _check_type(losses)
    losses = tf.convert_to_tensor(losses)
    if not losses.dtype.is_floating:
        raise UsageError(f"returned losses of dtype {losses.dtype.name}: expected floating-point numbers.")
    if losses.shape.rank == 0:
        raise UsageError(
            "returned a scalar, which is averaged or summed already: expected one loss per example, shape (batch,), "
            "or metrics.Tally(sum, count). A mean over unequal pieces cannot be undone."
        )
    wide = _wide(losses)
    # One loss per pixel or token may be so many that one float32 sum is not accurate.
    value = tf.reduce_sum(wide) if wide.shape.rank == 1 else tf.cast(tally(wide).value, wide.dtype)
    return Tally(value, tf.cast(tf.size(losses), value.dtype))


def _scalar_tally(losses: Tally) -> Tally:
    value, count = _wide(losses.value), tf.convert_to_tensor(losses.count)
    if value.shape.rank or count.shape.rank:
        raise UsageError(
            f"returned a Tally of shapes {tuple(value.shape)} and {tuple(count.shape)}: expected two scalars, the sum of the "
            "losses and their count. Sum them, or return the losses themselves."
        )
    return Tally(value, tf.cast(count, value.dtype))


def _check_type(losses: Any) -> None:
    if isinstance(losses, Mapping):
        raise UsageError(
            f"returned a dict of {list(losses)}: expected {_LOSSES}. metrics.composite_loss adds weighted parts up, and records "
            "each; a task whose losses have optimizers of their own defines `losses` instead of `loss`."
        )
    if isinstance(losses, tf.RaggedTensor | tf.SparseTensor):
        raise UsageError(
            f"returned a {type(losses).__name__}: expected {_LOSSES}. Sum over the ragged axis, or return "
            "metrics.Tally(sum, count)."
        )


def _wide(losses: Any) -> tf.Tensor:
    losses = tf.convert_to_tensor(losses)
    return losses if losses.dtype == tf.float64 else tf.cast(losses, tf.float32)
