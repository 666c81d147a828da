"""What a step differentiates: the task's losses and the layers' penalties, and what cannot be meant by them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from ...data.feeds.replica_share import ReplicaShare
from ...metrics.errors import UsageError
from ...metrics.finishers.finish import finisher
from ...metrics.finishers.finisher import Finisher
from ...metrics.recording.recorder import Recorder, recording_into
from ...metrics.tally import Tally
from ..task import SumOfMeans, loss_tally
from .gradients import Gradient, changed, total

_ROWS = 7, 11  # two numbers that no shape of a model has by chance


class Term(NamedTuple):
    """A part of the objective that is divided by a count of its own.

    Attributes:
      gradients: position of a trainable variable -> d(loss.value) / d(variable), dense, or by rows where the optimizer takes
        them; without the variables that the term does not touch.
      loss: the term's sum over the replica's examples, and its count.
    """

    gradients: dict[int, Gradient]
    loss: Tally


def mean_gradients(terms: list[Term], in_xla: bool) -> dict[int, Gradient]:
    """Return the gradient of the objective, by position of the variable, from the terms' sums over all examples."""
    means: dict[int, Gradient] = {}
    for term in terms:
        count = tf.where(
            term.loss.count > 0, term.loss.count, tf.ones_like(term.loss.count)
        )  # without examples, all sums are 0
        for i, gradient in term.gradients.items():
            mean = changed(gradient, lambda each, count=count: each / tf.cast(count, each.dtype))
            means[i] = total(means[i], mean, in_xla) if i in means else mean
    return means


def objective_terms(losses: Any, penalties: list[tf.Tensor], share: ReplicaShare) -> list[Tally]:
    """Return the terms of the objective of a loss, which is the sum of their means over all replicas.

    A penalty of a layer (a regularizer, `add_loss`) is taken for a mean over the replica's rows: weighted by rows, it becomes the
    mean over all rows, whatever a mask or weights leave of the losses. One that depends on weights alone counts once so.

    Args:
      losses: what the task returned.
      penalties: those of the layers.
      share: this replica's rows.
    """
    parts = losses.parts if isinstance(losses, SumOfMeans) else [losses]
    first, *others = [loss_tally(part) for part in parts]
    if not penalties:
        return [first, *others]
    if _counts_rows(parts[0]):
        return [_penalized(first, penalties), *others]
    rows = tf.cast(share.rows, first.value.dtype)
    return [first, *others, _penalized(Tally(tf.zeros_like(rows), rows), penalties)]


def touching(
    tape: tf.GradientTape, penalties: list[tf.Tensor], variables: Mapping[str, list[keras.Variable]]
) -> dict[str, list[tf.Tensor]]:
    """Return the penalties of each of several losses: those that depend on a variable that the loss trains.

    Args:
      tape: of the forward pass. Its gradients are only made to see which there are, and never run.
      penalties: those of the layers.
      variables: name of a loss -> the variables that it trains.
    """

    def touches(penalty, trained):
        return any(gradient is not None for gradient in tape.gradient(penalty, trained))

    return {name: [each for each in penalties if touches(each, trained)] for name, trained in variables.items()}


@contextlib.contextmanager
def named(name: str) -> Iterator[None]:
    """Name the loss in an error about it, if it is one of several.

    Raises:
      UsageError: one was raised inside.
    """
    try:
        yield
    except UsageError as error:
        if not name:
            raise
        raise UsageError(f"the loss {name!r}: {error}") from error


def recorded_loss(terms: list[Tally]) -> tuple[Tally, Finisher]:
    """Return what the metric `loss` records: the sum of the terms' means."""
    if len(terms) == 1:
        return terms[0], finisher("mean")
    return Tally(*(tf.stack(parts) for parts in zip(*terms, strict=True))), _SUM_OF_MEANS


def check_rows(losses: Any, batch: Any, losses_of: Callable[[Any], Any]) -> None:
    """Check that the losses are not a matrix of each example against each.

    A shape does not tell (batch, batch) from (batch, time). The losses are traced with two other numbers of rows, without
    being run, where their second axis is not fixed.

    Args:
      losses: what the task returned for `batch`.
      batch: nest of tensors (batch, ...).
      losses_of: the task's losses of a batch.

    Raises:
      UsageError: the second axis of the losses grows with the batch, too.
    """
    if isinstance(losses, Tally) or not isinstance(losses, tf.Tensor) or not losses.shape.rank or losses.shape.rank < 2:
        return
    if losses.shape[1] not in (None, losses.shape[0]):
        return
    if all(_leading_axes(losses_of, batch, rows) == [rows, rows] for rows in _ROWS):
        raise UsageError(
            f"returned a matrix of shape {_shape(losses)}, whose second axis grows with the batch: it compares each "
            "example with every other one. The likely cause is a (batch, 1) array minus a (batch,) array, which broadcasts to "
            "(batch, batch). Give both one shape, such as with keras.ops.squeeze(prediction, -1); return one loss per example."
        )


