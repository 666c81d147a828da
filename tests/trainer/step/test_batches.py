"""The batches of a loop: planned ahead; bad examples are named, or left out and counted."""

import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data import Input
from tallyloop.data.feeds.array_feed import ArrayFeed, EvenArrayFeed, SlicedFeed
from tallyloop.data.feeds.order import Order
from tallyloop.metrics.errors import DataError
from tallyloop.trainer.distribution import workers
from tallyloop.trainer.step.batches import SkippedExamples, StepPlanner


def strict(example):
    """Raises for rows 3 and 20."""
    with tf.control_dependencies([tf.debugging.Assert(~tf.reduce_any(example["row"] == [3, 20]), ["a bad row"])]):
        return {name: tf.identity(value) for name, value in example.items()}


@pytest.fixture(scope="module")
def numbered(rows):
    return rows(40) | {"row": np.arange(40)}


@pytest.fixture(scope="module", params=["arrays", "stream"])
def dataset(request, numbered):
    """dataset(**arguments) -> batches of 16 of 40 rows in order."""

    def make(**arguments):
        source = numbered if request.param == "arrays" else tf.data.Dataset.from_tensor_slices(numbered)
        return Input(source, 16, map_fn=strict, shuffle=False, **arguments)

    return make


class TestBadExamples:
    @pytest.mark.parametrize("replicas", [2, pytest.param(1, marks=pytest.mark.slow)])
    def test_skipped_and_counted(self, make_trainer, dataset, replicas, tmp_path):
        """Two of 40 in each pass, whatever the number of replicas; a rerun goes on counting."""
        seen = []

        def trainer(steps):
            return make_trainer(
                replicas=replicas,
                train_dataset=dataset(on_error="skip"),
                eval_datasets={"test": dataset(on_error="skip")},
                train_steps=steps,
                summary_interval=3,
                eval_interval=9,
                model_dir=tmp_path,
                actions=[lambda _, summary: seen.append(summary)],
            )

        trainer(5).train()
        trainer(9).train_and_eval()
        train = [(s.step, s.metrics["data/skipped"]) for s in seen if s.split == "train"]
        assert [step for step, _ in train] == [3, 5, 6, 9]
        assert sum(count for _, count in train) in (5.0, 6.0)  # the last one may stand beside the batch that follows
        counts = [s.counts["loss"] for s in seen if s.split == "train"]
        assert sum(counts) == pytest.approx(3 * 38, abs=2)
        evaluated = seen[-1]
        assert (evaluated.split, evaluated.metrics["data/skipped"], evaluated.counts["loss"]) == ("eval", 2.0, 38)

    def test_named(self, make_trainer, dataset):
        with pytest.raises(DataError, match=r'(example|row) 3.*a bad row.*Input.on_error = "skip"'):
            make_trainer(train_dataset=dataset()).train()
        with pytest.raises(DataError, match=r"(example|row) 3.*a bad row"):
            make_trainer(eval_datasets={"test": dataset()}).evaluate()

    def test_no_metric_without_them(self, make_trainer):
        seen = []
        make_trainer(evaluate=True, actions=[lambda _, summary: seen.append(summary)]).train_and_eval()
        assert not any("data/skipped" in summary.metrics for summary in seen)


class TestSkippedExamples:
    def test_of_workers_that_each_count_their_own(self, monkeypatch):
        """Two of them: 3 and 4 are 7, when they are taken and when they are saved; a rerun begins with those saved."""

        class Feed:
            local = True

            def skipped(self, part):
                return part

        counts = {0: 3, 1: 4}

        def counted(index):
            monkeypatch.setattr(workers, "is_chief", lambda strategy: index == 0)
            monkeypatch.setattr(workers, "total", lambda strategy, mine: mine + counts[1 - index])
            skipped = SkippedExamples(Feed(), strategy=None)
            skipped.add(tf.constant(counts[index], tf.int64))
            return skipped

        assert [counted(index).take() for index in (0, 1)] == [{"data/skipped": 7.0}] * 2
        for index, saved in ((0, 7), (1, 0)):
            skipped = counted(index)
            skipped.before_save()
            assert int(skipped.state()["skipped_examples"]) == saved
            skipped.state()["skipped_examples"].assign(9)
            skipped.after_restore()
            assert int(skipped.state()["skipped_examples"]) == (9 if index == 0 else 0)


class TestStepPlanner:
    """The steps that the loop finds in the variables are those that were asked for, whatever was asked before."""

    def batches(self, planner, feed, step, num_steps):
        """The rows of the batches that a loop would run."""
        planner.prepare(step, num_steps)
        plan, begin, count = planner.plan()
        assert int(count) == num_steps
        parts = [feed.fetch(plan, tf.constant(step + i, tf.int64) - begin) for i in range(num_steps)]
        return [feed.whole(part)["x"][: int(n)].numpy().tolist() for part, n in parts]

    def wanted(self, step, num_steps):
        """Batches of 4 of 10 rows in order: the third of an epoch is short."""
        starts = [4 * (each % 3) for each in range(step, step + num_steps)]
        return [list(range(start, min(start + 4, 10))) for start in starts]

    @pytest.fixture(params=["arrays", "even", "slices"])
    def feed(self, request):
        order = Order(10, 4, shuffle=False, seed=0, drop_remainder=False, endless=True)
        kind = {"arrays": ArrayFeed, "even": EvenArrayFeed, "slices": SlicedFeed}[request.param]
        return kind({"x": tf.range(10)}, order)

    def test_after_any_other_steps(self, feed):
        planner = StepPlanner(feed, 2, jit_compile=False)
        asked = [(0, 2), (2, 1), (3, 2), (5, 1), (0, 1), (1, 1), (2, 1), (500_000, 1), (500_001, 1), (4, 1), (4, 1)]
        for step, num_steps in asked:
            for first, count in self.spans(feed, step, num_steps):
                assert self.batches(planner, feed, first, count) == self.wanted(first, count), (step, num_steps)

    def spans(self, feed, step, num_steps):
        for count in feed.spans(step, num_steps):
            yield step, count
            step += count
