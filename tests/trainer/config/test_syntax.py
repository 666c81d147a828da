import pytest


@pytest.mark.parametrize(
    ("text", "place", "reason"),
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
def test_a_syntax_error_has_its_place_its_reason_and_its_line(refused, text, place, reason):
    message, line, pointer = refused(text).split("\n")
    number, column = map(int, place.split(":"))
    assert message == f"a.gin:{place}: {reason}"
    assert line == "    " + text.splitlines()[number - 1]
    assert pointer == " " * (4 + column - 1) + "^"


def test_a_block_binds_like_single_lines(load):
    loaded = load(
        "train/tests_input:\n  batch = 3\n  # a remark\n  path = 'x'\nTestsTrainer.data = @train/tests_input()\n"
    )
    assert [(b.name, b.value, str(b.place)) for b in loaded.bindings[:2]] == [
        ("train/tests_input.batch", 3, "a.gin:2"),
        ("train/tests_input.path", "x", "a.gin:4"),
    ]


def test_a_file_that_is_not_text_is_refused(load, refused, tmp_path):
    load("")
    (tmp_path / "bad.gin").write_bytes(b"\xff\xfe\x00")
    assert refused("include 'bad.gin'\n").startswith('a.gin:1: cannot read "bad.gin": ')


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("\ntests_input.batch = [1,\n", 2, "a bracket or a quote is opened and never closed"),
        ("\ntests_input.path = 'x\n", 2, "a bracket or a quote is opened and never closed"),
        ("tests_input:\n   batch = 3\n  free=2\n", 3, "unindent does not match any outer indentation level"),
        ("tests_input.free = {[1]: 2}\n", 1, "not a value: unhashable type: 'list'"),
    ],
)
def test_a_syntax_error_without_a_column(refused, text, line, reason):
    assert refused(text) == f"a.gin:{line}: {reason}\n    {text.splitlines()[line - 1]}"
