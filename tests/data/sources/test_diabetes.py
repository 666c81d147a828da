"""The diabetes table, compared with what scikit-learn ships."""

import sys

import numpy as np
from sklearn.datasets import load_diabetes
from tallyloop.data import diabetes


class TestDiabetes:
    def test_is_that_of_scikit_learn(self):
        table, found = load_diabetes(scaled=False), diabetes("all")
        assert found.keys() == {*table.feature_names, "progression"}
        for place, name in enumerate(table.feature_names):
            np.testing.assert_allclose(found[name].astype(float), table.data[:, place], rtol=1e-6)
        np.testing.assert_array_equal(found["progression"], table.target)
        assert found["sex"][0] == "2"

    def test_parts_make_the_whole(self):
        parts = [diabetes(split)["progression"] for split in ("train", "test")]
        assert [len(part) for part in parts] == [354, 88]
        np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.sort(diabetes("all")["progression"]))

    def test_needs_scikit_learn(self, monkeypatch, refused):
        monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
        with refused('install it with: pip install "tallyloop[examples]"'):
            diabetes()
