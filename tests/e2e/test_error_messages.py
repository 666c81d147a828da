"""docs/errors.md names every error and warning of the code, and no other."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "docs" / "error_messages.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("error_messages", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["error_messages"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def found(script):
    return script.messages()


@pytest.fixture(scope="module")
def rows(script):
    return script.rows(script.PAGE.read_text())


class TestPage:
    def test_names_every_message(self, script, found, rows):
        assert [f"{each.place}: {each.pattern}" for each in script.missing(found, rows)] == []

    def test_names_no_other(self, script, found, rows):
        assert script.outdated(found, rows) == []

    def test_has_a_cause_and_a_fix_for_each(self, rows):
        assert [row.line for row in rows if not (row.patterns and row.cause and row.fix)] == []

    def test_names_a_pattern_once(self, rows):
        patterns = [pattern for row in rows for pattern in row.patterns]
        assert sorted({each for each in patterns if patterns.count(each) > 1}) == []

    def test_has_its_headings_in_the_contents(self, script):
        text = script.PAGE.read_text()
        headings = {
            re.sub(r"[^\w -]", "", each).lower().replace(" ", "-") for each in re.findall(r"^##+ (.+)$", text, re.M)
        }
        assert headings - {"how-a-message-is-built", "contents"} == set(re.findall(r"\]\(#([^)]+)\)", text))


MODULE = """
LIMIT = "the constant tells it"

def helper(name):
    if name:
        return f"{name} is told by a function"
    return "another thing is told by a function"

def local(flag, text):
    told = "one local value" if flag else "the other local value"
    raise UsageError(told)

def parameter(told):
    raise UsageError(told)

def all_kinds(x, error):
    raise UsageError(f"Input.x = {x!r}: expected " + f"a number, got {x}")
    raise DataError(helper(x))
    raise OutputError(LIMIT)
    raise restore.CheckpointError(f"{x} is damaged here")
    raise ValueError("what Python's own error tells")
    raise KeyError("an error for our own code")
    self._fail(x, 2, f"no part of {x} is whole")
    logging.warning("%d of %.1f%% examples", 1, 2)
    logging.warning("%s: %s", x, "what is logged")
    print("only on stdout, for nobody")
    print("what went wrong", file=sys.stderr)
    say("not by this one")
    _say("by a function that writes to stderr")
    raise UsageError(f"{x}: {error}")
    raise UsageError("\\n".join(["a list of lines", f"and another: {x}"]))

def _say(text):
    sys.stderr.write(text)
"""


@pytest.fixture(scope="module")
def patterns(script, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources")
    (folder / "trainer").mkdir()
    (folder / "trainer" / "module.py").write_text(MODULE)
    return {each.pattern: each.place for each in script.messages(folder)}


class TestMessages:
    def test_are_found_with_what_differs_left_out(self, patterns):
        assert set(patterns) == {
            "one local value",
            "the other local value",
            "Input.x = …: expected a number, got …",
            "… is told by a function",
            "another thing is told by a function",
            "the constant tells it",
            "… is damaged here",
            "… of …% examples",
            "what is logged",
            "what Python's own error tells",
            "no part of … is whole",
            "what went wrong",
            "by a function that writes to stderr",
            "a list of lines",
            "and another: …",
        }

    def test_have_their_place(self, patterns):
        line = next(i for i, text in enumerate(MODULE.splitlines(), 1) if "Input.x" in text)
        assert patterns["Input.x = …: expected a number, got …"] == f"trainer/module.py:{line}"

    def test_of_our_own_mistakes_are_none(self, script, tmp_path):
        path = tmp_path / "metrics" / "writers" / "composed.py"
        path.parent.mkdir(parents=True)
        path.write_text('raise ValueError("this writer is closed")\nraise UsageError("what a user did")\n')
        assert [each.pattern for each in script.messages(tmp_path)] == ["what a user did"]


class TestFits:
    @pytest.mark.parametrize(
        ("pattern", "message", "expected"),
        [
            ("Input.x = …: expected", "Input.x = …: expected a number", True),
            ("Input.… = …: expected a number", "Input.x = …: expected a number", True),
            ("Input.y = …: expected", "Input.x = …: expected a number", False),
            ("expected a number", "Input.x = …: expected a number", False),  # not its beginning
            ("… = …: expected …", "… = …: expected …, got …", True),
            ("… = …: expected …", "Input.x = …: expected a number, or a list of numbers", False),  # this says more
        ],
    )
    def test_as_its_beginning(self, script, pattern, message, expected):
        assert script.fits(pattern, message) is expected


class TestRows:
    def test_are_those_of_tables_of_messages(self, script):
        other = "| class | x | y |\n|---|---|---|\n| `A` | b | c |\n\n"
        text = other + "| message | cause | fix |\n|---|---|---|\n| `m …`<br>`n` | why | do |\n"
        assert script.rows(text) == [script.Row(7, ("m …", "n"), "why", "do")]

    def test_what_is_missing_and_what_is_outdated(self, script):
        known = [script.Row(1, ("the first …", "the second"), "why", "do")]
        found = [script.Message("a.py:1", "the first thing"), script.Message("a.py:2", "a third thing")]
        assert script.missing(found, known) == [found[1]]
        assert script.outdated(found, known) == ["1: the second"]
