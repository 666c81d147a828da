"""The guides' tables of likely mistakes: each is made, and is answered as its row says."""

import importlib
import re
from pathlib import Path

import gin
import pytest
from tallyloop.metrics.errors import UsageError
from tallyloop.trainer.errors import OutputError

DOCS = Path(__file__).parents[2] / "docs"
GUIDES = [
    *("actions", "from_a_loop", "from_add_metric", "from_keras", "from_orbit"),
    *("predict_export", "python", "recipes", "tasks"),
]
SLOW = "`launch(..., workers=2)` with a task of the notebook"  # starts processes
TABLE = "| mistake | it says | instead |\n|---|---|---|\n"


def rows(guide):
    """(mistake, what is said) of each row of a guide's table."""
    table = (DOCS / f"{guide}.md").read_text().partition(TABLE)[2].partition("\n\n")[0]
    return [tuple(line.removeprefix("| ").split(" | ")[:2]) for line in table.splitlines()]


def pattern(cell):
    """A pattern for the code at the start of a cell, whose `...` stand for anything."""
    code = re.match(r"(`+) ?(.*?) ?\1(?!`)", cell)[2]
    return re.compile(".*".join(re.escape(part.strip()) for part in code.split("...")))


def answer(make, caplog, capsys):
    """(What is said where a mistake is made, by an error of ours and its notes or in the log; whether it is an error)."""
    try:
        make()
    except (UsageError, OutputError) as error:
        said, refused = [str(error), *getattr(error, "__notes__", [])], True
    else:
        said, refused = [caplog.text, *capsys.readouterr()], False
    return " ".join(" ".join(said).split()), refused


def made(guide):
    """Mistake -> a function that makes it."""
    return importlib.import_module(f"mistakes.{guide}").MISTAKES


CASES = [  # those of one guide are quick
    pytest.param(
        guide, *row, marks=[pytest.mark.slow] if guide != "python" or row[0] == SLOW else [], id=f"{guide}: {row[0]}"
    )
    for guide in GUIDES
    for row in rows(guide)
]


@pytest.fixture(autouse=True)
def notebook(tmp_path, monkeypatch):
    """A folder to make mistakes in; gin is left as it was found."""
    monkeypatch.chdir(tmp_path)
    yield
    gin.clear_config()


@pytest.mark.parametrize(("guide", "mistake", "says"), CASES)
def test_is_answered(guide, mistake, says, caplog, capsys):
    said, refused = answer(made(guide)[mistake], caplog, capsys)
    assert pattern(says).search(said), said
    assert not (refused and Path("run").exists()), "a run was begun before its mistake was found"


@pytest.mark.parametrize("guide", GUIDES)
def test_a_guide_has_ten_and_all_are_made(guide):
    assert [mistake for mistake, _ in rows(guide)] == list(made(guide))
    assert len(rows(guide)) >= 10


def test_no_table_is_left_out():
    assert sorted(path.stem for path in DOCS.glob("*.md") if TABLE in path.read_text()) == GUIDES


@pytest.mark.parametrize(
    ("cell", "fits"),
    [("`a ... d`, a warning", True), ("`` a `b` ``", True), ("`a ... e`", False), ("`a d`", False)],
)
def test_pattern(cell, fits):
    assert bool(pattern(cell).search("x a `b` c d")) == fits
