"""What is asked for; how it is refused is in test_flags.py."""

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
