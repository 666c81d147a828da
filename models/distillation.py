"""Distillation: a student learns from the labels and from the probabilities of a trained teacher."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import gin
import keras
import tensorflow as tf

from .. import metrics as tally_metrics
from ..data.checks import number
from ..metrics.errors import UsageError
from .batch import binding_of, outputs_of, weighted
from .classifier import ClassifierTask
from .networks.mlp import mlp

_COMMANDS = (
    "train one first, tallyloop --gin_file=distil_teacher.gin --model_dir=runs/teacher, and bind "
    "DistillationTask.teacher = 'runs/teacher/best_export/model.keras'"
)


@gin.register(module="tallyloop")
class DistillationTask(ClassifierTask):
    """Cross-entropy on the labels, and on the teacher's probabilities softened by a temperature (Hinton et al., 2015).

    The metrics `loss/hard` and `loss/soft` are the two parts, `accuracy` is the student's, `teacher/accuracy` the teacher's, and
    `teacher/agreement` the share of examples on which both say the same.

    Args:
      teacher: a `.keras` file of a model from the same features to logits: an export, or what `ExportBest` has kept.
      model: a function that returns the student, a model from examples to logits (batch, classes), without parentheses.
      temperature: divides the logits of both; higher ones show more of what the teacher thinks of the wrong classes.
      soft: the weight of the soft part, from 0 to 1; the hard part has the rest. 0 trains the student alone.
      features: the key of the examples in the batch.
      labels: the key of the labels in the batch, integers in [0, classes).
      metrics: name -> `fn(batch, logits) -> (value, count)`; see `Task.metrics`.
      sample_weight: the key of the examples' weights in the batch, which multiply the sum of both parts; see `ClassifierTask`.
        `loss/total` and the other metrics are not weighted.

    Raises:
      UsageError: an argument is not as described, or there is no teacher.
    """

    def __init__(
        self,
        teacher: str | os.PathLike[str],
        model: Callable[[], keras.Model] = mlp,
        temperature: float = 4.0,
        soft: float = 0.9,
        features: str = "x",
        labels: str = "y",
        metrics: Mapping[str, Any] | None = None,
        sample_weight: str | None = None,
    ):
        super().__init__(model, features, labels, sample_weight=sample_weight, metrics=metrics)
        self._temperature = number("DistillationTask.temperature", temperature, above=0)
        self._soft = number("DistillationTask.soft", soft, least=0, most=1)
        self._path = _checked(teacher)
        self.teacher: keras.Model | None = None

    def build_model(self) -> keras.Model:
        """Return the student. The teacher is loaded beside it, and stays as it is."""
        try:
            teacher = keras.models.load_model(self._path, compile=False)
        except (
            Exception
        ) as error:  # Keras raises many kinds, for a file that is damaged, and for classes that it does not know
            raise UsageError(
                f"DistillationTask.teacher = {self._path!r}: expected a model that Keras can load, got {type(error).__name__}: "
                f"{str(error).strip().splitlines()[0]}; {_COMMANDS}"
            ) from error
        self.teacher = cast("keras.Model", teacher)
        self.teacher.trainable = False
        return super().build_model()

    def loss(self, model: keras.Model, batch: Any, training: bool) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the weighted sum of both parts, shape (batch,), and the student's logits, (batch, classes)."""
        assert self.teacher is not None, "build_model comes first"
        labels = tf.cast(self._labels_of(batch, "The batch"), tf.int64)
        features = self._features_of(batch, "The batch")
        logits = tf.cast(self._logits(model, features, training), tf.float32)
        where = f"DistillationTask.teacher = {self._path!r}"
        taught = tf.cast(
            outputs_of(self.teacher, features, False, where, "bind the data that it was trained on"), tf.float32
        )
        if taught.shape[1:] != logits.shape[1:]:
            raise UsageError(
                f"{where}: expected logits of as many classes as the student's {tuple(logits.shape[1:])}, got "
                f"{tuple(taught.shape[1:])}; set the student's number of classes{binding_of(self._make_model, 'num_classes')}"
            )
        answer, said = tf.argmax(logits, -1), tf.argmax(taught, -1)
        tally_metrics.add("accuracy", answer == labels)
        tally_metrics.add("teacher/accuracy", said == labels)
        tally_metrics.add("teacher/agreement", answer == said)
        hard = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        softened = tf.nn.softmax(taught / self._temperature)
        soft = tf.nn.softmax_cross_entropy_with_logits(softened, logits / self._temperature)
        # Soft gradients are smaller by the square of the temperature.
        weights = {"hard": 1 - self._soft, "soft": self._soft * self._temperature**2}
        losses = tally_metrics.composite_loss({"hard": hard, "soft": soft}, weights=weights)
        return weighted(losses, batch, self._sample_weight, training, type(self).__name__), logits


def _checked(teacher: Any) -> str:
    if not isinstance(teacher, str | os.PathLike):
        raise UsageError(f"DistillationTask.teacher = {teacher!r}: expected the path of a .keras file; {_COMMANDS}")
    path = Path(teacher)
    if path.suffix != ".keras" or not path.is_file():
        got = "no such file" if not path.exists() else "a folder" if path.is_dir() else "another kind of file"
        raise UsageError(f"DistillationTask.teacher = {str(path)!r}: expected a .keras file, got {got}; {_COMMANDS}")
    return str(path)
