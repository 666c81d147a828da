"""The permutation of each epoch, asked for in any order."""

import numpy as np
import pytest
from tallyloop.data.sources.plans.shuffled import shuffled


@pytest.mark.parametrize("size", [1, 2, 32, 33, 50, 64, 65, 1000, 4097])
def test_each_epoch_is_a_permutation_of_its_own(size):
    orders = [shuffled(np.arange(size), np.full(size, epoch), size, 3) for epoch in (0, 1, 10**12)]
    for order in orders:
        np.testing.assert_array_equal(np.sort(order), np.arange(size))
    assert size < 32 or len({tuple(order) for order in orders}) == 3


@pytest.mark.parametrize("size", [50, 33, 10**6, 10**9, 10**12])
def test_epochs_may_come_in_any_order(size):
    """Many in one call are drawn by hashes, one alone from tables; those of the last size would be too large."""
    rng = np.random.default_rng(0)
    positions, epochs = rng.integers(0, size, 200), rng.choice([0, 1, 2, 9, 10**6], 200)
    found = shuffled(positions, epochs, size, 3)
    for epoch in np.unique(epochs):
        here = epochs == epoch
        np.testing.assert_array_equal(found[here], shuffled(positions[here], epochs[here], size, 3))
    two = epochs < 2
    np.testing.assert_array_equal(found[two], shuffled(positions[two], epochs[two], size, 3))
    assert shuffled(np.array([], np.int64), np.array([], np.int64), size, 3).tolist() == []


def test_seed_and_epoch_are_not_added():
    orders = {tuple(shuffled(np.arange(50), np.full(50, epoch), 50, seed)) for epoch in range(9) for seed in range(9)}
    assert len(orders) == 81


@pytest.mark.parametrize("size", [5, 33])
def test_each_row_stands_anywhere_equally_often(size):
    epochs = 8_000
    at = np.repeat(np.arange(epochs), size)
    orders = shuffled(np.tile(np.arange(size), epochs), at, size, 7).reshape(epochs, size)
    counts = np.stack([np.bincount(column, minlength=size) for column in orders.T])
    expected = epochs / size
    chi_squared, freedom = ((counts - expected) ** 2 / expected).sum(), (size - 1) ** 2
    assert abs(chi_squared - freedom) < 5 * np.sqrt(2 * freedom)
    # By chance, (size - 1) / size of all neighbors would differ by one upwards once each: P = 1 / size.
    followed = (np.diff(orders, axis=1) == 1).mean() * size
    assert abs(followed - 1) < 0.06
