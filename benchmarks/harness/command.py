"""The commands whose tables have goals: a row, its figure, whether the goal is met, the command line and the page."""

from __future__ import annotations

import argparse
import io
import shlex
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from statistics import median
from typing import Literal, NamedTuple

from .paired import Contestant, laps, ratio
from .report import DOCS, LINE, SCALES, aligned, duration, machine, progress

FASTEST = " | "  # between contestants of which the fastest counts


class Goal(NamedTuple):
    """A limit on a figure.

    Attributes:
      sign: how the figure must compare with the limit.
      limit: in the unit of the row.
    """

    sign: Literal["<=", ">=", "=="]
    limit: float


class Row(NamedTuple):
    """A row of the table: by default, the ratio `one` / `other` of two contestants of a group.

    With a unit of time it is the difference `one` - `other`, or the time of `one` if there is no `other`. Each may be several
    contestants, separated by `FASTEST`, of which the fastest counts. Both are empty where the command works the figure out by
    itself.
    """

    group: str
    title: str
    one: str = ""
    other: str = ""
    goal: Goal | None = None
    unit: str = ""
    digits: int = 2

    @property
    def name(self) -> str:
        """The text that `--only` searches."""
        return f"{self.group} {self.title}"


class Measured(NamedTuple):
    """The result of a command.

    Attributes:
      figures: one per row; None where it cannot be measured here.
      more: Markdown below the table.
    """

    figures: Mapping[Row, float | None]
    more: str = ""


class Command(NamedTuple):
    """The command `python -m benchmarks.NAME` and its page, docs/NAME.md.

    Attributes:
      name: of the module.
      title: of the page.
      reader: who the page is for.
      shows: what it shows, as a clause that starts with "what" or "how"; also the description of `--help`.
      about: how it is measured, in Markdown.
      rows: of the table.
      measure: takes the rows to measure and the number of rounds.
      rounds: the default.
      a_round: what the rounds are, for `--help`.
    """

    name: str
    title: str
    reader: str
    shows: str
    about: str
    rows: Sequence[Row]
    measure: Callable[[Sequence[Row], int], Measured]
    rounds: int
    a_round: str

    @property
    def page(self) -> Path:
        """The file that `--write` writes."""
        return DOCS / f"{self.name}.md"

    def run(self, arguments: Sequence[str]) -> int:
        """Parse the arguments, measure and print; return the exit code: 1 if a goal is missed."""
        return self.report(self.parser().parse_args(arguments), arguments)

    def report(self, chosen: argparse.Namespace, arguments: Sequence[str]) -> int:
        """Measure and print what was chosen; return the exit code."""
        rows = rows_with(chosen.only, self.rows)
        if not rows:
            return 2
        measured = self.measure(rows, chosen.rounds)
        text = "\n\n".join(filter(None, [table(measured.figures), measured.more]))
        print(text)
        if chosen.write:
            line = shlex.join(["python", "-m", f"benchmarks.{self.name}", *(a for a in arguments if a != "--write")])
            self.page.write_text(self.page_with(text, line, chosen.rounds), encoding="utf-8")
        return 1 if any(missed(*pair) for pair in measured.figures.items()) else 0

    def parser(self) -> argparse.ArgumentParser:
        """Return the parser of the flags that all of these commands have."""
        description = f"{self.shows[0].upper()}{self.shows[1:]}."
        parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{self.name}", description=description)
        parser.add_argument(
            "--only", action="append", default=[], metavar="TEXT", help="only rows whose name contains TEXT; repeatable"
        )
        parser.add_argument("--rounds", type=int, default=self.rounds, help=f"{self.a_round} ({self.rounds})")
        parser.add_argument("--write", action="store_true", help=f"also write docs/{self.page.name}")
        return parser

    def page_with(self, text: str, line: str, rounds: int) -> str:
        """Return the page with the tables `text`, measured by the command `line`."""
        first = textwrap.fill(f"For {self.reader}: {self.shows}.", LINE, break_on_hyphens=False)
        measured = f"{rounds} {'round' if rounds == 1 else 'rounds'}, measured on {machine()}."
        about = f"## How it is measured\n\n{self.about.strip()}"
        return f"# {self.title}\n\n{first}\n\n```bash\n{line}\n```\n\n{text}\n\n{measured}\n\n{about}\n"


