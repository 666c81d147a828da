"""A decoder-only transformer as in nanoGPT: its layers, which have no biases, its sizes and its initial weights."""

from __future__ import annotations

from typing import Any

import gin
import keras
import tensorflow as tf

from ...data.checks import whole_number
from ...metrics.errors import UsageError
from .dropout import InvariantDropout, dropout_rate
from .fused import Norm, gelu

_NORMAL = 0.02  # standard deviation of the initial weights
_FAR = 1e9  # taken from the score of a token that must not be seen


@keras.saving.register_keras_serializable("tallyloop")
class Block(keras.layers.Layer):
    """Attention to this and earlier tokens, then two dense layers; each is added to its normalized input.

    Examples and tokens share an axis, as a matrix product with three axes takes TensorFlow 2.5 times as long on a CPU.

    Args:
      width: the numbers per token.
      heads: of the attention; they share the width.
      depth: the number of blocks in the model. What a block adds begins smaller in a deeper one, as in GPT-2.
      dropout: the fraction dropped of what is added.
    """

    def __init__(self, width: int, heads: int, depth: int, dropout: float = 0.0, **kwargs: Any):
        super().__init__(**kwargs)
        self._config = {"width": width, "heads": heads, "depth": depth, "dropout": dropout}
        last = _NORMAL / (2 * depth) ** 0.5
        self.attention_norm = Norm(width, name="attention_norm", dtype=self.dtype_policy)
        self.queries_keys_values = _dense(3 * width, "queries_keys_values", self.dtype_policy)
        self.attention_out = _dense(width, "attention_out", self.dtype_policy, last)
        self.dense_norm = Norm(width, name="dense_norm", dtype=self.dtype_policy)
        self.dense_in = _dense(4 * width, "dense_in", self.dtype_policy)
        self.dense_out = _dense(width, "dense_out", self.dtype_policy, last)
        self.dropouts = [InvariantDropout(dropout, name=f"dropout_{i}", dtype=self.dtype_policy) for i in range(2)]

    def get_config(self) -> dict[str, Any]:
        """Return what `keras.models.load_model` makes the layer from."""
        return {**super().get_config(), **self._config}

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Build the layers inside."""
        width = self._config["width"]
        for layer in (
            self.attention_norm,
            self.queries_keys_values,
            self.attention_out,
            self.dense_norm,
            self.dense_in,
        ):
            layer.build((None, width))
        self.dense_out.build((None, 4 * width))

    def call(self, inputs: tf.Tensor, length: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Return (batch * length, width) for inputs of this shape."""
        first, second = self.dropouts
        hidden = inputs + first(self._attended(self.attention_norm(inputs), length), training=training)
        dense = self.dense_out(gelu(self.dense_in(self.dense_norm(hidden))))
        return hidden + second(dense, training=training)

    def _attended(self, inputs: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
        heads, size = self._config["heads"], self._config["width"] // self._config["heads"]
        parts = tf.split(self.queries_keys_values(inputs), 3, axis=-1)
        queries, keys, values = (
            tf.transpose(tf.reshape(part, (-1, length, heads, size)), (0, 2, 1, 3)) for part in parts
        )
        scores = tf.cast(tf.matmul(queries * size**-0.5, keys, transpose_b=True), tf.float32)
        later = tf.linalg.band_part(tf.ones((length, length), scores.dtype), 0, -1) - tf.eye(length, dtype=scores.dtype)
        attention = tf.cast(tf.nn.softmax(scores - _FAR * later), values.dtype)
        attended = tf.transpose(tf.matmul(attention, values), (0, 2, 1, 3))
        return self.attention_out(tf.reshape(attended, tf.shape(inputs)))


@keras.saving.register_keras_serializable("tallyloop")
class Transformer(keras.Model):
    """Blocks over embedded tokens and positions; the logits are products with the embeddings. See `transformer`."""

    def __init__(
        self, vocabulary: int, length: int, depth: int, heads: int, width: int, dropout: float, name: str, **kwargs: Any
    ):
        super().__init__(name=name, **kwargs)
        self._config = {
            "vocabulary": vocabulary, "length": length, "depth": depth, "heads": heads, "width": width, "dropout": dropout
        }  # fmt: skip
        self.tokens = keras.layers.Embedding(vocabulary, width, _normal(_NORMAL), name="tokens")
        self.positions = keras.layers.Embedding(length, width, _normal(_NORMAL), name="positions")
        self.dropout = InvariantDropout(dropout, name="dropout")
        self.blocks = [Block(width, heads, depth, dropout, name=f"block_{i}") for i in range(depth)]
        self.norm = Norm(width, name="norm")

    def get_config(self) -> dict[str, Any]:
        """Return what `keras.models.load_model` makes the model from."""
        return {**super().get_config(), **self._config}

    @property
    def length(self) -> int:
        """The most tokens that it reads at once."""
        return self._config["length"]

    @property
    def vocabulary(self) -> int:
        """The number of different tokens."""
        return self._config["vocabulary"]

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Build the layers inside."""
        width = self._config["width"]
        self.tokens.build(input_shape)
        self.positions.build(input_shape)
        for layer in (*self.blocks, self.norm):
            layer.build((None, width))

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Return logits (batch, tokens, vocabulary) of the token after each, for token numbers (batch, tokens)."""
        batch, length = tf.unstack(tf.shape(inputs))
        hidden = self.tokens(inputs) + tf.cast(self.positions.embeddings, self.compute_dtype)[:length]
        hidden = self.dropout(tf.reshape(hidden, (-1, hidden.shape[-1])), training=training)
        for block in self.blocks:
            hidden = block(hidden, length, training=training)
        logits = tf.matmul(self.norm(hidden), tf.cast(self.tokens.embeddings, hidden.dtype), transpose_b=True)
        return tf.reshape(logits, (batch, length, self.vocabulary))


@gin.register(module="tallyloop")
def transformer(
    vocabulary: int = 256, length: int = 64, depth: int = 4, heads: int = 4, width: int = 128, dropout: float = 0.0
) -> keras.Model:
    """Return a model from token numbers (batch, tokens) to logits (batch, tokens, vocabulary) of the token after each.

    Args:
      vocabulary: the number of different tokens; 256 for bytes.
      length: the most tokens that it reads at once.
      depth: the number of blocks.
      heads: of each attention; a divisor of the width.
      width: the numbers per token. The embedding has `vocabulary * width` weights, and each block 12 times the width squared.
      dropout: the fraction dropped of the embeddings and of what a block adds; see `InvariantDropout`.

    Raises:
      UsageError: a size is not a whole number of at least 1, the heads do not divide the width, or `dropout` is not in [0, 1).
    """
    rate = dropout_rate("transformer.dropout", dropout)
    sizes = {"vocabulary": vocabulary, "length": length, "depth": depth, "heads": heads, "width": width}
    for name, size in sizes.items():
        whole_number(f"transformer.{name}", size, least=1)
    if width % heads:
        raise UsageError(f"transformer.heads = {heads}: expected a divisor of transformer.width = {width}")
    model = Transformer(vocabulary, length, depth, heads, width, rate, name="transformer")
    model.build((None, length))
    return model


def _dense(units: int, name: str, dtype: Any, stddev: float = _NORMAL) -> keras.layers.Dense:
    return keras.layers.Dense(units, use_bias=False, kernel_initializer=_normal(stddev), name=name, dtype=dtype)


def _normal(stddev: float) -> Any:  # the stubs of Keras know initializers by name only
    return keras.initializers.RandomNormal(stddev=stddev)
