"""One worker is its own chief. What several tell each other is in tests/e2e."""

import numpy as np
import pytest
import tensorflow as tf
from tallyloop.metrics.errors import UsageError
from tallyloop.trainer.distribution import workers


class TestWorkers:
    @pytest.mark.parametrize("replicas", [1, 4])
    def test_one_worker_alone(self, mirrored_on, replicas):
        strategy = mirrored_on(replicas)
        assert not workers.is_multi_worker(strategy)
        assert (workers.count(strategy), workers.index(strategy), workers.is_chief(strategy)) == (1, 0, True)
        assert workers.exchange(strategy, "æ") == ["æ"]
        assert workers.from_chief(strategy, "x") == "x"
        workers.wait_for_all(strategy)


class TestFinishTogether:
    def test_is_no_failure_where_another_worker_has_left_first(self, mirrored_on, monkeypatch):
        def gone(strategy):
            raise tf.errors.UnavailableError(
                None, None, "Collective ops is aborted by: Socket closed /job:worker/task:1"
            )

        monkeypatch.setattr(workers, "wait_for_all", gone)
        workers.finish_together(mirrored_on(1))

    def test_raises_what_is_another_error(self, mirrored_on, monkeypatch):
        def broken(strategy):
            raise tf.errors.InternalError(None, None, "no memory")

        monkeypatch.setattr(workers, "wait_for_all", broken)
        with pytest.raises(tf.errors.InternalError, match="no memory"):
            workers.finish_together(mirrored_on(1))


class TestShards:
    def test_one_worker_alone(self, mirrored_on):
        strategy = mirrored_on(2)
        workers.check_same_source(strategy, "Trainer.train_dataset", "{}")
        assert workers.index_and_count(strategy) == (0, 1)
        assert workers.total(strategy, np.arange(3)).tolist() == [0, 1, 2]

    def test_other_files_on_another_worker(self, mirrored_on, monkeypatch):
        monkeypatch.setattr(workers, "exchange", lambda strategy, text: [text, "other files"])
        with pytest.raises(
            UsageError, match=r"^Trainer\.train_dataset: worker 0 finds other data than worker 1: expected the"
        ):
            workers.check_same_source(mirrored_on(1), "Trainer.train_dataset", "files")
