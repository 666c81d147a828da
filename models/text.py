"""A classifier of strings: the words it knows are learned from the training rows, and are a part of the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

import gin
import keras
import numpy as np
import tensorflow as tf

from ..data.checks import one_of, whole_number
from ..metrics.errors import UsageError
from .batch import training_rows
from .networks.dropout import InvariantDropout, dropout_rate

Reader = Literal["gru", "transformer"]

_WHERE = "text_classifier.rows"


@keras.saving.register_keras_serializable("tallyloop")
def split_words(texts: tf.Tensor) -> tf.Tensor:
    """Return texts in lower case with spaces around each word, number and punctuation mark; `aWord` and `a_word` are two words.

    Keras's own standardization removes punctuation, which joins the words of code: `loop.call_soon` becomes `loopcallsoon`.
    """
    apart = tf.strings.regex_replace(texts, "([a-z])([A-Z])", r"\1 \2")
    return tf.strings.regex_replace(tf.strings.lower(apart, encoding="utf-8"), r"([^\pL\pN\s])", r" \1 ")


@gin.register(module="tallyloop")
def text_classifier(
    rows: Callable[[], Mapping[str, Any]],
    num_classes: int = 2,
    reader: Reader = "gru",
    text: str = "text",
    vocabulary: int = 20_000,
    length: int = 32,
    width: int = 64,
    dropout: float = 0.5,
) -> keras.Model:
    """Return a model from strings (batch,) to logits of shape (batch, num_classes).

    Args:
      rows: a source of training rows, `@train/labelled_text`: the most frequent words of its texts are those that the model
        knows. They are not in the checkpoints, so that predictions and exports read the rows again, and compare.
      num_classes: the number of logits.
      reader: "gru" reads the words in both directions; "transformer" lets each attend to all. Either sees the words alone, not
        the padding after them, and its maximum over the words is put beside the mean of their embeddings.
      text: the key of the texts in the rows.
      vocabulary: the most words to know, with one for the padding and one for all others.
      length: the words that are read of a text.
      width: the numbers per word.
      dropout: the fraction dropped in training of the embeddings, and of what the reader found; see `InvariantDropout`.

    Raises:
      UsageError: an argument is not as described, or the rows have no such texts.
    """
    rate = dropout_rate("text_classifier.dropout", dropout)
    kind = one_of("text_classifier.reader", reader, get_args(Reader))
    inputs = keras.Input((), dtype="string", name=text)
    vectorize = keras.layers.TextVectorization(
        whole_number("text_classifier.vocabulary", vocabulary, least=3),
        standardize=split_words,  # pyright: ignore[reportArgumentType]  # the stubs know no functions here
        output_sequence_length=whole_number("text_classifier.length", length, least=1),
        name="words",
    )
    vectorize.adapt(tf.constant(_texts(rows, text)))
    words = keras.layers.Embedding(vectorize.vocabulary_size(), width, mask_zero=True, name="embedding")(
        vectorize(inputs)
    )
    words = InvariantDropout(rate)(words)
    read = _bidirectional(words, width) if kind == "gru" else _attending(words, length, width)
    found = keras.layers.Concatenate()([_Mean(name="mean")(words), _Largest(name="largest")(read)])
    logits = keras.layers.Dense(num_classes, name="logits")(InvariantDropout(rate)(found))
    return keras.Model(inputs, logits, name="text_classifier")


def _bidirectional(words: Any, width: int) -> Any:
    gru = keras.layers.GRU(max(width // 2, 1), return_sequences=True, name="gru")
    return keras.layers.Bidirectional(gru, name="both_directions")(words)


def _attending(words: Any, length: int, width: int) -> Any:
    placed = keras.layers.Add()([words, _Positions(length, width, name="positions")(words)])
    attended = keras.layers.MultiHeadAttention(4, max(width // 4, 1), name="attention")(placed, placed)
    hidden = keras.layers.LayerNormalization(name="attention_norm")(keras.layers.Add()([placed, attended]))
    dense = keras.layers.Dense(width, name="dense_out")(keras.layers.Dense(2 * width, "gelu", name="dense_in")(hidden))
    return keras.layers.LayerNormalization(name="dense_norm")(keras.layers.Add()([hidden, dense]))


@keras.saving.register_keras_serializable("tallyloop")
class _Positions(keras.layers.Layer):
    """A learned vector for each place."""

    def __init__(self, length: int, width: int, **kwargs: Any):
        super().__init__(**kwargs)
        self._shape = length, width
        self.supports_masking = True

    def build(self, input_shape: Any) -> None:
        self.places = self.add_weight(shape=self._shape, initializer=keras.initializers.RandomNormal(stddev=0.02))

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return tf.zeros_like(inputs) + tf.cast(self.places, inputs.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "length": self._shape[0], "width": self._shape[1]}


class _Pooling(keras.layers.Layer):
    """A pooling over the words, without padding; 0 for a text without words, where Keras's mean is NaN."""

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.supports_masking = True

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> None:
        return None


@keras.saving.register_keras_serializable("tallyloop")
class _Mean(_Pooling):
    def call(self, inputs: tf.Tensor, mask: Any = None) -> tf.Tensor:
        known = tf.cast(mask, inputs.dtype)[..., tf.newaxis]
        return tf.math.divide_no_nan(tf.reduce_sum(inputs * known, 1), tf.reduce_sum(known, 1))


@keras.saving.register_keras_serializable("tallyloop")
class _Largest(_Pooling):
    def call(self, inputs: tf.Tensor, mask: Any = None) -> tf.Tensor:
        known = tf.where(mask[..., tf.newaxis], inputs, inputs.dtype.min)
        return tf.where(tf.reduce_any(mask, 1)[:, tf.newaxis], tf.reduce_max(known, 1), tf.zeros([], inputs.dtype))


def _texts(rows: Any, key: str) -> np.ndarray:
    found = training_rows(rows, _WHERE)
    if key not in found:
        raise UsageError(f"{_WHERE}: expected texts {key!r} in the rows, got {sorted(found)}; set text_classifier.text")
    texts = np.asarray(found[key])
    if texts.ndim != 1 or texts.dtype.kind not in "OSU" or not all(isinstance(each, str | bytes) for each in texts):
        raise UsageError(
            f"{_WHERE}: {key!r} is {texts.dtype} of shape {texts.shape}: expected one string per row; set text_classifier.text"
        )
    return texts
