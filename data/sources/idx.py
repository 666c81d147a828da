"""The source `idx`: images and labels in MNIST's format."""

from __future__ import annotations

import os

import gin
import numpy as np

from ...metrics.errors import UsageError
from ..checks import equal_length_arrays, true_or_false
from .idx_format import read_idx


@gin.register(module="tallyloop")
def idx(
    images: str | os.PathLike[str],
    labels: str | os.PathLike[str],
    scale: bool = True,
    flat: bool = False,
) -> dict[str, np.ndarray]:
    """Return images and labels from two IDX files, gzipped or not, such as those of MNIST and Fashion-MNIST.

    Args:
      images: the file of the images, (n, height, width) or with more dimensions.
      labels: the file of the labels, n whole numbers.
      scale: divide by 255, which brings unsigned bytes to [0, 1]; bind False for images of another type.
      flat: `x` has shape (n, pixels). By default images of two dimensions get a third one for the channel,
        (n, height, width, 1), which convolutions need.

    Returns:
      `x`, float32, and `y`, int64 (n,).

    Raises:
      UsageError: a file cannot be read or does not match its header, the two have different lengths, or `scale` does not
        fit the images.
    """
    scale, flat = true_or_false("idx.scale", scale), true_or_false("idx.flat", flat)
    pixels = _images(images, scale)
    classes = _labels(labels)
    if len(pixels) != len(classes):
        raise UsageError(
            f"idx: expected one label per image, got {len(pixels)} images in {os.fspath(images)!r} and "
            f"{len(classes)} labels in {os.fspath(labels)!r}; check that idx.images and idx.labels belong together"
        )
    arrays = {"x": _shaped(pixels, flat), "y": classes}
    return equal_length_arrays(f"idx: {os.fspath(images)!r}", arrays)


def _images(path: str | os.PathLike[str], scale: bool) -> np.ndarray:
    stored = read_idx(path, "idx.images")
    if stored.ndim < 2:
        raise UsageError(
            f"idx: {os.fspath(path)!r} has one dimension: expected images; are idx.images and idx.labels swapped?"
        )
    if scale and stored.dtype != np.uint8:
        raise UsageError(
            f"idx.scale = True: expected unsigned bytes, which it divides by 255, got {stored.dtype} in "
            f"{os.fspath(path)!r}; bind idx.scale = False, and scale in Input.map_fn"
        )
    pixels = stored.astype(np.float32)
    return pixels / np.float32(255) if scale else pixels


def _labels(path: str | os.PathLike[str]) -> np.ndarray:
    stored = read_idx(path, "idx.labels")
    if stored.ndim != 1 or stored.dtype.kind == "f":
        raise UsageError(
            f"idx: {os.fspath(path)!r}: expected one whole number per example, got {stored.dtype} of shape "
            f"{stored.shape}; are idx.images and idx.labels swapped?"
        )
    return stored.astype(np.int64)


def _shaped(pixels: np.ndarray, flat: bool) -> np.ndarray:
    if flat:
        return pixels.reshape(len(pixels), np.prod(pixels.shape[1:], dtype=int))
    return pixels[..., np.newaxis] if pixels.ndim == 3 else pixels
