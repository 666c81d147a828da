"""The page docs/results.md: a table with the lines of all configs, and a section for each. A part of it can be renewed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ..harness.report import aligned, machine
from . import guide
from .config import Config, Figure, Reference
from .run import Run

_HEADER = ["config", "task", "figure", "result", "goal", "reference", ""]
_CONFIG = re.compile(r"`(\w+)\.gin`")
_TOP = """# Results

For users who look for a config to copy: what each bundled config reaches, beside a reference that is computed on the same data in
the same run; and which of them to look at for what.

Each config is one file in [gin/](../gin) with a task in [models/](../models), to be read in five minutes. The command trains them
with `tallyloop` in processes of their own, and reads the results from `metrics.jsonl`. A ✗ marks a missed goal. For some configs
only: `python -m benchmarks.results digits autoencoder`; `--write` then renews their parts of this page.
The seconds from start to end were taken on a machine that was busy with other work. The settings of most configs were chosen with
the figures of this page in sight, while the references have the defaults of their libraries: a small lead proves little.
With SGD, each config trains to the same weights on two replicas as on one, to 1e-6 after 12 steps. With its own optimizer, it is
1e-4: Adam divides by the size of the gradient, so what is rounding in a gradient near 0 is as large as a step in the weight.
"""


class Measured(NamedTuple):
    """A figure's result.

    Attributes:
      figure: what was measured.
      result: None if it could not be measured here.
      reference: None if there is none.
    """

    figure: Figure
    result: float | None
    reference: Reference | None

    @property
    def missed(self) -> bool:
        """True if there is a goal, and the result misses it."""
        goal, found = self.figure.goal, self.reference and self.reference.figure
        return goal is not None and self.result is not None and goal.missed(self.result, found)


class Part(NamedTuple):
    """The part of the page about a config.

    Attributes:
      lines: of the table, as cells.
      section: in Markdown, with its heading.
    """

    lines: Sequence[Sequence[str]]
    section: str


def part_of(config: Config, run: Run, measured: Sequence[Measured], seed: int) -> Part:
    """Return what the page says of a config that was trained now."""
    lines = []
    for number, each in enumerate(measured):
        shown = "not measured" if each.result is None else f"{each.result:.{each.figure.digits}f}"
        goal = each.figure.goal.text if each.figure.goal else "reported"
        name, task = (f"`{config.name}.gin`", config.task) if number == 0 else ("", "")
        mark = "✗" if each.missed else ""
        lines.append([name, task, each.figure.what, shown, goal, _told(each.reference, each.figure.digits), mark])
    section = (
        f"## {config.name}.gin\n\n{config.look_at.strip()}\n\n    {run.line}\n\n"
        f"![{config.curve} by step](images/{config.name}.svg)\n\n"
        f"Seed {seed}; {run.seconds:.0f} s from start to end, on {machine()}.\n"
    )
    return Part(lines, section)


def _told(reference: Reference | None, digits: int) -> str:
    return f"{reference.what}: {reference.figure:.{digits}f}" if reference else ""


def table(parts: Iterable[Part]) -> str:
    """Return the table in Markdown."""
    return "\n".join(aligned([_HEADER, *(line for part in parts for line in part.lines)]))


def page(parts: Mapping[str, Part]) -> str:
    """Return the page."""
    sections = "\n".join(part.section for part in parts.values())
    seen = "\n".join(aligned([["to see", "look at", "where"], *guide.rows()]))
    return (
        f"{_TOP}\n```bash\npython -m benchmarks.results --write\n```\n\n{table(parts.values())}\n\n"
        f"## Which to look at for what\n\n{seen}\n\n{sections}"
    )


def kept(file: Path) -> dict[str, Part]:
    """Return the parts of a page that was written before, by the name of their config; none if there is no page."""
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    top, *sections = re.split(r"^(?=## )", text, flags=re.M)
    lines: dict[str, list[list[str]]] = {}
    name = ""
    for row in (row for row in top.splitlines() if row.startswith("| ")):
        cells = [cell.strip() for cell in row.split("|")[1:-1]]
        if named := _CONFIG.fullmatch(cells[0]):
            name = named[1]
        if name:
            lines.setdefault(name, []).append(cells)
    by_name = {section.split(".gin", 1)[0].removeprefix("## "): section.rstrip() + "\n" for section in sections}
    return {name: Part(lines[name], by_name[name]) for name in lines if name in by_name}
