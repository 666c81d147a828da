import re

import pytest
from tallyloop.trainer.config.ranges import Range
from tallyloop.trainer.config.syntax import Ref, leaves, parse_right_hand_side, render, statements


def values(text):
    return [statement.value for statement in statements(text, "a.gin")]


class TestRange:
    @pytest.mark.parametrize(
        ("text", "kind", "arguments"),
        [
            ("%search.loguniform(1e-4, 1e-1)", "loguniform", (1e-4, 1e-1)),
            ("%search.uniform(-1, 0.5)", "uniform", (-1, 0.5)),
            ("%search.int(32, 512, 32)", "int", (32, 512, 32)),
            ("%search.choice('a)', (1, [2]), @x/y(), None)", "choice", ("a)", (1, [2]), Ref("x", "y", True), None)),
        ],
    )
    def test_is_read_and_written(self, text, kind, arguments):
        (found,) = values(f"a.b = {text}  # %search.foo(\n")
        assert found == parse_right_hand_side(text) == Range(kind, arguments, text)
        assert render(found) == text

    def test_stands_inside_of_a_value(self):
        (found,) = values("a.b = {'x': [%search.int(1, 2), 3]}\n")
        assert found == {"x": [Range("int", (1, 2), "%search.int(1, 2)"), 3]}

    def test_in_a_string_is_none(self):
        assert values("a.b = '%search.int(1'\nc = %search_macro\n")[0] == "%search.int(1"

    def test_over_several_lines_moves_no_other(self):
        first, second = statements("a.b = %search.choice(\n    1,  # (\n    2,\n)\nc.d = 3\n", "a.gin")
        assert first.value.arguments == (1, 2)
        assert second.location.line_num == 5

    def test_its_references_are_among_the_leaves(self):
        (found,) = values("a.b = [%search.choice(@c, @d)]\n")
        assert list(leaves(found)) == [found[0], Ref("", "c", False), Ref("", "d", False)]


class TestMistakes:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("%search.unifrom(1, 2)", 'expected a range of the kinds %search.uniform, .*: did you mean "uniform"?'),
            ("%search.uniform", r"expected a range of the form %search.uniform\(LOW, HIGH\) with numbers"),
            ("%search.uniform(1)", r"%search.uniform\(1\): expected a range of the form %search.uniform\(LOW, HIGH\)"),
            ("%search.uniform(2, 1)", "LOW below HIGH"),
            ("%search.uniform(0, 1e999)", "LOW below HIGH"),
            ("%search.loguniform(0, 1)", "0 below LOW"),
            ("%search.int(1, 2.5)", "with whole numbers"),
            ("%search.int(1, 9, 0)", "with whole numbers"),
            ("%search.int(True, 9)", "with whole numbers"),
            ("%search.choice(3)", "at least two different values"),
            ("%search.choice(3, 3)", "at least two different values"),
            ("%search.choice()", "at least two different values"),
            ("%search.choice(relu, gelu)", "at least two different values"),
            ("%search.choice(1, 2", r"%search.choice\(...: expected a closing bracket"),
        ],
    )
    def test_have_file_and_line(self, refused, text, expected):
        message = refused(f"\ntests_input.free = {text}\n")
        assert message.startswith("a.gin:2: ")
        assert message.endswith(f"\n    tests_input.free = {text}")
        assert re.search(expected, message)

    def test_of_a_param(self, refused):
        message = refused(params=["tests_input.batch=%search.int(9, 1)"])
        assert message.startswith('--gin_param "tests_input.batch=%search.int(9, 1)": the range cannot be read: ')
        assert "%search.int(9, 1): expected a range of the form %search.int(LOW, HIGH)" in message


class TestWithoutAStudy:
    def test_a_range_is_refused(self, refused):
        assert refused("tests_input.batch = %search.int(1, 9)\n") == (
            "a.gin:1: tests_input.batch = %search.int(1, 9): expected a value, got a range, from which --study=NAME chooses; "
            "without a study, give one: --gin_param=tests_input.batch=VALUE"
        )

    def test_so_is_one_of_a_macro_once(self, refused):
        message = refused("size = %search.int(1, 9)\ntests_input.batch = %size\n")
        assert message.startswith("a.gin:1: size = %search.int(1, 9): expected a value")

    def test_one_that_is_overridden_is_not(self, load):
        loaded = load("tests_input.batch = %search.int(1, 9)\n", params=["tests_input.batch=3"])
        assert [binding.value for binding in loaded.effective.values()] == [3]

    def test_the_references_of_one_that_is_overridden_are_known(self, refused):
        message = refused("tests_input.free = %search.choice(@nobody, 3)\n", params=["tests_input.free=3"])
        assert 'unknown configurable "nobody"' in message
