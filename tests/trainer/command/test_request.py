"""What is asked for; how it is refused is in test_flags.py."""

import re

import pytest
from tallyloop.metrics.errors import UsageError
from tallyloop.trainer.command.request import Request


class TestTrains:
    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            ({}, True),
            ({"mode": "train"}, True),
            ({"mode": "eval"}, False),
            ({"dry_run": True}, False),
            ({"explain": "Trainer"}, False),
            ({"list_configurables": True}, False),
        ],
        ids=str,
    )
    def test_is_false_for_what_has_nothing_to_save(self, given, expected):
        assert Request(**given).trains is expected


class TestReplay:
    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"mode": "replay"}, "--mode=replay: expected the number of the step to look at, got none: add --step=N."),
            ({"mode": "replay", "step": 0}, "--step=0: expected a whole number of at least 1."),
            ({"step": 3}, "--step=3: expected --mode=replay with it, got --mode=train_and_eval."),
            ({"mode": "replay", "step": 3, "checkpoint": "best"}, "--checkpoint=best: expected --step alone"),
            ({"mode": "replay", "step": 3, "dry_run": True}, "--dry_run: expected a mode that trains or evaluates"),
            ({"mode": "replay", "step": 3, "workers": 2}, "--mode=replay needs one process"),
        ],
        ids=str,
    )
    def test_mistakes_are_refused(self, given, message):
        with pytest.raises(UsageError, match=re.escape(message)):
            Request(**given)


class TestTune:
    @pytest.mark.parametrize(
        ("given", "message"),
        [
            (
                {"tune_batch_sizes": "32"},
                "--tune_batch_sizes=32: expected --mode=tune with it, got --mode=train_and_eval.",
            ),
            ({"mode": "tune", "tune_batch_sizes": "a"}, "--tune_batch_sizes=a: expected whole numbers of at least 1"),
            ({"mode": "tune", "dry_run": True}, "--dry_run: expected another mode, got --mode=tune"),
            ({"mode": "tune", "checkpoint": "best"}, "--checkpoint: expected another mode, got --mode=tune"),
            ({"mode": "tune", "workers": 2}, "--mode=tune needs one process"),
            ({"mode": "tune", "study": "s", "trials": 1}, "--study=s: expected --mode=train_and_eval, got --mode=tune"),
            ({"mode": "tune", "format": "npz"}, "--format=npz is for --mode=predict, not tune"),
        ],
        ids=str,
    )
    def test_mistakes_are_refused(self, given, message):
        with pytest.raises(UsageError, match=re.escape(message)):
            Request(**given)

    def test_does_not_need_a_folder(self):
        assert not Request(mode="tune", tune_batch_sizes="32").trains


class TestArguments:
    def test_are_the_flags_that_ask_for_the_same(self):
        asked = Request(gin_file=["a.gin", "b.gin"], gin_param=["Trainer.seed=1"], model_dir="/tmp/run", workers=2)
        assert asked.arguments() == [
            "--gin_file=a.gin",
            "--gin_file=b.gin",
            "--gin_param=Trainer.seed=1",
            "--model_dir=/tmp/run",
            "--workers=2",
        ]

    def test_of_defaults_are_none(self):
        assert Request().arguments() == []

    def test_a_wrong_one_is_refused_in_any_case(self):
        with pytest.raises(UsageError, match=r"^--workers=0: expected a whole number"):
            Request(workers=0)
