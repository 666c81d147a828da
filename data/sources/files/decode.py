"""`decode_image`: the map function that turns encoded images into tensors of one size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gin
import tensorflow as tf

from ....metrics.errors import UsageError
from ...checks import whole_number


@gin.register(module="tallyloop")
def decode_image(
    size: int | tuple[int, int], channels: int = 3, key: str = "image"
) -> Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]]:
    """Return a function that decodes the image of an example; bind it as `Input.map_fn = @decode_image()`.

    Args:
      size: height and width, to which images are resized bilinearly; one number for both.
      channels: 1 for gray, 3 for RGB, 4 for RGBA.
      key: where the image is in an example.

    Returns:
      A function from an example with the bytes of a JPEG, PNG, GIF (its first picture) or BMP file to the same with float32
      (height, width, channels), from 0 to 1.

    Raises:
      UsageError: an argument is not as described.
    """
    pair = size if isinstance(size, tuple | list) else (size, size)
    if len(pair) != 2:
        raise UsageError(f"decode_image.size = {size!r}: expected a height and a width, such as (224, 224)")
    shape = [whole_number("decode_image.size", each, least=1) for each in pair]
    if channels not in (1, 3, 4):
        raise UsageError(f"decode_image.channels = {channels!r}: expected 1, 3 or 4")

    def decode(example: dict[str, Any]) -> dict[str, Any]:
        if not isinstance(example, dict) or key not in example:
            got = sorted(example) if isinstance(example, dict) else type(example).__name__
            raise UsageError(f"decode_image.key = {key!r}: expected one of the keys of an example, got {got}")
        pixels = tf.io.decode_image(example[key], channels, tf.float32, expand_animations=False)
        return {**example, key: tf.ensure_shape(tf.image.resize(pixels, shape), [*shape, channels])}

    return decode
