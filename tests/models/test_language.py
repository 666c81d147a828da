"""Language models: the loss and metrics by token, and what they write."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data import Input
from tallyloop.models import LanguageModelTask, generate, transformer, written_text
from tallyloop.trainer import Trainer

SIZE = 5
X = np.array([[1, 2, 3], [4, 3, 0], [2, 0, 0]], np.int32)
Y = np.array([[2, 3, 4], [3, 0, 0], [1, 0, 0]], np.int32)


@keras.saving.register_keras_serializable("test_language")
class Successor(keras.layers.Layer):
    """Logits of 2 for the token after each, and of 0 for the others."""

    length, vocabulary = 3, SIZE

    def call(self, inputs, training=False):
        return 2 * keras.ops.one_hot((inputs + 1) % SIZE, SIZE)


def successor():
    model = keras.Sequential([keras.Input((None,), dtype="int32"), Successor()])
    model.length, model.vocabulary = 3, SIZE
    return model


RIGHT, WRONG = np.log(np.exp(2) + 4) - 2, np.log(np.exp(2) + 4)


class TestLanguageModelTask:
    @pytest.mark.parametrize(("padding", "right", "wrong"), [(0, 3, 2), (None, 3, 6)])
    def test_its_numbers(self, padding, right, wrong):
        """Of the five real tokens, the first three are successors, by batches of 2 and 1."""
        trainer = Trainer(LanguageModelTask(successor, padding), eval_datasets={"test": Input({"x": X, "y": Y}, 2)})
        found = trainer.evaluate()["test"]
        loss = (right * RIGHT + wrong * WRONG) / (right + wrong)
        assert found == pytest.approx(
            {"loss": loss, "perplexity": np.exp(loss), "accuracy": right / (right + wrong)}, rel=1e-6
        )

    @pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "uint32"])
    def test_takes_tokens_of_small_types(self, dtype):
        """As files of tokens hold them."""
        data = {"x": X.astype(dtype), "y": Y.astype(dtype)}
        trainer = Trainer(LanguageModelTask(successor, 0), eval_datasets={"test": Input(data, 2)})
        assert trainer.evaluate()["test"]["accuracy"] == pytest.approx(3 / 5)
        np.testing.assert_array_equal(trainer.predict(Input(data, 2))["token"], (X + 1) % SIZE)

    @pytest.mark.parametrize("padding", [-100, SIZE])
    def test_padding_outside_the_vocabulary(self, padding):
        """The same numbers as with padding 0, of which `x` has some too: five tokens count."""
        data = {"x": np.where(X == 0, padding, X), "y": np.where(Y == 0, padding, Y)}
        found = Trainer(LanguageModelTask(successor, padding), eval_datasets={"test": Input(data, 2)}).evaluate()[
            "test"
        ]
        loss = (3 * RIGHT + 2 * WRONG) / 5
        assert found == pytest.approx({"loss": loss, "perplexity": np.exp(loss), "accuracy": 3 / 5}, rel=1e-6)

    @pytest.mark.parametrize("padding", [-100, 7])
    def test_padding_outside_the_vocabulary_has_no_gradient(self, padding):
        model = transformer(vocabulary=7, length=3, depth=1, heads=1, width=4)
        labels = np.where(Y == 0, padding, Y)
        found = []
        for rows in (slice(0, 3), slice(0, 1)):  # of the second and third row, all is padding
            y = np.where(np.arange(3)[:, None] == 0, labels, padding)[rows]
            with tf.GradientTape() as tape:
                tally, _ = LanguageModelTask(lambda: model, padding).loss(
                    model, {"x": tf.constant(X[rows]), "y": tf.constant(y)}, training=True
                )
            assert int(tally.count) == 3
            found.append([tf.convert_to_tensor(each) for each in tape.gradient(tally.value, model.trainable_variables)])
        for all_rows, one_row in zip(*found, strict=True):
            np.testing.assert_allclose(all_rows, one_row, atol=1e-6)

    @pytest.mark.parametrize("padding", [-100, SIZE])
    def test_padding_alone_is_no_data_to_check(self, padding):
        LanguageModelTask(successor, padding).check_data(
            successor(), {"x": np.full_like(X, padding), "y": np.full_like(Y, padding)}, "here"
        )

    def test_predicts_the_likeliest_token(self):
        found = Trainer(LanguageModelTask(successor)).predict(Input({"x": X, "y": Y}, 2))
        np.testing.assert_array_equal(found["token"], (X + 1) % SIZE)
        np.testing.assert_allclose(found["probability"], np.exp(2) / (np.exp(2) + 4), rtol=1e-6)

    def test_takes_pairs(self):
        found = Trainer(LanguageModelTask(successor), eval_datasets={"test": Input((X, Y), 2)}).evaluate()["test"]
        assert found["accuracy"] == pytest.approx(3 / 9)

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (
                {"x": X + 3, "y": Y},
                "'x' has tokens from 3 to 7: expected numbers from 0 to 4; set the model's vocabulary, or",
            ),
            (
                {"x": X, "y": Y - 1},
                "'y' has tokens from -1 to 3: expected numbers from 0 to 4; set the model's vocabulary, or "
                "LanguageModelTask.padding to the token that stands for none",
            ),
            ({"x": X.astype(float), "y": Y}, "'x' is float64 of shape (3, 3): expected token numbers (n, tokens)"),
            ({"x": np.tile(X, 2), "y": Y}, "'x' has 6 tokens: expected at most 3; set the model's length"),
            ({"x": X}, "expected the key 'y', got ['x']; use a source of windows"),
        ],
    )
    def test_refuses(self, refused, data, message):
        with refused(f"Trainer.eval_datasets['test']: {message}"):
            Trainer(LanguageModelTask(successor), eval_datasets={"test": Input(data, 3)}).evaluate()

    def test_refuses_with_the_name_of_the_model_function(self, refused):
        task = LanguageModelTask(transformer)
        model = transformer(vocabulary=SIZE, length=2, depth=1, heads=1, width=4)
        with refused(
            "'x' has tokens from 3 to 7: expected numbers from 0 to 4; set the model's vocabulary (transformer.vocabulary), or"
        ):
            task.check_data(model, {"x": X + 3, "y": Y}, "here")
        with refused("'x' has 3 tokens: expected at most 2; set the model's length (transformer.length)"):
            task.check_data(model, {"x": X, "y": Y}, "here")

    def test_takes_a_function(self, refused):
        with refused("write @transformer, not @transformer()"):
            LanguageModelTask(successor())

    def test_learns(self):
        """Numbers that go up by one."""
        keras.utils.set_random_seed(0)
        rows = (np.arange(9) + np.arange(12)[:, None]) % SIZE
        trainer = Trainer(
            LanguageModelTask(lambda: transformer(vocabulary=SIZE, length=8, depth=1, heads=2, width=16)),
            keras.optimizers.Adam(0.02),
            train_dataset=Input({"x": rows[:, :-1], "y": rows[:, 1:]}, 4),
            train_steps=60,
        )
        trainer.train()
        written = generate(trainer.model, np.array([3]), 12, temperature=0)
        assert written.tolist() == [(3 + i) % SIZE for i in range(13)]


class TestGenerate:
    def test_is_the_same_for_a_seed(self):
        texts = {tuple(generate(successor(), np.array([1]), 20, temperature=2.0, seed=seed)) for seed in (0, 0, 1)}
        assert len(texts) == 2

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"tokens": -1}, "generate.tokens = -1: expected a whole number of at least 0"),
            ({"temperature": -0.5}, "generate.temperature = -0.5: expected a number of at least 0"),
            ({"prompt": np.array([], np.int32)}, "generate.prompt: expected at least one token, got none"),
        ],
    )
    def test_refuses(self, refused, given, message):
        with refused(message):
            generate(**{"model": successor(), "prompt": np.array([1]), "tokens": 3, **given})

    def test_draws_by_the_softmax(self):
        """The successor in 2.718^2 / (2.718^2 + 4) of the draws."""
        found = generate(successor(), np.array([0]), 2000, temperature=1.0)
        share = np.mean((found[:-1] + 1) % SIZE == found[1:])
        assert share == pytest.approx(np.exp(2) / (np.exp(2) + 4), abs=0.04)


class TestWrittenText:
    def test_is_of_bytes(self):
        """After each byte comes the next one."""

        def model(window, training):
            return tf.one_hot(window + 1, 256)

        model.length, model.vocabulary = 3, 256
        trainer = SimpleNamespace(model=model)
        assert written_text(trainer, "a", 4, temperature=0) == "abcde"

    @pytest.mark.parametrize("vocabulary", [100, 5000])
    def test_refuses_other_tokens(self, refused, vocabulary):
        trainer = SimpleNamespace(model=transformer(vocabulary=vocabulary, length=2, depth=1, heads=1, width=4))
        with refused(
            f"written_text: expected a model of bytes, whose vocabulary is 256, got a vocabulary of {vocabulary}; bind "
            "Trainer.actions = [], or WriteText.function to a function that decodes your tokens"
        ):
            written_text(trainer)
