"""Towers give vectors of length 1."""

import numpy as np
import pytest
from tallyloop.models import dense_tower, embedding_tower


@pytest.mark.parametrize(
    ("tower", "inputs"),
    [
        (dense_tower(hidden=(7,), width=3), np.ones((2, 4, 5), np.float32)),
        (embedding_tower(6, width=3), np.array([0, 5])),
    ],
    ids=["dense", "embedding"],
)
def test_lengths(tower, inputs):
    vectors = np.asarray(tower(inputs))
    assert vectors.shape == (2, 3)
    np.testing.assert_allclose((vectors**2).sum(-1), 1, rtol=1e-5)


def test_size(refused):
    with refused("embedding_tower.size = 0: expected"):
        embedding_tower(0)
