"""The source `digits`: scikit-learn's handwritten digits, for examples and tests without a download."""

from __future__ import annotations

import gin
import numpy as np

from ...metrics.errors import UsageError
from ..checks import true_or_false
from .storage.rows import Split, split_rows


@gin.register(module="tallyloop")
def digits(
    split: Split = "train", test_fraction: float = 0.2, seed: int = 0, flat: bool = True
) -> dict[str, np.ndarray]:
    """Return the 1,797 digits of 8 x 8 pixels that scikit-learn ships, or one part of a stratified split of them.

    Args:
      split: "train", "test" or "all". The first two have no example in common, and together are "all".
      test_fraction: the fraction of each class that is "test", between 0 and 1; rounded, with at least one example on
        each side.
      seed: the seed of the split, in [0, 2**32). The split depends on nothing else: NumPy's legacy generator, which
        makes it, never changes.
      flat: `x` has shape (n, 64), else (n, 8, 8, 1).

    Returns:
      `x`, float32 in [0, 1], and `y`, int64 (n,), in scikit-learn's order.

    Raises:
      UsageError: an argument is not as described, or scikit-learn is not installed.
    """
    shape = (64,) if true_or_false("digits.flat", flat) else (8, 8, 1)
    pixels, labels = _load()
    rows = split_rows("digits", labels, split, test_fraction, seed)
    x = (pixels[rows] / 16).astype(np.float32).reshape(-1, *shape)  # the pixels are counts from 0 to 16
    return {"x": x, "y": labels[rows].astype(np.int64)}


def _load() -> tuple[np.ndarray, np.ndarray]:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise UsageError(
            f"digits: scikit-learn, which ships them, cannot be imported ({error}); install it with: "
            'pip install "tallyloop[examples]"'
        ) from error
    pixels, labels = load_digits(return_X_y=True)
    return np.asarray(pixels), np.asarray(labels)


@gin.register(module="tallyloop")
def digit_halves(split: Split = "train", test_fraction: float = 0.2, seed: int = 0) -> dict[str, np.ndarray]:
    """Return the left halves of the digits as `query` and the right ones as `item`, each (n, 8, 4): pairs for retrieval.

    Args:
      split: see `digits`, as for the others.
      test_fraction: the fraction of each class that is "test".
      seed: the seed of the split.
    """
    pixels = digits(split, test_fraction, seed, flat=False)["x"][..., 0]
    return {"query": pixels[:, :, :4].copy(), "item": pixels[:, :, 4:].copy()}
