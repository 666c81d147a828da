"""Texts for people; numbers and durations are tested where the console shows them."""

import io

import pytest
from tallyloop.metrics.terminal import text


def test_loss_first_and_learning_rate_last():
    paths = ["a", "learning_rate/critic", "loss/b", "loss", "z"]
    assert text.in_order(paths) == ["loss", "a", "loss/b", "z", "learning_rate/critic"]


@pytest.mark.parametrize(("seconds", "told"), [(0.04, "0 s"), (7.12, "7.1 s"), (119.9, "119.9 s"), (120.5, "0:02:01")])
def test_a_time_that_something_took(seconds, told):
    assert text.spent(seconds) == told


@pytest.mark.parametrize(("width", "short"), [(13, "encoder/layer"), (12, "enc…er/layer"), (4, "e…er")])
def test_a_long_path_keeps_its_end(width, short):
    assert text.shortened("encoder/layer", width) == short


def test_a_file_is_no_terminal():
    assert not text.is_terminal(io.StringIO())
