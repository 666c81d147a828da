"""The table of the moments that were hit, and the page."""

from __future__ import annotations

from collections.abc import Mapping

from ..harness.report import aligned, machine
from .kills import Result
from .moment import MOMENTS
from .settings import SETTINGS

_TOP = """# Survival

For users whose runs get interrupted: how often a training was killed, what it was doing at that moment, and whether its result is
the same as that of a training that was never interrupted.

The real command trains in its own process. It is killed with `SIGKILL` at a random moment and started again with the same command
line, many times over, and then left to finish. The control is the same training without interruption. The two must be equal with
tolerance 0:

- every tensor of every kept checkpoint, bit for bit: weights, moving statistics, moving averages, the optimizer's state, the loss
  scale, the seeds of dropout, the sums of an unfinished accumulation, the position in the data;
- `metrics.jsonl`: one line per step and split, with the same numbers;
- `checkpoints/best.json`;
- the charts, read with TensorBoard's own reader: the same points, each once;
- the names of the files in `checkpoints`: nothing is left behind.

```bash
{command}
```

Two thirds of the kills come at a random time after a start or after the first sign of progress. One third waits for a save and
hits it in the middle, half of these between the renames that make a checkpoint visible. Each row is something that the killed
process was doing, deduced from the folder it left behind. Saves are written while training continues, so a kill during a save is
also one during training. A step takes {pause} ms, and each rename, deletion and flush of a file half of that, as on a slow disk;
the control runs at full speed.

"""


def table(results: Mapping[str, Result]) -> str:
    """Return the table: kills per moment and setting, then their sums, and whether the runs equal the control."""
    names = list(results)
    rows = [["killed in", *names, "all"]]
    rows += [_row(moment, [results[name].hit[moment] for name in names]) for moment in MOMENTS]
    rows.append(_row("kills", [results[name].kills for name in names]))
    equal = ["✓" if not results[name].differences else "✗" for name in names]
    rows.append(["equal to the control", *equal, "✓" if "✗" not in equal else "✗"])
    return "\n".join(aligned(rows))


def verdict(results: Mapping[str, Result]) -> str:
    """Return the sentence below the table, and the differences."""
    kills = sum(result.kills for result in results.values())
    runs = sum(result.runs for result in results.values())
    differing = [f"- {name}: {text}" for name, result in results.items() for text in result.differences]
    if differing:
        return "\n".join([f"{kills} kills, {runs} runs. These differ from the control:", "", *differing])
    return f"{kills} kills, {runs} runs: each equals its control."


def page(results: Mapping[str, Result], command: str, seconds: float, pause: float) -> str:
    """Return the page of the docs."""
    settings = "\n".join(f"- **{name}**: {SETTINGS[name].title}." for name in results)
    more = "All settings have BatchNormalization, dropout, evaluations during training and a best checkpoint."
    measured = f"Measured in {seconds / 60:.0f} minutes on {machine()}."
    top = _TOP.format(command=command, pause=f"{1000 * pause:g}")
    return f"{top}{table(results)}\n\n{verdict(results)}\n\n{settings}\n\n{more} {_victims(results)}\n\n{measured}\n"


def _row(title: str, counts: list[int]) -> list[str]:
    return [title, *(str(count or "") for count in counts), str(sum(counts) or "")]


def _victims(results: Mapping[str, Result]) -> str:
    told = {
        "two_workers": "With two workers, the launcher restarts the group when it loses a worker. The victims: {}.",
        "rows_processes": "A process that reads is replaced when it is killed, and the run goes on. The victims: {}.",
    }
    return " ".join(text.format(_counted(results[name])) for name, text in told.items() if name in results)


def _counted(result: Result) -> str:
    return ", ".join(f"{name} {count} times" for name, count in sorted(result.victims.items()))
