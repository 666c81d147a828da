"""The permutation of each epoch, asked for in any order."""

import numpy as np
from tallyloop.data.sources.plans.shuffled import shuffled


def test_each_epoch_is_a_permutation_of_its_own():
    size = 50
    orders = [shuffled(np.arange(size), np.full(size, epoch), size, 3) for epoch in (0, 1, 10**6)]
    for order in orders:
        assert sorted(order.tolist()) == list(range(size))
    assert len({tuple(order) for order in orders}) == 3


def test_epochs_may_come_in_any_order():
    rng = np.random.default_rng(0)
    positions, epochs = rng.integers(0, 50, 200), rng.choice([0, 1, 2, 9, 10**6], 200)
    found = shuffled(positions, epochs, 50, 3)
    for epoch in np.unique(epochs):
        whole = shuffled(np.arange(50), np.full(50, epoch), 50, 3)
        np.testing.assert_array_equal(found[epochs == epoch], whole[positions[epochs == epoch]])
    assert shuffled(np.array([], np.int64), np.array([], np.int64), 50, 3).tolist() == []
