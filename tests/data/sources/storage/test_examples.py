"""Parsing many examples at once."""

import numpy as np
import pytest
from tallyloop.data.sources.storage.examples import Parser, features_of


@pytest.fixture
def parse(features):
    return Parser("a.features", features_of("a.features", features))


def test_examples_are_stacked(record, parse):
    found = parse([record(1), record(2)], str)
    assert found["y"].tolist() == [1, 2]
    np.testing.assert_array_equal(found["x"], [[1, 1.5], [2, 2.5]])
    assert parse([], str)["x"].shape == (0, 2)


def test_the_first_bad_one_is_named(record, parse, refused):
    for bad in (record(1, y=None), b"no example"):
        with refused("number 2: "):
            parse([record(1)] * 2 + [bad], lambda number: f"number {number}")


def test_features_of_another_kind_are_refused(refused):
    with refused("a.features = ['x']: expected a dict of names, such as {'x': ('float32', [8]), 'y': 'int64'}"):
        features_of("a.features", ["x"])
