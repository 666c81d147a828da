"""The action that shows examples: right and wrong ones of a classifier, reconstructions of an autoencoder."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import gin
import numpy as np
import tensorflow as tf

from ...data.checks import whole_number
from ...metrics.errors import UsageError
from ...metrics.writers.example_grid import grid, pictures
from ..distribution import workers
from ..step.batches import data_errors_located, fetch_one
from .writing import Writing

if TYPE_CHECKING:
    from ..trainer import Trainer

_LABEL, _PROBABILITIES, _RECONSTRUCTION = "label", "probabilities", "reconstruction"


@gin.register(module="tallyloop")
class WriteExamples(Writing):
    """Writes pictures of examples to TensorBoard, at each evaluation: those of the (first) eval dataset, from its start.

    What `Task.predict_step` returns decides what is shown. If it has a `label`, `examples/right` and `examples/wrong`, each with
    the label, what it was taken for, and the probability of that, the surest mistakes first; if it has a `reconstruction`,
    `examples/reconstructions`, with the example above each. All have the weights that are evaluated.

    Args:
      features: the key of the pictures in the batch: (batch, height, width), the same with 1 or 3 channels, or flat ones.
      labels: the key of the labels in the batch.
      shape: that of one flat picture, (height, width) or (height, width, channels); None takes it for a square of one channel.
      count: the most examples in a picture.
      examples: how many are looked at.

    Raises:
      UsageError: an argument is wrong; or, at the first evaluation, the batch has no pictures, or `predict_step` returns neither.
    """

    def __init__(
        self,
        features: str = "x",
        labels: str = "y",
        shape: Sequence[int] | None = None,
        count: int = 16,
        examples: int = 512,
    ):
        super().__init__("evaluation")
        self._features, self._labels = features, labels
        self._shape = None if shape is None else _shape(shape)
        self._count = whole_number("WriteExamples.count", count, least=1)
        self._most = whole_number("WriteExamples.examples", examples, least=1)
        self._batches: list[Any] = []
        self._predict: Callable[[Any], Any] | None = None

    def write(self, trainer: Trainer, split: str) -> None:
        """Write the pictures, on the chief; all workers exchange the weights."""
        with trainer.evaluated_weights():
            if trainer.model_dir is None or not workers.is_chief(trainer.strategy):
                return
            predict = self._predict = self._predict or self._prepared(trainer)
            found = [tf.nest.map_structure(lambda tensor: tensor.numpy(), predict(batch)) for batch in self._batches]
        if not isinstance(found[0], Mapping) or not {_LABEL, _RECONSTRUCTION} & found[0].keys():
            raise UsageError(
                f"WriteExamples: {type(trainer.task).__name__}.predict_step returned {_kind(found[0])}: expected a dict with "
                f"{_LABEL!r} or {_RECONSTRUCTION!r}."
            )
        outputs = {name: np.concatenate([each[name] for each in found])[: self._most] for name in found[0]}
        images = self._images(self._of_all(self._features))
        if _LABEL in outputs:
            self._write_labelled(trainer, split, pictures(images), outputs)
        else:
            self._write_pairs(trainer, split, images, self._images(outputs[_RECONSTRUCTION]))

    def _prepared(self, trainer: Trainer) -> Callable[[Any], Any]:
        """Read the examples, and return the compiled prediction."""
        feed = next(iter(trainer.eval_datasets.values())).open_eval(*workers.index_and_count(trainer.strategy))
        self._batches = list(_batches(feed, self._most))
        task, model = trainer.task, trainer.model
        step = tf.function(lambda batch: task.predict_step(model, batch), autograph=False)
        return step.get_concrete_function(feed.element_spec)

    def _of_all(self, key: str) -> np.ndarray:
        first = self._batches[0]
        if not isinstance(first, Mapping) or key not in first:
            name = "labels" if key == self._labels else "features"
            raise UsageError(f"WriteExamples.{name} = {key!r}: expected a key of the batch, which is {_kind(first)}.")
        return np.concatenate([batch[key].numpy() for batch in self._batches])[: self._most]

    def _images(self, values: np.ndarray) -> np.ndarray:
        """Return (examples, height, width, channels).

        Raises:
          UsageError: the values are not pictures.
        """
        shape = values.shape[1:]
        side = math.isqrt(math.prod(shape))
        wanted = self._shape or ((side, side, 1) if len(shape) == 1 else (*shape, 1) if len(shape) == 2 else shape)
        fits = len(wanted) == 3 and wanted[-1] in (1, 3) and math.prod(wanted) == math.prod(shape)
        if not fits or values.dtype.kind not in "uifb":
            raise UsageError(
                f"WriteExamples.features = {self._features!r}: expected pictures, (height, width), (height, width, 1 or 3), or "
                f"flat ones whose WriteExamples.shape is given or that are squares, got {values.dtype.name} of shape {shape}."
            )
        return values.reshape(-1, *wanted)

    def _write_labelled(
        self, trainer: Trainer, split: str, images: np.ndarray, outputs: Mapping[str, np.ndarray]
    ) -> None:
        labels, predicted = self._of_all(self._labels).reshape(-1), outputs[_LABEL].reshape(-1)
        sure = outputs[_PROBABILITIES].max(-1) if _PROBABILITIES in outputs else np.ones(len(labels))
        wrong = np.flatnonzero(labels != predicted)
        wrong = wrong[np.argsort(-sure[wrong], kind="stable")]
        for name, rows in (("right", np.flatnonzero(labels == predicted)), ("wrong", wrong)):
            shown = rows[: self._count]
            as_text = [f"{labels[row]}" if name == "right" else f"{labels[row]} as {predicted[row]}" for row in shown]
            if _PROBABILITIES in outputs:
                as_text = [f"{text}, {sure[row]:.0%}" for text, row in zip(as_text, shown, strict=True)]
            if len(shown):
                trainer.board.images(f"examples/{name}", grid(images[shown], as_text), split)

    def _write_pairs(self, trainer: Trainer, split: str, given: np.ndarray, made: np.ndarray) -> None:
        given, made = given[: self._count], made[: self._count]
        pairs = pictures(np.concatenate([given, made], axis=1), given.min(), given.max())
        errors = np.square(given - made).mean(axis=(1, 2, 3))
        trainer.board.images("examples/reconstructions", grid(pairs, [f"error {each:.2g}" for each in errors]), split)


def _batches(feed: Any, examples: int) -> Iterator[Any]:
    """Yield this worker's part of each batch, until it has so many examples."""
    number, seen = 0, 0
    last = feed.batches_per_epoch
    while seen < examples and (last is None or number < last):
        with data_errors_located(feed, 0):
            part, size = fetch_one(feed, number)
        if int(size) == 0:
            if last is None:
                return
        else:
            batch = feed.whole(part)
            seen += int(tf.shape(tf.nest.flatten(batch)[0])[0])
            yield batch
        number += 1


def _shape(value: Any) -> tuple[int, int, int]:
    sizes = tuple(value) if isinstance(value, list | tuple) else ()
    sizes = (*sizes, 1) if len(sizes) == 2 else sizes
    if len(sizes) != 3:
        raise UsageError(
            f"WriteExamples.shape = {value!r}: expected (height, width) or (height, width, channels), such as (28, 28)."
        )
    height, width, channels = (whole_number("WriteExamples.shape", size, least=1) for size in sizes)
    return height, width, channels


def _kind(value: Any) -> str:
    return f"a dict of {', '.join(map(repr, value))}" if isinstance(value, Mapping) else f"a {type(value).__name__}"
