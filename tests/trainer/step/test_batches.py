"""Bad examples in a run: named, or left out and counted."""

import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data import Input
from tallyloop.metrics.errors import DataError


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
        with pytest.raises(DataError, match=r'example 3 .*a bad row.*Input.on_error = "skip"'):
            make_trainer(train_dataset=dataset()).train()
        with pytest.raises(DataError, match=r"example 3 .*a bad row"):
            make_trainer(eval_datasets={"test": dataset()}).evaluate()

    def test_no_metric_without_them(self, make_trainer):
        seen = []
        make_trainer(evaluate=True, actions=[lambda _, summary: seen.append(summary)]).train_and_eval()
        assert not any("data/skipped" in summary.metrics for summary in seen)
