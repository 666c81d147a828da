"""One worker is its own chief. What several tell each other is in tests/e2e/test_invariance_matrix.py and tests/e2e/test_workers.py."""

import pytest
from tallyloop.trainer.distribution import workers


@pytest.mark.parametrize("replicas", [1, 4])
def test_a_worker_that_is_alone(mirrored_on, replicas):
    strategy = mirrored_on(replicas)
    assert not workers.is_multi_worker(strategy)
    assert (workers.count(strategy), workers.index(strategy), workers.is_chief(strategy)) == (1, 0, True)
    assert workers.exchange(strategy, "æ") == ["æ"]
    assert workers.from_chief(strategy, "x") == "x"
    workers.wait_for_all(strategy)
