"""Whatever the source, the workers and the steps that they are sought at: the batches of one worker that reads on and on.

PROPERTY_CASES in the environment is the number of cases.
"""

import os

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tallyloop.data import Input, Mixture, bucketed

STEPS = 12


def noisy(example, rng):
    return {**example, "noise": rng.normal()}


def numbered(count, owner=0):
    return {"row": np.arange(count), "owner": np.full(count, owner)}


def sequences(count):
    return [{"tokens": np.full(row % 7, row), "row": row} for row in range(count)]


SOURCES = {
    "arrays": numbered,
    "rows": lambda count: [{"row": row} for row in range(count)],
    "mixture": lambda count: Mixture([numbered(count), numbered(3, owner=1)], [3, 1]),
    "buckets": lambda count: bucketed(sequences(count), [2, 6]),
}


@settings(
    max_examples=int(os.environ.get("PROPERTY_CASES", "5")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    kind=st.sampled_from(sorted(SOURCES)),
    count=st.integers(1, 40),
    batch_size=st.integers(1, 9),
    workers=st.integers(1, 3),
    drop=st.booleans(),
    places=st.lists(st.integers(1, STEPS - 2), min_size=1, max_size=3),
)
def test_the_batches_do_not_depend_on_it(read_by_workers, kind, count, batch_size, workers, drop, places):
    """Each place is sought by the same feeds, forward and back, and two steps are read from there."""
    data = Input(
        SOURCES[kind](count), batch_size, transform=noisy, drop_remainder=drop and batch_size <= count, seed=count
    )
    whole = read_by_workers([data.open_train()], 0, STEPS)
    feeds = [data.open_train(worker, workers) for worker in range(workers)]
    for place in places:
        for batch, expected in zip(read_by_workers(feeds, place, 2), whole[place:], strict=False):
            assert batch.keys() == expected.keys()
            for key, values in expected.items():
                np.testing.assert_array_equal(batch[key], values, err_msg=key)
