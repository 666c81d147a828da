"""The digits trained in JAX and in PyTorch, where they are installed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..harness.problem import BATCH, CLASSES, HIDDEN, RATE, arrays, shuffled


def jax_scan(steps: int, calls: int) -> Callable[[], None] | None:
    """Return a `lax.scan` over the steps, with the 16 metrics summed in its carry and batches gathered on the device."""
    try:
        import jax
        import jax.numpy as jnp
    except ImportError:
        return None
    data = {name: jnp.asarray(array) for name, array in arrays().items()}
    chance = np.random.default_rng(0)

    def forward(weights, rows):
        (w, b), (v, c) = weights
        logits = jax.nn.relu(data["x"][rows] @ w + b) @ v + c
        logs = jax.nn.log_softmax(logits)
        losses = -jnp.take_along_axis(logs, data["y"][rows][:, None], 1)[:, 0]
        return losses.mean(), (logits, logs, losses)

    def tallies(labels, logits, logs, losses):
        hits = (logits.argmax(-1) == labels).astype(jnp.float32)
        probabilities = jnp.exp(logs)
        right = jnp.exp(-losses)
        means = [losses, hits, probabilities.max(-1), -(probabilities * logs).sum(-1), right]
        means.append((probabilities**2).sum(-1) - 2 * right + 1)
        masks = [(labels == digit).astype(jnp.float32) for digit in range(CLASSES)]
        values = [each.sum() for each in means] + [(mask * hits).sum() for mask in masks]
        return jnp.stack([*values, *[jnp.float32(BATCH)] * len(means), *[mask.sum() for mask in masks]])

    def step(carry, rows):
        weights, total = carry
        (_, aux), gradients = jax.value_and_grad(forward, has_aux=True)(weights, rows)
        weights = jax.tree.map(lambda w, g: w - RATE * g, weights, gradients)
        return (weights, total + tallies(data["y"][rows], *aux)), None

    loop = jax.jit(lambda carry, rows: jax.lax.scan(step, carry, rows)[0], donate_argnums=0)
    layers = [(64, HIDDEN), (HIDDEN, CLASSES)]
    weights = [(jnp.asarray(chance.normal(0, 0.1, shape), jnp.float32), jnp.zeros(shape[1])) for shape in layers]
    carry = weights, jnp.zeros(32)

    def run():
        nonlocal carry
        for _ in range(calls):
            carry = loop(carry, shuffled(chance, len(data["y"]), steps))
        carry[1].block_until_ready()

    return run


def torch_loop(steps: int) -> Callable[[], None] | None:
    """Return the plain loop over steps, without metrics."""
    try:
        import torch
    except ImportError:
        return None
    x, y = (torch.from_numpy(array) for array in arrays().values())
    model = torch.nn.Sequential(torch.nn.Linear(64, HIDDEN), torch.nn.ReLU(), torch.nn.Linear(HIDDEN, CLASSES))
    optimizer = torch.optim.SGD(model.parameters(), RATE)
    loss_of = torch.nn.CrossEntropyLoss()

    def run():
        order = torch.randperm(len(y))
        per_epoch = len(y) // BATCH
        for step in range(steps):
            begin = step % per_epoch * BATCH
            rows = order[begin : begin + BATCH]
            optimizer.zero_grad()
            loss_of(model(x[rows]), y[rows]).backward()
            optimizer.step()

    return run
