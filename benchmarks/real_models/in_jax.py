"""The transformer in plain JAX: `python -m benchmarks.real_models.in_jax STEPS`, lap by lap, each one `lax.scan`."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ..harness.child import run_in_laps
from . import arrays

LAYERS, HEADS, WIDTH, BATCH = 4, 4, 128, 12
Weights = Mapping[str, Any]


def initial() -> Weights:
    """Return the weights of nanoGPT's model."""
    chance = np.random.default_rng(0)

    def normal(*shape: int) -> jax.Array:
        return jnp.asarray(chance.normal(0, 0.02, shape).astype(np.float32))

    shapes = {"attention": (1, 3), "projection": (1, 1), "inner": (1, 4), "outer": (4, 1)}
    blocks = [
        {"norm_1": jnp.ones(WIDTH), "norm_2": jnp.ones(WIDTH)}
        | {name: normal(rows * WIDTH, columns * WIDTH) for name, (rows, columns) in shapes.items()}
        for _ in range(LAYERS)
    ]
    tables = {"tokens": normal(arrays.VOCABULARY, WIDTH), "positions": normal(arrays.LENGTH, WIDTH)}
    return {**tables, "blocks": blocks, "norm": jnp.ones(WIDTH)}


def logits_of(weights: Weights, tokens: jax.Array) -> jax.Array:
    """Return the logits (batch, tokens, VOCABULARY); the last layer shares the embedding's weights."""
    x = weights["tokens"][tokens] + weights["positions"]
    for block in weights["blocks"]:
        heads = jnp.split(_norm(x, block["norm_1"]) @ block["attention"], 3, axis=-1)
        query, key, value = (each.reshape(*each.shape[:2], HEADS, -1) for each in heads)
        attended = jax.nn.dot_product_attention(query, key, value, is_causal=True)
        x = x + attended.reshape(x.shape) @ block["projection"]
        x = x + jax.nn.gelu(_norm(x, block["norm_2"]) @ block["inner"], approximate=False) @ block["outer"]
    return _norm(x, weights["norm"]) @ weights["tokens"].T


def _norm(x: jax.Array, scale: jax.Array) -> jax.Array:
    centered = x - x.mean(-1, keepdims=True)
    return centered * jax.lax.rsqrt((centered**2).mean(-1, keepdims=True) + 1e-5) * scale


def run(steps: int) -> Callable[[Callable[[], None]], None]:
    """Return the training that halts after every `steps` steps, when it has read its metrics."""
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3, 0.9, 0.99, weight_decay=0.1))
    data = {name: jnp.asarray(each) for name, each in arrays.tokens().items()}

    def loss_of(weights: Weights, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
        logits = logits_of(weights, x)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, y)
        return losses.mean(), (logits.argmax(-1) == y).mean()

    def step(carry: tuple, rows: jax.Array) -> tuple[tuple, tuple[jax.Array, jax.Array]]:
        weights, state, x, y = carry
        (loss, accuracy), gradients = jax.value_and_grad(loss_of, has_aux=True)(weights, x[rows], y[rows])
        updates, state = optimizer.update(gradients, state, weights)
        return (optax.apply_updates(weights, updates), state, x, y), (loss, accuracy)

    @jax.jit
    def loop(weights: Weights, state: Any, x: jax.Array, y: jax.Array, rows: jax.Array) -> tuple[Weights, Any, Any]:
        (weights, state, *_), found = jax.lax.scan(step, (weights, state, x, y), rows)
        return weights, state, jax.tree.map(jnp.mean, found)

    def train(halt: Callable[[], None]) -> None:
        weights, lap = initial(), 0
        state = optimizer.init(weights)
        while True:
            lap += 1
            rows = arrays.batches(lap, len(data["x"]), BATCH, steps)
            weights, state, found = loop(weights, state, data["x"], data["y"], rows)
            print([float(each) for each in found])
            halt()

    return train


if __name__ == "__main__":
    gc.disable()  # a collection would hit one process and not the other
    run_in_laps(run(int(sys.argv[1])))
