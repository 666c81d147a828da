"""The models in plain PyTorch: `python -m benchmarks.real_models.in_torch MODEL STEPS [--compile | --products]`, lap by lap.

Written as PyTorch's guides do: tensors in memory, fused optimizers, channels last, no value read from a tensor within a lap. Its
own process, as PyTorch after TensorFlow in one process ends in a segmentation fault.
"""

from __future__ import annotations

import argparse
import gc
import itertools
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from ..harness.child import run_in_laps
from ..results.nanogpt import NanoGPT
from . import arrays


class Training(NamedTuple):
    """A model, and how it is trained.

    Attributes:
      model: maps `x` to logits.
      optimizer: of its parameters.
      data: `x` and `y`.
      batch: the number of examples.
      losses: takes logits and `y`; returns the mean loss.
      hits: takes logits and `y`; returns whether each is right.
      clip: the largest global norm of the gradients; None does not clip.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    data: dict[str, np.ndarray]
    batch: int
    losses: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    hits: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    clip: float | None = None


class _Logits(NanoGPT):
    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.logits(tokens)


class _Clicks(nn.Module):
    def __init__(self, items: int, width: int, sparse: bool):
        super().__init__()
        self._items = nn.Embedding(items, width, sparse=sparse)
        self._rest = nn.Sequential(nn.Linear(width, 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self._rest(self._items(ids).mean(1))[:, 0]


def transformer() -> Training:
    """Return nanoGPT's model and AdamW."""
    model = _Logits()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.99), weight_decay=0.1, fused=True)
    return Training(model, optimizer, arrays.tokens(), 12, _classes, _right, clip=1.0)


def cnn() -> Training:
    """Return the convolutional network of `tallyloop.models.cnn` and AdamW."""
    layers: list[nn.Module] = []
    for before, after in ((1, 16), (16, 32), (32, 64)):
        convolution = nn.Conv2d(before, after, 3, padding=1, bias=False)
        layers += [convolution, nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(2)]
    model = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.25), nn.Linear(9 * 64, arrays.DIGITS))
    model = model.to(memory_format=torch.channels_last)
    data = arrays.images()
    data["x"] = data["x"].transpose(0, 3, 1, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01, fused=True)
    return Training(model, optimizer, data, 64, _classes, _right)


def tabular() -> Training:
    """Return the multilayer perceptron and Adam."""
    hidden = nn.Linear(arrays.COLUMNS, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU()
    model = nn.Sequential(*hidden, nn.Linear(256, arrays.CLASSES))
    return Training(
        model, torch.optim.Adam(model.parameters(), lr=1e-3, fused=True), arrays.table(), 4096, _classes, _right
    )


def wide() -> Training:
    """Return the wide perceptron and AdamW."""
    sizes = [arrays.COLUMNS, *[2048] * 5]
    hidden = [layer for pair in itertools.pairwise(sizes) for layer in (nn.Linear(*pair), nn.ReLU())]
    model = nn.Sequential(*hidden, nn.Linear(2048, arrays.CLASSES))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01, fused=True)
    return Training(model, optimizer, arrays.table(), 256, _classes, _right)


def embedding(optimizer: str) -> Training:
    """Return the recommender; its table has sparse gradients where the optimizer takes them."""
    model = _Clicks(10**6, 64, sparse=optimizer != "Adam")
    options = {"lr": 0.001, "fused": True} if optimizer == "Adam" else {"lr": 0.1}
    made = getattr(torch.optim, optimizer)(model.parameters(), **options)
    return Training(model, made, arrays.clicks(10**6), 256, functional.binary_cross_entropy_with_logits, _agrees)


MODELS: dict[str, Callable[[], Training]] = {
    "transformer": transformer,
    "cnn": cnn,
    "tabular": tabular,
    "wide": wide,
    **{f"embedding, {name}": partial(embedding, name) for name in ("SGD", "Adagrad", "Adam")},
}


class _Products(TorchDispatchMode):
    """Notes the products of matrices, convolutions and attentions that are computed within it, backward ones too."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Callable[[], object]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        call = partial(func, *args, **(kwargs or {}))
        if any(kind in func.name() for kind in ("mm", "convolution", "attention")):
            self.calls.append(call)
        return call()


def laps(training: Training, steps: int, compiled: bool) -> Callable[[Callable[[], None]], None]:
    """Return the loop that halts after every `steps` steps, when it has read its metrics."""
    forward = torch.compile(training.model) if compiled else training.model
    data = _tensors(training)

    def run(halt: Callable[[], None]) -> None:
        lap = 0
        while True:
            loss, right, lap = torch.zeros(()), torch.zeros(()), lap + 1
            for rows in torch.from_numpy(arrays.batches(lap, len(data["x"]), training.batch, steps)):
                each, hits = _step(training, forward, data["x"][rows], data["y"][rows])
                loss += each
                right += hits
            print(loss.item() / steps, right.item() / steps)
            halt()

    return run


def products(training: Training, steps: int) -> Callable[[Callable[[], None]], None]:
    """Return a loop that computes only the products of a step, with the same numbers."""
    data = _tensors(training)
    with _Products() as found:
        _step(training, training.model, data["x"][: training.batch], data["y"][: training.batch])

    def run(halt: Callable[[], None]) -> None:
        while True:
            for call in found.calls * steps:
                call()
            halt()

    return run


def _tensors(training: Training) -> dict[str, torch.Tensor]:
    data = {name: torch.from_numpy(np.ascontiguousarray(each)) for name, each in training.data.items()}
    if data["y"].dtype == torch.int32:
        data["y"] = data["y"].long()
    return data


def _step(
    training: Training, forward: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, y: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Update the weights; return the mean loss and the accuracy."""
    logits = forward(x)
    loss = training.losses(logits, y)
    loss.backward()
    if training.clip is not None:
        nn.utils.clip_grad_norm_(training.model.parameters(), training.clip)
    training.optimizer.step()
    training.optimizer.zero_grad(set_to_none=True)
    return loss.detach(), training.hits(logits.detach(), y).float().mean()


def _classes(logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(logits.flatten(0, -2), y.flatten())


def _right(logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return logits.argmax(-1) == y


def _agrees(logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return (logits > 0) == (y > 0.5)


def main() -> None:
    """Train the model that the command line names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("steps", type=int)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--products", action="store_true")
    chosen = parser.parse_args()
    gc.disable()  # a collection would hit one process and not the other
    training = MODELS[chosen.model]()
    run_in_laps(products(training, chosen.steps) if chosen.products else laps(training, chosen.steps, chosen.compile))


if __name__ == "__main__":
    main()