def check_variables(
    tape: tf.GradientTape, objectives: list[tf.Tensor], model: keras.Model, read: list[keras.Variable]
) -> None:
    """Check that the losses depend on no trainable variable outside of the model: it would not be trained, nor saved.

    Args:
      tape: of the forward pass.
      objectives: what is differentiated.
      model: whose variables are trained.
      read: the Keras variables that the forward pass read. Freezing a layer leaves TensorFlow's variable trainable.

    Raises:
      UsageError: they do.
    """
    known = _by_identity([*model.variables, *(variable for variable in read if not variable.trainable)])
    others = [each for each in tape.watched_variables() if not _identities(each) & known.keys()]
    if not others:
        return
    gradients = [tape.gradient(objective, others) for objective in objectives]
    touched = [v for found in gradients for v, gradient in zip(others, found, strict=True) if gradient is not None]
    if touched:
        paths = _by_identity(read)
        names = {next((paths[i] for i in _identities(each) if i in paths), each.name) for each in touched}
        raise UsageError(
            f"the losses depend on variables that the model does not have: {', '.join(sorted(names))}. They would not be "
            "trained. Make them variables of the model that build_model returns (layers, or add_weight in one), set "
            "`trainable = False` of their layers, or take what you compute with them through tf.stop_gradient."
        )


def check_some(name: str, gradients: list[dict[int, Gradient]], variables: list[keras.Variable]) -> None:
    """Check that a loss depends on something that it trains.

    Raises:
      UsageError: they do not.
    """
    if not any(gradients):
        names = ", ".join(variable.path for variable in variables) or "(the model has none)"
        if name:
            raise UsageError(
                f"the loss {name!r} depends on none of the variables that it is to train: {names}. Compute it from their "
                "outputs, or change the task's `variables`."
            )
        raise UsageError(f"the losses depend on no trainable variable: {names}. Compute them from the model's outputs.")


def _counts_rows(losses: Any) -> bool:
    """Return whether the count of the losses is a fixed multiple of the rows, so that one count serves all."""
    return not isinstance(losses, Tally) and losses.shape.rank is not None and losses.shape[1:].is_fully_defined()


def _penalized(loss: Tally, penalties: list[tf.Tensor]) -> Tally:
    penalty = tf.add_n([tf.cast(penalty, loss.value.dtype) for penalty in penalties])
    return Tally(loss.value + penalty * tf.stop_gradient(loss.count), loss.count)


def _sum_of_means(value: np.ndarray, count: np.ndarray) -> float:
    return float((value / np.where(count == 0, 1, count)).sum())


_SUM_OF_MEANS = Finisher("sum of means", "sum of means", _sum_of_means)


def _leading_axes(losses_of: Callable[[Any], Any], batch: Any, rows: int) -> list[int | None]:
    """Return the sizes of the first two axes of the losses of `rows` examples; nothing if that is not a batch for the task."""
    with_rows = tf.nest.map_structure(lambda x: tf.TensorSpec([rows, *x.shape[1:]], x.dtype), batch)
    try:
        with recording_into(Recorder()):
            traced = tf.function(losses_of, autograph=False).get_concrete_function(with_rows)
    except Exception:  # the task has a batch size of its own; what is wrong with it, the step itself has shown
        return []
    return traced.outputs[0].shape[:2].as_list()


def _by_identity(variables: list[keras.Variable]) -> dict[int, str]:
    # A seed is a tensor while its assignments are captured.
    found = [(each.path, each.value) for each in variables]
    return {i: path for path, value in found if isinstance(value, tf.Variable) for i in _identities(value)}


def _identities(variable: tf.Variable) -> set[int]:
    """Return what identifies a variable: that of all replicas, and this replica's copy of it, which a tape watches."""
    return {id(variable), id(variable.handle)}


def _shape(losses: tf.Tensor) -> str:
    return f"({', '.join('batch' if size is None else str(size) for size in losses.shape)})"
