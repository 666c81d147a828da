"""Random tasks whose numbers are compared with those of NumPy: the short form of `python -m benchmarks.metamorphic`."""

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FAST, SLOW = {1}, {2}  # of the programs: each takes ten seconds and more; the others run with the whole benchmarks


def marks(number):
    return [] if number in FAST else pytest.mark.slow if number in SLOW else pytest.mark.benchmark


LIMIT = 20  # programs within which each planted defect is found


@pytest.fixture(scope="module")
def metamorphic():
    """metamorphic(name) -> the module of that name in benchmarks/metamorphic/."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT)
        yield lambda name: importlib.import_module(f"benchmarks.metamorphic.{name}")


def defects():
    """The titles of the planted defects, which are in a module that only the tests' process may import."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT)
        return [*importlib.import_module("benchmarks.metamorphic.defects").DEFECTS]


@pytest.mark.parametrize("number", [pytest.param(number, marks=marks(number)) for number in range(9)])
def test_all_numbers_are_right(metamorphic, number):
    assert metamorphic("__main__").outcome(number).texts == []


def test_tested_programs_have_300_cases(metamorphic):
    module, tested = metamorphic("program"), metamorphic("__main__").TESTED
    assert tested * module.CASES >= 300
    assert {len(module.make(number).cases) + 2 for number in range(tested)} == {module.CASES}


def test_program_is_a_function_of_its_number(metamorphic):
    first, again, other = (metamorphic("program").make(number) for number in (3, 3, 4))
    assert [*map(str, first.cases)] == [*map(str, again.cases)] != [*map(str, other.cases)]
    assert all(first.data[name].tobytes() == again.data[name].tobytes() for name in first.data)
    assert (first.cut, first.loss) == (again.cut, again.loss)


@pytest.mark.benchmark
@pytest.mark.parametrize("title", defects())
def test_planted_defect_is_found(metamorphic, title):
    found = metamorphic("__main__").cases_until_found(title, LIMIT)
    assert found is not None
    print(f"{title}: found after {found} cases")


class TestPage:
    def test_counts_and_table(self, metamorphic):
        main = metamorphic("__main__")
        programs = [main.make(number) for number in range(3)]
        found = [
            main.Outcome(0, [], []),
            main.Outcome(1, ["loss"], ["loss: expected 1, got 2"]),
            main.Outcome(2, [], []),
        ]
        text = main.page(main.covered(programs), found, {"a defect": 7, "another one": None}, 60.0)
        assert f"**{3 * main.CASES} cases in 3 programs: 1 wrong.**" in text
        assert [line.split("|")[2].strip() for line in text.splitlines() if "defect " in line or "another" in line][
            -2:
        ] == [
            "7",
            "not found",
        ]
        assert "{" not in text

    @pytest.mark.slow
    def test_covers_everything_that_is_generated(self, metamorphic):
        """What the generator can draw, it draws within the 5,000 cases: tried on data alone, without running a program."""
        main = metamorphic("__main__")
        counts = main.covered([main.make(number) for number in range(-(-main.ALL_CASES // main.CASES))])
        assert {*counts["construct"]} > {*metamorphic("constructs").CONSTRUCTS}
        assert {*counts["finisher"]} == {*metamorphic("values").FINISHERS}
        assert {*counts["Keras metric"]} == {*metamorphic("keras_metrics").METRICS}
        assert {"1 replica", "2 replicas", "3 replicas", "4 replicas", "an empty replica", "jit_compile"} < {
            *counts["cut"]
        }


def test_wrong_number_is_named(metamorphic, monkeypatch):
    main = metamorphic("__main__")
    case = main.make(0).cases[0]
    monkeypatch.setattr(main, "problems", lambda program: {f"eval/a/{case.name}/p50": "expected 1, got 2"})
    found = main.outcome(0)
    assert found.wrong == [case.name]
    assert found.texts == [f"eval/a/{case.name}/p50: expected 1, got 2 ({case})"]
