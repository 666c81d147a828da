"""The classifier of strings: its words, what padding does, and that it is trained and exported with strings."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data import Input
from tallyloop.models import ClassifierTask, text_classifier
from tallyloop.models.text import split_words
from tallyloop.trainer import Trainer

TEXTS = np.array(["red apple", "green apple pie", "fast car", "car door red"] * 8, object)
ROWS = {"text": TEXTS.astype(str), "label": np.array([0, 0, 1, 1] * 8)}
SMALL = {"rows": lambda: ROWS, "width": 8, "length": 4, "dropout": 0.0}


@pytest.fixture(scope="module", params=["gru", "transformer"])
def model(request):
    keras.utils.set_random_seed(0)
    return text_classifier(reader=request.param, **SMALL)


class TestWords:
    def test_are_apart(self):
        found = split_words(tf.constant(["Loop.call_soon(aWord, 12)"])).numpy()[0].decode()
        assert found.split() == ["loop", ".", "call", "_", "soon", "(", "a", "word", ",", "12", ")"]

    def test_are_in_lower_case(self):
        assert split_words(tf.constant(["Äpfel ÉTÉ ΩЖ"])).numpy()[0].decode() == "äpfel été ωж"

    def test_are_those_of_the_training_rows(self, model):
        words = model.get_layer("words").get_vocabulary()
        assert words[:2] == ["", "[UNK]"]
        assert set(words[2:]) == {"red", "car", "apple", "green", "pie", "fast", "door"}


class TestTextClassifier:
    @pytest.mark.parametrize("reader", ["gru", "transformer"])
    def test_padding_changes_nothing(self, reader):
        """The same weights, with room for 4 words and for 6: of a transformer, two more places."""
        short, long = (text_classifier(**{**SMALL, "length": length}, reader=reader) for length in (4, 6))
        places = short.get_layer("positions").places.path if reader == "transformer" else None
        for one, other in zip(short.weights, long.weights, strict=True):
            rest = np.full((2, SMALL["width"]), 9.0) if one.path == places else np.zeros((0, *one.shape[1:]))
            other.assign(np.concatenate([one, rest]) if one.shape else one)
        texts = tf.constant(["red apple", "car"])
        np.testing.assert_allclose(long(texts), short(texts), atol=1e-6)

    def test_text_without_words(self, model):
        assert np.isfinite(model(tf.constant(["", "!?"])).numpy()).all()

    def test_is_exported_with_strings(self, model, tmp_path):
        strings = tf.constant(["red apple", "unheard of"])
        model.save(tmp_path / "model.keras")
        loaded = keras.models.load_model(tmp_path / "model.keras")
        np.testing.assert_allclose(loaded(strings), model(strings), atol=1e-6)

    def test_learns(self):
        keras.utils.set_random_seed(0)
        task = ClassifierTask(lambda: text_classifier(**SMALL), features="text", labels="label")
        data = Input(ROWS, 8)
        trainer = Trainer(
            task, keras.optimizers.Adam(0.02), train_dataset=data, eval_datasets={"test": data}, train_steps=30
        )
        assert trainer.train_and_eval()["test"]["accuracy"] == 1.0

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"rows": ROWS}, "expected a source without parentheses"),
            ({"rows": lambda: [1]}, "text_classifier.rows: expected a source of a dict of arrays"),
            ({"text": "line"}, "expected texts 'line' in the rows, got ['label', 'text']; set text_classifier.text"),
            ({"text": "label"}, "'label' is int64 of shape (32,): expected one string per row"),
            ({"reader": "lstm"}, "text_classifier.reader = 'lstm': expected 'gru' or 'transformer'"),
            ({"length": 0}, "text_classifier.length = 0: expected a whole number of at least 1"),
        ],
    )
    def test_refuses(self, refused, arguments, message):
        with refused(message):
            text_classifier(**{**SMALL, **arguments})
