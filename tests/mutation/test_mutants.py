"""Which mutants a module has."""

import pytest

pytest.importorskip("mutmut")

from tests.mutation.mutants import mutants_of

SOURCE = '''"""A docstring with 1 number."""

from __future__ import annotations


@registered(name="double")
def double(x: int = 3) -> int:
    """Return twice x, or 1."""
    return x * 2 if x else 1


NAMES = {"double": lambda x: double(x)}
'''


@pytest.fixture(scope="module")
def mutants():
    return mutants_of(SOURCE)


class TestMutants:
    def test_change_one_thing(self, mutants):
        changes = [mutant.change for mutant in mutants]
        assert "- return x * 2 if x else 1\n+ return x / 2 if x else 1" in changes
        assert "- return x * 2 if x else 1\n+ return x * 3 if x else 1" in changes
        assert len(set(changes)) == len(changes)

    def test_are_of_decorated_functions_and_of_the_module_too(self, mutants):
        assert {mutant.line for mutant in mutants} == {6, 7, 9, 12}

    def test_spare_strings_and_annotations(self, mutants):
        assert all("XX" not in mutant.source and "x: int" in mutant.source for mutant in mutants)

    def test_compile(self, mutants):
        for mutant in mutants:
            compile(mutant.source, "mutant", "exec")
