"""A confusion matrix in TensorBoard is an image, dark where a row's share is."""

import io

import numpy as np
import pytest
from PIL import Image
from tallyloop.metrics.writers import Summary, TensorBoardWriter, matrix_image
from tallyloop.metrics.writers.matrix_image import matrix_png, short_number
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

MATRIX = np.array([[90.0, 10.0, 0.0], [0.0, 50.0, 0.0], [0.0, 20.0, 0.0]])


class TestMatrixPng:
    def test_a_cell_is_as_dark_as_its_share_of_the_row(self):
        png, width, height = matrix_png(MATRIX)
        image = Image.open(io.BytesIO(png))
        assert image.size == (width, height) == (72 + 3 * 80, 72 + 3 * 80)

        def shade(row, column):
            return image.getpixel((72 + column * 80 + 4, 72 + row * 80 + 4))

        # 255 - 205 x share of the row
        assert shade(0, 0) == (round(255 - 205 * 0.9),) * 2 + (255,)
        assert shade(1, 1) == shade(2, 1) == (50, 50, 255)
        assert shade(1, 0) == (255, 255, 255)

    def test_a_matrix_of_many_classes_stays_small(self):
        _, width, height = matrix_png(np.eye(1000))
        assert (width, height) == (72 + 1000, 72 + 1000)

    @pytest.mark.parametrize(("classes", "counts"), [(2, True), (40, True), (41, False), (1000, False)])
    def test_has_counts_or_else_the_pairs_that_are_confused_most(self, classes, counts, monkeypatch):
        drawn = []
        monkeypatch.setattr(matrix_image, "_write", lambda draw, place, text, *rest, **more: drawn.append(text))
        matrix = 900.0 * np.eye(classes)
        matrix[1, 0] = 100.0
        matrix_png(matrix)
        assert (drawn.count("900") == classes) == counts
        assert ("label 1 as 0: 100, 10% of label 1" in drawn) == (not counts)

    def test_of_several_classes_in_a_cell_shows_the_largest_share(self):
        matrix = np.eye(520)
        matrix[100, 300] = 1.0  # half of its row, in the cell of rows 100, 101 and columns 300, 301
        png, _, _ = matrix_png(matrix)
        image = Image.open(io.BytesIO(png))
        assert image.getpixel((72 + 150 * 4 + 2, 72 + 50 * 4 + 2)) == (round(255 - 205 * 0.5),) * 2 + (255,)


class TestShortNumber:
    @pytest.mark.parametrize(
        ("value", "text"), [(0.0, "0"), (9999.0, "9999"), (12345.0, "12.3k"), (2.5e6, "2.5M"), (0.25, "0.25")]
    )
    def test_fits_into_a_cell(self, value, text):
        assert short_number(value) == text


class TestTensorBoard:
    def test_reads_the_image_beside_the_scalars(self, tmp_path):
        TensorBoardWriter(tmp_path).write(Summary(7, "eval", {"confusion": MATRIX, "loss": 0.5}, {}))
        events = EventAccumulator(str(tmp_path / "eval")).Reload()
        assert events.SummaryMetadata("confusion").plugin_data.plugin_name == "images"
        event = events.Tensors("confusion")[0]
        width, height, png = event.tensor_proto.string_val
        assert (event.step, width, height) == (7, b"312", b"312")
        assert Image.open(io.BytesIO(png)).size == (312, 312)
