"""The table of what was hit, and the page."""

from __future__ import annotations

from collections.abc import Mapping

from .report import aligned, machine
from .survival_kills import Result
from .survival_moment import MOMENTS
from .survival_settings import SETTINGS

_TOP = """# Survival

A real training, started by the real command in a process of its own, is killed by `SIGKILL` at random moments and started
again by the same command, over and over; then it is left to come to its end. The same training, never interrupted, is the
control. Afterwards the two must be equal, at tolerance 0:

- every tensor of every checkpoint that was kept, bit by bit: weights, moving statistics, moving averages, the optimizer's
  state, the loss scale, the seeds of dropout, the sums of an unfinished accumulation, the place in the data;
- `metrics.jsonl`: one line a step and split, with the same numbers;
- `checkpoints/best.json`;
- the charts, read by TensorBoard's own reader: the same points, each once;
- the names of the files in `checkpoints`: nothing is left behind.

```bash
{command}
```

Two thirds of the kills come at a random time after a start, or after the first sign of progress; one third waits for a
save and strikes in its midst, half of these between the renames that make a checkpoint visible. Each row says
what the killed process was doing, which is read off the folder it left behind. Saves are written while training goes on, so a
kill in a save is one in training too. A step takes {pause} ms, and each rename, deletion and flush of a file half of that, as on
a slow disk; the control runs at full speed.

"""


def table(results: Mapping[str, Result]) -> str:
    """One row a moment, one column a setting, the number of kills; then the sums, and whether all is equal."""
    names = list(results)
    rows = [["killed in", *names, "all"]]
    rows += [_row(moment, [results[name].hit[moment] for name in names]) for moment in MOMENTS]
    rows.append(_row("kills", [results[name].kills for name in names]))
    equal = ["✓" if not results[name].differences else "✗" for name in names]
    rows.append(["equal to the control", *equal, "✓" if "✗" not in equal else "✗"])
    return "\n".join(aligned(rows))


def verdict(results: Mapping[str, Result]) -> str:
    """The sentence below the table, and what differs."""
    kills = sum(result.kills for result in results.values())
    runs = sum(result.runs for result in results.values())
    differing = [f"- {name}: {text}" for name, result in results.items() for text in result.differences]
    if differing:
        return "\n".join([f"{kills} kills, {runs} runs. These differ from the control:", "", *differing])
    return f"{kills} kills, {runs} runs: every one came out equal to its control."


def page(results: Mapping[str, Result], command: str, seconds: float, pause: float) -> str:
    """The page of the docs."""
    settings = "\n".join(f"- **{name}**: {SETTINGS[name].title}." for name in results)
    more = "All have BatchNormalization, dropout, evaluations on the way and a best checkpoint."
    measured = f"Measured in {seconds / 60:.0f} minutes on {machine()}."
    top = _TOP.format(command=command, pause=f"{1000 * pause:g}")
    return f"{top}{table(results)}\n\n{verdict(results)}\n\n{settings}\n\n{more} {_victims(results)}\n\n{measured}\n"


def _row(title: str, counts: list[int]) -> list[str]:
    return [title, *(str(count or "") for count in counts), str(sum(counts) or "")]


def _victims(results: Mapping[str, Result]) -> str:
    if "two_workers" not in results:
        return ""
    victims = ", ".join(f"{name} {count} times" for name, count in sorted(results["two_workers"].victims.items()))
    return f"With two workers the launcher starts the group again when it lost a worker; killed were {victims}."
