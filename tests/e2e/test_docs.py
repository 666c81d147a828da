"""Every code block of the README and the guides runs."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from tallyloop.trainer import Task

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FAST = {"README.md", "metrics.md", "data.md", "errors.md"}  # the others run whole commands for most of a minute
_PROGRAMS = {"tallyloop": "tallyloop.trainer", "tallyloop-report": "tallyloop.trainer.report.command"}
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
_NAMED = re.compile(r"# (\S+\.(?:py|gin))\n")


def _run(programs, arguments, folder):
    done = programs.run(arguments, folder)
    assert done.returncode == 0, f"{shlex.join(map(str, arguments))}\n{done.stdout}\n{done.stderr}"


def _calls(code):
    """The calls of our programs in a block, as bash makes them: with its loops, variables and quotes.

    The shell is a restricted one without programs, which runs nothing else and writes no file.
    """
    listing = "".join(f"{name}() {{ printf '%s\\t' {name} \"$@\"; echo; }}\n" for name in _PROGRAMS)
    shell = ["/bin/bash", "-r", "-c", listing + code]
    listed = subprocess.run(shell, env={"PATH": "/nowhere"}, capture_output=True, text=True, timeout=60).stdout
    return [line.removesuffix("\t").split("\t") for line in listed.splitlines() if line.endswith("\t")]


@pytest.mark.parametrize(
    "document",
    [pytest.param(path, marks=[] if path.name in FAST else pytest.mark.slow, id=path.name) for path in DOCUMENTS],
)
def test_code_blocks_run(document, tmp_path, programs):
    """Blocks that start with `# NAME` are files; other Python blocks run; so does each call of tallyloop."""
    blocks = _BLOCK.findall(document.read_text())
    assert blocks
    for number, (language, code) in enumerate(blocks):
        named = _NAMED.match(code)
        if named:
            (tmp_path / named[1]).write_text(code)
        elif language == "python":
            script = tmp_path / f"block_{number}.py"
            script.write_text(code)
            _run(programs, [script], tmp_path)
        elif language == "bash":
            for program, *arguments in _calls(code):
                _run(programs, ["-m", _PROGRAMS[program], *arguments], tmp_path)


def test_loops_are_run():
    """As that of the recipe for a sweep."""
    code = 'for rate in 0.1 1e-3; do\n  tallyloop --dir=runs/$rate "a b"  # often\ndone\ntallyloop-report runs'
    given = [["tallyloop", f"--dir=runs/{rate}", "a b"] for rate in ("0.1", "1e-3")]
    assert _calls(code) == [*given, ["tallyloop-report", "runs"]]


def test_other_programs_are_not_run():
    assert _calls("/bin/echo -e 'ran\\t'\npip install x && tallyloop\ntallyloop") == [["tallyloop"]]


def test_every_method_of_a_task_has_an_example():
    code = "".join(code for language, code in _BLOCK.findall((ROOT / "docs" / "tasks.md").read_text()))
    methods = [name for name, member in vars(Task).items() if callable(member) and not name.startswith("_")]
    assert len(methods) > 5
    assert [name for name in methods if f"def {name}(self" not in code] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_files(document):
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text())
    assert [link for link in links if not (document.parent / link).exists()] == []
