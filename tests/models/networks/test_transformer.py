"""The transformer: what a token sees, and how large it is."""

import keras
import numpy as np
import pytest
from scipy.stats import norm
from tallyloop.models import transformer

SMALL = {"vocabulary": 11, "length": 6, "depth": 2, "heads": 2, "width": 8}


def normalized(x, scale):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * scale


def by_hand(model, tokens):
    """The logits in float64, token by token."""
    weights = {weight.path.partition("/")[2]: np.float64(weight.numpy()) for weight in model.weights}
    x = weights["tokens/embeddings"][tokens] + weights["positions/embeddings"][: tokens.shape[1]]
    for block in range(2):
        w = {path.partition("/")[2]: value for path, value in weights.items() if path.startswith(f"block_{block}/")}
        dense = lambda x, name, w=w: x @ w[f"{name}/kernel"]  # noqa: E731
        norms = lambda x, name, w=w: normalized(x, w[f"{name}/scale"])  # noqa: E731
        projected = dense(norms(x, "attention_norm"), "queries_keys_values").reshape(*tokens.shape, 3, 2, 4)
        attended = np.zeros((*tokens.shape, 2, 4))
        for t in range(tokens.shape[1]):
            q, k, v = projected[:, t, 0], projected[:, : t + 1, 1], projected[:, : t + 1, 2]
            scores = np.exp(np.einsum("bhd,bshd->bhs", q, k) / 2)
            attended[:, t] = np.einsum("bhs,bshd->bhd", scores / scores.sum(-1, keepdims=True), v)
        x = x + dense(attended.reshape(x.shape), "attention_out")
        hidden = dense(norms(x, "dense_norm"), "dense_in")
        x = x + dense(hidden * norm.cdf(hidden), "dense_out")
    return normalized(x, weights["norm/scale"]) @ weights["tokens/embeddings"].T


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return transformer(**SMALL)


class TestTransformer:
    def test_its_logits(self, model, rng):
        tokens = rng.integers(0, 11, (3, 5))
        np.testing.assert_allclose(model(tokens), by_hand(model, tokens), rtol=1e-3, atol=1e-6)

    def test_its_size_is_that_of_nanogpt(self):
        """256 and 64 embeddings of 128; in each of 4 blocks 12 * 128^2 weights and 2 norms; a last norm."""
        size = sum(np.prod(weight.shape) for weight in transformer().trainable_weights)
        assert size == 320 * 128 + 4 * (12 * 128**2 + 2 * 128) + 128

    def test_heads_divide_the_width(self, refused):
        with refused("transformer.heads = 3: expected a divisor of transformer.width = 8"):
            transformer(**{**SMALL, "heads": 3})

    @pytest.mark.parametrize("name", ["vocabulary", "length", "depth", "heads", "width"])
    @pytest.mark.parametrize("size", [0, 2.0])
    def test_sizes_are_whole_numbers(self, refused, name, size):
        with refused(f"transformer.{name} = {size}: expected a whole number of at least 1"):
            transformer(**{**SMALL, name: size})

    def test_is_loaded_from_a_file(self, model, tmp_path, rng):
        tokens = rng.integers(0, 11, (2, 6))
        model.save(tmp_path / "model.keras")
        np.testing.assert_array_equal(keras.models.load_model(tmp_path / "model.keras")(tokens), model(tokens))
