"""What stands between a source and its batches: a mixture, packs of documents, a transform; each beside the source alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tallyloop.data import Input, Mixture, npy, packed

from ..harness.paired import Calls, Contestant
from . import images, on_disk
from .loops import LOOP, Settled, by_input

DOCUMENTS, TOKENS, IN_A_PACK = 50_000, 64, 4  # of that many tokens each
PACKS = 16  # a batch
LOOPS = 20  # per lap
_PAUSE = 0.1  # seconds, in which the batches ahead are read


def mixing(folder: Path) -> dict[str, Contestant]:
    """Return the reading of rows of 64 floats by number, and of a mixture of them and others like them."""
    folder.mkdir()
    one, other = (on_disk.saved(on_disk.floats(), folder / name) for name in "ab")
    data = {
        "alone": on_disk.mapped(one),
        "mixture": Input(Mixture([npy(one), npy(other)], weights=[0.75, 0.25]), on_disk.BATCH, drop_remainder=True),
    }
    return {name: _reading(each) for name, each in data.items()}


def packing(folder: Path) -> dict[str, Contestant]:
    """Return the reading of documents by number, and of packs of them with as many tokens a batch."""
    tokens = np.random.default_rng(0).integers(1, 30_000, (DOCUMENTS, TOKENS), np.int32)
    documents = npy(on_disk.saved({"tokens": tokens}, folder))
    options = {"shuffle": True, "drop_remainder": True}
    data = {
        "alone": Input(documents, IN_A_PACK * PACKS, **options),
        "packed": Input(packed(documents, IN_A_PACK * TOKENS), PACKS, **options),
    }
    return {name: _reading(each) for name, each in data.items()}


def transforming(folder: Path) -> dict[str, Contestant]:
    """Return the reading of JPEG files, and the same with a `transform` that does nothing."""
    images.written(folder)
    data = {"alone": images.by_number(folder), "transform": images.by_number(folder, lambda example, rng: example)}
    return {name: images.lap(by_input(each, 1, images.STEPS)) for name, each in data.items()}


def _reading(data: Input) -> Contestant:
    return Settled(Calls(by_input(data, LOOPS), LOOPS * LOOP), _PAUSE)