def rows_with(texts: Sequence[str], rows: Sequence[Row]) -> list[Row]:
    """Return the rows whose name contains one of the texts, or all rows without any text; report if there are none."""
    chosen = [row for row in rows if not texts or any(text in row.name for text in texts)]
    if not chosen:
        names = "\n  ".join(row.name for row in rows)
        progress(f"--only = {' or '.join(map(repr, texts))}: expected a part of a row's name, one of\n  {names}")
    return chosen


def missed(row: Row, figure: float | None) -> bool:
    """Return whether a figure misses the goal of its row."""
    if row.goal is None or figure is None:
        return False
    sign, limit = row.goal
    return {"<=": figure > limit, ">=": figure < limit, "==": figure != limit}[sign]


def figure(row: Row, times: Mapping[str, Sequence[float]]) -> float | None:
    """Return the figure of a row from the seconds of each lap; None if one of its contestants did not run."""
    one, other = fastest(row.one, times), fastest(row.other, times)
    if (row.one and not one) or (row.other and not other):
        return None
    if row.unit and not other:
        return SCALES[row.unit] * median(times[one])
    if row.unit:
        return SCALES[row.unit] * median(a - b for a, b in zip(times[one], times[other], strict=True))
    return ratio(times, one, other)


def fastest(names: str, times: Mapping[str, Sequence[float]]) -> str:
    """Return the one of some contestants with the least median; none if none of them ran."""
    ran = [name for name in names.split(FASTEST) if name in times]
    return min(ran, key=lambda name: median(times[name]), default="")


def figures(
    rows: Sequence[Row],
    contestants: Callable[[str], Mapping[str, Contestant]],
    rounds: int,
    note: Callable[[str, Mapping[str, Sequence[float]]], object] = lambda group, times: None,
    starts: int = 1,
) -> dict[Row, float | None]:
    """Measure the rows, group by group.

    Args:
      rows: to measure.
      contestants: makes the contestants of a group; only those that a row names run.
      rounds: per group, at least.
      note: called with each group and the seconds of its contestants' laps.
      starts: how often the contestants of a group are made, each time for its part of the rounds: a process keeps the place in
        memory that it got, and with it a part of its speed.

    Returns:
      The figure of each row.
    """
    found: dict[Row, float | None] = {}
    for group in dict.fromkeys(row.group for row in rows):
        of_group = [row for row in rows if row.group == group]
        times: dict[str, list[float]] = {}
        for _ in range(starts):
            for name, each in timed(group, _needed(of_group, contestants(group)), -(-rounds // starts)).items():
                times.setdefault(name, []).extend(each)
        note(group, times)
        found |= {row: figure(row, times) for row in of_group}
    return {row: found[row] for row in rows}


def _needed(rows: Sequence[Row], contestants: Mapping[str, Contestant]) -> dict[str, Contestant]:
    names = {name for row in rows for names in (row.one, row.other) for name in names.split(FASTEST)}
    for name in contestants.keys() - names:
        contestants[name].close()
    return {name: contestant for name, contestant in contestants.items() if name in names}


def timed(title: str, contestants: Mapping[str, Contestant], rounds: int) -> dict[str, list[float]]:
    """Return the seconds per step of each contestant in each round, and report the medians.

    Everything that the contestants print is discarded.
    """
    started = time.monotonic()
    # Here, as standard output is a setting of the whole process: contestants in their threads would restore it in any order.
    with redirect_stdout(io.StringIO()):
        times = laps(contestants, rounds)
    medians = ", ".join(f"{name} {duration(median(each))}" for name, each in times.items())
    progress(f"{title}: {time.monotonic() - started:.0f} s; {medians}")
    return times


def table(figures: Mapping[Row, float | None]) -> str:
    """Return the table in Markdown, one line per row; a ✗ marks a missed goal."""
    lines = [["where", "what", "measured", "goal", ""]]
    for row, found in figures.items():
        shown = "not available" if found is None else f"{found:.{row.digits}f} {row.unit}".strip()
        goal = "reported" if row.goal is None else f"{row.goal.sign} {row.goal.limit:g} {row.unit}".strip()
        lines.append([row.group, row.title, shown, goal, "✗" if missed(row, found) else ""])
    return "\n".join(aligned(lines))
