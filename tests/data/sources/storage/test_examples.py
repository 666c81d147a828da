"""Parsing many examples at once."""

import numpy as np
from tallyloop.data.sources.storage.examples import features_of, parsed


def test_examples_are_stacked(record, features):
    found = parsed("a.features", [record(1), record(2)], features_of("a.features", features), str)
    assert found["y"].tolist() == [1, 2]
    np.testing.assert_array_equal(found["x"], [[1, 1.5], [2, 2.5]])


def test_the_first_bad_one_is_named(record, features, refused):
    for bad in (record(1, y=None), b"no example"):
        with refused("number 2: "):
            parsed("a.features", [record(1)] * 2 + [bad], features_of("a.features", features), lambda i: f"number {i}")


def test_features_of_another_kind_are_refused(refused):
    with refused("a.features = ['x']: expected a dict of names, such as {'x': ('float32', [8]), 'y': 'int64'}"):
        features_of("a.features", ["x"])
