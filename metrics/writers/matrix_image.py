"""A matrix as a picture: a confusion matrix with labeled axes, which can be read whatever its size."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

_LARGEST, _WITH_COUNTS, _SMALLEST = 80, 26, 4  # pixels of a cell
_WITH_GRID = 10
_SIDE = 1040  # pixels of the cells together, at most
_MARGIN, _LINE = 72, 22
_LISTED = 12  # pairs of classes
_GRID = (211, 211, 211)


def matrix_png(matrix: np.ndarray) -> tuple[bytes, int, int]:
    """Draw a matrix whose rows are labels and whose columns are predictions, darker for a larger share of its row.

    Up to 40 classes have their counts in the cells. Of more classes, the pairs that are confused most often are listed below. Of
    more than 260, a cell stands for several, with the largest share among them.

    Args:
      matrix: (classes, classes), counts.

    Returns:
      PNG bytes, width and height in pixels.
    """
    from PIL import Image, ImageDraw  # Comes with TensorBoard; only needed where a matrix is written.

    most = max(matrix.shape)
    pooled = -(-most * _SMALLEST // _SIDE)  # classes in a cell
    cell = min(_LARGEST, max(_SMALLEST, _SIDE // most))
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1e-30)
    lines = [] if cell >= _WITH_COUNTS else list(_confusions(matrix, shares))
    pixels = _pixels(_largest_of(shares, pooled), cell)
    image = Image.fromarray(
        np.pad(pixels, [(0, _LINE * (len(lines) + bool(lines))), (0, 0), (0, 0)], constant_values=255)
    )
    draw = ImageDraw.Draw(image)
    if cell >= _WITH_COUNTS:
        _write_counts(draw, matrix, shares, cell)
    _write_axes(draw, [-(-size // pooled) for size in matrix.shape], cell, pooled)
    for number, line in enumerate(lines):
        _write(draw, (8, len(pixels) + 8 + _LINE * number), line, 15, "la")
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue(), image.width, image.height


def _confusions(matrix: np.ndarray, shares: np.ndarray) -> Iterator[str]:
    """Yield the pairs of classes that are confused most often, as lines, the worst first."""
    wrong = np.where(np.eye(*matrix.shape, dtype=bool) | ~np.isfinite(matrix), 0, matrix)
    for place in np.argsort(-wrong, axis=None, kind="stable")[:_LISTED]:
        row, column = np.unravel_index(place, matrix.shape)
        if wrong[row, column] > 0:
            of = f"{shares[row, column]:.0%} of label {row}"
            yield f"label {row} as {column}: {short_number(float(matrix[row, column]))}, {of}"


def _largest_of(shares: np.ndarray, pooled: int) -> np.ndarray:
    """Return the largest share in each block of so many rows and columns."""
    rows, columns = (-size % pooled for size in shares.shape)
    padded = np.pad(shares, [(0, rows), (0, columns)])
    return padded.reshape(padded.shape[0] // pooled, pooled, -1, pooled).max(axis=(1, 3))


def _pixels(shares: np.ndarray, cell: int) -> np.ndarray:
    """Return the picture without text, (height, width, 3) uint8: a grid of blue cells, with a white margin at the axes."""
    shades = np.rint(255 - 205 * np.nan_to_num(shares)).astype(np.uint8)
    shades = shades.repeat(cell, axis=0).repeat(cell, axis=1)
    cells = np.stack([shades, shades, np.full_like(shades, 255)], axis=-1)
    if cell >= _WITH_GRID:
        cells[::cell] = cells[:, ::cell] = _GRID
    cells[0] = cells[:, 0] = _GRID
    pixels = np.full([_MARGIN + cells.shape[0], max(_MARGIN + cells.shape[1], 4 * _MARGIN), 3], 255, np.uint8)
    pixels[_MARGIN:, _MARGIN : _MARGIN + cells.shape[1]] = cells
    return pixels


def _write_counts(draw: ImageDraw, matrix: np.ndarray, shares: np.ndarray, cell: int) -> None:
    for row, column in np.ndindex(*matrix.shape):
        place = _MARGIN + (column + 0.5) * cell, _MARGIN + (row + 0.5) * cell
        text = short_number(float(matrix[row, column]))
        fill = "white" if shares[row, column] > 0.5 else "black" if matrix[row, column] else "silver"
        _write(draw, place, text, min(20, int(1.5 * cell / max(3, len(text)))), fill=fill)


def _write_axes(draw: ImageDraw, cells: list[int], cell: int, pooled: int) -> None:
    rows, columns = cells
    _write(draw, (_MARGIN + columns * cell / 2, 18), "prediction", 20)
    _write(draw, (6, _MARGIN - 20), "label", 20, "lm")
    size = max(12, min(18, cell // 3))
    step = max(1, -(-2 * size // cell))
    for column in range(0, columns, step):
        _write(draw, (_MARGIN + (column + 0.5) * cell, _MARGIN - 14), str(column * pooled), size)
    for row in range(0, rows, step):
        _write(draw, (_MARGIN - 8, _MARGIN + (row + 0.5) * cell), str(row * pooled), size, "rm")


def short_number(value: float) -> str:
    """Return a number in at most five characters."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= limit:
            return f"{value / (1e3 if unit == 'k' else limit):.3g}{unit}"
    return f"{value:.4g}" if value == int(value) else f"{value:.2g}"


def _write(
    draw: ImageDraw, place: tuple[float, float], text: str, size: int, anchor: str = "mm", fill: str = "black"
) -> None:
    draw.text(place, text, fill=fill, anchor=anchor, font=font(size))


def font(size: int) -> Any:
    """Return a font; Pillow brings it."""
    from PIL import ImageFont

    return ImageFont.load_default(max(8, size))
