"""Texts, images and histograms as values of TensorBoard summaries. Nothing here imports TensorFlow."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from tensorboard.compat.proto.summary_pb2 import Summary as SummaryProto  # pyright: ignore[reportAttributeAccessIssue]
from tensorboard.compat.proto.summary_pb2 import SummaryMetadata  # pyright: ignore[reportAttributeAccessIssue]
from tensorboard.compat.proto.tensor_pb2 import TensorProto  # pyright: ignore[reportAttributeAccessIssue]
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto  # pyright: ignore[reportAttributeAccessIssue]
from tensorboard.compat.proto.types_pb2 import DT_DOUBLE, DT_STRING  # pyright: ignore[reportAttributeAccessIssue]
from tensorboard.plugins.histogram import metadata as histogram_metadata
from tensorboard.plugins.image import metadata as image_metadata
from tensorboard.plugins.text import metadata as text_metadata

from ..errors import UsageError

_BUCKETS = 30  # TensorBoard's default
_CHANNELS = (1, 3, 4)


def text_value(tag: str, text: str | Sequence[str]) -> SummaryProto.Value:
    """Return a text, or several, which TensorBoard shows as Markdown.

    Raises:
      UsageError: it is neither a string nor a list of strings.
    """
    texts = [text] if isinstance(text, str) else text
    if not isinstance(texts, Sequence | np.ndarray) or not all(isinstance(each, str) for each in texts):
        raise UsageError(f"the text {tag!r}: expected a string, or a list of strings, got {text!r}.")
    strings = [each.encode() for each in texts]
    return _value(tag, strings, [] if isinstance(text, str) else [len(strings)], text_metadata)


def image_value(tag: str, images: Any) -> SummaryProto.Value:
    """Return images.

    Args:
      tag: their name.
      images: (images, height, width, channels), or without the first axis or the last one; 1, 3 or 4 channels; integers from 0 to
        255, or floating-point numbers from 0 to 1, beyond which they are cut off.

    Raises:
      UsageError: they are something else.
    """
    pixels = _pixels(tag, np.asarray(images))
    height, width = pixels.shape[1:3]
    parts = [str(width).encode(), str(height).encode(), *map(png, pixels)]
    return _value(tag, parts, [len(parts)], image_metadata)


def histogram_value(tag: str, numbers: Any) -> SummaryProto.Value:
    """Return the histogram of an array; numbers that are NaN or infinite are left out."""
    flat = np.asarray(numbers, np.float64).ravel()
    finite = flat[np.isfinite(flat)]
    counts, edges = np.histogram(finite, _BUCKETS) if len(finite) else (np.zeros(1), np.zeros(2))
    rows = np.stack([edges[:-1], edges[1:], counts], 1)
    shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in rows.shape])
    tensor = TensorProto(dtype=DT_DOUBLE, tensor_shape=shape, double_val=rows.ravel().tolist())
    return SummaryProto.Value(tag=tag, tensor=tensor, metadata=_metadata(histogram_metadata))


def _pixels(tag: str, images: np.ndarray) -> np.ndarray:
    """Return (images, height, width, channels) of uint8."""
    shape = images.shape
    if images.ndim == 2 or (images.ndim == 3 and shape[-1] not in _CHANNELS):
        images = images[..., np.newaxis]
    if images.ndim == 3:
        images = images[np.newaxis]
    kind = images.dtype.kind
    if images.ndim != 4 or images.shape[-1] not in _CHANNELS or kind not in "uif" or not images.size:
        raise UsageError(
            f"the images {tag!r}: expected (images, height, width, channels) with 1, 3 or 4 channels, integers from 0 to 255 or "
            f"floating-point numbers from 0 to 1, got {images.dtype.name} {shape}."
        )
    scaled = np.nan_to_num(images) * 255.0 if kind == "f" else images
    return np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)


def png(pixels: np.ndarray) -> bytes:
    """Return the bytes of an image (height, width, channels) of uint8, with 1, 3 or 4 channels."""
    from PIL import Image  # comes with TensorBoard; only needed where an image is written

    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def _value(tag: str, strings: list[bytes], shape: list[int], plugin: Any) -> SummaryProto.Value:
    dimensions = TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in shape])
    tensor = TensorProto(dtype=DT_STRING, tensor_shape=dimensions, string_val=strings)
    return SummaryProto.Value(tag=tag, tensor=tensor, metadata=_metadata(plugin))


def _metadata(plugin: Any) -> SummaryMetadata:
    return plugin.create_summary_metadata(display_name=None, description=None)
