"""The digits as files: in MNIST's format, and as a folder of images, for examples of these without a download."""

from __future__ import annotations

import struct
from pathlib import Path

import gin
import numpy as np
import tensorflow as tf

from .digits import digits
from .storage.files import cached

_MADE = 1  # raise it when what is written changes


@gin.register(module="tallyloop")
def digits_as_mnist(size: int = 28) -> str:
    """Return a folder with scikit-learn's digits in MNIST's format, which is written once, into the user's cache folder.

    Args:
      size: the height and width of the images, to which the 8 x 8 pixels are scaled.
    """

    def build(folder: Path) -> None:
        for prefix, split in (("train", "train"), ("t10k", "test")):
            pixels, labels = _scaled(split, size)
            (folder / f"{prefix}-images-idx3-ubyte").write_bytes(_idx(pixels[..., 0]))
            (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(_idx(labels))

    return str(cached(None, ("digits_as_mnist", _MADE, size), build))


@gin.register(module="tallyloop")
def digits_as_images(size: int = 32) -> str:
    """Return a folder with scikit-learn's digits as PNG files, a folder for each class, written once as above.

    Args:
      size: the height and width of the images, to which the 8 x 8 pixels are scaled.
    """

    def build(folder: Path) -> None:
        pixels, labels = _scaled("all", size)
        for row, (image, label) in enumerate(zip(pixels, labels, strict=True)):
            place = folder / str(label)
            place.mkdir(exist_ok=True)
            (place / f"{row:04}.png").write_bytes(tf.io.encode_png(image).numpy())

    return str(cached(None, ("digits_as_images", _MADE, size), build))


def _scaled(split: str, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return uint8 pixels (n, size, size, 1), and labels."""
    arrays = digits(split, flat=False)  # pyright: ignore[reportArgumentType]
    with tf.device("CPU:0"):  # the same bytes on every machine
        pixels = tf.image.resize(arrays["x"], [size, size]).numpy()
    return np.rint(pixels * 255).astype(np.uint8), arrays["y"].astype(np.uint8)


def _idx(array: np.ndarray) -> bytes:
    """Return an array of bytes in the IDX format: its type, its dimensions, its sizes, its content."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 0x08, array.ndim, *array.shape) + array.tobytes()
