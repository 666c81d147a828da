"""Other ways to read rows by number: Grain, Hugging Face and Keras, from the same rows."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tallyloop.data import Input, huggingface

from ..harness.paired import Calls, Contestant
from .loops import AHEAD, LOOP, Settled, by_dataset, by_input, by_python
from .on_disk import BATCH, floats, mapped, saved

LOOPS = 4  # per lap
_SLOW_STEPS = 20  # per lap, of which one takes tens of milliseconds
_PAUSE = 0.5  # seconds, in which the slowest of them fills its buffer


class _Rows:
    """Memory-mapped rows, as Grain reads them: one by one."""

    def __init__(self, folder: Path):
        self._arrays = {file.stem: np.load(file, mmap_mode="r") for file in sorted(folder.glob("*.npy"))}

    def __len__(self) -> int:
        return len(self._arrays["x"])

    def __getitem__(self, row: int) -> dict[str, np.ndarray]:
        return {name: array[row] for name, array in self._arrays.items()}


class _Batches(keras.utils.PyDataset):
    """Batches of memory-mapped rows in the order of a permutation, as a user of Keras writes it."""

    def __init__(self, rows: _Rows):
        super().__init__(workers=2, max_queue_size=AHEAD)
        self._rows = rows
        self._order = np.random.default_rng(0).permutation(len(rows))

    def __len__(self) -> int:
        return len(self._rows) // BATCH

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        found = self._rows[self._order[index * BATCH : (index + 1) * BATCH]]
        return found["x"], found["y"]

    def on_epoch_end(self) -> None:
        """Shuffle again."""
        self._order = np.random.default_rng().permutation(len(self._rows))


def grain_loader(folder: Path) -> Iterator[dict[str, np.ndarray]]:
    """Return endless shuffled batches of Grain's DataLoader, which reads mapped rows fastest without its threads."""
    import grain

    rows = _Rows(folder)
    return iter(
        grain.DataLoader(
            data_source=rows,
            sampler=grain.samplers.IndexSampler(len(rows), shuffle=True, seed=0),
            operations=[grain.transforms.Batch(BATCH, True)],
            read_options=grain.ReadOptions(num_threads=0, prefetch_buffer_size=0),
        )
    )


def py_dataset(folder: Path) -> tf.data.Dataset:
    """Return the batches of a PyDataset as `fit` reads them."""
    # Keras has no public name for this: `fit` alone makes it, and would train a model.
    from keras.src.trainers.data_adapters.py_dataset_adapter import PyDatasetAdapter

    return PyDatasetAdapter(_Batches(_Rows(folder)), shuffle=False).get_tf_dataset().repeat()


def contestants(folder: Path) -> dict[str, Contestant]:
    """Return those that can run here, reading from a new folder."""
    rows, steps = floats(), LOOPS * LOOP
    saved(rows, folder)
    runs = {"input": by_input(mapped(folder), LOOPS), "keras": by_dataset(py_dataset(folder), LOOPS)}
    if importlib.util.find_spec("datasets"):
        runs |= _by_hugging_face(rows, folder)
    found = {name: Settled(Calls(run, steps), _PAUSE) for name, run in runs.items()}
    if importlib.util.find_spec("grain"):
        found["grain"] = Settled(Calls(by_python(grain_loader(folder), _SLOW_STEPS), _SLOW_STEPS), _PAUSE)
    return found


def _by_hugging_face(rows: dict[str, np.ndarray], folder: Path) -> dict:
    import datasets

    features = {"x": datasets.List(datasets.Value("float32"), length=64), "y": datasets.Value("int64")}
    place = folder / "arrow"
    datasets.Dataset.from_dict(rows, features=datasets.Features(features)).save_to_disk(place)
    batches = datasets.load_from_disk(place).to_tf_dataset(BATCH, shuffle=True, drop_remainder=True, prefetch=False)
    return {
        "input of arrow": by_input(Input(huggingface(place), BATCH, drop_remainder=True), LOOPS),
        "hugging face": by_dataset(batches.repeat().prefetch(AHEAD), LOOPS),
    }
