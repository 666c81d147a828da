import math

import pytest
from tallyloop.trainer.config.syntax import Macro, Ref, parse_value, render


class TestErrors:
    @pytest.mark.parametrize(
        ("text", "location", "reason"),
        [
            ("tests_input.batch = true\n", "1:21", "`true` is not a value: did you mean True?"),
            (
                "\ntests_input.path = hello\n",
                "2:20",
                "`hello` is not a value: did you mean the string 'hello', the configurable @hello, or the macro %hello?",
            ),
            ("tests_input.batch 3\n", "1:19", "Couldn't parse statement, expected ':' or '='."),
            ("tests_input.batch = (1, $)\n", "1:25", "Unable to parse value."),
            ("tests_input.batch = 1 2\n", "1:23", "Expected newline."),
        ],
    )
    def test_have_location_reason_and_line(self, refused, text, location, reason):
        message, line, pointer = refused(text).split("\n")
        number, column = map(int, location.split(":"))
        assert message == f"a.gin:{location}: {reason}"
        assert line == "    " + text.splitlines()[number - 1]
        assert pointer == " " * (4 + column - 1) + "^"

    @pytest.mark.parametrize(
        ("text", "line", "reason"),
        [
            ("\ntests_input.batch = [1,\n", 2, "unclosed bracket or quote"),
            ("\ntests_input.path = 'x\n", 2, "unclosed bracket or quote"),
            ("tests_input:\n   batch = 3\n  free=2\n", 3, "unindent does not match any outer indentation level"),
            ("tests_input.free = {[1]: 2}\n", 1, "not a value: unhashable type: 'list'"),
        ],
    )
    def test_of_the_tokenizer_have_no_column(self, refused, text, line, reason):
        assert refused(text) == f"a.gin:{line}: {reason}\n    {text.splitlines()[line - 1]}"


class TestStatements:
    def test_a_block_binds_like_single_lines(self, load):
        loaded = load(
            "train/tests_input:\n  batch = 3\n  # a remark\n  path = 'x'\nTestsTrainer.data = @train/tests_input()\n"
        )
        assert [(b.name, b.value, str(b.location)) for b in loaded.bindings[:2]] == [
            ("train/tests_input.batch", 3, "a.gin:2"),
            ("train/tests_input.path", "x", "a.gin:4"),
        ]


class TestRender:
    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (Ref("s/t", "a.B", True), "@s/t/a.B()"),
            (Ref("", "a.B", False), "@a.B"),
            (Macro("size"), "%size"),
            ([-math.inf, math.inf], "[-1e999, 1e999]"),
            ((1,), "(1,)"),
            ({"b": (), 1: [None, True]}, "{'b': (), 1: [None, True]}"),
            ("it's\n", '"it\'s\\n"'),
        ],
    )
    def test_is_the_inverse_of_parsing(self, value, text):
        assert render(value) == text
        assert parse_value(text) == value
