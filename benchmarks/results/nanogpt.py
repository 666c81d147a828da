"""nanoGPT's model and training in plain PyTorch, in its setting for a CPU: the reference of char_lm.

The model, the optimizer and the order of a step are those of github.com/karpathy/nanoGPT (train.py and model.py), written anew
and without what the setting does not use. The vocabulary is that of char_lm.gin: all 256 bytes.
`python -m benchmarks.results.nanogpt FILE` trains on a text and answers with the validation loss.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ..harness.child import answer

VOCABULARY, LENGTH, LAYERS, HEADS, WIDTH = 256, 64, 4, 4, 128
BATCH, STEPS, WARMUP, RATE, LEAST = 12, 2000, 100, 1e-3, 1e-4


class Block(nn.Module):
    """Attention, then two dense layers, without biases."""

    def __init__(self):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(WIDTH, bias=False), nn.LayerNorm(WIDTH, bias=False)
        self.c_attn, self.c_proj = nn.Linear(WIDTH, 3 * WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
        self.c_fc, self.c_out = nn.Linear(WIDTH, 4 * WIDTH, bias=False), nn.Linear(4 * WIDTH, WIDTH, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a tensor of the shape of `x`, (batch, tokens, WIDTH)."""
        batch, length, _ = x.shape
        heads = (
            each.view(batch, length, HEADS, -1).transpose(1, 2)
            for each in self.c_attn(self.ln_1(x)).split(WIDTH, dim=2)
        )
        attended = functional.scaled_dot_product_attention(*heads, is_causal=True)
        x = x + self.c_proj(attended.transpose(1, 2).contiguous().view(batch, length, WIDTH))
        return x + self.c_out(functional.gelu(self.c_fc(self.ln_2(x))))


class NanoGPT(nn.Module):
    """The transformer, whose last layer shares the weights of the embedding."""

    def __init__(self):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(LENGTH, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.ln_f = nn.LayerNorm(WIDTH, bias=False)
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                residual = name.endswith(("c_proj.weight", "c_out.weight"))
                nn.init.normal_(weight, 0.0, 0.02 / math.sqrt(2 * LAYERS) if residual else 0.02)

    def forward(self, tokens: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the mean cross-entropy."""
        return functional.cross_entropy(self.logits(tokens).view(-1, VOCABULARY), targets.view(-1))

    def logits(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the logits (batch, tokens, VOCABULARY)."""
        x = self.wte(tokens) + self.wpe(torch.arange(tokens.shape[1]))
        for block in self.blocks:
            x = block(x)
        return functional.linear(self.ln_f(x), self.wte.weight)


class Training:
    """A training on the bytes of a file, step by step."""

    def __init__(self, file: Path, seed: int = 1337):
        torch.manual_seed(seed)
        text = np.frombuffer(file.read_bytes(), np.uint8)
        cut = round(0.9 * len(text))
        self._train, self._validation = text[:cut], text[cut:]
        self._model, self._step = NanoGPT(), 0
        weights = list(self._model.parameters())
        groups = [
            {"params": [weight for weight in weights if weight.dim() >= 2], "weight_decay": 0.1},
            {"params": [weight for weight in weights if weight.dim() < 2], "weight_decay": 0.0},
        ]
        self._optimizer = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.99))

    def run(self, steps: int) -> None:
        """Train some steps."""
        for _ in range(steps):
            for group in self._optimizer.param_groups:
                group["lr"] = rate(self._step)
            starts = torch.randint(len(self._train) - LENGTH, (BATCH,)).numpy()
            self._model(*_windows(self._train, starts)).backward()
            torch.nn.utils.clip_grad_norm_(self._model.parameters(), 1.0)
            self._optimizer.step()
            self._optimizer.zero_grad(set_to_none=True)
            self._step += 1

    @torch.no_grad()
    def validation_loss(self) -> float:
        """Return the mean over all whole windows of the validation set."""
        starts = np.arange(0, len(self._validation) - LENGTH, LENGTH)
        parts = np.array_split(starts, max(len(starts) // 128, 1))
        losses = [self._model(*_windows(self._validation, part)).item() for part in parts]
        return float(np.average(losses, weights=[len(part) for part in parts]))


def rate(step: int) -> float:
    """Return the learning rate of a step, counted from 0."""
    if step < WARMUP:
        return RATE * (step + 1) / (WARMUP + 1)
    part = min((step - WARMUP) / (STEPS - WARMUP), 1.0)
    return LEAST + 0.5 * (1 + math.cos(math.pi * part)) * (RATE - LEAST)


def _windows(text: np.ndarray, starts: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    found = torch.from_numpy(text[starts[:, np.newaxis] + np.arange(LENGTH + 1)].astype(np.int64))
    return found[:, :-1].contiguous(), found[:, 1:].contiguous()


def main(file: str) -> None:
    """Train, and answer with the validation loss."""
    training = Training(Path(file))
    training.run(STEPS)
    answer({"loss": training.validation_loss()})


if __name__ == "__main__":
    main(*sys.argv[1:])
