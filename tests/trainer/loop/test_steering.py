"""What actions see of a run."""

import pytest
from tallyloop.data import Input
from tallyloop.metrics.writers import Summary


@pytest.fixture
def told(make_trainer, rows):
    """told(names, metric) -> a Trainer with these eval datasets, which looks for the smallest value of the metric."""

    def make(names, metric):
        data = {name: Input(rows(16), 16) for name in names}
        return make_trainer(eval_datasets=data, best_metric=metric, best_mode=metric and "min")

    return make


@pytest.mark.parametrize(
    ("names", "metric", "split", "best"),
    [
        (["test"], "loss", "eval", True),
        (["test"], "test/loss", "eval", True),
        (["test"], "loss", "train", False),
        (["test"], "other", "eval", False),
        (["a", "b"], "b/loss", "eval/b", True),
        (["a", "b"], "b/loss", "eval/a", False),
        (["test"], None, "eval", False),
        ([], None, "train", False),
    ],
)
def test_whether_an_evaluation_is_the_best(told, names, metric, split, best):
    trainer = told(names, metric)
    assert trainer.is_best(Summary(1, split, {"loss": 2.0}, {})) is best
    assert trainer.tracks_best is (metric is not None)


def test_only_better_ones_are(told):
    trainer = told(["test"], "loss")
    trainer._retention.best.consider(1, {"test": {"loss": 2.0}})
    assert [trainer.is_best(Summary(2, "eval", {"loss": loss}, {})) for loss in (2.0, 1.0, float("nan"))] == [
        False,
        True,
        False,
    ]


def test_what_is_evaluated_is_known_before_the_first_step(make_trainer):
    seen = []

    class Looks:
        def check(self, trainer):
            seen.append(dict(trainer.eval_metrics))

    trainer = make_trainer(evaluate=True, actions=[Looks()])
    trainer.prepare()
    trainer.prepare(evaluate=False)
    assert seen == [{"test": ["loss"]}, {}]


def test_names_its_folder(make_trainer, tmp_path):
    assert make_trainer().model_dir is None
    assert make_trainer(model_dir=tmp_path / "run").model_dir == tmp_path / "run"
