"""When a summary is handed over, and to whom."""

import time

import numpy as np
import pytest


class TestSummaries:
    def test_last_one_without_evaluation(self, make_trainer):
        seen = []
        trainer = make_trainer(
            train_steps=5,
            summary_interval=2,
            actions=[lambda _, s: seen.append((s.step, s.split, s.counts["loss"]))],
        )
        trainer.train()
        assert seen == [(2, "train", 32), (4, "train", 24), (5, "train", 16)]

    @pytest.mark.parametrize("steps_per_loop", [1, 7, "auto"])
    def test_action_acts_at_its_step(self, make_trainer, weights_of, steps_per_loop):
        """However long the loops are, and however long the action takes."""

        def lower(trainer, summary):
            if summary.step == 20:
                time.sleep(0.05)
                trainer._built_optimizer.learning_rate = 0.001

        def weights(**arguments):
            trainer = make_trainer(train_steps=30, summary_interval=10, actions=[lower], **arguments)
            trainer.train()
            return weights_of(trainer)

        np.testing.assert_array_equal(weights(steps_per_loop=steps_per_loop), weights(steps_per_loop=30))
