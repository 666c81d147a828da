import pytest
from tallyloop.metrics.errors import UsageError
from tallyloop.trainer.study.grid import Grid, points


class TestPoints:
    def test_are_all_combinations(self):
        assert points(["a.b=1,2", "c/d.e='x,y',(3, [4])"]) == [
            {"a.b": "1", "c/d.e": "'x,y'"},
            {"a.b": "1", "c/d.e": "(3, [4])"},
            {"a.b": "2", "c/d.e": "'x,y'"},
            {"a.b": "2", "c/d.e": "(3, [4])"},
        ]

    @pytest.mark.parametrize(
        ("grids", "expected"),
        [
            (["a.b"], "got no ="),
            (["=1,2"], "got no name"),
            (["a.b=1,,2"], "got an empty value"),
            (["a.b="], "got an empty value"),
            (["a.b=1", "a.b=2"], "expected each name once, got a.b twice"),
            (["a.b=1,1"], "expected different values, got 1 twice"),
            (["a b=1,2"], '"a b" is not a name'),
            (["a.b=%search.int(3, 1),2"], "LOW below HIGH"),
        ],
    )
    def test_mistakes_are_refused(self, grids, expected):
        with pytest.raises(UsageError) as caught:
            points(grids)
        assert str(caught.value).startswith(f'--grid="{grids[-1]}": ')
        assert expected in str(caught.value)


class TestGrid:
    def test_is_remembered(self, tmp_path):
        grid = Grid(tmp_path, points(["a=1,2"]))
        assert grid.next().values == {"a": "1"}
        grid.finish(0, "done", 0.5, "")
        grid.next()
        again = Grid(tmp_path, points(["a=1,2,3"]))
        assert [(trial.outcome, trial.value) for trial in again.trials()] == [("done", 0.5), (None, None)]
        assert again.next().values == {"a": "3"}
        assert again.next() is None

    def test_a_damaged_file(self, tmp_path):
        (tmp_path / "grid.json").write_text('{"trials": [{"n')
        with pytest.raises(UsageError, match=r"grid\.json is damaged"):
            Grid(tmp_path, [])
