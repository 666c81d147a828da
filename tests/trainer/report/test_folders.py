import pytest
from tallyloop.metrics.errors import UsageError
from tallyloop.trainer.report.folders import find


@pytest.fixture
def runs(make_run):
    return [make_run("first/a"), make_run("first/b"), make_run("second/c")][0].parents[1]


class TestFind:
    def test_a_run(self, runs):
        assert find([str(runs / "first/a")]) == {"a": runs / "first/a"}

    def test_all_below_a_folder(self, runs):
        assert list(find([str(runs)])) == ["first/a", "first/b", "second/c"]

    def test_a_pattern(self, runs):
        assert list(find([str(runs / "*/[bc]")])) == ["first/b", "second/c"]

    def test_none_twice(self, runs):
        assert list(find([str(runs / "first"), str(runs / "first/b")])) == ["a", "b"]

    def test_no_runs_inside_a_run(self, runs):
        (runs / "first/a/copy").mkdir()
        (runs / "first/a/copy/run.json").write_text("{}")
        assert list(find([str(runs / "first")])) == ["a", "b"]

    @pytest.mark.parametrize("name", ["train", "eval", "export", "replay", "checkpoints"])
    def test_a_run_named_as_a_folder_inside_runs(self, make_run, name):
        runs = make_run(name).parent
        make_run("other")
        assert list(find([str(runs)])) == sorted([name, "other"])

    def test_a_trial_that_was_refused(self, runs):
        (runs / "second/d").mkdir()
        (runs / "second/d/trial.json").write_text("{}")
        assert list(find([str(runs / "second")])) == ["c", "d"]


class TestMistakes:
    def refused(self, argument, match):
        with pytest.raises(UsageError, match=match):
            find([str(argument)])

    def test_no_such_folder(self, runs):
        self.refused(
            runs / "frist", 'expected the folder of a run, or a pattern, got no such folder: did you mean "first"'
        )

    def test_a_file(self, runs):
        self.refused(runs / "first/a/run.json", "expected the folder of a run, got a file; did you mean .*first/a")

    def test_the_checkpoints_of_a_run(self, runs):
        (runs / "first/a/checkpoints").mkdir()
        self.refused(runs / "first/a/checkpoints", "got one with nothing; its parent .*first/a is a run")

    def test_a_folder_without_runs(self, tmp_path):
        (tmp_path / "photos").mkdir()
        self.refused(tmp_path, r"\(with run.json or metrics.jsonl\), or one with runs below it, got one with photos")

    def test_a_pattern_without_matches(self, runs):
        self.refused(runs / "x*", "expected a pattern that matches runs")
