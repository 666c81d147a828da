import pytest
from tallyloop.metrics.errors import UsageError
from tallyloop.trainer.command import studying
from tallyloop.trainer.command.request import Request
from tallyloop.trainer.study import study

JUDGE = ["Trainer.best_metric=accuracy", "Trainer.best_mode=max"]


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """asked(...) -> what the study is run with."""

    def ask(**given):
        calls = []
        monkeypatch.setattr(study, "run", lambda *arguments: calls.append(arguments) or 0)
        params = [*JUDGE, *given.pop("gin_param", [])]
        request = Request(study="s", model_dir=str(tmp_path), gin_param=params, **given)
        assert studying.run(request, ["tallyloop"]) == 0
        return calls[0]

    return ask


class TestRun:
    def test_a_trial_is_the_same_command_in_its_folder(self, asked, tmp_path):
        name, folder, _, _, command, jobs = asked(grid=["a=1,2"], jobs=2, virtual_cpus=3)
        assert (name, folder, jobs) == ("s", tmp_path / "s", 2)
        assert command(tmp_path / "s/trial-0000", ["a=1"]) == [
            "tallyloop",
            *(f"--gin_param={each}" for each in [*JUDGE, "a=1"]),
            f"--model_dir={tmp_path}/s/trial-0000",
            "--virtual_cpus=3",
        ]

    def test_a_folder_is_for_one_kind(self, asked, tmp_path):
        (tmp_path / "s").mkdir()
        (tmp_path / "s" / "grid.json").write_text("")
        with pytest.raises(
            UsageError, match=r"expected a new folder, or one of the same kind of study, got .* of a grid"
        ):
            asked(trials=3, gin_param=["a=%search.int(1, 2)"])

    def test_ranges_or_a_grid(self, asked):
        with pytest.raises(UsageError, match="--study: expected a range in the config"):
            asked(trials=3)
        with pytest.raises(UsageError, match="--grid: expected a config without ranges"):
            asked(grid=["b=1,2"], gin_param=["a=%search.int(1, 2)"])


class TestRequest:
    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            ({"trials": 3}, "--trials is for a study: expected --study=NAME, too"),
            ({"grid": ["a=1,2"]}, "--grid is for a study"),
            ({"prune": False}, "--noprune is for a study"),
            ({"study": "a/b", "trials": 3}, "--study=a/b: expected a name for a folder below --model_dir"),
            ({"study": "..", "trials": 3}, "--study=..: expected a name"),
            ({"study": "s"}, "expected --trials=N for ranges, or --grid=NAME=VALUE,VALUE, got neither"),
            ({"study": "s", "trials": 3, "grid": ["a=1"]}, "got --trials=3 and --grid"),
            ({"study": "s", "trials": 0}, "--trials=0: expected a whole number of at least 1"),
            ({"study": "s", "trials": 3, "jobs": 0}, "--jobs=0: expected a whole number of at least 1"),
            ({"study": "s", "trials": 3, "mode": "eval"}, "expected --mode=train_and_eval, got --mode=eval"),
            ({"study": "s", "trials": 3, "dry_run": True}, "expected --mode=train_and_eval, got --dry_run"),
        ],
    )
    def test_mistakes_are_refused(self, given, expected):
        with pytest.raises(UsageError) as caught:
            Request(**given)
        assert expected in str(caught.value)
