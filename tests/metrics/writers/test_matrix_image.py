"""A confusion matrix in TensorBoard is an image, dark where a row's share is."""

import io

import numpy as np
from PIL import Image
from tallyloop.metrics.writers import Summary, TensorBoardWriter
from tallyloop.metrics.writers.matrix_image import matrix_png
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

MATRIX = np.array([[90.0, 10.0, 0.0], [0.0, 50.0, 0.0], [0.0, 20.0, 0.0]])


class TestMatrixPng:
    def test_a_cell_is_as_dark_as_its_share_of_the_row(self):
        png, width, height = matrix_png(MATRIX)
        image = Image.open(io.BytesIO(png))
        assert image.size == (width, height) == (60 + 3 * 44, 60 + 3 * 44)

        def shade(row, column):
            return image.getpixel((60 + column * 44 + 4, 60 + row * 44 + 4))

        # 255 - 205 x share of the row
        assert shade(0, 0) == (round(255 - 205 * 0.9),) * 2 + (255,)
        assert shade(1, 1) == shade(2, 1) == (50, 50, 255)
        assert shade(1, 0) == (255, 255, 255)

    def test_a_matrix_of_many_classes_stays_small(self):
        _, width, height = matrix_png(np.eye(1000))
        assert (width, height) == (60 + 4000, 60 + 4000)


class TestTensorBoard:
    def test_reads_the_image_beside_the_scalars(self, tmp_path):
        TensorBoardWriter(tmp_path).write(Summary(7, "eval", {"confusion": MATRIX, "loss": 0.5}, {}))
        events = EventAccumulator(str(tmp_path / "eval")).Reload()
        assert events.SummaryMetadata("confusion").plugin_data.plugin_name == "images"
        event = events.Tensors("confusion")[0]
        width, height, png = event.tensor_proto.string_val
        assert (event.step, width, height) == (7, b"192", b"192")
        assert Image.open(io.BytesIO(png)).size == (192, 192)
