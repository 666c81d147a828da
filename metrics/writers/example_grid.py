"""A picture of several examples, each with a line of text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .matrix_image import font

_SIDE = 96  # pixels of an example, at least
_GAP, _LINE, _TEXT = 8, 22, 15
_COLUMNS = 4  # more could not be read in TensorBoard's cards


def pictures(values: np.ndarray, least: float | None = None, most: float | None = None) -> np.ndarray:
    """Return examples as pixels, (examples, height, width, channels) uint8.

    Args:
      values: (examples, height, width) or (examples, height, width, 1 or 3), numbers.
      least: becomes black; None is the least of all examples.
      most: becomes white; None is the greatest.
    """
    values = np.nan_to_num(np.asarray(values, np.float64))
    values = values[..., np.newaxis] if values.ndim == 3 else values
    black = float(values.min()) if least is None else least
    white = float(values.max()) if most is None else most
    return np.rint(255 * np.clip((values - black) / ((white - black) or 1.0), 0, 1)).astype(np.uint8)


def grid(images: np.ndarray, captions: Sequence[str]) -> np.ndarray:
    """Return one picture of several, (height, width, 3) uint8.

    Args:
      images: (examples, height, width, 1 or 3), uint8.
      captions: what stands below each.
    """
    from PIL import Image, ImageDraw  # Comes with TensorBoard; only needed where a picture is written.

    factor = max(1, -(-_SIDE // max(images.shape[1:3])))
    large = np.broadcast_to(images, (*images.shape[:3], 3)).repeat(factor, axis=1).repeat(factor, axis=2)
    height, width = large.shape[1] + _LINE + _GAP, max(large.shape[2], _SIDE) + _GAP
    columns = min(_COLUMNS, len(large))
    picture = np.full([-(-len(large) // columns) * height + _GAP, columns * width + _GAP, 3], 255, np.uint8)
    places = [(_GAP + number // columns * height, _GAP + number % columns * width) for number in range(len(large))]
    for (top, left), each in zip(places, large, strict=True):
        picture[top : top + each.shape[0], left : left + each.shape[1]] = each
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    for (top, left), caption in zip(places, captions, strict=True):
        draw.text((left, top + large.shape[1] + 2), caption, fill="black", font=font(_TEXT))
    return np.asarray(image)
