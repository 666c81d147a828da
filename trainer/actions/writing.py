"""Actions that write texts, images and histograms to TensorBoard, at each evaluation or each summary of training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import gin
import numpy as np
from absl import logging

from ...data.checks import one_of
from ...metrics.errors import UsageError
from ...metrics.writers import Summary
from ..checkpointing.eval_metric import dataset_of
from ..loop.probing import UpdateProbe
from .stopping import warn_without_evaluations

if TYPE_CHECKING:
    from ..trainer import Trainer

When = Literal["evaluation", "summary"]


class Writing:
    """An action that writes once per evaluation, or once per summary of training.

    Args:
      when: which of the two.
    """

    def __init__(self, when: When):
        self._when = one_of(f"{type(self).__name__}.when", when, get_args(When))

    def start(self, trainer: Trainer) -> None:
        """Warn if nothing will be written."""
        warn_without_folder(trainer, type(self).__name__)
        if self._when == "evaluation":
            warn_without_evaluations(trainer, type(self).__name__)

    def __call__(self, trainer: Trainer, summary: Summary) -> None:
        """Write, if this is a moment for it: of several eval datasets, the first one."""
        dataset = dataset_of(summary, trainer.eval_datasets)
        if self._when == "summary" and dataset is None:
            self.write(trainer, "train")
        elif self._when == "evaluation" and dataset == next(iter(trainer.eval_datasets), ""):
            self.write(trainer, summary.split)

    def write(self, trainer: Trainer, split: str) -> None:
        """Write to the event files of a split."""
        raise NotImplementedError


@gin.register(module="tallyloop")
class WriteText(Writing):
    """Writes what a function returns as text to TensorBoard, such as samples of a language model.

    Args:
      function: `function(trainer) -> text`, or a list of texts, which TensorBoard shows as Markdown. It is called on every
        worker, with the weights of training.
      tag: the name in TensorBoard.
      when: at each "evaluation", to the files of the (first) eval dataset, or at each "summary" of training, to those of `train`.

    Raises:
      UsageError: an argument is wrong, or the function returned something else.
    """

    def __init__(self, function: Callable[[Any], str | Sequence[str]], tag: str = "text", when: When = "evaluation"):
        super().__init__(when)
        self._function = _function("WriteText", function)
        self._tag = _tag("WriteText", tag)

    def write(self, trainer: Trainer, split: str) -> None:
        """Write the text."""
        trainer.board.text(self._tag, self._function(trainer), split)


@gin.register(module="tallyloop")
class WriteImages(Writing):
    """Writes what a function returns as images to TensorBoard, such as reconstructions or attention maps.

    Args:
      function: `function(trainer) -> images`, of shape (images, height, width, channels) with 1, 3 or 4 channels; integers
        from 0 to 255, or floating-point numbers from 0 to 1. It is called on every worker, with the weights of training.
      tag: the name in TensorBoard.
      when: at each "evaluation", to the files of the (first) eval dataset, or at each "summary" of training, to those of `train`.

    Raises:
      UsageError: an argument is wrong, or the function returned something else.
    """

    def __init__(self, function: Callable[[Any], Any], tag: str = "images", when: When = "evaluation"):
        super().__init__(when)
        self._function = _function("WriteImages", function)
        self._tag = _tag("WriteImages", tag)

    def write(self, trainer: Trainer, split: str) -> None:
        """Write the images."""
        trainer.board.images(self._tag, np.asarray(self._function(trainer)), split)


@gin.register(module="tallyloop")
class WriteHistograms(Writing):
    """Writes histograms of weights and gradients, and the size of the updates relative to the weights.

    The tags are `weights/VARIABLE`, `gradients/VARIABLE` and `update_ratio/VARIABLE`, the norm of an update divided by that
    of the weights, for which a thousandth is a good size. They are those of one more step on the first batch of the train
    data, always the same one, which is then undone: the run is the same with and without. That takes about three steps, and a
    copy of the weights and of the optimizer's state in memory.

    Args:
      when: at each "evaluation" or each "summary" of training.
    """

    def __init__(self, when: When = "evaluation"):
        super().__init__(when)
        self._probe: UpdateProbe | None = None

    def write(self, trainer: Trainer, split: str) -> None:
        """Write them, in either case to the files of `train`."""
        self._probe = self._probe or UpdateProbe(trainer.session)
        for path, weights, gradient, update in self._probe.run():
            trainer.board.histogram(f"weights/{path}", weights)
            if gradient is not None:
                trainer.board.histogram(f"gradients/{path}", gradient)
                size = float(np.linalg.norm(weights))
                if size:
                    trainer.board.scalar(f"update_ratio/{path}", float(np.linalg.norm(update)) / size)


def warn_without_folder(trainer: Trainer, name: str) -> None:
    """Warn that an action has no folder to write to."""
    if trainer.model_dir is None:
        logging.warning("%s writes nothing, as there is no Trainer.model_dir.", name)


def _function(owner: str, value: Any) -> Callable[..., Any]:
    if callable(value):
        return value
    raise UsageError(
        f"{owner}.function = {value!r}: expected a function of (trainer); bind it without calling it, as in "
        f"{owner}.function = @my_function"
    )


def _tag(owner: str, value: Any) -> str:
    if isinstance(value, str) and value.strip():
        return value
    raise UsageError(f"{owner}.tag = {value!r}: expected a name, such as 'samples'.")
