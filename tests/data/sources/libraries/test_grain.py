"""Grain's map datasets."""

import sys

import numpy as np
import pytest
from tallyloop.data import grain

library = pytest.importorskip("grain", reason='grain is not installed: pip install "tallyloop[grain]"')


def squares():
    return library.MapDataset.range(5).map(lambda i: {"y": i, "x": np.full(2, i**2)})


class TestRows:
    def test_are_the_elements(self):
        source = grain(squares)
        found = source.__getitems__(np.array([3, 0, 3]))
        assert found["y"].tolist() == [3, 0, 3]
        assert found["x"].tolist() == [[9, 9], [0, 0], [9, 9]]
        assert len(source) == 5
        with pytest.raises(IndexError):
            source.__getitems__(np.array([5]))


class TestRefused:
    @pytest.mark.parametrize(
        ("dataset", "message"),
        [
            (lambda: squares().repeat(), "elements: expected some, and an end; leave out repeat()"),
            (lambda: squares().to_iter_dataset(), "expected a function that returns a grain.MapDataset, got a "),
            (
                lambda: [1, 2],
                "expected a function that returns a grain.MapDataset, got a list; leave out to_iter_dataset",
            ),
        ],
    )
    def test_datasets(self, refused, dataset, message):
        with refused(message):
            grain(dataset)

    def test_a_filtered_dataset_is_refused(self, refused):
        source = grain(lambda: squares().filter(lambda example: example["y"] != 2))
        with refused("grain.dataset has no element 2, as filter() leaves holes: expected one for each number"):
            source.__getitems__(np.array([1, 2]))

    def test_a_missing_library(self, refused, monkeypatch):
        monkeypatch.setitem(sys.modules, "grain", None)
        with refused('pip install "tallyloop[grain]"'):
            grain(squares)
