"""What the tables with goals have in common: a row, whether its goal is met, the command and its page."""

from __future__ import annotations

import argparse
import io
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks.paired import Contestant, laps, ratio
from benchmarks.report import aligned, machine

DOCS = Path(__file__).parents[1] / "docs"
_SCALES = {"s": 1.0, "ms": 1e3, "us": 1e6}  # a second in each unit of time


class Row(NamedTuple):
    """A line of the table: `one` / `other` of the contestants of a group.

    With a unit of time it is `one` - `other`, or `one` alone where there is no `other`. A command may work a figure out
    by itself, and leave both empty.
    """

    group: str
    title: str
    one: str = ""
    other: str = ""
    goal: tuple[str, float] | None = None
    unit: str = ""
    digits: int = 2


class Measured(NamedTuple):
    """What a command found: the figure of each row, None where it cannot be had here; and what stands below the table."""

    figures: Mapping[Row, float | None]
    more: str = ""


class Command(NamedTuple):
    """A command: `python -m benchmarks.NAME`, and its page, docs/NAME.md.

    Attributes:
      name: of the module.
      title: of the page.
      about: how it is measured, in Markdown; `--help` shows its first sentence.
      rows: of the table.
      measure: is given the rows that were asked for, and the rounds.
      rounds: unless others are asked for.
      a_round: what one is.
    """

    name: str
    title: str
    about: str
    rows: Sequence[Row]
    measure: Callable[[Sequence[Row], int], Measured]
    rounds: int
    a_round: str

    @property
    def page(self) -> Path:
        """Where `--write` writes."""
        return DOCS / f"{self.name}.md"

    def run(self, arguments: list[str]) -> int:
        """Measures and prints; returns the exit code: 1 if a goal is missed."""
        chosen = self._parser().parse_args(arguments)
        rows = [row for row in self.rows if not chosen.only or any(text in named(row) for text in chosen.only)]
        if not rows:
            print(f"No row has {' or '.join(map(repr, chosen.only))} in its name.", file=sys.stderr)
            return 2
        measured = self.measure(rows, chosen.rounds)
        text = "\n\n".join(filter(None, [table(measured.figures), measured.more]))
        print(text)
        if chosen.write:
            line = shlex.join(["python", "-m", f"benchmarks.{self.name}", *(a for a in arguments if a != "--write")])
            self.page.write_text(self._page(text, line, chosen.rounds), encoding="utf-8")
        return 1 if any(missed(*pair) for pair in measured.figures.items()) else 0

    def _parser(self) -> argparse.ArgumentParser:
        first = " ".join(self.about.split()).partition(". ")[0]
        parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{self.name}", description=first)
        parser.add_argument("--only", action="append", default=[], metavar="TEXT", help="the rows whose names have it")
        parser.add_argument("--rounds", type=int, default=self.rounds, help=f"{self.a_round} ({self.rounds})")
        parser.add_argument("--write", action="store_true", help=f"write docs/{self.page.name} too")
        return parser

    def _page(self, text: str, line: str, rounds: int) -> str:
        measured = f"{rounds} {'round' if rounds == 1 else 'rounds'}, measured on {machine()}."
        return f"# {self.title}\n\n{self.about.strip()}\n\n```bash\n{line}\n```\n\n{text}\n\n{measured}\n"


def named(row: Row) -> str:
    """What `--only` searches."""
    return f"{row.group} {row.title}"


def missed(row: Row, figure: float | None) -> bool:
    """Whether a figure is beyond its goal."""
    if row.goal is None or figure is None:
        return False
    sign, limit = row.goal
    return {"<=": figure > limit, ">=": figure < limit, "==": figure != limit}[sign]


def figure(row: Row, times: Mapping[str, Sequence[float]]) -> float | None:
    """The figure of a row from the seconds of each lap; None where a contestant did not run."""
    if any(name and name not in times for name in (row.one, row.other)):
        return None
    if row.unit and not row.other:
        return _SCALES[row.unit] * median(times[row.one])
    if row.unit:
        return _SCALES[row.unit] * median(a - b for a, b in zip(times[row.one], times[row.other], strict=True))
    return ratio(times, row.one, row.other)


def figures(
    rows: Sequence[Row], contestants: Callable[[str], Mapping[str, Contestant]], rounds: int
) -> dict[Row, float | None]:
    """The figure of each row, group after group; `contestants(group)` makes those of a group, and those of the rows run."""
    found: dict[Row, float | None] = {}
    for group in dict.fromkeys(row.group for row in rows):
        of_group = [row for row in rows if row.group == group]
        times = timed(group, _needed(of_group, contestants(group)), rounds)
        found |= {row: figure(row, times) for row in of_group}
    return {row: found[row] for row in rows}


def _needed(rows: Sequence[Row], contestants: Mapping[str, Contestant]) -> dict[str, Contestant]:
    names = {name for row in rows for name in (row.one, row.other)}
    for name in contestants.keys() - names:
        contestants[name].close()
    return {name: contestant for name, contestant in contestants.items() if name in names}


def timed(title: str, contestants: Mapping[str, Contestant], rounds: int) -> dict[str, list[float]]:
    """Name -> seconds a step in each round; says the medians on the way. What contestants print is not shown."""
    started = time.monotonic()
    # Here, as it is a setting of the whole process: contestants that did it in their threads would restore it in any order.
    with redirect_stdout(io.StringIO()):
        times = laps(contestants, rounds)
    medians = ", ".join(f"{name} {duration(median(each))}" for name, each in times.items())
    say(f"{title}: {time.monotonic() - started:.0f} s; {medians}")
    return times


def table(figures: Mapping[Row, float | None]) -> str:
    """A line a row."""
    lines = [["where", "what", "measured", "goal", ""]]
    for row, found in figures.items():
        shown = "not installed" if found is None else f"{found:.{row.digits}f} {row.unit}".strip()
        goal = "reported" if row.goal is None else f"{row.goal[0]} {row.goal[1]:g} {row.unit}".strip()
        lines.append([row.group, row.title, shown, goal, "✗" if missed(row, found) else ""])
    return "\n".join(aligned(lines))


def duration(seconds: float) -> str:
    """Three digits and a unit."""
    unit = next((unit for unit, scale in _SCALES.items() if seconds * scale >= 1), "us")
    return f"{seconds * _SCALES[unit]:.3g} {unit}"


def say(text: str) -> None:
    """Tells, on standard error, how far it is."""
    print(text, file=sys.stderr, flush=True)
