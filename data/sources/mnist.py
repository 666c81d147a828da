"""The source `mnist`: a folder with the four files of MNIST, or of one of its relatives."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, get_args

import gin
import numpy as np

from ...metrics.errors import UsageError
from ..checks import one_of
from .idx import idx

Split = Literal["train", "test"]
_PREFIXES = {"train": "train", "test": "t10k"}
_KINDS = {"images": "images-idx3-ubyte", "labels": "labels-idx1-ubyte"}
_ENDINGS = ("", ".gz")


@gin.register(module="tallyloop")
def mnist(path: str | os.PathLike[str], split: Split = "train", flat: bool = False) -> dict[str, np.ndarray]:
    """Return the images and labels of one part of a folder like MNIST's: Fashion-MNIST, KMNIST, EMNIST's, your own.

    Args:
      path: a folder with `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte` and
        `t10k-labels-idx1-ubyte`, each gzipped (`.gz`) or not. A dot in place of the last dash but one, as some unpackers
        write it (`train-images.idx3-ubyte`), will do.
      split: "train", or "test", whose files begin with t10k.
      flat: `x` has shape (n, pixels), else (n, height, width, 1).

    Returns:
      `x`, float32 in [0, 1], and `y`, int64 (n,).

    Raises:
      UsageError: the folder or one of the files of this part isn't there, or they are not as `idx` describes them.
    """
    prefix = _PREFIXES[one_of("mnist.split", split, get_args(Split))]
    if not isinstance(path, str | os.PathLike) or not os.path.isdir(path):
        raise UsageError(f"mnist.path = {path!r}: expected a folder with {_expected()}; there is no such folder")
    images, labels = (_found(Path(path), f"{prefix}-{kind}") for kind in _KINDS.values())
    return idx(images, labels, flat=flat)


def _found(folder: Path, name: str) -> Path:
    spellings = [each + ending for each in (name, name.replace("-idx", ".idx")) for ending in _ENDINGS]
    for spelling in spellings:
        if (folder / spelling).is_file():
            return folder / spelling
    there = sorted(each.name for each in folder.iterdir())
    shown = ", ".join(there[:8]) + (f" and {len(there) - 8} more" if len(there) > 8 else "")
    raise UsageError(
        f"mnist.path = {str(folder)!r}: expected {_expected()}, and {name!r} is not there; got {shown or 'an empty folder'}. "
        "Put the four files into one folder under these names, or bind idx.images and idx.labels to single files"
    )


def _expected() -> str:
    names = [f"{prefix}-{kind}" for prefix in _PREFIXES.values() for kind in _KINDS.values()]
    return "the files " + ", ".join(names[:-1]) + f" and {names[-1]}, gzipped (.gz) or not"
