"""A matrix as a picture: a confusion matrix with labelled axes."""

from __future__ import annotations

import io

import numpy as np

_CELL, _MARGIN = 44, 60
_LARGEST = 40  # classes; past that, cells would not be legible


def matrix_png(matrix: np.ndarray) -> tuple[bytes, int, int]:
    """Draws a matrix whose rows are labels and whose columns are predictions, darker for a larger share of its row.

    Args:
      matrix: (classes, classes), counts.

    Returns:
      PNG bytes, width and height in pixels.
    """
    from PIL import Image, ImageDraw  # comes with tensorboard; only needed where a matrix is written

    rows, columns = matrix.shape
    cell = _CELL if max(rows, columns) <= _LARGEST else max(4, _CELL * _LARGEST // max(rows, columns))
    width, height = _MARGIN + columns * cell, _MARGIN + rows * cell
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1e-30)
    for row, column in np.ndindex(rows, columns):
        _cell(draw, row, column, cell, shares[row, column], f"{matrix[row, column]:g}")
    _axes(draw, rows, columns, cell)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue(), width, height


def _cell(draw, row: int, column: int, cell: int, share: float, text: str) -> None:
    x, y = _MARGIN + column * cell, _MARGIN + row * cell
    shade = round(255 - 205 * float(share))
    draw.rectangle((x, y, x + cell, y + cell), fill=(shade, shade, 255), outline="lightgray")
    if cell == _CELL:
        draw.text((x + cell / 2, y + cell / 2), text, fill="white" if share > 0.6 else "black", anchor="mm")


def _axes(draw, rows: int, columns: int, cell: int) -> None:
    draw.text((_MARGIN + columns * cell / 2, 14), "prediction", fill="black", anchor="mm")
    draw.text((4, _MARGIN - 14), "label", fill="black", anchor="lm")
    step = max(1, 20 // cell)
    for column in range(0, columns, step):
        draw.text((_MARGIN + (column + 0.5) * cell, _MARGIN - 12), str(column), fill="black", anchor="mm")
    for row in range(0, rows, step):
        draw.text((_MARGIN - 12, _MARGIN + (row + 0.5) * cell), str(row), fill="black", anchor="mm")
