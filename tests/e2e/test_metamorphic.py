"""Random tasks whose numbers are compared with those of NumPy: the short form of `python -m benchmarks.metamorphic`."""

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SLOW = {0, 11, 14}  # programs in addition to the fast ones; all others run with the whole benchmark
LIMIT = 30  # programs within which each planted defect is found


def imported(name):
    """A module of benchmarks/metamorphic/, such as ".program"; the folder is not installed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT)
        return importlib.import_module(f"benchmarks.metamorphic{name}")


def programs():
    """The programs that are tested, and the marks of the slow ones."""
    tested = imported("").TESTED  # not from ".__main__", whose imports take a second
    return [
        pytest.param(number, marks=[] if number in tested else pytest.mark.slow) for number in sorted({*tested, *SLOW})
    ]


@pytest.mark.parametrize("number", programs())
def test_all_numbers_are_right(number):
    assert imported(".__main__").outcome(number).texts == []


def test_tested_programs_have_300_cases():
    main = imported(".__main__")
    assert sum(len(main.make(number).cases) for number in main.TESTED) >= 300


def test_programs_of_so_many_cases():
    main = imported(".__main__")
    sizes = [len(program.cases) for program in main.programs_of(200)]
    assert sum(sizes) >= 200 > sum(sizes[:-1])


def test_program_is_a_function_of_its_number():
    first, again, other = (imported(".program").make(number) for number in (3, 3, 4))
    assert [*map(str, first.recorded)] == [*map(str, again.recorded)] != [*map(str, other.recorded)]
    assert all(first.data[name].tobytes() == again.data[name].tobytes() for name in first.data)
    assert (first.cut, first.loss) == (again.cut, again.loss)


@pytest.mark.benchmark
@pytest.mark.parametrize("title", imported(".defects").DEFECTS)
def test_planted_defect_is_found(title):
    found = imported(".__main__").cases_until_found(title, LIMIT)
    assert found is not None
    print(f"{title}: found after {found} cases")


class TestPage:
    def test_counts_and_table(self):
        main = imported(".__main__")
        programs = [main.make(number) for number in range(3)]
        text = main.page(programs, 1, {"a defect": 7, "another one": None})
        assert "**228 cases of 42 metrics in 3 programs: 1 wrong.** On " in text
        rows = [[cell.strip() for cell in line.split("|")[1:3]] for line in text.splitlines() if line.startswith("|")]
        assert ["a defect", "7"] in rows
        assert ["another one", "not found"] in rows
        assert "{" not in text

    def test_counts_a_case_per_summary(self):
        main = imported(".__main__")
        program = main.make(0)
        counts = main.covered([program])
        summaries = len(program.cut.summaries)
        assert counts["values"].total() + counts["Keras metric"].total() == len(program.recorded) * summaries
        assert {*counts["cut"].values()} == {1}

    @pytest.mark.slow
    def test_covers_everything_that_is_generated(self):
        """What the generator can draw, it draws within all cases: tried on data alone, without running a program."""
        main = imported(".__main__")
        counts = main.covered(main.programs_of(main.ALL_CASES))
        assert {*counts["construct"]} > {*imported(".constructs").CONSTRUCTS}
        assert {*counts["finisher"]} == {*imported(".values").FINISHERS}
        assert {*counts["Keras metric"]} == {*imported(".keras_metrics").METRICS}
        cuts = {
            "1 replica",
            *(f"{n} replicas" for n in (2, 3, 4)),
            "arrays",
            "a stream",
            "rows by number",
            "jit_compile",
        }
        assert {*counts["cut"]} > {*cuts, "an evaluation", "an empty replica", "a ragged last batch", "shuffled"}


def test_wrong_number_is_named(monkeypatch):
    main = imported(".__main__")
    recorded = main.make(3).recorded[0]
    path = f"eval/a/{recorded.name}/p50"
    monkeypatch.setattr(main, "problems", lambda program: {path: "expected 1, got 2", "weights/bias": "wrong"})
    found = main.outcome(3)
    assert found.wrong == [f"eval/{recorded.name}", "weights"]
    assert found.texts[0] == f"{path}: expected 1, got 2 ({recorded})"


def test_error_makes_all_cases_wrong(monkeypatch):
    main = imported(".__main__")

    def fail(program):
        raise ValueError("no")

    monkeypatch.setattr(main, "problems", fail)
    assert main.outcome(0) == (0, main.make(0).cases, ["ValueError: no"])
