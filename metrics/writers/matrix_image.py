"""A matrix as a picture: a confusion matrix with labelled axes."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

_CELL, _MARGIN = 44, 60  # pixels
_MOST_CLASSES = 40  # with numbers in the cells; beyond that, cells shrink so that the picture does not grow
_GRID = (211, 211, 211)


def matrix_png(matrix: np.ndarray) -> tuple[bytes, int, int]:
    """Draw a matrix whose rows are labels and whose columns are predictions, darker for a larger share of its row.

    Args:
      matrix: (classes, classes), counts.

    Returns:
      PNG bytes, width and height in pixels.
    """
    from PIL import Image, ImageDraw  # Comes with TensorBoard; only needed where a matrix is written.

    rows, columns = matrix.shape
    cell = _CELL if max(rows, columns) <= _MOST_CLASSES else max(4, _CELL * _MOST_CLASSES // max(rows, columns))
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1e-30)
    image = Image.fromarray(_pixels(shares, cell))
    draw = ImageDraw.Draw(image)
    if cell == _CELL:
        _write_counts(draw, matrix, shares)
    _write_axes(draw, rows, columns, cell)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue(), image.width, image.height


def _pixels(shares: np.ndarray, cell: int) -> np.ndarray:
    """Return the picture without text, (height, width, 3) uint8: a grid of blue cells, with a white margin at the axes."""
    shades = np.rint(255 - 205 * shares).astype(np.uint8)
    shades = shades.repeat(cell, axis=0).repeat(cell, axis=1)
    cells = np.stack([shades, shades, np.full_like(shades, 255)], axis=-1)
    cells[::cell] = cells[:, ::cell] = _GRID
    pixels = np.full([_MARGIN + cells.shape[0], _MARGIN + cells.shape[1], 3], 255, np.uint8)
    pixels[_MARGIN:, _MARGIN:] = cells
    return pixels


def _write_counts(draw: ImageDraw, matrix: np.ndarray, shares: np.ndarray) -> None:
    for row, column in np.ndindex(*matrix.shape):
        x, y = _MARGIN + (column + 0.5) * _CELL, _MARGIN + (row + 0.5) * _CELL
        fill = "white" if shares[row, column] > 0.6 else "black"
        draw.text((x, y), f"{matrix[row, column]:g}", fill=fill, anchor="mm")


def _write_axes(draw: ImageDraw, rows: int, columns: int, cell: int) -> None:
    draw.text((_MARGIN + columns * cell / 2, 14), "prediction", fill="black", anchor="mm")
    draw.text((4, _MARGIN - 14), "label", fill="black", anchor="lm")
    step = max(1, 20 // cell)
    for column in range(0, columns, step):
        draw.text((_MARGIN + (column + 0.5) * cell, _MARGIN - 12), str(column), fill="black", anchor="mm")
    for row in range(0, rows, step):
        draw.text((_MARGIN - 12, _MARGIN + (row + 0.5) * cell), str(row), fill="black", anchor="mm")
