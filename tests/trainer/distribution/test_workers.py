"""One worker is its own chief. What several tell each other is in tests/e2e."""

import pytest
from tallyloop.trainer.distribution import workers


class TestWorkers:
    @pytest.mark.parametrize("replicas", [1, 4])
    def test_alone(self, mirrored_on, replicas):
        strategy = mirrored_on(replicas)
        assert not workers.is_multi_worker(strategy)
        assert (workers.count(strategy), workers.index(strategy), workers.is_chief(strategy)) == (1, 0, True)
        assert workers.exchange(strategy, "æ") == ["æ"]
        assert workers.from_chief(strategy, "x") == "x"
        workers.wait_for_all(strategy)
