"""TensorFlow Datasets, by a stand-in for what it returns; the library itself needs prepared data."""

import sys
import types

import numpy as np
import pytest
from tallyloop.data import tfds


class Source:
    """As `tfds.data_source` gives it."""

    dataset_info = types.SimpleNamespace(full_name="digits/1.0.0")

    def __init__(self, n):
        self.n = n

    def __len__(self):
        return self.n

    def __getitems__(self, rows):
        assert all(type(row) is int for row in rows)
        return [{"image": np.full((2, 2, 1), row, np.uint8), "label": row} for row in rows]


@pytest.fixture(autouse=True)
def library(monkeypatch):
    def data_source(name, *, split, data_dir, decoders=None):
        if name != "digits":
            raise ValueError(f"Dataset {name} not found.\nMany more lines.")
        return Source(0 if split == "none" else 5)

    decode = types.SimpleNamespace(SkipDecoding=lambda: "skip")
    module = types.SimpleNamespace(data_source=data_source, decode=decode)
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", module)


def test_rows_are_those_of_its_data_source(by_number):
    source = tfds("digits", "train")
    assert by_number(source)["label"].tolist() == list(range(5))
    assert by_number(source)["image"].shape == (5, 2, 2, 1)
    assert source.fingerprint == "5 rows of digits/1.0.0, digits train"
    assert len(tfds("digits", "train", decoded=False)) == 5


class TestRefused:
    def test_what_is_not_there(self, refused):
        with refused(
            "tfds.name = 'mnst', .split = 'train', .data_dir = None: expected a dataset that tfds.data_source takes, got "
        ):
            tfds("mnst", "train")
        with refused("tfds: 'digits none' has no rows: expected at least one; correct tfds.split"):
            tfds("digits", "none")

    def test_a_missing_library(self, refused, monkeypatch):
        monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
        with refused('pip install "tallyloop[tfds]"'):
            tfds("digits", "train")
