"""Which of two values of a metric is better, as far as its name tells: for tables and arrows, never for what a run does."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from typing import Final, Literal, get_args

Mode = Literal["max", "min"]
MODES: tuple[Mode, ...] = get_args(Mode)

# Words of a metric's path. A word of the last component counts before those of the components above it.
_LESS: Final = frozenset(
    {
        "loss", "losses", "error", "errors", "nll", "perplexity", "ppl", "entropy",
        "crossentropy", "divergence", "kl", "distance", "mae", "mape", "mse", "msle",
        "rmse", "rmsle", "hinge", "poisson", "brier", "hamming", "wer", "cer",
        "fid", "skipped", "non_finite",
    }
)  # fmt: skip
_MORE: Final = frozenset(
    {
        "accuracy", "acc", "auc", "precision", "recall", "sensitivity", "specificity", "f1",
        "fbeta", "iou", "dice", "jaccard", "r2", "score", "similarity", "correlation",
        "psnr", "ssim", "bleu", "rouge", "ndcg", "mrr", "map", "hit",
        "hits", "correct", "kappa", "mcc",
    }
)  # fmt: skip
# What describes a run instead of judging it.
_NEITHER: Final = frozenset({"time", "learning_rate", "gradient_norm", "gradients", "weights", "updates", "data"})


@functools.lru_cache(1 << 14)  # a summary asks for hundreds of names, the same each time
def better_mode(path: str) -> Mode | None:
    """Return "max" or "min" as the better side of a metric, or None if its name does not tell.

    Args:
      path: the metric's name, such as "loss/stage_1/combined" or "test/accuracy".
    """
    components = path.lower().split("/")
    if components[0] in _NEITHER:
        return None
    for component in reversed(components):
        words = {component, *re.split(r"[_.@\-\d]+", component), *re.split(r"[_.@\-]+", component)}
        if words & _LESS:
            return "min"
        if words & _MORE:
            return "max"
    return None


def best(values: Iterable[float], mode: Mode) -> float:
    """Return the best of some finite values."""
    return max(values) if mode == "max" else min(values)
