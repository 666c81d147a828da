"""Every code block of the README and the guides runs."""

import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FAST = {"README.md", "metrics.md", "data.md", "errors.md"}  # the others run whole commands for most of a minute
_PROGRAMS = {"tallyloop": "tallyloop.trainer", "tallyloop-report": "tallyloop.trainer.report.command"}
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
_NAMED = re.compile(r"# (\S+\.(?:py|gin))\n")


def _run(programs, arguments, folder):
    done = programs.run(arguments, folder)
    assert done.returncode == 0, f"{shlex.join(map(str, arguments))}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize(
    "document",
    [pytest.param(path, marks=[] if path.name in FAST else pytest.mark.slow, id=path.name) for path in DOCUMENTS],
)
def test_code_blocks_run(document, tmp_path, programs):
    """Blocks that start with `# NAME` are files; other Python blocks run; so does each line that calls tallyloop."""
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
            for line in code.splitlines():
                program, *arguments = shlex.split(line) or [""]
                if program in _PROGRAMS and not line.startswith(" "):  # what is indented is part of a loop
                    _run(programs, ["-m", _PROGRAMS[program], *arguments], tmp_path)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_files(document):
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text())
    assert [link for link in links if not (document.parent / link).exists()] == []
