"""A training step of this checkout beside that of another one, such as the commit before.

Each checkout trains the same problem in a child process that keeps its compiled Trainer. The children run their laps in turn, so
that both see the same drift of the machine.
"""

from __future__ import annotations

import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from ..harness.command import Goal, Row, missed, timed
from ..harness.paired import median_interval, ratios
from ..harness.processes import ROOT, LapProcesses, command
from ..harness.report import aligned, machine
from .training import LAP, VARIANTS

THIS, OTHER = "this checkout", "the other"
NOT_SLOWER = Goal("<=", 1.03)
ROWS = tuple(Row(variant, f"{THIS} / {OTHER}", THIS, OTHER, NOT_SLOWER, digits=3) for variant in VARIANTS)


def compare(checkout: Path, rows: Sequence[Row], rounds: int) -> int:
    """Measure the rows in this checkout and in another one, and print the table.

    Args:
      checkout: the folder of the other checkout; it is only read.
      rows: of `ROWS`.
      rounds: laps of each checkout per row.

    Returns:
      The exit code: 1 if a row is more than 3% slower here.

    Raises:
      ValueError: the folder is not a checkout of Tallyloop.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        roots = {THIS: installed(ROOT, folder / "this"), OTHER: installed(checkout, folder / "other")}
        found = {row: _ratios(row.group, roots, rounds) for row in rows}
    print(table(found))
    print(f"\n{rounds} rounds of {LAP} steps each, {checkout.resolve()} being the other, on {machine()}.")
    return 1 if any(missed(row, median(each)) for row, each in found.items()) else 0


def installed(checkout: Path, folder: Path) -> Path:
    """Lay out the packages of a checkout as if they were installed, with links below `folder`; return that folder.

    Both children then run on this interpreter, and so on the same TensorFlow.
    """
    project = checkout / "pyproject.toml"
    settings = tomllib.loads(project.read_text(encoding="utf-8")) if project.is_file() else {}
    places: Mapping[str, str] = settings.get("tool", {}).get("setuptools", {}).get("package-dir", {})
    if "tallyloop.trainer" not in places:
        raise ValueError(
            f"--against = {checkout}: expected a checkout of Tallyloop, got a folder without its pyproject.toml"
        )
    for package, place in places.items():
        link = folder.joinpath(*package.split("."))
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to((checkout / place).resolve(), target_is_directory=True)
    return folder


def table(found: Mapping[Row, Sequence[float]]) -> str:
    """Return the table in Markdown: for each row the median of the rounds' ratios, and its 95% interval."""
    lines = [["where", "what", "median", "95% interval", "goal", ""]]
    for row, each in found.items():
        middle, (low, high) = median(each), median_interval(each)
        shown = [f"{middle:.{row.digits}f}", f"{low:.{row.digits}f} to {high:.{row.digits}f}"]
        goal = f"{row.goal.sign} {row.goal.limit:g}"
        lines.append([row.group, row.title, *shown, goal, "✗" if missed(row, middle) else ""])
    return "\n".join(aligned(lines))


def _ratios(variant: str, roots: Mapping[str, Path], rounds: int) -> list[float]:
    """Return the ratio of each round."""
    with tempfile.TemporaryDirectory() as folder:
        contestants = {
            name: LapProcesses(
                command("step_overhead.training", root, variant, Path(folder) / name), [{"PYTHONPATH": str(root)}], LAP
            )
            for name, root in roots.items()
        }
        return ratios(timed(variant, contestants, rounds), THIS, OTHER)
