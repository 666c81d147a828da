"""Libraries that may be missing or raise."""

import json

import pytest
from tallyloop.data.sources.libraries.optional import library, opened


def test_one_that_is_there():
    assert library("json", "x", "x") is json
    assert opened("x.path = 'a'", "a number", int, "12") == 12


def test_one_that_is_missing(refused):
    with refused(
        "x: no_such_module cannot be imported (No module named 'no_such_module'): expected it to be installed"
    ):
        library("no_such_module", "x", "y")


@pytest.mark.parametrize("text", ["a\nb"])
def test_one_that_raises(refused, text):
    with refused("x.path = 'a': expected a number, got ValueError: invalid literal"):
        opened("x.path = 'a'", "a number", int, text)
