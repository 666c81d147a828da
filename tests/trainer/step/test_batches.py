"""Bad examples in a run: named, or left out and counted."""

import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data import Input
from tallyloop.metrics.errors import DataError
from tallyloop.trainer.distribution import workers
from tallyloop.trainer.step.batches import SkippedExamples


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
