"""`augmented`: the map function that changes the images of training at random."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gin
import tensorflow as tf

from ....metrics.errors import UsageError
from ...checks import number

_Example = dict[str, Any]


@gin.register(module="tallyloop")
def augmented(
    decode: Callable[[_Example], _Example] | None = None,
    rotate: float = 10.0,
    zoom: float = 0.1,
    shift: float = 0.1,
    flip: bool = False,
    brightness: float = 0.0,
    contrast: float = 0.0,
    key: str = "image",
) -> Callable[[_Example, tf.Tensor], _Example]:
    """Return a function that turns, zooms, shifts and mirrors an image at random, and changes its brightness and contrast.

    Bind it as `train/Input.map_fn`.

    The random numbers are those of the example in the epoch: the same on any number of replicas and workers, and after a resume.

    Args:
      decode: what makes images of the examples first, such as `@decode_image()`; None if they are images already.
      rotate: the largest angle, in degrees, either way.
      zoom: the largest change of size, as a fraction.
      shift: the largest shift, as a fraction of height and width.
      flip: mirror every second image, left to right. Not for digits and letters.
      brightness: the largest number that is added to all pixels, which are from 0 to 1.
      contrast: the largest change of contrast, as a fraction.
      key: where the image is in an example.

    Returns:
      A function of `(example, seed)`. What a shift uncovers is filled by reflection.

    Raises:
      UsageError: an argument is not as described.
    """
    if decode is not None and not callable(decode):
        raise UsageError(
            f"augmented.decode = {decode!r}: expected a function of an example, such as @decode_image(), or None"
        )
    rotate = number("augmented.rotate", rotate, least=0, most=180)
    zoom = number("augmented.zoom", zoom, least=0, most=0.9)
    shift = number("augmented.shift", shift, least=0, most=0.9)
    brightness = number("augmented.brightness", brightness, least=0, most=1)
    contrast = number("augmented.contrast", contrast, least=0, most=1)

    def augment(example: _Example, seed: tf.Tensor) -> _Example:
        example = example if decode is None else decode(example)
        if not isinstance(example, Mapping) or key not in example:
            got = sorted(example) if isinstance(example, Mapping) else f"a {type(example).__name__}"
            raise UsageError(f"augmented.key = {key!r}: expected one of the keys of an example, got {got}")
        draw = tf.random.stateless_uniform([7], seed, -1.0, 1.0)
        image = _moved(example[key], draw[0] * rotate, 1 + draw[1] * zoom, draw[2:4] * shift)
        if flip:
            image = tf.where(draw[4] > 0, image[:, ::-1], image)
        mean = tf.reduce_mean(image, [0, 1], keepdims=True)
        image = (image - mean) * (1 + draw[5] * contrast) + mean + draw[6] * brightness
        return {**example, key: tf.clip_by_value(image, 0.0, 1.0)}

    return augment


def _moved(image: tf.Tensor, degrees: tf.Tensor, scale: tf.Tensor, shift: tf.Tensor) -> tf.Tensor:
    """Return an image turned around its center, enlarged, and moved by a fraction of its size; of the same shape."""
    height, width = (tf.constant(float(size or 0)) for size in image.shape[:2])
    angle = degrees * (3.141592653589793 / 180)
    cos, sin = tf.cos(angle) / scale, tf.sin(angle) / scale
    x, y = (width - 1) / 2, (height - 1) / 2
    # Where each pixel of the result comes from: x' = cos x - sin y + a, y' = sin x + cos y + b.
    a = x - cos * (x + shift[0] * width) + sin * (y + shift[1] * height)
    b = y - sin * (x + shift[0] * width) - cos * (y + shift[1] * height)
    zero = tf.zeros([])
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=image[tf.newaxis],
        transforms=tf.stack([cos, -sin, a, sin, cos, b, zero, zero])[tf.newaxis],
        output_shape=image.shape[:2],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="REFLECT",
    )
    return tf.ensure_shape(moved[0], image.shape)
