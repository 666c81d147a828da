"""JPEG files, decoded and resized: by number, beside the best plain pipeline of tf.data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf
from tallyloop.data import Input, decode_image, images

from ..harness.paired import Calls, Contestant
from .loops import AHEAD, Settled, by_dataset, by_input

COUNT, BATCH, SIZE = 512, 32, 224
STEPS = 48  # per lap, many times what is read ahead
_CLASSES = 4
_PAUSE = 1.0  # seconds, in which the batches ahead are decoded


def written(folder: Path) -> Path:
    """Write JPEG files of 300 x 280 pixels into a folder for each class, and return the folder."""
    chance = np.random.default_rng(0)
    for number in range(COUNT):
        coarse = chance.uniform(0, 255, (15, 14, 3)).astype(np.float32)  # compresses about as a photograph does
        pixels = tf.cast(tf.image.resize(coarse, (300, 280), "bicubic"), tf.int32) + chance.integers(
            -9, 9, (300, 280, 3)
        )
        place = folder / f"class{number % _CLASSES}" / f"{number:05}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(tf.io.encode_jpeg(tf.cast(tf.clip_by_value(pixels, 0, 255), tf.uint8), quality=90).numpy())
    return folder


def by_number(folder: Path, transform: Callable | None = None) -> Input:
    """Return an Input that reads the files by number, transforms them if asked to, and decodes them."""
    return Input(images(folder), BATCH, drop_remainder=True, transform=transform, map_fn=decode_image(SIZE))


def pipeline(folder: Path) -> tf.data.Dataset:
    """Return batches of shuffled files, read and decoded by tf.data in parallel, in any order."""
    files = sorted(map(str, folder.rglob("*.jpg")))
    labels = [int(Path(file).parent.name[-1]) for file in files]
    decode = decode_image(SIZE)
    return (
        tf.data.Dataset.from_tensor_slices((files, labels))
        .shuffle(COUNT)
        .repeat()
        .map(
            lambda file, label: decode({"image": tf.io.read_file(file), "label": label}),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=False,
        )
        .batch(BATCH, drop_remainder=True)
        .prefetch(AHEAD)
    )


def contestants(folder: Path) -> dict[str, Contestant]:
    """Return both, reading from a new folder."""
    written(folder)
    runs = {
        "input": by_input(by_number(folder), 1, STEPS),
        "tf.data": by_dataset(pipeline(folder), 1, STEPS),
    }
    return {name: lap(run) for name, run in runs.items()}


def lap(run: Callable[[], None]) -> Contestant:
    """Return a contestant whose lap reads `STEPS` batches by `run`."""
    return Settled(Calls(run, STEPS), _PAUSE)
