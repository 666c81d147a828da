"""The table of last and best values."""

import math

import pytest
from tallyloop.metrics.terminal.scores import Scores
from tallyloop.metrics.writers import Summary


@pytest.fixture
def scores():
    """scores(split=[{path: value}, ...], ...) of the steps 1, 2, ...; `sides` are those of the run."""

    def make(sides=None, **summaries):
        made = Scores(sides or {})
        for split, each in summaries.items():
            for step, values in enumerate(each, 1):
                made.take(Summary(step, split.replace("_", "/"), values, {}))
        return made

    return make


def shown(scores, width=79, most=20):
    return ["".join(cell.text for cell in line).rstrip() for line in scores.table(width, most)]


class TestScore:
    @pytest.mark.parametrize(
        ("path", "values", "better", "best", "step"),
        [
            ("loss", [3.0], None, 3.0, 1),
            ("loss", [3.0, 2.0], True, 2.0, 2),
            ("loss", [2.0, 3.0], False, 2.0, 1),
            ("accuracy", [0.5, 0.6], True, 0.6, 2),
            ("accuracy", [0.6, 0.6], None, 0.6, 1),
            ("accuracy", [0.6, math.nan], None, 0.6, 1),
            ("accuracy", [math.nan, 0.5], True, 0.5, 2),
            ("learning_rate", [0.1, 0.2], None, None, -1),
        ],
    )
    def test_of_values(self, scores, path, values, better, best, step):
        found = scores(eval=[{path: value} for value in values]).of("eval")[path]
        assert found[1:] == (better, best, step)

    @pytest.mark.parametrize(("name", "best"), [("size", 1.0), ("test/size", 1.0), ("other/size", None)])
    def test_the_runs_own_side_comes_first(self, scores, name, best):
        found = scores({name: "min"}, eval_test=[{"size": 1.0}, {"size": 2.0}])
        assert found.of("eval/test")["size"].best == best


class TestTable:
    def test_of_several_splits(self, scores):
        found = scores(
            eval_valid=[{"loss": 1.5}],
            train=[{"loss": 3.0, "b": 1.0, "learning_rate": 0.1}, {"loss": 2.0, "b": 1.0, "learning_rate": 0.1}],
            eval_test=[{"loss": 1.0}, {"loss": 12345.0}],
        )
        assert shown(found) == [
            "metric         train   best  eval/test   best  eval/valid   best",
            "loss               2 ▲    2     12,345 ▼    1         1.5    1.5",
            "b                  1",
            "learning_rate    0.1",
        ]

    def test_narrow_leaves_eval_sets_out(self, scores):
        found = scores(train=[{"loss": 1.0}], eval_a=[{"loss": 1.0}], eval_b=[{"loss": 1.0}])
        assert shown(found, 39) == [
            "metric  train   best  eval/a   best",
            "loss        1      1       1      1",
            "(+1 more eval sets in TensorBoard)",
        ]

    def test_long_names_and_many_metrics_fit_in_80_columns(self, scores):
        values = {f"stage_{i}/some_layer/with_a_long_name/loss": -1.2345e-7 for i in range(60)}
        found = shown(scores(train=[values], eval=[values]), 79, 10)
        assert max(map(len, found)) <= 79
        assert len(found) == 11
        assert found[-1] == "(+51 more metrics in TensorBoard)"
        assert found[1].startswith("stage_0/s…th_a_long_name/loss  ")

    def test_before_any_summary(self, scores):
        assert shown(scores()) == []

    def test_as_many_as_fit_are_all_there(self, scores):
        assert len(shown(scores(train=[dict.fromkeys("abc", 1.0)]), most=3)) == 4
