"""The images that a classifier finds hardest, for `WriteImages`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gin
import numpy as np
import tensorflow as tf

from ...metrics.errors import UsageError
from ..batch import FEATURES, TARGETS, part_of

if TYPE_CHECKING:
    from ...trainer import Trainer

_RIGHT, _WRONG = (0.0, 0.7, 0.0), (0.9, 0.0, 0.0)
_BORDER = 2  # pixels


@gin.register(module="tallyloop")
def hardest_images(
    trainer: Trainer, dataset: str = "test", features: str = "image", labels: str = "label", count: int = 16
) -> np.ndarray:
    """Return the images of an eval set's first batch with the least probable labels, the hardest first.

    Those that are taken for another class have a red border, the others a green one. Bind it as `WriteImages.function`.

    Args:
      trainer: whose model it is: from images, numbers from 0 to 1, to logits.
      dataset: the name of the eval set.
      features: the key of the images in a batch.
      labels: the key of the labels.
      count: how many images.

    Returns:
      (images, height, width, 3), from 0 to 1.

    Raises:
      UsageError: there is no such eval set, or its batches lack a key or have no images.
    """
    if dataset not in trainer.eval_datasets:
        known = sorted(trainer.eval_datasets)
        raise UsageError(
            f"hardest_images.dataset = {dataset!r}: expected a name in Trainer.eval_datasets, one of {known}"
        )
    batch = trainer.eval_datasets[dataset].open_eval().first_batch()
    fix = "set hardest_images.features and hardest_images.labels"
    images, truth = (part_of(batch, *each, "The batch", fix) for each in ((features, FEATURES), (labels, TARGETS)))
    if images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise UsageError(
            f"hardest_images.features = {features!r}: expected images (batch, height, width, 1 or 3), got shape {images.shape}"
        )
    logits = tf.cast(trainer.model(images, training=False), tf.float32)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(truth, logits).numpy()
    chosen = np.argsort(-losses, kind="stable")[:count]
    is_right = (tf.argmax(logits, -1).numpy() == truth)[chosen]
    shown = np.broadcast_to(images[chosen], (*images[chosen].shape[:3], 3))
    framed = np.tile(np.where(is_right[:, None], _RIGHT, _WRONG)[:, None, None], (1, *_padded(shown.shape[1:3]), 1))
    framed[:, _BORDER:-_BORDER, _BORDER:-_BORDER] = np.clip(shown, 0, 1)
    return framed


def _padded(size: tuple[int, ...]) -> list[int]:
    return [each + 2 * _BORDER for each in size]
