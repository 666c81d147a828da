"""Counting the updates that are left out."""

import numpy as np
import tensorflow as tf
from tallyloop.trainer.step.skips import Skips

YES, NO = tf.constant(True), tf.constant(False)


def count(skips, finite):
    return bool(skips.count(tf.constant(0, tf.int64), finite, YES))


class TestSkips:
    def test_too_many_in_a_row(self):
        skips = Skips(2)
        assert [count(skips, finite) for finite in (NO, NO, YES, NO, NO, NO)] == [True, True, True, True, True, False]
        assert skips.take() == {"": 5}

    def test_of_several_losses_count_for_themselves(self):
        """Steps that do not update a loss do not end its row."""
        skips, goes_on = Skips(1, ["a", "b"]), []
        for step, (finite, due) in enumerate([((0, 1), (1, 1)), ((1, 0), (0, 1)), ((1, 1), (0, 1)), ((0, 1), (1, 1))]):
            bools = [tf.cast(each, tf.bool) for each in (finite, due)]
            assert skips.tolerated().numpy().tolist() == [step == 0, step != 2]
            goes_on.append(bool(skips.count(tf.constant(step, tf.int64), *bools)))
        assert goes_on == [True, True, True, False]
        assert (skips.last, skips.take(), skips.take()) == (3, {"a": 2, "b": 1}, {"a": 0, "b": 0})

    def test_none_allowed(self):
        skips = Skips(0)
        assert [count(skips, finite) for finite in (YES, NO)] == [True, False]

    def test_forgets_an_earlier_run(self, make_trainer, rows, tmp_path):
        """Or a third run, which allows some again, would take them for its own."""
        data = rows(48)
        data["y"][[20, 40]] = np.nan  # batches 1 and 2 of 3

        def run(steps, data=data, **more):
            arguments = {
                "train_steps": steps,
                "summary_interval": 100,
                "model_dir": tmp_path,
                "max_consecutive_skips": 2,
            }
            make_trainer(data=data, **arguments, **more).train()

        run(3, on_nonfinite="skip")
        run(4)
        seen = []
        run(6, on_nonfinite="skip", actions=[lambda _, summary: seen.append(summary.metrics["skipped"])])
        assert seen == [2.0]
