"""Examples right and wrong, and reconstructions, as pictures."""

import contextlib
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data import Input
from tallyloop.metrics import UsageError
from tallyloop.trainer.actions import WriteExamples, examples

X = np.zeros([5, 4], np.float32)  # five pictures of 2 x 2, whose first pixel is what `labelled` takes them for
X[:, 0] = [0, 1, 2, 1, 0]
Y = np.array([0, 1, 1, 2, 0])


def labelled(batch):
    found = tf.cast(batch["x"][:, 0], tf.int64)
    sure = tf.where(found == 2, 0.75, 0.5)
    return {"label": found, "probabilities": tf.stack([sure, 1 - sure], 1)}


class Board:
    """Remembers what was drawn, under its tag."""

    def __init__(self):
        self.drawn = []
        self.found = {}

    def grid(self, images, captions):
        self.drawn.append((images, list(captions)))
        return images

    def images(self, tag, images, split):
        assert split == "eval/a"
        self.found[tag] = self.drawn[-1]


@pytest.fixture
def shown(mirrored_on, monkeypatch):
    """shown(outputs, ...) -> tag -> (pictures, captions), as drawn of batches of 2 and what `outputs` predicts for them."""

    def show(outputs=labelled, **arguments):
        board = Board()
        monkeypatch.setattr(examples, "grid", board.grid)
        trainer = SimpleNamespace(
            strategy=mirrored_on(1),
            model_dir="somewhere",
            evaluated_weights=contextlib.nullcontext,
            eval_datasets={"a": Input({"x": X, "y": Y}, 2), "b": None},
            task=SimpleNamespace(predict_step=lambda model, batch: outputs(batch)),
            model=None,
            board=board,
        )
        WriteExamples(**arguments).write(trainer, "eval/a")
        return board.found

    return show


class TestClassifier:
    def test_right_ones_in_order_and_wrong_ones_the_surest_first(self, shown):
        found = shown()
        images, captions = found["examples/right"]
        assert captions == ["0, 50%", "1, 50%", "0, 50%"]
        assert images.shape == (3, 2, 2, 1)
        images, captions = found["examples/wrong"]
        assert captions == ["1 as 2, 75%", "2 as 1, 50%"]
        assert images[:, 0, 0, 0].tolist() == [255, 128]  # 2 and 1, from 0 to 2

    def test_no_more_than_asked_for(self, shown):
        found = shown(count=1, examples=4)
        assert [captions for _, captions in found.values()] == [["0, 50%"], ["1 as 2, 75%"]]


class TestAutoencoder:
    def test_each_example_stands_above_its_reconstruction(self, shown):
        found = shown(lambda batch: {"reconstruction": batch["x"] / 2}, count=3)
        images, captions = found["examples/reconstructions"]
        assert images.shape == (3, 4, 2, 1)
        assert images[:, 0, 0, 0].tolist() == [0, 128, 255]
        assert images[:, 2, 0, 0].tolist() == [0, 64, 128]
        assert captions == ["error 0", "error 0.062", "error 0.25"]  # the mean over 4 pixels of (x / 2)^2


class TestMistakes:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"shape": 4}, r"WriteExamples.shape = 4: expected \(height, width\)"),
            ({"shape": (2, 2, 2, 2)}, r"WriteExamples.shape = \(2, 2, 2, 2\): expected \(height, width\)"),
            ({"count": 0}, r"WriteExamples.count = 0: expected a whole number of at least 1"),
            ({"examples": 0}, r"WriteExamples.examples = 0: expected a whole number of at least 1"),
        ],
    )
    def test_in_the_arguments(self, arguments, message):
        with pytest.raises(UsageError, match=message):
            WriteExamples(**arguments)

    @pytest.mark.parametrize(
        ("outputs", "arguments", "message"),
        [
            (
                labelled,
                {"features": "image"},
                r"WriteExamples.features = 'image': expected a key of the batch, .*'x', 'y'",
            ),
            (labelled, {"labels": "label"}, r"WriteExamples.labels = 'label': expected a key of the batch"),
            (
                labelled,
                {"shape": (3, 3)},
                r"WriteExamples.features = 'x': expected pictures.* got float32 of shape \(4,\)",
            ),
            (
                lambda batch: batch["x"],
                {},
                r"predict_step returned a .*: expected a dict with 'label' or 'reconstruction'",
            ),
        ],
    )
    def test_in_the_data(self, shown, outputs, arguments, message):
        with pytest.raises(UsageError, match=message):
            shown(outputs, **arguments)
