"""Language models: the next token of each, and text written by the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import gin
import keras
import numpy as np
import tensorflow as tf

from .. import metrics
from ..data.checks import number, whole_number
from ..metrics.errors import UsageError
from ..trainer.task import Task
from .batch import FEATURES, TARGETS, binding_of, maker, part_of
from .networks.transformer import transformer

if TYPE_CHECKING:
    from ..trainer import Trainer

_BYTES = 256
_FIX = "use a source of windows, such as @text with text.length"


@gin.register(module="tallyloop")
class LanguageModelTask(Task):
    """Cross-entropy of the next token, with `accuracy` and `perplexity` by token.

    A batch has `x` and `y`, token numbers (batch, tokens) of any integer type, of which `y` is one token further on.

    Args:
      model: a function that returns a model from tokens to logits (batch, tokens, vocabulary), such as `@transformer`.
      padding: the token in `y` that stands for none: it counts neither in the loss nor in the metrics. None if all count. It may
        be outside the vocabulary, such as -100; the model then reads the token 0 for it in `x`.

    Raises:
      UsageError: `model` is a model, or cannot be called.
    """

    def __init__(self, model: Callable[[], keras.Model] = transformer, padding: int | None = None):
        self._make_model = maker("LanguageModelTask.model", model, "transformer")
        self._padding = padding

    def build_model(self) -> keras.Model:
        """Return what the `model` function makes."""
        return self._make_model()

    def loss(self, model: keras.Model, batch: Any, training: bool) -> Any:
        """Return the cross-entropies (batch, tokens), or their `Tally` where some tokens are padding; and the logits."""
        labels = tf.cast(part_of(batch, "y", TARGETS, "The batch", _FIX), tf.int64)
        real = None if self._padding is None else labels != self._padding
        logits = self._logits(model, batch, training)
        known = labels if real is None else tf.where(real, labels, 0)  # the kernel refuses others, or gives NaN
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(known, logits)
        metrics.add("accuracy", tf.argmax(logits, -1) == labels, weights=real)
        metrics.add("perplexity", losses, weights=real, finish="exp")
        return (losses if real is None else metrics.weighted(losses, real)), logits

    def predict_step(self, model: keras.Model, batch: Any) -> dict[str, tf.Tensor]:
        """Return the likeliest `token` after each of `x`, (batch, tokens), and its `probability`."""
        probabilities = tf.nn.softmax(self._logits(model, batch, training=False))
        return {"token": tf.argmax(probabilities, -1), "probability": tf.reduce_max(probabilities, -1)}

    def check_data(self, model: keras.Model, arrays: Mapping[str, np.ndarray], where: str) -> None:
        """Refuse tokens that the model does not have: TensorFlow's kernels would read zeros, or fail in mid-run.

        Raises:
          UsageError: there is one.
        """
        most = getattr(model, "length", None)
        for key, place in (("x", FEATURES), ("y", TARGETS)):
            tokens = np.asarray(part_of(arrays, key, place, where, _FIX))
            if tokens.dtype.kind not in "iu" or tokens.ndim != 2:
                raise UsageError(
                    f"{where}: {key!r} is {tokens.dtype} of shape {tokens.shape}: expected token numbers (n, tokens); {_FIX}"
                )
            self._check_vocabulary(model, tokens, f"{where}: {key!r}")
            if most is not None and tokens.shape[1] > most:
                raise UsageError(
                    f"{where}: {key!r} has {tokens.shape[1]} tokens: expected at most {most}; set the model's length"
                    f"{binding_of(self._make_model, 'length')}"
                )

    def _check_vocabulary(self, model: keras.Model, tokens: np.ndarray, where: str) -> None:
        vocabulary = getattr(model, "vocabulary", None)
        if self._padding is not None:
            tokens = tokens[tokens != self._padding]
        if vocabulary is not None and tokens.size and not 0 <= tokens.min() <= tokens.max() < vocabulary:
            raise UsageError(
                f"{where} has tokens from {tokens.min()} to {tokens.max()}: expected numbers from 0 to {vocabulary - 1}; set "
                f"the model's vocabulary{binding_of(self._make_model, 'vocabulary')}, or LanguageModelTask.padding to the token "
                "that stands for none"
            )

    def _logits(self, model: keras.Model, batch: Any, training: bool) -> tf.Tensor:
        tokens = part_of(batch, "x", FEATURES, "The batch", _FIX)
        if tokens.dtype not in (tf.int32, tf.int64):
            tokens = tf.cast(tokens, tf.int32)
        if self._padding is not None and not 0 <= self._padding < getattr(model, "vocabulary", np.inf):
            tokens = tf.where(tokens == self._padding, 0, tokens)  # an embedding has no such row
        return tf.cast(model(tokens, training=training), tf.float32)


def generate(
    model: keras.Model, prompt: np.ndarray, tokens: int, temperature: float = 0.8, seed: int = 0
) -> np.ndarray:
    """Return the prompt and what the model writes after it, drawn token by token.

    Args:
      model: from tokens to logits, with a `length`: the most tokens that it reads at once.
      prompt: token numbers (n,), at least one.
      tokens: how many to add.
      temperature: divides the logits: below 1, likelier tokens come more often; 0 always takes the likeliest.
      seed: of the draws; the same text for the same weights.

    Returns:
      int32 (n + tokens,).

    Raises:
      UsageError: the prompt is empty, `tokens` is not a whole number of at least 0, or `temperature` not a number of at least 0.
    """
    whole_number("generate.tokens", tokens, least=0)
    number("generate.temperature", temperature, least=0)
    if not len(prompt):
        raise UsageError("generate.prompt: expected at least one token, got none")
    length, generator = model.length, np.random.default_rng(seed)
    step = tf.function(lambda window, last: model(window, training=False)[0, last], autograph=False)
    found = list(np.asarray(prompt, np.int32))
    for _ in range(tokens):
        window = np.zeros(
            (1, length), np.int32
        )  # of one shape, so that it is traced once; what follows has no influence
        known = found[-length:]
        window[0, : len(known)] = known
        logits = step(tf.constant(window), tf.constant(len(known) - 1)).numpy().astype(np.float64)
        if temperature:  # the largest of logits with Gumbel noise is a draw from their softmax
            logits = logits / temperature + generator.gumbel(size=len(logits))
        found.append(int(np.argmax(logits)))
    return np.array(found, np.int32)


@gin.register(module="tallyloop")
def written_text(
    trainer: Trainer, prompt: str = "\n", characters: int = 500, temperature: float = 0.8, seed: int = 0
) -> str:
    """Return text that a model of bytes writes, for `WriteText.function`.

    Args:
      trainer: whose model writes.
      prompt: what it goes on from.
      characters: how many bytes to write.
      temperature: see `generate`.
      seed: of the draws.

    Raises:
      UsageError: the model has another vocabulary than bytes.
    """
    vocabulary = getattr(trainer.model, "vocabulary", _BYTES)
    if vocabulary != _BYTES:
        raise UsageError(
            f"written_text: expected a model of bytes, whose vocabulary is {_BYTES}, got a vocabulary of {vocabulary}; bind "
            "Trainer.actions = [], or WriteText.function to a function that decodes your tokens"
        )
    start = np.frombuffer(prompt.encode() or b"\n", np.uint8)
    return bytes(generate(trainer.model, start, characters, temperature, seed).astype(np.uint8)).decode(
        errors="replace"
    )
