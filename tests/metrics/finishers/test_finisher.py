"""When two finishers mean the same."""

import dataclasses
import typing

import pytest
from tallyloop.metrics.finishers.finish import FINISHERS
from tallyloop.metrics.finishers.finisher import Finisher, FinishName


def finisher(**changes):
    return Finisher(**{"name": "own", "key": "a key", "finish": lambda value, count: value / count, **changes})


class TestEquality:
    def test_functions_made_anew_are_the_same(self):
        """A lambda in a step is another object in each trace."""
        assert finisher() == finisher(finish=lambda value, count: value)
        assert finisher() == finisher(tally=lambda values, weights: None)

    def test_another_meaning(self):
        for changes in ({"key": "another"}, {"name": "another"}, {"combine": "max"}, {"per_second": True}):
            assert finisher() != finisher(**changes), changes

    def test_messages_show_the_name(self):
        assert "own" in repr(finisher())
        assert "a key" not in repr(finisher())

    def test_cannot_be_changed(self):
        with pytest.raises(dataclasses.FrozenInstanceError):
            finisher().name = "another"


class TestNames:
    def test_type_checkers_know_those_there_are(self):
        assert sorted(typing.get_args(FinishName)) == sorted(FINISHERS)
