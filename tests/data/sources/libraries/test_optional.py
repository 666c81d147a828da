"""Libraries that may be missing or raise."""

import json

import pytest
from tallyloop.data.sources.libraries.optional import library, opened


def test_an_installed_library_is_imported():
    assert library("json", "x", "x") is json
    assert opened("x.path = 'a'", "a number", int, "12") == 12


def test_a_missing_library_is_named_with_its_installation(refused):
    with refused(
        "x: no_such_module cannot be imported (No module named 'no_such_module'): expected it to be installed"
    ):
        library("no_such_module", "x", "y")


@pytest.mark.parametrize("text", ["a\nb"])
def test_a_library_that_fails_to_import_is_named(refused, text):
    with refused("x.path = 'a': expected a number, got ValueError: invalid literal"):
        opened("x.path = 'a'", "a number", int, text)
