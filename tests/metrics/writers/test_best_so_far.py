"""The best value so far, as the scalar `best/METRIC` beside each evaluation."""

import math

import pytest
from tallyloop.metrics.writers import JsonlWriter, Summary, TensorBoardWriter
from tallyloop.metrics.writers.best_so_far import BestSoFar
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def evaluation(step, split="eval", **metrics):
    return Summary(step, split, metrics, dict.fromkeys(metrics, 1.0))


class TestUpdate:
    @pytest.fixture
    def best(self, tmp_path):
        return BestSoFar(tmp_path / "metrics.jsonl", {})

    def test_follows_the_better_side_that_the_name_tells(self, best):
        found = [
            best.update(evaluation(step, accuracy=accuracy, loss=loss, seconds=1.0))
            for step, accuracy, loss in ((1, 0.5, 2.0), (2, 0.75, 1.0), (3, 0.25, 3.0))
        ]
        assert found[1:] == [{"accuracy": 0.75, "loss": 1.0}] * 2

    def test_a_nan_is_never_the_best(self, best):
        assert best.update(evaluation(1, loss=math.nan)) == {}
        assert best.update(evaluation(2, loss=2.0)) == {"loss": 2.0}
        assert best.update(evaluation(3, loss=math.nan)) == {"loss": 2.0}

    def test_each_split_has_its_own_and_training_none(self, best):
        best.update(evaluation(1, "eval/a", loss=1.0))
        assert best.update(evaluation(1, "eval/b", loss=2.0)) == {"loss": 2.0}
        assert best.update(evaluation(1, "train", loss=2.0)) == {}

    @pytest.mark.parametrize(
        ("name", "split", "applies"),
        [("q", "eval", True), ("a/q", "eval", True), ("a/q", "eval/a", True), ("a/q", "eval/b", False)],
    )
    def test_the_run_may_tell_the_side(self, tmp_path, name, split, applies):
        best = BestSoFar(tmp_path / "metrics.jsonl", {name: "min"})
        assert best.update(evaluation(1, split, q=2.0)) == ({"q": 2.0} if applies else {})


class TestTensorBoard:
    def write(self, folder, *summaries, drop_after=None):
        writers = JsonlWriter(folder / "metrics.jsonl"), TensorBoardWriter(folder)
        for writer in writers:
            if drop_after is not None:
                writer.truncate_after(drop_after)
        for summary in summaries:
            for writer in writers:
                writer.write(summary)
        return writers

    def points(self, folder, tag):
        events = EventAccumulator(str(folder / "eval"), {"tensors": 0}).Reload()
        return [(event.step, event.tensor_proto.float_val[0]) for event in events.Tensors(tag)]

    def test_a_resumed_run_knows_the_evaluations_before_it(self, tmp_path):
        self.write(tmp_path, evaluation(1, accuracy=0.5), evaluation(2, accuracy=0.75), evaluation(3, accuracy=0.875))
        self.write(tmp_path, evaluation(3, accuracy=0.25), drop_after=2)
        assert self.points(tmp_path, "best/accuracy") == [(1, 0.5), (2, 0.75), (3, 0.75)]
        assert self.points(tmp_path, "accuracy") == [(1, 0.5), (2, 0.75), (3, 0.25)]

    def test_an_evaluation_put_between_others_knows_those_before_it(self, tmp_path):
        writers = self.write(tmp_path, evaluation(1, accuracy=0.5), evaluation(3, accuracy=0.75))
        for writer in writers:
            writer.upsert(evaluation(2, accuracy=0.25))
        assert self.points(tmp_path, "best/accuracy") == [(1, 0.5), (2, 0.5), (3, 0.75)]


class TestTotalLoss:
    """`loss/total` is a chart of its own only where it isn't the loss."""

    def tags(self, folder, *pairs):
        writer = TensorBoardWriter(folder)
        for step, (loss, total) in enumerate(pairs, 1):
            writer.write(Summary(step, "train", {"loss": loss, "loss/total": total, "loss/a": 1.0}, {}))
        events = EventAccumulator(str(folder / "train"), {"tensors": 0}).Reload()
        return {tag: [event.step for event in events.Tensors(tag)] for tag in events.Tags()["tensors"]}

    def test_is_left_out_while_it_is_the_loss(self, tmp_path):
        assert self.tags(tmp_path, (0.5, 0.5), (0.3, 0.3 + 1e-9)) == {"loss": [1, 2], "loss/a": [1, 2]}

    def test_stays_once_it_has_differed(self, tmp_path):
        assert self.tags(tmp_path, (0.5, 0.25), (0.5, 0.5))["loss/total"] == [1, 2]
